"""Whose features and answers an expression means: those of the data sets of the runs that it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glassbox_dsl.syntax import nodes

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


def data_named(names: ExperimentReader, read: nodes.Node, words: Mapping[str, nodes.Expr]) -> tuple[str, ...]:
    """The data sets that have every prompt of the runs that an expression names; all where that leaves none.

    Prompts of one data set that is written (`d.clean`) say for themselves whose answers are meant.
    """
    scope, found = names.scope(), set(names.data)
    for name in _Walk(names).runs(read, words):
        declared = names.declared.get(name)
        if isinstance(declared, nodes.Run) or (declared is None and names.has_prompt(name, scope)):
            run = names.run_named(name, read.span, scope)
            found &= set(names.data) if run is None else set(names.data_of(run.name))
    return tuple(d for d in names.data if d in found) or names.data


@dataclass(frozen=True)
class _Walk:
    names: ExperimentReader
    seen: set[str] = field(default_factory=set)

    def runs(self, node: nodes.Node, words: Mapping[str, nodes.Expr]) -> Iterator[str]:
        """The names that may be runs: what sites are read of and what functions are given, in lets and measures too."""
        match node:
            case nodes.Name(id=name) if name in words:
                yield from self.runs(words[name], {})
            case nodes.Name(id=name) if name not in self.seen:
                self.seen.add(name)
                declared = self.names.declared.get(name)
                if isinstance(declared, nodes.Let | nodes.Measure):
                    yield from self.runs(declared.value, {})
                else:
                    yield name
            case nodes.Index() | nodes.Attribute():
                yield from self.runs(node.base, words)
            case nodes.Call():
                for argument in node.arguments:
                    if argument.name is None:
                        yield from self.runs(argument.value, words)
            case _:
                for child in nodes.children(node):
                    yield from self.runs(child, words)
