"""Where names are looked up, and which dimensions an expression has met so far.

Lookup order (LANGUAGE.md section 2): binders, the experiment, its data sets, the file, the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from glassbox_dsl.language.program import Dimension, Variable
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes


def whole_axis(span: Span, axis: str) -> Dimension:
    """Every cell of an axis, under the axis's own name."""
    return Dimension(
        span=span, name=axis, variables=(Variable(span=span, name=axis, axis=axis),), members=None
    )


@dataclass
class Met:
    """The dimensions that the parts of an expression have, in order of first appearance."""

    found: dict[str, list[Dimension]] = field(default_factory=dict)

    def add(self, dimension: Dimension) -> str:
        """Note a dimension; two of one name meet."""
        known = self.found.setdefault(dimension.name, [])
        if dimension not in known:
            known.append(dimension)
        return dimension.name

    def merged(self, name: str) -> Dimension:
        """The dimension under a name: its first restricted domain, which must meet all the others."""
        known = self.found[name]
        first = next((d for d in known if d.members is not None), known[0])
        others = tuple(d for d in known if d is not first and d.members is not None)
        return first.changed(meets=(*first.meets, *others)) if others else first


def pass_on(names: Sequence[str], inner: Scope, scope: Scope) -> None:
    """Hand the dimensions that a reduction or set leaves to the expression around it."""
    for name in names:
        for dimension in inner.met.found.get(name, []):
            scope.met.add(dimension)


@dataclass(frozen=True)
class Bound:
    """The argument that a metric's parameter stands for, with the scope it was written in (call by name)."""

    node: nodes.Expr
    scope: Scope


@dataclass(frozen=True)
class Scope:
    """What an expression may name, besides what its experiment and file declare.

    `binders`: dimension of each bound variable. `words`: variables that stand for a name, with that name's syntax.
    `parameters`: what the parameters of a metric stand for. `met` collects dimensions.
    `target`: the written site, in the right side of an edit. `data`: the data sets whose prompts and labels may be
    named; `about`: those of the runs in question, whose features and answers are meant.
    """

    data: tuple[str, ...]
    about: tuple[str, ...] = ()
    met: Met = field(default_factory=Met)
    binders: Mapping[str, Dimension] = field(default_factory=dict)
    words: Mapping[str, nodes.Expr] = field(default_factory=dict)
    parameters: Mapping[str, Bound] = field(default_factory=dict)
    target: nodes.Target | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """The data sets whose features and answers are meant."""
        return self.about or self.data

    def inner(self) -> Scope:
        """The same names with a fresh collection of dimensions."""
        return replace(self, met=Met())

    def of_argument(self, bound: Bound) -> Scope:
        """The scope to read a parameter's argument in: its own names, this expression's dimensions."""
        return replace(bound.scope, met=self.met)

    def sweep(
        self, span: Span, variable: str, axis: str | None = None, family: Dimension | None = None
    ) -> str:
        """Note that the value has the dimension of a variable; the bound one, the family's, or a whole axis.

        A binder that sweeps a whole axis has the cells that the family has, by name where it has them by name.
        """
        if variable in self.binders:
            bound = self.binders[variable]
            if family is not None and family.name == bound.name and bound.members is None:
                self.met.add(family)
            return self.met.add(bound)
        for name, known in self.met.found.items():
            if any(v.name == variable for d in known for v in d.variables) and name != variable:
                return name
        return self.met.add(family if family is not None else whole_axis(span, axis or variable))
