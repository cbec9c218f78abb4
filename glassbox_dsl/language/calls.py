"""Calls: reductions, metrics, and the functions of LANGUAGE.md section 6."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.attributions import AttributionReader
from glassbox_dsl.language.chains import Parentheses
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.fits import FitCalls
from glassbox_dsl.language.gradients import GradientReader
from glassbox_dsl.language.indices import dotted
from glassbox_dsl.language.metric_calls import MetricReader
from glassbox_dsl.language.neurons import OVER_NEURONS, of_neurons, over_neurons
from glassbox_dsl.language.program import (
    Constant,
    Dimension,
    Direction,
    Expr,
    Load,
    Noise,
    OverDimension,
    Reduce,
    Resample,
    SiteRead,
    TokenAt,
    Unembed,
)
from glassbox_dsl.language.scope import Scope, pass_on
from glassbox_dsl.language.set_calls import SetCalls
from glassbox_dsl.language.technique_nodes import GeneratedText
from glassbox_dsl.language.tensors import tensor_shape
from glassbox_dsl.language.values import union
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import DATA, ITEM, MODEL

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

REDUCTIONS = ("mean", "std", "sum", "max", "min", "argmax")
NORMS = ("final", "frozen", "none")


class CallReader:
    """Turns calls into values."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names
        self.metrics = MetricReader(names)
        self.gradients = GradientReader(names)
        self.special: dict[str, Callable[[Arguments, Scope], Expr]] = {
            "softmax": self.softmax,
            "correlation": self.correlation,
            "resample": self.resample,
            "noise": self.noise,
            "unembed": self.unembed,
            "direction": self.direction,
            "token": self.token,
            "load": self.load,
            "loss_recovered": lambda a, scope: names.hypothesis_reader.loss_recovered(a, scope),
            "text": self.text,
            "attribution": AttributionReader(names).attribution,
            **FitCalls(names).functions,
            **self.gradients.functions,
            **SetCalls(names).functions,
        }

    def value(self, node: nodes.Expr, scope: Scope) -> Expr:
        """A value argument."""
        return self.names.values.value(node, scope)

    def call(self, base: nodes.Name, step: Parentheses, scope: Scope) -> Expr:
        """Whatever stands before `(`."""
        if base.id in scope.words:
            base = nodes.Name(span=base.span, id=dotted(scope.words[base.id]))
        arguments = Arguments.of(base.id, base.span.to(step.span), step.arguments, scope.words)
        if base.id in self.names.broken or base.id in self.names.file.broken:
            raise Poisoned
        if (declared := self.names.metric_named(base.id)) is not None:
            return self.metrics.declared_metric(declared, arguments, scope)
        if (fit := self.names.fit_named(base.id)) is not None:
            return self.names.fit_reader.chain(fit, base, [step], scope)[0]
        if base.id in REDUCTIONS:
            return self.reduction(arguments, scope)
        if base.id in self.special:
            return self.special[base.id](arguments, scope)
        if base.id in value_functions():
            return self.function(arguments, scope)
        if base.id in metrics():
            return self.metrics.metric(metrics()[base.id], arguments, scope)
        known = [*self.names.metric_names(), *REDUCTIONS, *self.special, *value_functions(), *metrics()]
        raise Problem(errors.unknown_function(base.span, base.id, known))

    def function(self, arguments: Arguments, scope: Scope) -> Expr:
        """A value function of the library."""
        entry = value_functions()[arguments.function]
        arguments.expect(entry.arity, entry.arity, ())
        if entry.name in ("project", "reject"):
            fit = self.names.fit_reader.argument(arguments.positional[1], scope)
            if fit is not None:
                return self.names.fit_reader.projected(entry.name, arguments, fit, scope)
        values = [self.value(a, scope) for a in arguments.positional]
        if entry.name in OVER_NEURONS and all(of_neurons(v, scope) for v in values):
            return over_neurons(arguments, scope, self.names.values)
        result = self.names.values.combine(arguments.span, entry.name, values)
        if entry.feature == "any":
            return result
        for value, node in zip(values, arguments.positional, strict=True):
            if value.feature is None:
                raise Problem(errors.wrong_kind(node.span, node.span.text[:40], "a number", "a vector"))
        return result.changed(feature=None) if entry.feature == "drop" else result

    def reduction(self, arguments: Arguments, scope: Scope) -> Expr:
        """`mean(x, over: {...}, within: f)` and its kin; `max(a, b)` is elementwise."""
        if arguments.function in ("max", "min") and len(arguments.positional) > 1:
            arguments.expect(2, 99, ())
            return self.names.values.operation(
                arguments.span, arguments.function, arguments.positional, scope
            )
        arguments.expect(1, 1, ("over", "within") if arguments.function in ("mean", "std") else ("over",))
        inner = scope.inner()
        body = self.value(arguments.positional[0], inner)
        over = self.over(arguments, body, inner, scope)
        within = self.within(arguments, body, scope)
        return self.reduced(arguments, body, over, within, inner, scope)

    def reduced(
        self,
        arguments: Arguments,
        body: Expr,
        over: list[str],
        within: str | None,
        inner: Scope,
        scope: Scope,
    ) -> Expr:
        """The reduction, with the dimensions that stay handed on."""
        feature_over = body.feature is not None and body.feature in over
        contexts = tuple(name for name in over if name in (MODEL, DATA))
        gone = [name for name in over if name not in (body.feature, *contexts)]
        if contexts:
            self.check_contexts(arguments, body, over, within)
        if arguments.function == "argmax" and len(over) != 1:
            raise arguments.problem(
                f"it runs over one axis; this value has {', '.join(over) or 'none'}: name one with `over:`"
            )
        stays = tuple(d for d in body.dims if d not in gone or (d == ITEM and within is not None))
        pass_on(stays, inner, scope)
        dimensions = tuple(item_dimension(arguments.span) if n == ITEM else inner.met.merged(n) for n in gone)
        if arguments.function == "argmax" and any(d.named or len(d.variables) > 1 for d in dimensions):
            raise arguments.problem(f"the cells of {dimensions[0].name} are no numbers that it could give")
        return Reduce(span=arguments.span, op=arguments.function, body=body, over=dimensions, feature_over=feature_over,
                      within=within, contexts=contexts, dims=stays,
                      feature=None if feature_over else body.feature)  # fmt: skip

    @staticmethod
    def check_contexts(arguments: Arguments, body: Expr, over: list[str], within: str | None) -> None:
        """What a reduction over models or data sets cannot be."""
        if arguments.function == "argmax":
            raise arguments.problem("models and data sets are no numbers that it could give")
        if within is not None:
            raise arguments.problem("`within:` groups the items of one model and data set")
        if DATA in over and ITEM in body.dims and ITEM not in over:
            raise arguments.problem("items of different data sets never meet: `over: {data, item}`")

    def over(self, arguments: Arguments, body: Expr, inner: Scope, scope: Scope) -> list[str]:
        """The names of the dimensions (and feature axis) that go."""
        node = arguments.named.get("over")
        if node is None and arguments.function in ("mean", "std"):
            if ITEM not in body.dims:
                raise Problem(errors.no_such_reduction(arguments.span, ITEM, [*body.dims]))
            return [ITEM]
        if node is None:
            bound = {d.name for d in scope.binders.values()}
            return [d for d in body.dims if d not in bound] + ([body.feature] if body.feature else [])
        written = node.items if isinstance(node, nodes.Set | nodes.List) else (node,)
        return list(dict.fromkeys(self.over_name(one, body, inner) for one in written))

    def over_name(self, node: nodes.Expr, body: Expr, inner: Scope) -> str:
        """The dimension that one name in `over:` means."""
        known = [*body.dims, *([body.feature] if body.feature else [])]
        if not isinstance(node, nodes.Name):
            raise Problem(errors.no_such_reduction(node.span, node.span.text, known))
        if node.id in known or node.id in (MODEL, DATA):
            return node.id
        for name in body.dims:
            if name != ITEM and any(v.name == node.id for v in inner.met.merged(name).variables):
                return name
        raise Problem(errors.no_such_reduction(node.span, node.id, known))

    def within(self, arguments: Arguments, body: Expr, scope: Scope) -> str | None:
        """The feature or variable that `within:` names, of the data of the runs in what is grouped."""
        node = arguments.named.get("within")
        if node is None:
            return None
        if not isinstance(node, nodes.Name):
            raise arguments.problem("`within:` is the name of a feature or variable of the data")
        self.names.check_feature(node, self.names.data_read(body) or scope.asked)
        return node.id

    def softmax(self, arguments: Arguments, scope: Scope) -> Expr:
        """`softmax(x, over: axis)`."""
        arguments.expect(1, 1, ("over",))
        return self.along("softmax", arguments, scope, keep=True)

    def correlation(self, arguments: Arguments, scope: Scope) -> Expr:
        """`correlation(x, y, over: {item}, rank: false)`."""
        arguments.expect(2, 2, ("over", "rank"))
        return self.along("correlation", arguments, scope, keep=False)

    def along(self, op: str, arguments: Arguments, scope: Scope, *, keep: bool) -> Expr:
        """A function along dimensions."""
        inner = scope.inner()
        values = [self.value(a, inner) for a in arguments.positional]
        joined = self.names.values.combine(arguments.span, op, values)
        if "over" not in arguments.named:
            if op == "softmax":
                raise arguments.problem("`over:` names the axis along which the result sums to 1")
            arguments.named["over"] = nodes.Name(span=arguments.span, id=ITEM)
        over = self.over(arguments, joined, inner, scope)
        contexts = tuple(name for name in over if name in (MODEL, DATA))
        if contexts:
            self.check_contexts(arguments, joined, over, None)
        gone = [name for name in over if name not in (joined.feature, *contexts)]
        feature_over = joined.feature in over
        stays = joined.dims if keep else tuple(d for d in joined.dims if d not in gone)
        pass_on(stays, inner, scope)
        dimensions = tuple(item_dimension(arguments.span) if n == ITEM else inner.met.merged(n) for n in gone)
        rank = arguments.word("rank", ("true", "false"), "false", scope) == "true"
        feature = joined.feature if keep or not feature_over else None
        return OverDimension(span=arguments.span, op=op, operands=tuple(values), over=dimensions, dims=stays,
                             contexts=contexts, feature=feature,
                             options=(("rank", rank), ("feature_over", feature_over)))  # fmt: skip

    def resample(self, arguments: Arguments, scope: Scope) -> Expr:
        """`resample(x, seed:, within:)`; a bare run in an edit stands for its value at the written site."""
        arguments.expect(1, 1, ("seed", "within"))
        body = self.value(arguments.positional[0], scope)
        if ITEM not in body.dims:
            raise Problem(errors.no_such_reduction(arguments.span, ITEM, body.dims))
        return Resample(span=arguments.span, body=body, seed=arguments.integer("seed", 0),
                        within=self.within(arguments, body, scope), dims=body.dims, feature=body.feature)  # fmt: skip

    def noise(self, arguments: Arguments, scope: Scope) -> Expr:
        """`noise(scale:, seed:, like:)`."""
        arguments.expect(0, 0, ("scale", "seed", "like"))
        scale = (
            self.value(arguments.named["scale"], scope)
            if "scale" in arguments.named
            else Constant(span=arguments.span, value=1.0)
        )
        like = self.value(arguments.named["like"], scope) if "like" in arguments.named else None
        if like is None and scope.target is None:
            raise arguments.problem("outside an edit, `like:` says which axes the noise has")
        if scale.feature is not None:
            raise arguments.problem("`scale:` is a number, not a vector")
        dims = union([scale.dims, like.dims]) if like is not None else union([(ITEM,), scale.dims])
        feature = like.feature if like is not None else self.names.target_feature(scope)
        return Noise(
            span=arguments.span,
            scale=scale,
            seed=arguments.integer("seed", 0),
            like=like,
            dims=dims,
            feature=feature,
        )

    def unembed(self, arguments: Arguments, scope: Scope) -> Expr:
        """`unembed(x, norm: final | frozen | none)`."""
        arguments.expect(1, 1, ("norm",))
        norm = arguments.word("norm", NORMS, "final", scope)
        body = self.value(arguments.positional[0], scope)
        if body.feature != "dim":
            raise arguments.problem(
                "a value with the axis `dim`, of the width of the residual stream, is needed"
            )
        scale = self.frozen_scale(body, arguments) if norm == "frozen" else None
        return Unembed(
            span=arguments.span, body=body, norm=norm, scale=scale, dims=body.dims, feature="vocab"
        )

    @staticmethod
    def frozen_scale(body: Expr, arguments: Arguments) -> Expr:
        """The final-norm scale of the run that the value comes from, at the positions it is read at."""
        read = next(iter(site_reads(body)), None)
        if read is None:
            raise arguments.problem("`norm: frozen` needs a value that is read from a run")
        from glassbox_dsl.vocabulary.sites import sites

        axes = sites()[read.site].axes
        place = next((axes.index(a) for a in ("pos", "query") if a in axes), None)
        if place is None:
            raise arguments.problem(f"`{read.site}` has no position to take the norm's scale at")
        dims = tuple(d for d in read.dims if d not in axes or d == axes[place] or d in read.run.dims)
        return SiteRead(
            span=read.span, run=read.run, site="final_norm_scale", index=(read.index[place],), dims=dims
        )

    def direction(self, arguments: Arguments, scope: Scope) -> Expr:
        """`direction(answer)`."""
        arguments.expect(1, 1, ())
        answer, token = self.metrics.answer(arguments.positional[0], scope.asked, scope, one_token=True)
        if answer is None or token is not None:
            raise arguments.problem("an answer of the data set is needed")
        return Direction(span=arguments.span, answer=answer, dims=(ITEM,), feature="dim")

    def token(self, arguments: Arguments, scope: Scope) -> Expr:
        """`token(prompt, at: index)`: a token id."""
        arguments.expect(1, 1, ("at",))
        node = arguments.positional[0]
        if isinstance(node, nodes.Name) and node.id in scope.words:
            node = scope.words[node.id]
        if not isinstance(node, nodes.Name) or not self.names.has_prompt(node.id, scope):
            known = self.names.prompt_names(scope)
            raise Problem(errors.unknown_name(node.span, node.span.text, known, "prompt"))
        at = self.metrics.position(arguments, scope)
        return TokenAt(
            span=arguments.span,
            prompt=node.id,
            at=at,
            dims=(ITEM, *self.names.values.index_dims([at], ["pos"], scope)),
        )

    def text(self, arguments: Arguments, scope: Scope) -> Expr:
        """`text(RUN)`: what a `generate` run has generated."""
        arguments.expect(1, 1, ())
        use = self.names.values.run_argument(arguments.positional[0], scope)
        if use is None or not self.names.runs[use.run].generates:
            raise arguments.problem("a run made by `generate` is needed")
        return GeneratedText(span=arguments.span, run=use, dims=use.dims)

    def load(self, arguments: Arguments, scope: Scope) -> Expr:
        """`load("file.safetensors", key: "name")`: 0, 1 (dim) or 2 (layer, dim) axes."""
        arguments.expect(1, 1, ("key",))
        node, key = arguments.positional[0], arguments.named.get("key")
        if not isinstance(node, nodes.String) or not isinstance(key, nodes.String):
            raise arguments.problem('a file and a key are needed: `load("file.safetensors", key: "name")`')
        path = self.names.file_path(node)
        shape = tensor_shape(path, node, key)
        if len(shape) > 2:
            raise arguments.problem(
                f"the tensor has {len(shape)} axes; at most two (layer, dim) can be named"
            )
        dims = (scope.sweep(arguments.span, "layer", "layer"),) if len(shape) == 2 else ()
        return Load(
            span=arguments.span, path=str(path), key=key.value, dims=dims, feature="dim" if shape else None
        )


def item_dimension(span: Span) -> Dimension:
    """The dimension over the items of the data set."""
    from glassbox_dsl.language.scope import whole_axis

    return whole_axis(span, ITEM)


def site_reads(value: Expr) -> list[SiteRead]:
    """The site reads in a value, left to right."""
    if isinstance(value, SiteRead):
        return [value]
    return [read for child in nodes.children(value) if isinstance(child, Expr) for read in site_reads(child)]
