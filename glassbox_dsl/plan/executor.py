"""Which executor makes a run, and why: what `gbx explain` says of it."""

from __future__ import annotations

from glassbox_dsl.language.program import Scrubbed
from glassbox_dsl.plan.copies import by_full_passes, copied_read
from glassbox_dsl.plan.jobs import Job


def executor_of(job: Job, stage: int) -> tuple[str, str]:
    """The executor of a run and the reason, before the model has been checked (which happens when it loads)."""
    if (why := job.setting.sizes.facts.own_attention) is not None:
        return "hooked", why
    if by_full_passes(job.run):
        return (
            "hooked",
            "each receiver reads other edges: full passes with plain hooks, and one of the run they carry",
        )
    edits = [edit for variant in job.run.variants for edit in variant.edits]
    copied = [read for edit in edits if (read := copied_read(edit, job.run, job.setting)) is not None]
    if any(isinstance(edit.value, Scrubbed) for edit in edits):
        return (
            "delta",
            "the last stream is resampled along the hypothesis, by plain passes of one layer for each node",
        )
    if not edits:
        return "delta", "prompts, run once in each pack that needs them"
    later = f", after the {stage} stage{'s' if stage > 1 else ''} that they compute with" if stage else ""
    if len(copied) == len(edits):
        sources = ", ".join(dict.fromkeys(f"`{read.run.run}`" for read in copied))
        return "delta", f"edits copy rows of {sources}{later}"
    return "delta", f"edits are computed on the rows that they change{later}"
