"""Expressions: syntax to values with dimensions and feature axes, matched by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from glassbox_dsl.language import errors
from glassbox_dsl.language.chains import (
    Brackets,
    Dot,
    Parentheses,
    Step,
    context_items,
    graft,
    leading_path,
    take_apart,
)
from glassbox_dsl.language.contexts import ContextReader
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.indices import dotted, is_point, swept_variables
from glassbox_dsl.language.program import (
    Constant,
    Covered,
    Dimension,
    Expr,
    Index,
    Operation,
    OwnValue,
    Reference,
    Run,
    RunUse,
    SiteRead,
    Swept,
    Value,
    VariableValue,
)
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.set_axes import OPERATORS as SET_OPERATORS
from glassbox_dsl.language.set_nodes import SetExpr, SetIndex, SetReference
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import FEATURE_AXES, ITEM
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

CONSTANTS = {"true": 1.0, "false": 0.0, "inf": float("inf")}


def union(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """All names in order of first appearance."""
    return tuple(dict.fromkeys(name for group in groups for name in group))


class ValueReader(ContextReader):
    """Turns expression syntax into values; `names` answers what the names of the experiment stand for."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    def value(self, node: nodes.Expr, scope: Scope) -> Expr:
        """The value of an expression; raises `Problem` with the first thing wrong in it, or where it is a set."""
        found = self.reading(node, scope)
        if isinstance(found, SetExpr):
            raise Problem(errors.set_as_number(node.span, node.span.text))
        return found

    def reading(self, node: nodes.Expr, scope: Scope) -> Expr:
        """The value or set that an expression is."""
        match node:
            case nodes.Number():
                return Constant(span=node.span, value=float(node.value))
            case nodes.Unary():
                return self.operation(node.span, {"-": "neg", "not": "not"}[node.op], [node.operand], scope)
            case nodes.Binary() | nodes.Compare():
                return self.operation(node.span, node.op, [node.left, node.right], scope)
            case nodes.Name() | nodes.Attribute() | nodes.Index() | nodes.Call():
                return self.chain(node, scope)
            case nodes.String():
                raise Problem(errors.wrong_kind(node.span, node.span.text, "a text", "a number"))
            case nodes.Percent():
                raise Problem(
                    errors.wrong_kind(
                        node.span, node.span.text, "a depth", "a number", "depths index `layer`"
                    )
                )
        raise Problem(errors.wrong_kind(node.span, node.span.text[:40], "a collection", "a number"))

    # ------------------------------------------------------------ operations

    def operation(self, span: Span, op: str, operands: Sequence[nodes.Expr], scope: Scope) -> Expr:
        """An elementwise operation, or one of sets; dimensions meet by name."""
        sets = self.names.sets
        written = [op in SET_OPERATORS and sets.is_written(o, scope) for o in operands]
        values = [
            None if known else self.reading(o, scope) for known, o in zip(written, operands, strict=True)
        ]
        if any(v is None or isinstance(v, SetExpr) for v in values):
            return sets.operation(span, op, operands, values, scope)
        return self.combine(span, op, [v for v in values if v is not None])

    def combine(self, span: Span, op: str, values: Sequence[Expr], **fields: Any) -> Expr:
        """An elementwise operation of values that are read already."""
        feature = self.common_feature(span, values)
        dims = union(v.dims for v in values)
        return Operation(span=span, op=op, operands=tuple(values), dims=dims, feature=feature, **fields)

    @staticmethod
    def common_feature(span: Span, values: Sequence[Expr]) -> str | None:
        """The one feature axis of several values; numbers go with any."""
        features = list(dict.fromkeys(v.feature for v in values if v.feature is not None))
        if len(features) > 1:
            raise Problem(errors.features_differ(span, features[0], features[1]))
        return features[0] if features else None

    # ------------------------------------------------------------ chains

    def chain(self, node: nodes.Expr, scope: Scope) -> Expr:
        """A name with indices, attributes and calls."""
        base, steps = take_apart(node)
        if not isinstance(base, nodes.Name):
            return self.in_context(self.value(base, scope), steps, scope)
        name = base.id
        if (
            name == "inverse"
            and steps
            and isinstance(steps[0], Parentheses)
            and self.names.metric_named(name) is None
        ):
            value, rest = self.names.fit_reader.inverse(base, steps, scope)
            return self.in_context(value, rest, scope)
        if steps and isinstance(steps[0], Parentheses):
            value = self.names.calls.call(base, steps[0], scope)
            return self.in_context(value, steps[1:], scope)
        if name in scope.words:
            return self.chain(graft(scope.words[name], node), scope)
        if name in scope.parameters:
            return self.parameter(base, steps, scope)
        if name in scope.binders:
            return self.variable(base, steps, scope)
        if name in CONSTANTS and not steps:
            return Constant(span=base.span, value=CONSTANTS[name])
        if name == "self" and scope.target is not None and not steps:
            return self.own_value(base.span, scope)
        return self.named(base, steps, scope)

    def named(self, base: nodes.Name, steps: list[Step], scope: Scope) -> Expr:
        """A name that the experiment, its data sets or the file declare."""
        name = base.id
        if (family := self.names.value_named(name, base.span)) is not None:
            return self.reference(family, "", base, steps, scope)
        if (fit := self.names.fit_named(name)) is not None:
            value, rest = self.names.fit_reader.chain(fit, base, steps, scope)
            return self.in_context(value, rest, scope)
        if (run := self.names.run_named(name, base.span, scope)) is not None:
            return self.run_value(run, base, steps, scope)
        if (literal := self.names.literal_let(name)) is not None:
            return self.in_context(self.reading(literal, scope), steps, scope)
        if (
            steps
            and isinstance(steps[0], Dot)
            and (run := self.names.qualified_run(name, steps[0].name, base.span))
        ):
            return self.run_value(run, base, steps[1:], scope)
        if steps and isinstance(steps[0], Dot) and self.names.is_experiment(name):
            family = self.names.foreign_measure(name, steps[0].name, steps[0].span)
            return self.reference(family, name, base, steps[1:], scope)
        what = self.names.kind_of(name, scope)
        if what is not None:
            raise Problem(errors.wrong_kind(base.span, name, what, "a value"))
        raise Problem(errors.unknown_name(base.span, name, self.names.visible_names(scope)))

    def variable(self, base: nodes.Name, steps: list[Step], scope: Scope) -> Expr:
        """A bound variable as a number: its index, or its value."""
        if steps:
            raise Problem(errors.wrong_kind(base.span, base.id, "a variable", "something with parts"))
        dimension = scope.binders[base.id]
        dim = scope.sweep(base.span, base.id)
        return (
            VariableValue(span=base.span, variable=base.id, dims=(dim,))
            if dimension
            else Constant(span=base.span, value=0.0)
        )

    def own_value(self, span: Span, scope: Scope) -> Expr:
        """`self`: the value at the written site after the earlier edits."""
        assert scope.target is not None
        return OwnValue(span=span, dims=(), feature=self.names.target_feature(scope))

    def parameter(self, base: nodes.Name, steps: list[Step], scope: Scope) -> Expr:
        """A parameter of a metric: a run to read from, or a value."""
        bound = scope.parameters[base.id]
        use = self.run_argument(bound.node, scope.of_argument(bound))
        if use is not None:
            return self.read_site(use, base, steps, scope)
        return self.in_context(self.reading(bound.node, scope.of_argument(bound)), steps, scope)

    # ------------------------------------------------------------ runs and sites

    def run_use(self, run: Run, items: Sequence[nodes.IndexItem], scope: Scope, span: Span) -> RunUse:
        """A run at the cells that its indices name."""
        where = self.names.reader.family(items, run.dimensions, scope, run.name, span)
        return RunUse(span=span, run=run.name, where=where, dims=(ITEM, *self.dims_of(where, scope)))

    @staticmethod
    def dims_of(where: Sequence[tuple[str, Index]], scope: Scope) -> tuple[str, ...]:
        """The dimensions that indices of a family leave."""
        names: list[str] = []
        for variable, index in where:
            swept = swept_variables(index) if is_point(index) else (variable,)
            names += [scope.sweep(index.span, v) for v in swept]
        return tuple(dict.fromkeys(names))

    def run_at(
        self, run: Run, base: nodes.Name, steps: list[Step], scope: Scope
    ) -> tuple[RunUse, list[Step]]:
        """A run with its own brackets taken, and the steps behind them."""
        if steps and isinstance(steps[0], Brackets) and run.dimensions and not context_items(steps[0]):
            return self.run_use(run, steps[0].items, scope, base.span), steps[1:]
        return self.run_use(run, (), scope, base.span), steps

    def run_value(self, run: Run, base: nodes.Name, steps: list[Step], scope: Scope) -> Expr:
        """`RUN[cells].SITE[indices]`, or a bare run on the right of an edit."""
        use, rest = self.run_at(run, base, steps, scope)
        return self.read_site(use, base, rest, scope)

    def read_site(self, use: RunUse, base: nodes.Name, steps: list[Step], scope: Scope) -> Expr:
        """The site that dots name, at the indices behind them."""
        path, rest = leading_path(steps)
        if not path:
            if scope.target is None:
                help_ = (
                    f"name what to read of it: `{base.id}.resid_post`, or a metric: `logit({base.id}, ...)`"
                )
                raise Problem(errors.wrong_kind(base.span, base.id, "a run", "a value", help_))
            value = self.same_site(use, base.span, scope)
            return self.in_context(value, rest, scope)
        name = self.site_name([d.name for d in path], scope)
        span = base.span.to(path[-1].span)
        code = self.names.dictionaries.part(name)
        if code is None:
            self.names.check_site(
                name, Span(span.source, path[0].span.end - len(path[0].name), path[-1].span.end)
            )
        items: tuple[nodes.IndexItem, ...] = ()
        if rest and isinstance(rest[0], Brackets) and not context_items(rest[0]):
            items, span, rest = rest[0].items, rest[0].span, rest[1:]
        if code is not None:
            return self.in_context(
                self.names.dictionaries.code_read(use, code, items, scope, span), rest, scope
            )
        return self.in_context(self.site_read(use, name, items, scope, span), rest, scope)

    @staticmethod
    def site_name(path: Sequence[str], scope: Scope) -> str:
        """The dotted name; a variable that stands for a site is exchanged for it."""
        if path[0] in scope.words:
            path = [dotted(scope.words[path[0]]), *path[1:]]
        return ".".join(path)

    def site_read(
        self, use: RunUse, name: str, items: Sequence[nodes.IndexItem], scope: Scope, span: Span
    ) -> Expr:
        """One site of a run; axes without a point index stay dimensions under the axis's name."""
        site = sites()[name]
        plain = [i for i in items if i.name is None or i.name not in FEATURE_AXES]
        extra = [i for i in items if i.name is not None and i.name in FEATURE_AXES]
        index = self.names.reader.site(plain, site.axes, scope, name) or self.names.all_cells(span, site.axes)
        feature_index = self.feature_index(extra, site.feature, name, scope)
        dims = (*use.dims, *self.index_dims(index, site.axes, scope))
        feature = site.feature if feature_index is None else None
        return SiteRead(span=span, run=use, site=name, index=index, feature_index=feature_index,
                        dims=union([dims]), feature=feature)  # fmt: skip

    def feature_index(
        self, items: Sequence[nodes.IndexItem], feature: str | None, name: str, scope: Scope
    ) -> Index | None:
        """`dim: 5`, `vocab: 100`."""
        if not items:
            return None
        [item, *more] = items
        if more:
            raise Problem(errors.index_twice(more[0].span, str(item.name), name))
        if item.name != feature or isinstance(item.value, nodes.All):
            raise Problem(
                errors.unknown_axis(
                    item.span, str(item.name), name, [*sites()[name].axes, *([feature] if feature else [])]
                )
            )
        index = self.names.reader.read(item.value, feature, scope, [str(feature)], name)
        if not is_point(index):
            raise Problem(errors.bad_index(item.span, f"one cell of `{feature}` can be named"))
        return index

    def index_dims(self, index: Sequence[Index], axes: Sequence[str], scope: Scope) -> tuple[str, ...]:
        """The dimensions that the indices of a site leave."""
        names: list[str] = []
        for one, axis in zip(index, axes, strict=True):
            if isinstance(one, SetIndex):
                names += one.members.dims
            if isinstance(one, Covered) or not is_point(one):
                names.append(scope.sweep(one.span, axis, axis))
                self.no_sets(one.span, axis, scope.met.found[names[-1]], scope)
            else:
                names += [scope.sweep(one.span, v) for v in swept_variables(one)]
                if isinstance(one, Swept):
                    self.no_sets(one.span, one.variable, scope.met.found[names[-1]], scope)
        return tuple(dict.fromkeys(names))

    @staticmethod
    def no_sets(span: Span, name: str, dimensions: Sequence[Dimension], scope: Scope) -> None:
        """A variable whose members are whole spans, ranges or sets cannot stand where one position is read."""
        if scope.target is not None:
            return
        for dimension in dimensions:
            for row in dimension.members or ():
                for variable, one in zip(dimension.variables, row, strict=True):
                    whole = one.index is not None and one.text != "*" and not is_point(one.index)
                    if variable.name == name and whole:
                        raise Problem(errors.span_in_read(span, name))

    def same_site(self, use: RunUse, span: Span, scope: Scope) -> Expr:
        """The bare run on the right of an edit: the written site at the written indices."""
        assert scope.target is not None
        name = self.site_name(scope.target.path, scope)
        if (code := self.names.dictionaries.part(name)) is not None:
            return self.names.dictionaries.code_read(
                use, code, scope.target.indices, scope, span, copied=True
            )
        read = self.site_read(use, name, scope.target.indices, scope, span)
        return read.changed(copied=True)

    # ------------------------------------------------------------ families of values

    def reference(
        self, family: Value, experiment: str, base: nodes.Name, steps: list[Step], scope: Scope
    ) -> Expr:
        """A let or measure at given cells."""
        items: tuple[nodes.IndexItem, ...] = ()
        if steps and isinstance(steps[0], Brackets) and not context_items(steps[0]):
            items, steps = steps[0].items, steps[1:]
        axes = [(v.name, v.axis) for d in family.dimensions for v in d.variables]
        items, only = self.names.sets.restrictions(items, axes, scope, family.name)
        where = self.names.reader.family(items, family.dimensions, scope, family.name, base.span)
        dims = (*((ITEM,) if family.has_item else ()), *self.dims_of(where, scope))
        home = experiment or self.names.name
        meant = family.variants[0].value
        if isinstance(meant, SetExpr):
            found: Expr = SetReference(
                span=base.span, kind="circuit" if family.kind == "circuit" else "let", experiment=home,
                name=family.name, where=where, dims=dims, axes=meant.axes, by_name=meant.by_name,
            )  # fmt: skip
        else:
            found = Reference(span=base.span, kind="let" if family.kind == "let" else "measure",
                              experiment=home, name=family.name, where=where, dims=dims,
                              feature=family.feature, truth=family.truth)  # fmt: skip
        return self.in_context(self.names.sets.restricted(found, only), steps, scope)

    # ------------------------------------------------------------ runs as arguments

    def run_argument(self, node: nodes.Expr, scope: Scope) -> RunUse | None:
        """The run that an argument names (`clean`, `patched[3, last]`, `d.clean`, a parameter), or None."""
        base, steps = take_apart(node)
        if not isinstance(base, nodes.Name) or any(isinstance(s, Parentheses) for s in steps):
            return None
        if base.id in scope.words:
            return self.run_argument(graft(scope.words[base.id], node), scope)
        if base.id in scope.parameters and not steps:
            bound = scope.parameters[base.id]
            return self.run_argument(bound.node, scope.of_argument(bound))
        if (
            base.id in scope.parameters
            or base.id in scope.binders
            or self.names.value_named(base.id, base.span) is not None
        ):
            return None
        run = self.names.run_named(base.id, base.span, scope)
        if run is None and steps and isinstance(steps[0], Dot):
            run = self.names.qualified_run(base.id, steps[0].name, base.span)
            steps = steps[1:]
        if run is None:
            return None
        if steps and isinstance(steps[0], Brackets) and not run.dimensions and not context_items(steps[0]):
            raise Problem(errors.too_many_indices(steps[0].span, run.name, [], len(steps[0].items)))
        use, rest = self.run_at(run, base, steps, scope)
        return use if not rest else None
