"""Planned against actual: what is stored of a plan, what is said of it after a run, and the speed that was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from glassbox_dsl.plan.program_plan import ProgramPlan
from glassbox_dsl.plan.speed import note_speed
from glassbox_dsl.plan.tally import Tally

COUNTS = ("packs", "layer_calls", "passes", "noops", "rows", "token_layers")


def planned(plan: ProgramPlan | None) -> dict[str, int]:
    """The counts of a plan, for the store."""
    if plan is None:
        return {}
    total = plan.planned
    return {**_counts(total), "milliseconds": round(1000 * sum(m.seconds for m in plan.models))}


def came_to(tallies: Mapping[str, Tally]) -> dict[str, int]:
    """The same counts of what was done."""
    total = _total(tallies)
    return {**_counts(total), "milliseconds": round(1000 * total.seconds)}


def against_plan(plan: ProgramPlan, tallies: Mapping[str, Tally]) -> Iterator[str]:
    """A line on what a run came to."""
    total, wanted = _total(tallies), plan.planned
    if total.packs:
        seconds = sum(m.seconds for m in plan.models)
        yield (
            f"made: {total.packs:,} packs, {total.token_layers:,} token-layers in {total.seconds:.1f} s "
            f"(planned: {wanted.packs:,}, {wanted.token_layers:,}, {seconds:.1f} s)"
        )


def note_speeds(plan: ProgramPlan, tallies: Mapping[str, Tally]) -> None:
    """Remember how fast each model went, for the next plan."""
    for model in plan.models:
        tally = tallies.get(model.model)
        if tally is not None:
            note_speed(model.speed.device, model.speed.dtype, tally.climbed, tally.climbing)


def _total(tallies: Mapping[str, Tally]) -> Tally:
    total = Tally()
    for tally in tallies.values():
        total.merge(tally)
    return total


def _counts(tally: Tally) -> dict[str, int]:
    return {name: getattr(tally, name) for name in COUNTS}
