"""Circuits: `circuit NAME[binders] = eap(METRIC, clean:, corrupt:, edges:)`, and `keep CIRCUIT, else RUN`.

A circuit is a set over the axis `edge`, so that operators, `size` and names work as they do for other sets. Keeping one
comes to an edit of everything that reads the stream: what it reads is changed by what the edges outside of the circuit
carry instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from glassbox_dsl.language import circuit_errors as errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.chains import Brackets, take_apart
from glassbox_dsl.language.circuit_nodes import Exchanged, Found, Kind
from glassbox_dsl.language.errors import Problem, unknown_name
from glassbox_dsl.language.gradients import GradientReader
from glassbox_dsl.language.program import (
    AllCells,
    At,
    Constant,
    Dimension,
    Edit,
    Expr,
    Run,
    RunUse,
    Value,
    ValueVariant,
)
from glassbox_dsl.language.scope import Met, Scope
from glassbox_dsl.language.set_nodes import SetExpr
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import EDGE, ITEM
from glassbox_dsl.vocabulary.keys import COPIES
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

SEARCHES: dict[str, tuple[str, ...]] = {
    "eap": ("edges", "signed"),
    "eap_ig": ("edges", "steps", "signed"),
    "acdc": ("threshold", "signed"),
}
"""The searches with the options that each has beside its runs."""
USAGE = {
    "eap": "eap(METRIC, clean: RUN, corrupt: RUN, edges: 200)",
    "eap_ig": "eap_ig(METRIC, clean: RUN, corrupt: RUN, edges: 200, steps: 5)",
    "acdc": "acdc(METRIC, clean: RUN, corrupt: RUN, threshold: 0.01)",
}
RECEIVERS = (*COPIES, "mlp.in", "resid_post")
STEPS = 5


class CircuitReader:
    """Turns circuits, and edits that keep them, into what they mean."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    # ------------------------------------------------------------ declarations

    def read(self, node: nodes.Circuit) -> Value:
        """One circuit, once per reading of its name-valued binders."""
        binders = read_binders(
            self.names.swept_binders(node.binders, node.call), self.names.reader, self.names.scope()
        )
        variants = []
        for when, words in readings(binders, node.call):
            bound = {v.name: d for d in binders for v in d.variables if v.name not in words}
            scope = self.names.scope(met=Met(), binders=bound, words=words)
            variants.append(ValueVariant(span=node.span, when=when, value=self.found(node, scope)))
        return Value(
            span=node.span, kind="circuit", name=node.name, dimensions=binders, variants=tuple(variants),
            has_item=False, table="edges",
        )  # fmt: skip

    def found(self, node: nodes.Circuit, scope: Scope) -> Found:
        """One reading of a circuit."""
        kind, arguments = self.arguments(node.call, scope)
        clean, corrupt = (self.run(arguments, name, scope) for name in ("clean", "corrupt"))
        own = self.own_run(node.name, clean)
        scalar = self.metric(arguments, own, scope)
        edges = threshold = None
        if kind == "acdc":
            threshold = self.number(arguments, "threshold", scope)
        else:
            edges = self.number(arguments, "edges", scope)
            if isinstance(edges, Constant) and edges.value != int(edges.value):
                raise arguments.problem("`edges:` is a whole number from 0 on")
        steps = arguments.integer("steps", STEPS) if kind == "eap_ig" else 1
        if steps < 1:
            raise arguments.problem("`steps:` is at least 1")
        signed = arguments.word("signed", ("true", "false"), "false", scope) == "true"
        return Found(
            span=node.call.span, kind=kind, metric=scalar, clean=own, corrupt=corrupt, edges=edges,
            threshold=threshold, steps=steps, signed=signed,
            axes=(EDGE,), dims=(edges or threshold).dims,  # type: ignore[union-attr]
        )  # fmt: skip

    @staticmethod
    def arguments(call: nodes.Call, scope: Scope) -> tuple[Kind, Arguments]:
        """The search that a call names, with its arguments."""
        function = call.function
        if isinstance(function, nodes.Name) and function.id in scope.words:
            function = scope.words[function.id]
        name = function.id if isinstance(function, nodes.Name) else function.span.text
        if name not in SEARCHES:
            raise Problem(errors.unknown_search(call.function.span, name, tuple(SEARCHES)))
        found = Arguments.of(name, call.span, call.arguments, scope.words, USAGE[name])
        found.expect(1, 1, ("clean", "corrupt", *SEARCHES[name]))
        return name, found  # type: ignore[return-value]

    def run(self, arguments: Arguments, name: str, scope: Scope) -> RunUse:
        """The run that an option names: one pass over each item."""
        node = arguments.named.get(name)
        if node is None:
            raise arguments.problem(f"`{name}:` names a run")
        use = self.names.values.run_argument(node, scope)
        if use is None:
            what = "this is no run"
            raise Problem(errors.no_run(node.span, node.span.text, what))
        self.check_run(node, use)
        return use

    def check_run(self, node: nodes.Expr, use: RunUse) -> None:
        """A run whose senders can be exchanged for those of another one."""
        run = self.names.runs[use.run]
        loose = [d for d in use.dims if d != ITEM]
        if run.generates:
            raise Problem(errors.no_run(node.span, node.span.text, "it generates tokens"))
        if run.model is not None:
            raise Problem(errors.no_run(node.span, node.span.text, "it is fixed to a model"))
        if loose or any(d.samples is not None for d in run.dimensions):
            axis = loose[0] if loose else "sample"
            raise Problem(errors.no_run(node.span, node.span.text, f"it has one pass for each `{axis}`"))

    def own_run(self, circuit: str, clean: RunUse) -> RunUse:
        """The circuit's own copy of the run that it explains, at the cell that is named."""
        run = self.names.runs[clean.run]
        name = f"{clean.run}: in {circuit}"
        self.names.runs.setdefault(name, run.changed(name=name, part_of=run.name))
        return clean.changed(run=name)

    def metric(self, arguments: Arguments, own: RunUse, scope: Scope) -> Expr:
        """The metric, of the circuit's own run; `kl` compares it with the run that the file names."""
        [node] = arguments.positional
        if isinstance(node, nodes.Name) and node.id in scope.words:
            node = scope.words[node.id]
        if not isinstance(node, nodes.Name):
            raise Problem(errors.no_metric(node.span, "this is not the name of a metric"))
        declared = self.names.metric_named(node.id)
        if declared is None and node.id not in metrics():
            known = [*self.names.metric_names(), *metrics()]
            raise Problem(unknown_name(node.span, node.id, known, "metric"))
        shape = "" if declared is not None else metrics()[node.id].shape
        if declared is not None and len(declared.parameters) != 1:
            raise Problem(
                errors.no_metric(node.span, f"`{node.id}` has {len(declared.parameters)} parameters")
            )
        if shape == "answer":
            raise Problem(errors.no_metric(node.span, f"`{node.id}` needs an answer, too"))
        clean = arguments.named["clean"]
        of = [clean, self.renamed(clean, own)] if shape == "pair" else [self.renamed(clean, own)]
        call = nodes.Call(span=node.span, function=node, arguments=tuple(map(_argument, of)))
        found = self.names.values.value(call, scope)
        if arguments.function != "acdc":
            GradientReader.check_smooth(found, arguments)
        if found.feature is not None or found.dims != (ITEM,):
            loose = next((d for d in (*found.dims, found.feature) if d not in (ITEM, None)), None)
            why = f"it has one value for each `{loose}`" if loose else "it is the same for all items"
            raise Problem(errors.no_metric(node.span, f"one number for each item is needed; {why}"))
        return found

    @staticmethod
    def renamed(node: nodes.Expr, own: RunUse) -> nodes.Expr:
        """The circuit's own run at the cell that is written of the one in the file."""
        found: nodes.Expr = nodes.Name(span=node.span, id=own.run)
        for step in take_apart(node)[1]:
            if isinstance(step, Brackets):
                found = nodes.Index(span=node.span, base=found, items=step.items)
        return found

    def number(self, arguments: Arguments, name: str, scope: Scope) -> Expr:
        """An option that is a number, the same for all items."""
        node = arguments.named.get(name)
        if node is None:
            what = (
                "how many edges are kept" if name == "edges" else "how much an edge has to change the metric"
            )
            raise arguments.problem(f"`{name}:` says {what}")
        if isinstance(node, nodes.Unary):
            raise arguments.problem(f"`{name}:` is a number from 0 on")
        found = self.names.values.value(node, scope)
        bound = {d.name for d in scope.binders.values()}
        loose = [d for d in found.dims if d not in bound]
        if found.feature is not None or loose:
            raise arguments.problem(
                f"`{name}:` is one number; it has one value for each `{(*loose, found.feature)[0]}`"
            )
        return found

    # ------------------------------------------------------------ keeping

    def is_circuit(self, node: nodes.Expr, words: Mapping[str, nodes.Expr]) -> bool:
        """Whether a set that is kept is one of edges: some name in it is a circuit's."""
        for part in nodes.everything(node):
            match part:
                case nodes.Name(id=name) if name in words:
                    if self.is_circuit(words[name], {n: w for n, w in words.items() if n != name}):
                        return True
                case nodes.Name(id=name):
                    declared = self.names.declared.get(name)
                    if isinstance(declared, nodes.Circuit):
                        return True
                    if isinstance(declared, nodes.Let) and self.is_circuit(declared.value, {}):
                        return True
                case nodes.Attribute(base=nodes.Name(id=other), name=name) if self.names.is_experiment(other):
                    there = self.names.file.experiments[other].declared.get(name)
                    if isinstance(there, nodes.Circuit):
                        return True
        return False

    def kept(
        self,
        node: nodes.KeepEdit,
        data: tuple[str, ...],
        bound: Mapping[str, Dimension],
        words: Mapping[str, nodes.Expr],
    ) -> tuple[Edit, ...]:
        """`keep CIRCUIT, else RUN`: an edit of every kind of receiver."""
        scope = Scope(data=data, binders=bound, words=words)
        members = self.names.sets.read(node.circuit, scope, (EDGE,))
        other = None if node.otherwise is None else self.other(node.otherwise, scope)
        text = " ".join(node.span.text.split())
        return tuple(self._edit(node, site, members, other, text) for site in RECEIVERS)

    def other(self, node: nodes.Expr, scope: Scope) -> RunUse | None:
        """The run that the edges outside carry; 0 for nothing."""
        if isinstance(node, nodes.Number) and node.value == 0:
            return None
        use = self.names.values.run_argument(node, scope)
        if use is None:
            raise Problem(errors.no_else(node.span, "this is no run"))
        run: Run = self.names.runs[use.run]
        if run.generates or run.model is not None:
            raise Problem(errors.no_else(node.span, "this run generates tokens, or is fixed to a model"))
        loose = [d for d in use.dims if d != ITEM and d not in {b.name for b in scope.binders.values()}]
        if loose:
            raise Problem(errors.no_else(node.span, f"this run has one pass for each `{loose[0]}`"))
        return use

    @staticmethod
    def _edit(node: nodes.KeepEdit, site: str, members: SetExpr, other: RunUse | None, text: str) -> Edit:
        axes = sites()[site].axes
        index = [AllCells(span=node.span) for _ in axes]
        if site == "resid_post":
            index[0] = At(span=node.span, value=-1)  # type: ignore[call-overload]
        dims = tuple(dict.fromkeys((ITEM, *members.dims, *(a for a in axes if a != "layer"))))
        value = Exchanged(span=node.span, members=members, other=other, dims=dims, feature="dim")
        return Edit(span=node.span, site=site, index=tuple(index), op="+=", value=value, text=text)


def _argument(value: nodes.Expr) -> nodes.Argument:
    return nodes.Argument(span=value.span, name=None, value=value)
