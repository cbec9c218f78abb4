"""Calls of metrics: of the library, and those that the file declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.chains import take_apart
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import AnswerUse, Expr, Index, MetricCall, Position, RunUse, SiteRead
from glassbox_dsl.language.scope import Bound, Scope
from glassbox_dsl.language.values import union
from glassbox_dsl.library.metric import Metric
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


class MetricReader:
    """Turns calls of metrics into values."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    def declared_metric(self, metric: nodes.Metric, arguments: Arguments, scope: Scope) -> Expr:
        """A metric of the file: its body with the arguments in the place of its parameters."""
        usage = f"{metric.name}({', '.join(metric.parameters)})"
        arguments = Arguments(
            arguments.function, arguments.span, arguments.positional, arguments.named, usage
        )
        arguments.expect(len(metric.parameters), len(metric.parameters), ())
        bound = {p: Bound(a, scope) for p, a in zip(metric.parameters, arguments.positional, strict=True)}
        return self.names.metric_body(
            metric, Scope(data=scope.data, about=scope.about, met=scope.met, parameters=bound)
        )

    def metric(self, metric: Metric, arguments: Arguments, scope: Scope) -> Expr:
        """A metric of the library."""
        arguments = Arguments(
            arguments.function, arguments.span, arguments.positional, arguments.named, metric.example
        )
        count = {"answer": 2, "pair": 2}.get(metric.shape, 1)
        options = [name for name, _ in metric.options] + ([] if metric.shape == "pattern" else ["at"])
        arguments.expect(count, count, options)
        first = arguments.positional[0]
        run = self.names.values.run_argument(first, scope)
        value = None if run is not None else self.names.values.value(first, scope)
        at = self.position(arguments, scope) if "at" in arguments.named else None
        if (
            isinstance(value, SiteRead)
            and value.site == "logits"
            and value.feature == "vocab"
            and at is None
            and metric.shape not in ("sequence", "pattern")
        ):
            # Metrics of a run are taken where the run is made, so its logits never have to be kept.
            run, at, value = value.run, value.index[0], None
        fields: dict[str, Any] = {"options": self.options(metric, arguments, scope)}
        data = (
            self.names.data_of(run.run)
            if run is not None
            else (value is not None and self.names.data_read(value)) or scope.asked
        )
        if metric.shape == "answer":
            one_token = not metric.several_tokens or run is None
            fields["answer"], fields["token"] = self.answer(
                arguments.positional[1], data, scope, one_token=one_token, run=run
            )
        if metric.shape == "pair":
            self.second(arguments.positional[1], fields, scope)
        return self.metric_call(metric, arguments.span, run, value, at, fields, scope)

    def second(self, node: nodes.Expr, fields: dict[str, Any], scope: Scope) -> None:
        """The second distribution of a metric of two."""
        fields["other"] = self.names.values.run_argument(node, scope)
        if fields["other"] is None:
            other = self.names.values.value(node, scope)
            if other.feature != "vocab":
                raise Problem(
                    errors.wrong_kind(node.span, node.span.text[:40], "no distribution", "a run or logits")
                )
            fields["other_value"] = other

    def metric_call(
        self,
        metric: Metric,
        span: Span,
        run: RunUse | None,
        value: Expr | None,
        at: Index | None,
        fields: dict[str, Any],
        scope: Scope,
    ) -> Expr:
        """The call with its dimensions."""
        last = Position(span=span, label=None, part="last")
        if value is not None and value.feature != "vocab":
            help_ = "give it a run, `RUN.logits[pos]` or `unembed(...)`"
            raise Problem(errors.wrong_kind(span, span.text[:40], "over no vocabulary", "logits", help_))
        if value is not None and (metric.shape in ("sequence", "pattern") or at is not None):
            raise Problem(
                errors.bad_arguments(span, metric.name, "this needs a run, not a value", metric.example)
            )
        if run is not None and at is None and metric.shape != "sequence" and metric.shape != "pattern":
            at = last
        parts = [run, value, fields.get("other"), fields.get("other_value"), fields.get("token")]
        dims = union([p.dims for p in parts if isinstance(p, RunUse | Expr)])
        if fields.get("answer") is not None:
            dims = union([(ITEM,), dims])
        if at is not None:
            dims = union([dims, self.names.values.index_dims([at], ["pos"], scope)])
        if metric.shape == "pattern":
            dims = union([dims, (scope.sweep(span, "layer", "layer"), scope.sweep(span, "head", "head"))])
        other_at = at if fields.get("other") is not None and run is not None else last
        return MetricCall(
            span=span, metric=metric.name, run=run, value=value, at=at, other_at=other_at, dims=dims, **fields
        )

    def options(self, metric: Metric, arguments: Arguments, scope: Scope) -> tuple[tuple[str, object], ...]:
        """The options of a metric besides `at:`."""
        found: list[tuple[str, object]] = []
        for name, kind in metric.options:
            if isinstance(kind, tuple):
                found.append((name, arguments.word(name, kind, None, scope)))
            else:
                value = arguments.integer(name, 5)
                if value < 1:
                    raise arguments.problem(f"`{name}:` is at least 1")
                found.append((name, value))
        return tuple(found)

    def position(self, arguments: Arguments, scope: Scope) -> Index:
        """The option `at:`; `last` without it."""
        node = arguments.named.get("at")
        if node is None:
            return Position(span=arguments.span, label=None, part="last")
        return self.names.reader.read(node, "pos", scope, ["pos"], arguments.function)

    def answer(
        self,
        node: nodes.Expr,
        data: Sequence[str],
        scope: Scope,
        *,
        one_token: bool,
        run: RunUse | None = None,
    ) -> tuple[AnswerUse | None, Expr | None]:
        """What a metric scores: an answer by name, an inline one, or a token id."""
        if isinstance(node, nodes.Name) and node.id in scope.words:
            node = scope.words[node.id]
        if isinstance(node, nodes.Name) and node.id in scope.parameters:
            bound = scope.parameters[node.id]
            return self.answer(bound.node, data, scope.of_argument(bound), one_token=one_token, run=run)
        base, _ = take_apart(node)
        if isinstance(base, nodes.Name) and base.id in ("token", "argmax"):
            return None, self.names.values.value(node, scope)
        name = self.names.answer_name(node, data)
        return AnswerUse(span=node.span, name=name), None
