"""Fits: `fit NAME[binders] = KIND(x, ...)`, and what a file does with them: `f(x)`, `f.direction`, `accuracy(f)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.chains import Brackets, Dot, Parentheses, Step, context_items, graft, take_apart
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import Dimension, Expr, RunUse
from glassbox_dsl.language.questions import data_named
from glassbox_dsl.language.scope import Met, Scope, pass_on, whole_axis
from glassbox_dsl.language.technique_nodes import Auroc, Fit, FitUse, FitValue, FitVariant
from glassbox_dsl.language.trained_fits import MadeFrom, TrainedFitReader
from glassbox_dsl.language.values import union
from glassbox_dsl.library.fit import FitKind, fit_kinds
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

TARGETS = {"classes": ("label",), "number": ("label", "to"), "basis": (), "map": ()}
HELD = ("test", "group", "seed")


class FitReader:
    """Turns fit statements into families of fits, and their uses into values."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names
        self.trained = TrainedFitReader(names)

    # ------------------------------------------------------------ declarations

    def read(self, node: nodes.Fit) -> Fit:
        """One fit, once per reading of its name-valued binders."""
        binders = read_binders(
            self.names.swept_binders(node.binders, node.call), self.names.reader, self.names.scope()
        )
        met, variants, kinds = Met(), [], []
        for when, words in readings(binders, node.call):
            bound = {v.name: d for d in binders for v in d.variables if v.name not in words}
            about = data_named(self.names, node.call, words)
            scope = self.names.scope(about=about, met=met, binders=bound, words=words)
            kind = self.kind(node.call, words)
            variants.append(self.variant(node, kind, when, scope))
            kinds.append(kind)
        if len({k.gives for k in kinds}) > 1:
            raise Problem(
                errors.bad_arguments(node.call.span, "fit", "one gives a basis, another a prediction", "")
            )
        if len({(v.seed, v.test) for v in variants}) > 1:
            why = "all cells of a fit hold out the same items: `seed:` and `test:` do not vary in it"
            raise Problem(errors.bad_arguments(node.call.span, kinds[0].name, why, kinds[0].example))
        own = {d.name: d for d in binders}
        read = union(part.dims for v in variants for part in (v.body, v.target) if part is not None)
        free = [met.merged(n) for n in read if n not in (*own, ITEM)]
        examples = tuple(d for d in free if all(v.axis in POSITION_AXES for v in d.variables))
        if examples and any(k.asks == "interchange" for k in kinds):
            why = f"one position is exchanged in a run: name it, or bind `{examples[0].name}`"
            raise Problem(errors.bad_arguments(node.call.span, kinds[0].name, why, kinds[0].example))
        loose = [d for d in free if d not in examples]
        if loose and node.binders:
            raise Problem(errors.free_axes(node.span, node.name, [d.name for d in loose], list(own)))
        dimensions = tuple(met.merged(d.name) if d.name in met.found else d for d in binders)
        return Fit(
            span=node.span, name=node.name, dimensions=(*dimensions, *loose), examples=examples,
            variants=tuple(variants), gives=kinds[0].gives, data=self.data(variants),
        )  # fmt: skip

    def data(self, variants: Sequence[FitVariant]) -> str | None:
        """The data set that all runs of a fit are fixed to."""
        uses = [n for v in variants for n in nodes.everything(v) if isinstance(n, RunUse)]
        fixed = {self.names.runs[u.run].data for u in uses}
        return next(iter(fixed)) if len(fixed) == 1 else None

    def kind(self, call: nodes.Call, words: Mapping[str, nodes.Expr]) -> FitKind:
        """The kind that a call names."""
        function = call.function
        if isinstance(function, nodes.Name) and function.id in words:
            function = words[function.id]
        name = function.id if isinstance(function, nodes.Name) else function.span.text
        if name not in fit_kinds():
            raise Problem(errors.unknown_name(call.function.span, name, fit_kinds(), "kind of fit"))
        return fit_kinds()[name]

    def variant(
        self, node: nodes.Fit, kind: FitKind, when: tuple[tuple[str, str], ...], scope: Scope
    ) -> FitVariant:
        """One reading of a fit."""
        arguments = Arguments.of(kind.name, node.call.span, node.call.arguments, scope.words, kind.example)
        own = [*kind.values, *TARGETS[kind.gives], *(["control"] if TARGETS[kind.gives] else [])]
        count = 0 if kind.values else 1
        arguments.expect(count, count, (*own, *(name for name, _ in kind.options), *HELD))
        made = (
            self.trained.made_from(kind, arguments, scope)
            if kind.asks
            else self.labelled(kind, arguments, scope)
        )
        return FitVariant(
            span=node.span, when=when, kind=kind.name,
            body=made.body, target=made.target, scored=made.scored, label=made.label,
            group=self.feature(arguments, "group", scope), control=self.feature(arguments, "control", scope),
            test=self.share(arguments), seed=arguments.integer("seed", 0), options=self.options(arguments, kind),
        )  # fmt: skip

    def labelled(self, kind: FitKind, arguments: Arguments, scope: Scope) -> MadeFrom:
        """Vectors, and what is predicted from them."""
        body = self.names.values.value(arguments.positional[0], scope)
        if body.feature is None or body.feature == "vocab" or ITEM not in body.dims:
            raise arguments.problem(
                "a vector of each item is needed, such as `clean.resid_post[layer, last]`"
            )
        label, target = self.label(arguments, kind, scope)
        if target is not None and not set(target.dims) <= {*body.dims}:
            raise arguments.problem("`to:` has an axis that the examples lack")
        return MadeFrom(body, target, label=label)

    def label(self, arguments: Arguments, kind: FitKind, scope: Scope) -> tuple[str | None, Expr | None]:
        """What the fit predicts: a feature by name, or a value."""
        wanted = TARGETS[kind.gives]
        given = [name for name in wanted if name in arguments.named]
        if wanted and len(given) != 1:
            raise arguments.problem(f"{' or '.join(f'`{w}:`' for w in wanted)} says what it predicts")
        if given == ["to"]:
            target = self.names.values.value(arguments.named["to"], scope)
            if target.feature is not None:
                raise arguments.problem("`to:` is a number for each example")
            return None, target
        return self.feature(arguments, "label", scope), None

    def feature(self, arguments: Arguments, name: str, scope: Scope) -> str | None:
        """An option that names a feature or variable of the data (`control: item`: none of them)."""
        node = arguments.named.get(name)
        if isinstance(node, nodes.Name) and node.id in scope.words:
            node = scope.words[node.id]
        if node is None or (name == "control" and isinstance(node, nodes.Name) and node.id == "none"):
            return None
        if not isinstance(node, nodes.Name):
            raise arguments.problem(f"`{name}:` is the name of a feature or variable of the data")
        if name != "control" or node.id != ITEM:
            self.names.check_feature(node, scope.asked)
        return node.id

    @staticmethod
    def share(arguments: Arguments) -> float:
        """`test:`, the share of the items that is held out."""
        node = arguments.named.get("test", nodes.Number(span=arguments.span, value=0.3))
        if not isinstance(node, nodes.Number) or not 0 < node.value < 1:
            raise arguments.problem("`test:` is a share of the items, between 0 and 1")
        return float(node.value)

    @staticmethod
    def options(arguments: Arguments, kind: FitKind) -> tuple[tuple[str, float | int], ...]:
        """The options of the kind; whole numbers where the default is none or one."""
        found: list[tuple[str, float | int]] = []
        for name, default in kind.options:
            node = arguments.named.get(name)
            if isinstance(default, float):
                if node is not None and (not isinstance(node, nodes.Number) or node.value < 0):
                    raise arguments.problem(f"`{name}:` is a number from 0 on")
                found.append((name, default if node is None else float(node.value)))
            else:
                found.append((name, arguments.integer(name, default)))
        return tuple(found)

    # ------------------------------------------------------------ uses

    def use(self, fit: Fit, items: Sequence[nodes.IndexItem], scope: Scope, base: nodes.Node) -> FitUse:
        """A fit at the cells that its indices name."""
        where = self.names.reader.family(items, fit.dimensions, scope, fit.name, base.span)
        return FitUse(span=base.span, fit=fit.name, where=where, dims=self.names.values.dims_of(where, scope))

    def argument(self, node: nodes.Expr, scope: Scope) -> FitUse | None:
        """The fit that an argument names (`probe`, `probe[3]`), or None."""
        base, steps = take_apart(node)
        if not isinstance(base, nodes.Name):
            return None
        if base.id in scope.words:
            return self.argument(graft(scope.words[base.id], node), scope)
        if base.id in scope.parameters and not steps:
            bound = scope.parameters[base.id]
            return self.argument(bound.node, scope.of_argument(bound))
        fit = self.names.fit_named(base.id) if base.id not in scope.binders else None
        if fit is None or any(not isinstance(s, Brackets) for s in steps) or len(steps) > 1:
            return None
        return self.use(fit, steps[0].items if steps else (), scope, node)  # type: ignore[union-attr]

    def chain(
        self, fit: Fit, base: nodes.Name, steps: Sequence[Step], scope: Scope
    ) -> tuple[Expr, list[Step]]:
        """`f(x)`, `f[3](x)`, `f.direction`, and the steps behind them."""
        items: tuple[nodes.IndexItem, ...] = ()
        if steps and isinstance(steps[0], Brackets) and not context_items(steps[0]):
            items, steps = steps[0].items, steps[1:]
        use = self.use(fit, items, scope, base)
        match steps:
            case [Parentheses() as call, *rest]:
                return self.applied(fit, use, call, scope), rest
            case [Dot(name="direction") as dot, *rest] if fit.gives in ("classes", "number"):
                span = base.span.to(dot.span)
                return FitValue(span=span, use=use, part="direction", dims=use.dims, feature="dim"), rest
        parts = f"`{fit.name}(x)`"
        parts += f" or `{fit.name}.direction`" if fit.gives in ("classes", "number") else ""
        raise Problem(errors.wrong_kind(base.span, fit.name, "a fit", "a value", f"write {parts}"))

    def applied(self, fit: Fit, use: FitUse, call: Parentheses, scope: Scope) -> FitValue:
        """`f(x)`."""
        positional = tuple(a.value for a in call.arguments if a.name is None)
        named = {str(a.name): a.value for a in call.arguments if a.name is not None}
        arguments = Arguments(fit.name, call.span, positional, named, f"{fit.name}(x)")
        arguments.expect(1, 1, ())
        body = self.vector(arguments.positional[0], scope)
        feature = {"basis": "component", "map": "dim"}.get(fit.gives)
        return FitValue(
            span=call.span,
            use=use,
            part="apply",
            body=body,
            dims=union((body.dims, use.dims)),
            feature=feature,
        )

    def inverse(self, base: nodes.Name, steps: Sequence[Step], scope: Scope) -> tuple[Expr, list[Step]]:
        """`inverse(f, rank: 8)(x)`, and the steps behind it."""
        called, *rest = steps
        assert isinstance(called, Parentheses)
        usage = "inverse(MAP, rank: 8)(x)"
        arguments = Arguments.of("inverse", base.span.to(called.span), called.arguments, scope.words, usage)
        arguments.expect(1, 1, ("rank",))
        use = self.argument(arguments.positional[0], scope)
        if use is None or self.names.fits[use.fit].gives != "map":
            raise arguments.problem("the name of a fit that gives a map is needed")
        rank = arguments.integer("rank", 0)
        if rank < 1 and "rank" in arguments.named:
            raise arguments.problem("`rank:` is at least 1")
        if not rest or not isinstance(rest[0], Parentheses):
            raise arguments.problem("it is a map: give it the value that it takes back")
        return self.applied(self.names.fits[use.fit], use.changed(rank=rank), rest[0], scope), rest[1:]

    def vector(self, node: nodes.Expr, scope: Scope) -> Expr:
        """A value with vectors."""
        body = self.names.values.value(node, scope)
        if body.feature is None:
            raise Problem(errors.wrong_kind(node.span, node.span.text[:40], "a number", "a vector"))
        return body

    def projected(
        self, part: Literal["project", "reject"] | str, arguments: Arguments, use: FitUse, scope: Scope
    ) -> FitValue:
        """`project(x, f)` and `reject(x, f)` of a basis."""
        if self.names.fits[use.fit].gives != "basis":
            found, help_ = "a fit with one direction", f"write `{use.fit}.direction`"
            if self.names.fits[use.fit].gives == "map":
                found, help_ = "a map", f"write `{use.fit}(x)`"
            raise Problem(errors.wrong_kind(use.span, use.fit, found, "a basis", help_))
        body = self.vector(arguments.positional[0], scope)
        return FitValue(
            span=arguments.span, use=use, part=part, body=body,  # type: ignore[arg-type]
            dims=union((body.dims, use.dims)), feature=body.feature,
        )  # fmt: skip


class FitCalls:
    """The functions that score fits."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names
        self.functions: dict[str, Callable[[Arguments, Scope], Expr]] = {
            "accuracy": self.scored,
            "score": self.scored,
            "auroc": self.auroc,
        }

    def scored(self, arguments: Arguments, scope: Scope) -> Expr:
        """`accuracy(f)` and `score(f)`, on the items that were held out."""
        arguments.expect(1, 1, ())
        use = self.names.fit_reader.argument(arguments.positional[0], scope)
        if use is None:
            raise arguments.problem("the name of a fit is needed")
        if arguments.function == "accuracy" and self.names.fits[use.fit].gives != "classes":
            raise arguments.problem(f"`{use.fit}` does not tell classes apart; `score({use.fit})` rates it")
        part: Literal["accuracy", "score"] = "accuracy" if arguments.function == "accuracy" else "score"
        return FitValue(span=arguments.span, use=use, part=part, dims=use.dims)

    def auroc(self, arguments: Arguments, scope: Scope) -> Expr:
        """`auroc(x, label)`: over items, and positions that nothing binds."""
        arguments.expect(2, 2, ())
        first, label = arguments.positional
        inner = scope.inner()
        body = self.names.values.value(first, inner)
        if body.feature is not None or ITEM not in body.dims:
            raise arguments.problem(
                "a number for each item is needed, such as `probe(clean.resid_post[8, last])`"
            )
        if isinstance(label, nodes.Name) and label.id in scope.words:
            label = scope.words[label.id]
        if not isinstance(label, nodes.Name):
            raise arguments.problem("a label is the name of a feature or variable of the data")
        self.names.check_feature(label, scope.asked)
        bound = {d.name for d in scope.binders.values()}
        over = [whole_axis(arguments.span, ITEM), *self.positions(body, bound, inner)]
        stays = tuple(d for d in body.dims if d not in {o.name for o in over})
        pass_on(stays, inner, scope)
        return Auroc(span=arguments.span, body=body, label=label.id, over=tuple(over), dims=stays)

    @staticmethod
    def positions(body: Expr, bound: set[str], scope: Scope) -> list[Dimension]:
        """The dimensions of positions that nothing binds."""
        free = [scope.met.merged(d) for d in body.dims if d != ITEM and d not in bound]
        return [d for d in free if all(v.axis in POSITION_AXES for v in d.variables)]
