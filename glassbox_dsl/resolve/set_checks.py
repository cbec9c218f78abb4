"""Sets of heads where a model groups them: with grouped-query attention one key head serves several query heads."""

from __future__ import annotations

from collections.abc import Iterator

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.program import Edit, Experiment, Index, SiteRead
from glassbox_dsl.language.set_nodes import SetIndex
from glassbox_dsl.resolve import errors
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.sites import sites


def check_sets(experiment: Experiment, facts: ModelFacts, model: str) -> Iterator[Diagnostic]:
    """Sets over heads that index key heads, and the other way round, with the groups of the model."""
    for node in nodes.every(experiment, SiteRead, Edit):
        axes = sites()[node.site].axes
        for place, index in enumerate(node.index):
            for one in _sets_in(index):
                for own, axis in zip(one.members.axes, axes[place:], strict=False):
                    if {own, axis} == {"head", "kv_head"}:
                        yield errors.heads_in_groups(one.span, node.site, own, groups(facts), model)


def groups(facts: ModelFacts) -> list[str]:
    """Which heads read each key head, in words."""
    n = facts.n_heads // facts.n_kv_heads
    ends = [(k, k * n, (k + 1) * n - 1) for k in range(facts.n_kv_heads)]
    return [f"kv_head {k} serves head{f' {a}' if a == b else f's {a} to {b}'}" for k, a, b in ends]


def _sets_in(index: Index) -> Iterator[SetIndex]:
    """The sets in an index, those inside other sets apart."""
    if isinstance(index, SetIndex):
        yield index
        return
    for child in nodes.children(index):
        if isinstance(child, Index):
            yield from _sets_in(child)
