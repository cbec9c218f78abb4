"""Taps: metrics of a run that are taken where the run is made, so that its logits need not be kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from glassbox_dsl.language.indices import is_point, swept_variables
from glassbox_dsl.language.program import Expr, Index, MetricCall, Reference, Run, RunUse, SiteRead, Swept
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.language.technique_nodes import FitUse
from glassbox_dsl.syntax.nodes import Node, children


class Tap(Node):
    """A metric relative to its own run. `at` None: taken at every position.

    `other` (for metrics of two runs) is read at the cell of the host; `swapped`: the host is the second run.
    """

    metric: str
    answer: str | None = None
    token: Expr | None = None
    at: Index | None = None
    other: SiteRead | None = None
    swapped: bool = False
    options: tuple[tuple[str, Any], ...] = ()


def constant(index: Index | None) -> bool:
    """Whether an index is one position that no variable changes."""
    return index is not None and is_point(index) and not swept_variables(index)


def tap_of(call: MetricCall, order: Mapping[str, Host]) -> tuple[RunUse, Tap] | None:
    """The host run and tap of a metric call; None where it is computed from whole values instead."""
    if call.run is None or call.metric == "top" or call.other_value is not None:
        return None
    at = call.at if constant(call.at) else None
    answer = call.answer.name if call.answer is not None else None
    if call.token is not None and (not _of_items_only(call.token) or _reads_runs(call.token)):
        return None
    if call.other is None:
        # `loss(r)` without a position is the mean over the prompt.
        options = (
            (*call.options, ("mean", True)) if call.metric == "loss" and call.at is None else call.options
        )
        return call.run, Tap(
            span=call.span, metric=call.metric, answer=answer, token=call.token, at=at, options=options
        )
    own, other = order[call.run.run], order[call.other.run]
    if call.run.run == call.other.run or not own.meets(other):
        return None
    swapped = other.place > own.place
    host, guest = (call.other, call.run) if swapped else (call.run, call.other)
    swept = {name for name, index in host.where if isinstance(index, Swept) and index.variable == name}
    used = {v for _, index in guest.where for v in swept_variables(index)}
    if at is None or not used <= swept or any(not is_point(i) for _, i in guest.where):
        return None
    read = SiteRead(span=call.span, run=guest, site="logits", index=(at,), dims=guest.dims, feature="vocab")
    return host, Tap(
        span=call.span, metric=call.metric, at=at, other=read, swapped=swapped, options=call.options
    )


def _of_items_only(value: Expr) -> bool:
    """Whether a token differs between items only, not between cells."""
    return set(value.dims) <= {"item"}


def _reads_runs(value: Node) -> bool:
    """Whether a token comes out of a run: that run must be whole before the token is scored."""
    return isinstance(value, RunUse | Reference | SetReference | FitUse) or any(
        _reads_runs(child) for child in children(value)
    )


def logits_of(run: RunUse, at: Index | None, call: MetricCall) -> SiteRead:
    """The logits that a metric reads, as a value: where it cannot be a tap."""
    assert at is not None
    dims = tuple(dict.fromkeys((*run.dims, *(d for d in call.dims if d not in ("item",)))))
    return SiteRead(span=call.span, run=run, site="logits", index=(at,), dims=dims, feature="vocab")


class Host(NamedTuple):
    """A run as one of the two of a metric: its place among all runs, and the model and data it is fixed to."""

    place: int
    model: str | None
    data: str | None

    def meets(self, other: Host) -> bool:
        """Whether the passes of both are made together: they are of one context, and not kept for another model."""
        return self.model is None and other.model is None and self.data == other.data


def host_order(runs: Sequence[Run]) -> dict[str, Host]:
    """Which of two runs hosts a metric of both: the later one here. Its edits and taps read earlier ones only.

    `runs` has each run behind those that its edits read; unedited passes come first, so that an edited run,
    which may have many cells, is compared with them where it is made.
    """
    edited = [any(v.edits for v in run.variants) for run in runs]
    ordered = sorted(range(len(runs)), key=lambda i: (edited[i], i))
    return {runs[i].name: Host(place, runs[i].model, runs[i].data) for place, i in enumerate(ordered)}
