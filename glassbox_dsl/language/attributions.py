"""`attribution(x, metric)`: what a part of the stream adds directly to a metric that is linear in logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import (
    AllCells,
    Covered,
    Expr,
    Index,
    MetricCall,
    Operation,
    Reference,
    RunUse,
    SiteRead,
    Tuples,
)
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.set_nodes import SetExpr, SetIndex
from glassbox_dsl.language.technique_nodes import Attribution
from glassbox_dsl.language.values import union
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

BLOCKS = {
    "embed": "", "resid_pre": "", "resid_mid": "", "resid_post": "", "attn.out": "", "mlp.out": "",
    "attn.z": "attn.out", "attn.result": "attn.out", "attn.out_raw": "attn.out",
    "mlp.post": "mlp.out", "mlp.result": "mlp.out", "mlp.out_raw": "mlp.out",
    "expert.out": "mlp.out", "shared.out": "mlp.out",
}  # fmt: skip
"""Sites that can be attributed, with what they become part of before it is added to the stream ("": the stream)."""


class AttributionReader:
    """Turns calls of `attribution` into values: the metric with each logit in it exchanged for the part x has in it."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    def attribution(self, arguments: Arguments, scope: Scope) -> Expr:
        """`attribution(x, metric)`; the metric is one of x's run, written out or by its name."""
        arguments.expect(2, 2, ())
        first, second = arguments.positional
        body = self.names.values.value(first, scope)
        if not isinstance(body, SiteRead) or body.site not in BLOCKS or body.feature_index is not None:
            known = ", ".join(f"`{site}`" for site in BLOCKS)
            help_ = f"read one of {known} of a run"
            raise Problem(
                errors.wrong_kind(first.span, first.span.text[:40], "no part of the stream", "one", help_)
            )
        return self._part(body, self._metric(second, first, scope), arguments, scope)

    def _metric(self, node: nodes.Expr, first: nodes.Expr, scope: Scope) -> Expr:
        """The metric: an expression, or the name of one that is applied to the run that x is read from."""
        declared = self.names.metric_named(node.id) if isinstance(node, nodes.Name) else None
        if declared is None:
            return self.names.values.value(node, scope)
        call = nodes.Call(span=node.span, function=node, arguments=(
            nodes.Argument(span=first.span, name=None, value=self._run_of(first, scope)),))  # fmt: skip
        return self.names.values.value(call, scope)

    def _run_of(self, node: nodes.Expr, scope: Scope) -> nodes.Expr:
        """The run at the left end of `RUN.SITE[...]`."""
        while self.names.values.run_argument(node, scope) is None:
            assert isinstance(node, nodes.Attribute | nodes.Index)
            node = node.base
        return node

    def _part(self, body: SiteRead, metric: Expr, arguments: Arguments, scope: Scope) -> Expr:
        """The metric with each logit exchanged for the part that x has in it: both are linear."""
        match metric:
            case MetricCall(metric="logit", run=RunUse()):
                if metric.run != body.run:
                    raise arguments.problem("both are about one run, at the same cells of it")
                return self._of_logit(body, metric, scope)
            case Operation(op="+" | "-" | "neg"):
                return self._changed(metric, [self._part(body, o, arguments, scope) for o in metric.operands])
            case Operation(op="*" | "/", operands=(left, right)) if _plain(right):
                return self._changed(metric, [self._part(body, left, arguments, scope), right])
            case Operation(op="*", operands=(left, right)) if _plain(left):
                return self._changed(metric, [left, self._part(body, right, arguments, scope)])
        text = " ".join(metric.span.text.split())[:60]
        help_ = (
            "write sums and differences of `logit(RUN, ANSWER)`, times numbers, or the name of such a metric"
        )
        raise Problem(errors.wrong_kind(metric.span, text, "not linear in logits", "a metric that is", help_))

    @staticmethod
    def _changed(metric: Operation, operands: list[Expr]) -> Expr:
        dims = union(o.dims for o in operands)
        return metric.changed(operands=tuple(operands), dims=dims, feature=None)

    def _of_logit(self, body: SiteRead, call: MetricCall, scope: Scope) -> Attribution:
        """The part of one logit, with the reads that it takes."""
        axes, block = sites()[body.site].axes, BLOCKS[body.site]
        index = dict(zip(axes, body.index, strict=True))

        def read(site: str) -> SiteRead:
            own = sites()[site]
            chosen = tuple(_by_itself(index[a]) for a in own.axes)
            dims = union((body.run.dims, self.names.values.index_dims(chosen, own.axes, scope)))
            return SiteRead(
                span=body.span, run=body.run, site=site, index=chosen, dims=dims, feature=own.feature
            )

        if body.site == "attn.z":
            # A head's part is that of its result: what the output projection reads is not z in every family.
            body = body.changed(site="attn.result")
        elif body.site == "mlp.result":
            # The same number, without a vector for each neuron.
            body = body.changed(site="mlp.post", feature=None)
        return Attribution(
            span=body.span, body=body, call=call, scale=read("final_norm_scale"), normed=read("final_norm"),
            raw=read(f"{block}_raw") if block else None, out=read(block) if block else None,
            weight=read("router.weights") if body.site == "expert.out" else None,
            dims=union((body.dims, call.dims)),
        )  # fmt: skip


def _by_itself(index: Index) -> Index:
    """An index of one axis: every cell where it is chosen together with others."""
    joint = isinstance(index, Tuples | SetIndex | Covered)
    return AllCells(span=index.span) if joint else index


def _plain(value: Expr) -> bool:
    """Whether a value is made of written numbers and variables only."""
    return not any(isinstance(n, RunUse | Reference | SetExpr) for n in nodes.everything(value))
