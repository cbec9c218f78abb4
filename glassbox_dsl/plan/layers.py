"""Which layers a job reads."""

from __future__ import annotations

from glassbox_dsl.language.program import Depth
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.jobs import Job


def layer_number(layer: int | Depth, n_layers: int) -> int:
    """The layer that a written index or depth names; it may lie outside."""
    if isinstance(layer, int):
        return layer + n_layers if layer < 0 else layer
    return int(layer.value / 100 * (n_layers - 1) + 0.5)


def reads_patterns(job: Job) -> bool:
    """Whether a metric of a job is one of attention patterns."""
    return any(metrics()[tap.metric].shape == "pattern" for tap in job.wanted.taps)
