"""Which prompts a value reads: its positions, labels and answers are theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from glassbox_dsl.language.program import (
    ByValue,
    Experiment,
    InContext,
    Index,
    OverDimension,
    Reduce,
    Reference,
    RunUse,
    Swept,
    TokenAt,
    Value,
    Variant,
)
from glassbox_dsl.language.set_nodes import SetExpr, SetReference
from glassbox_dsl.syntax import nodes

V = TypeVar("V", bound=Variant)
Names = Mapping[str, str]
"""What variables that stand for names stand for in one cell: the text of each; one that is left out may be any."""


def prompts_read(
    read: nodes.Node,
    experiment: Experiment,
    home: Callable[[str], Experiment | None],
    data: str,
    names: Names | None = None,
) -> list[str]:
    """The prompts of a data set whose runs a value or expression reads, in order; what a set reads stays inside it.

    `home` finds an experiment whose values are read, where it is known. `names`: only what is read in cells where
    variables stand for these names.
    """
    return list(dict.fromkeys(_Walk(experiment, home, data).prompts(read, names or {})))


@dataclass(frozen=True)
class _Walk:
    experiment: Experiment
    home: Callable[[str], Experiment | None]
    data: str

    def prompts(self, read: nodes.Node, names: Names) -> Iterator[str]:
        match read:
            case SetExpr():
                return
            case Value():
                for variant in _fitting(read.variants, names):
                    yield from self.inside(variant.value, names)
                return
            case RunUse():
                run = self.experiment.run(read.run)
                if run.data in (None, self.data):
                    yield from (v.prompt for v in _fitting(run.variants, _inner(read.where, names)))
                return
            case TokenAt():
                yield read.prompt
            case Reference() if (there := self.home(read.experiment)) is not None:
                value = there.value(read.kind, read.name)
                yield from replace(self, experiment=there).prompts(value, _inner(read.where, names))
            case InContext() if read.data not in (None, self.data):
                return
            case InContext():
                variables = [d.variables[0].name for d in read.over]
                where = zip(variables, (index for _, index in read.where), strict=True)
                names = {**names, **_inner(tuple(where), names)}
            case Reduce() | OverDimension():
                bound = {v.name for d in read.over for v in d.variables}
                names = {name: text for name, text in names.items() if name not in bound}
        for child in nodes.children(read):
            yield from self.prompts(child, names)

    def inside(self, read: nodes.Node, names: Names) -> Iterator[str]:
        """The same of a set that is itself asked about: what it is made from."""
        if not isinstance(read, SetExpr):
            yield from self.prompts(read, names)
            return
        if isinstance(read, SetReference) and (there := self.home(read.experiment)) is not None:
            value = there.value(read.kind, read.name)
            yield from replace(self, experiment=there).prompts(value, _inner(read.where, names))
        for child in nodes.children(read):
            yield from self.inside(child, names)


def _fitting(variants: Sequence[V], names: Names) -> Iterator[V]:
    """The readings of a declaration in cells where variables stand for the given names."""
    return (v for v in variants if all(names.get(name, text) == text for name, text in v.when))


def _inner(where: Sequence[tuple[str, Index]], names: Names) -> dict[str, str]:
    """What the variables of a family stand for where indices name its cells."""
    found: dict[str, str] = {}
    for variable, index in where:
        if isinstance(index, ByValue) and index.text:
            found[variable] = index.text
        elif isinstance(index, Swept) and index.variable in names:
            found[variable] = names[index.variable]
    return found
