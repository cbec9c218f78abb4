"""What fits are made from that the model itself takes part in: `tuned_lens`, `jacobian` and `das`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import At, Expr, MetricCall, Reference, RunUse, SiteRead
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.values import union
from glassbox_dsl.library.fit import FitKind
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

STREAM = ("resid_pre", "resid_mid", "resid_post")


@dataclass(frozen=True)
class MadeFrom:
    """The values of a fit: see `FitVariant`."""

    body: Expr
    target: Expr | None = None
    scored: MetricCall | None = None
    label: str | None = None


class TrainedFitReader:
    """Reads the values of fits that ask something of the model."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names
        self.readers: dict[str, Callable[[Arguments, Scope], MadeFrom]] = {
            "readout": self.readout,
            "slope": self.slope,
            "interchange": self.interchange,
        }

    def made_from(self, kind: FitKind, arguments: Arguments, scope: Scope) -> MadeFrom:
        """The values that a fit of this kind is made from."""
        for name in kind.values:
            if name not in arguments.named:
                raise arguments.problem(f"`{name}:` is missing")
        return self.readers[kind.asks](arguments, scope)

    def readout(self, arguments: Arguments, scope: Scope) -> MadeFrom:
        """A state of the stream, and the state at the same place that the model reads its prediction off."""
        node = arguments.positional[0]
        read = self.read(node, scope)
        if read.site not in STREAM:
            help_ = "read the stream: `clean.resid_pre[layer]`"
            raise Problem(errors.wrong_kind(node.span, read.site, "no state of the stream", "one", help_))
        layer, place = read.index
        dims = union((read.run.dims, self.names.values.index_dims([place], ["pos"], scope)))
        final = read.changed(site="resid_post", index=(At(span=layer.span, value=-1), place), dims=dims)
        return MadeFrom(read, final)

    def slope(self, arguments: Arguments, scope: Scope) -> MadeFrom:
        """A value of a run, and another that depends on it."""
        read = self.read(arguments.named["from"], scope)
        node = arguments.named["to"]
        to = self.vector(node, scope)
        if ITEM not in to.dims:
            raise arguments.problem("`to:` is a vector of each item")
        below = tuple(nodes.everything(to))
        runs = {n.run for n in below if isinstance(n, RunUse)}
        if read.run.run not in runs and not any(isinstance(n, Reference) for n in below):
            raise arguments.problem(
                f"`to:` does not depend on the run `{read.run.run}` that `from:` is read from"
            )
        self.names.calls.gradients.check_smooth(to, arguments)
        return MadeFrom(read, to)

    def interchange(self, arguments: Arguments, scope: Scope) -> MadeFrom:
        """A value of the base run, what it is exchanged for, and the answer that the run should give then."""
        read = self.read(arguments.named["base"], scope)
        source = self.vector(arguments.named["source"], scope)
        if not set(source.dims) <= set(read.dims) | set(scope.binders):
            raise arguments.problem("`source:` has an axis that `base:` lacks")
        reader, run = self.names.calls.metrics, read.run
        data = self.names.data_of(run.run)
        answer, token = reader.answer(arguments.named["answer"], data, scope, one_token=True, run=run)
        fields = {"answer": answer, "token": token, "options": ()}
        scored = reader.metric_call(metrics()["logprob"], arguments.span, run, None, None, fields, scope)
        assert isinstance(scored, MetricCall)
        return MadeFrom(read, source, scored)

    def read(self, node: nodes.Expr, scope: Scope) -> SiteRead:
        """A site of a run that has vectors, whole."""
        found = self.names.values.value(node, scope)
        if not isinstance(found, SiteRead) or found.feature is None or found.site == "logits":
            help_ = "read a site below the logits, whole: `clean.resid_post[layer, last]`"
            raise Problem(
                errors.wrong_kind(node.span, node.span.text[:40], "no vectors of a run", "one", help_)
            )
        return found

    def vector(self, node: nodes.Expr, scope: Scope) -> Expr:
        """A value with vectors of a width that a fit can hold."""
        found = self.names.values.value(node, scope)
        if found.feature in (None, "vocab"):
            what = "a number" if found.feature is None else "as wide as the vocabulary"
            raise Problem(errors.wrong_kind(node.span, node.span.text[:40], what, "a vector"))
        return found
