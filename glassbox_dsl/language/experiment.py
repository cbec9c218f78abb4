"""One experiment: its statements become runs and values, each name read when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language import errors
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.calls import CallReader
from glassbox_dsl.language.circuits import CircuitReader
from glassbox_dsl.language.dictionaries import DictionaryReader, is_dictionary
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.fits import FitReader
from glassbox_dsl.language.hypotheses import HypothesisReader
from glassbox_dsl.language.indices import IndexReader
from glassbox_dsl.language.names import Named, Names, literal
from glassbox_dsl.language.program import (
    Dimension,
    Expr,
    MetricCall,
    Operation,
    Run,
    RunVariant,
    Value,
    ValueVariant,
)
from glassbox_dsl.language.program import Experiment as ExperimentProgram
from glassbox_dsl.language.questions import data_named
from glassbox_dsl.language.runs import RunReader
from glassbox_dsl.language.scope import Met, Scope
from glassbox_dsl.language.set_axes import is_truth
from glassbox_dsl.language.set_nodes import SetExpr
from glassbox_dsl.language.sets import SetReader
from glassbox_dsl.language.technique_nodes import Dictionary, Fit, GeneratedText
from glassbox_dsl.language.values import ValueReader
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES, ITEM, RESERVED_WORDS
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.file import FileReader

T = TypeVar("T")
VALUE_KINDS = {nodes.Let: "let", nodes.Measure: "measure", nodes.RecordTensor: "record"}


class ExperimentReader(Names):
    """Reads one experiment. Names are resolved lazily, so order of declaration does not matter."""

    def __init__(self, node: nodes.Experiment, file: FileReader) -> None:
        self.node = node
        self.file = file
        self.name = node.name
        self.diagnostics: list[Diagnostic] = []
        self.declared: dict[str, Named] = {}
        self.runs: dict[str, Run] = {}
        self.families: dict[str, Value] = {}
        self.fits: dict[str, Fit] = {}
        self.known_dictionaries: dict[str, Dictionary] = {}
        self.broken: set[str] = set()
        self.inline: dict[str, nodes.Expr] = {}
        self.sets = SetReader(self)
        self.reader = IndexReader(self.labels, self.named_set, self.sets)
        self.values = ValueReader(self)
        self.calls = CallReader(self)
        self.run_reader = RunReader(self)
        self.hypothesis_reader = HypothesisReader(self)
        self.fit_reader = FitReader(self)
        self.dictionaries = DictionaryReader(self)
        self.circuit_reader = CircuitReader(self)
        self.models = self._used(nodes.UseModels, tuple(file.models), "model")
        self.data = self._used(nodes.UseData, tuple(file.data), "data")
        self._declare()

    def read(self) -> ExperimentProgram:
        """Everything the experiment declares; problems are collected in `diagnostics`."""
        if (not self.models or not self.data) and not self.file.broken and not self.diagnostics:
            self.diagnostics.append(errors.nothing_to_run(self.node.span, self.name))
        claims = []
        for number, item in enumerate(self.node.items):
            if isinstance(item, nodes.Run):
                self._guard(lambda item=item: self._run(item))  # type: ignore[misc]
            elif isinstance(item, nodes.Let | nodes.Measure | nodes.RecordTensor):
                self._guard(lambda item=item: self._family(item))  # type: ignore[misc]
            elif is_dictionary(item):
                self._guard(lambda item=item: self.dictionary_named(item.name))  # type: ignore[misc]
            elif isinstance(item, nodes.Fit):
                self._guard(lambda item=item: self._fit(item))  # type: ignore[misc]
            elif isinstance(item, nodes.Circuit):
                self._guard(lambda item=item: self._circuit(item))  # type: ignore[misc]
            elif isinstance(item, nodes.Expect):
                claim = self._guard(lambda item=item, number=number: self._claim(item, number))  # type: ignore[misc]
                claims += [claim] if claim is not None else []
        return self.program(claims)

    def program(self, claims: Sequence[Value]) -> ExperimentProgram:
        """What was read, frozen."""
        return ExperimentProgram(
            span=self.node.span, name=self.name, title=self.node.title, models=self.models, data=self.data,
            runs=tuple(self.runs.values()), values=(*self.families.values(), *claims),
            fits=tuple(self.fits.values()), dictionaries=tuple(self.known_dictionaries.values()),
            inline_answers=tuple(self.inline.items()),
        )  # fmt: skip

    def _guard(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Poisoned:
            return None
        except Problem as problem:
            if problem.diagnostic not in self.diagnostics:
                self.diagnostics.append(problem.diagnostic)
            return None

    def _used(
        self, kind: type[nodes.UseModels] | type[nodes.UseData], known: tuple[str, ...], what: str
    ) -> tuple[str, ...]:
        written = [name for item in self.node.items if isinstance(item, kind) for name in item.names]
        for name in written:
            if name.id not in known and name.id not in self.file.broken:
                self.diagnostics.append(errors.unknown_name(name.span, name.id, known, what))
        if any(n.id not in known for n in written) or not written:
            return known  # a name that is wrong may mean any of them
        return tuple(dict.fromkeys(n.id for n in written))

    def _declare(self) -> None:
        for item in self.node.items:
            name = getattr(item, "name", None)
            if name is None:
                continue
            if name in self.declared:
                self.diagnostics.append(errors.declared_twice(item.span, name, self.declared[name].span))
            elif name in (*RESERVED_WORDS, *AXES, *sites()):
                self.broken.add(name)
                self.diagnostics.append(errors.reserved(item.span, name))
            elif isinstance(item, Named):
                self.declared[name] = item

    def _begin(self, name: str, span: Span) -> None:
        """Note what is being read; a declaration that is read while it is read stands in a cycle."""
        reading, own = self.file.reading, (self.name, name)
        if own in reading:
            chain = [*reading[reading.index(own) :], own]
            one = len({experiment for experiment, _ in chain}) == 1
            raise Problem(errors.cycle(span, [n if one else f"{experiment}.{n}" for experiment, n in chain]))
        reading.append(own)

    def _lazily(self, name: str, span: Span, known: dict[str, T], make: Callable[[], T]) -> T:
        """The declaration under a name, read now unless it is known; a cycle or broken one raises."""
        if name in known:
            return known[name]
        if name in self.broken:
            raise Poisoned
        self._begin(name, span)
        try:
            known[name] = make()
        except (Problem, Poisoned):
            self.broken.add(name)
            raise
        finally:
            self.file.reading.pop()
        return known[name]

    def _run(self, node: nodes.Run) -> Run:
        return self._lazily(node.name, node.span, self.runs, lambda: self.run_reader.read(node))

    def _fit(self, node: nodes.Fit) -> Fit:
        return self._lazily(node.name, node.span, self.fits, lambda: self.fit_reader.read(node))

    def _circuit(self, node: nodes.Circuit) -> Value:
        return self._lazily(node.name, node.span, self.families, lambda: self.circuit_reader.read(node))

    def fit_named(self, name: str) -> Fit | None:
        """The fit under a name."""
        node = self.declared.get(name)
        if isinstance(node, nodes.Fit) and not is_dictionary(node):
            return self._fit(node)
        return None

    def dictionary_named(self, name: str) -> Dictionary | None:
        """The dictionary under a name."""
        node = self.declared.get(name)
        if not isinstance(node, nodes.Fit) or not is_dictionary(node):
            return None
        return self._lazily(name, node.span, self.known_dictionaries, lambda: self.dictionaries.read(node))

    def _family(self, node: nodes.Let | nodes.Measure | nodes.RecordTensor) -> Value | None:
        if isinstance(node, nodes.Let) and literal(node.value):
            return None
        return self._lazily(node.name, node.span, self.families, lambda: self._value(node))

    def _value(self, node: nodes.Let | nodes.Measure | nodes.RecordTensor) -> Value:
        binders = self.swept_binders(node.binders, node.value)
        dimensions = read_binders(binders, self.reader, self.scope())
        value = self.read_value(
            VALUE_KINDS[type(node)], node.name, node.span, node.value, dimensions, bool(node.binders)
        )
        if value.kind == "measure" and value.feature is not None:
            raise Problem(errors.vector_measure(node.value.span, node.name, value.feature))
        return value

    def swept_binders(self, binders: Sequence[nodes.Binder], read: nodes.Node) -> list[nodes.Binder]:
        """Binders of what is read, each with its domain where it only names the variable of another family."""
        named = {axis.name for binder in binders for axis in binder.axes}
        return list(dict.fromkeys(self._as_swept(binder, named, read) for binder in binders))

    def _as_swept(self, binder: nodes.Binder, named: set[str], read: nodes.Node) -> nodes.Binder:
        """A binder that only names the variable of another family (`[alpha]`) stands for that family's own.

        Families that are read, be it by way of others, come before those that are not. Variables that are swept
        together stand for that where all of them are `named`.
        """
        [first, *others] = binder.axes
        if binder.domain is not None or others or first.axis is not None or first.name in AXES:
            return binder
        for node in dict.fromkeys((*self._reached(read), *self.declared.values())):
            for known in getattr(node, "binders", ()):
                names = [axis.name for axis in known.axes]
                says = known.domain is not None or known.axes[0].axis is not None
                if first.name in names and named.issuperset(names) and says:
                    return known  # type: ignore[no-any-return]
        return binder

    def _reached(self, read: nodes.Node) -> Iterator[Named]:
        """The declarations that an expression names, then those that they name, and so on."""
        seen: set[str] = set()
        level: list[nodes.Node] = [read]
        while level:
            named = [n.id for node in level for n in nodes.everything(node) if isinstance(n, nodes.Name)]
            found = [n for n in dict.fromkeys(named) if n in self.declared and n not in seen]
            seen.update(found)
            level = [self.declared[n] for n in found]
            yield from (self.declared[n] for n in found)

    def _claim(self, node: nodes.Expect, number: int) -> Value:
        value = self.read_value("expect", f"expect_{number}", node.span, node.claim, (), False)
        if value.feature is not None:
            raise Problem(errors.vector_measure(node.claim.span, "the claim", value.feature))
        return value.changed(text=" ".join(node.claim.span.text.split()))

    def read_value(
        self, kind: str, name: str, span: Span, body: nodes.Expr, binders: Sequence[Dimension], written: bool
    ) -> Value:
        """A let, measure, record or claim, once per reading of its name-valued binders."""
        met = Met()
        variants = []
        for when, words in readings(binders, body):
            bound = {v.name: d for d in binders for v in d.variables if v.name not in words}
            scope = self.scope(about=data_named(self, body, words), met=met, binders=bound, words=words)
            read = self.values.reading if kind == "let" else self.values.value
            variants.append(ValueVariant(span=span, when=when, value=read(body, scope)))
        values = [v.value for v in variants]
        self._alike(values, span, name)
        for value in values:
            texts = nodes.every(value, GeneratedText)
            if texts and (texts[0] is not value or kind != "measure"):
                raise Problem(errors.text_alone(texts[0].span))
        free = [met.merged(n) for n in dict.fromkeys(d for v in values for d in v.dims) if n != ITEM]
        first, truth = values[0], is_truth(values[0])
        dimensions = self._dimensions(span, name, binders, free, written and not (kind == "let" and truth))
        return Value(
            span=span, kind=kind, name=name, dimensions=dimensions, variants=tuple(variants),
            has_item=any(ITEM in v.dims for v in values), feature=first.feature,
            ratio=kind == "measure" and all(is_ratio(v) for v in values), truth=truth,
            inferred=tuple(d.name for d in dimensions if d.name not in {b.name for b in binders}),
            table=table_of(first),
        )  # fmt: skip

    @staticmethod
    def _alike(values: Sequence[Expr], span: Span, name: str) -> None:
        """The readings of a let are all numbers, or all sets over the same axes."""
        axes = [v.axes if isinstance(v, SetExpr) else None for v in values]
        for other in axes[1:]:
            if other != axes[0]:
                raise Problem(errors.sets_differ(span, axes[0], other))

    @staticmethod
    def _dimensions(
        span: Span,
        name: str,
        binders: Sequence[Dimension],
        free: Sequence[Dimension],
        complete: bool,
    ) -> tuple[Dimension, ...]:
        """Binders and free dimensions; `complete`: the binders have to name all of them."""
        bound = {d.name: d for d in binders}
        loose = [d for d in free if d.name not in bound]
        if complete and loose:
            raise Problem(errors.free_axes(span, name, [d.name for d in loose], [d.name for d in binders]))
        meets = {d.name: d for d in free}
        return tuple(meets.get(d.name, d) for d in binders) + tuple(loose)

    def hypotheses(self) -> dict[str, nodes.Hypothesis]:
        """The hypotheses in reach, by name."""
        own = {item.name: item for item in self.node.items if isinstance(item, nodes.Hypothesis)}
        return {**self.file.hypotheses, **own}

    def value_named(self, name: str, span: Span) -> Value | None:
        """The let, measure or circuit of the experiment under a name."""
        node = self.declared.get(name)
        if isinstance(node, nodes.Circuit):
            return self._circuit(node)
        if isinstance(node, nodes.Let | nodes.Measure):
            return self._family(node)
        if name in self.broken and name not in self.runs:
            raise Poisoned
        return None

    def run_named(self, name: str, span: Span, scope: Scope) -> Run | None:
        """The run under a name; a prompt's name that is not taken stands for its unedited pass."""
        node = self.declared.get(name)
        if isinstance(node, nodes.Run):
            return self._run(node)
        if name in self.runs and self.runs[name].part_of is not None:
            return self.runs[name]
        if node is None and self.has_prompt(name, scope):
            return self._pass(name, name, None, span)
        return None

    def qualified_run(self, data: str, prompt: str, span: Span) -> Run | None:
        """`d.clean`: the unedited pass over a prompt of one data set."""
        spec = self.file.data.get(data)
        if spec is None or prompt not in spec.prompts:
            return None
        if data not in self.data:
            raise Problem(errors.unknown_name(span, data, self.data, "data"))
        return self._pass(f"{data}.{prompt}", prompt, data, span)

    def _pass(self, name: str, prompt: str, data: str | None, span: Span) -> Run:
        variant = RunVariant(span=span, when=(), prompt=prompt, edits=())
        data = data or self.only_data([prompt])
        run = Run(span=span, name=name, dimensions=(), variants=(variant,), data=data)
        return self.runs.setdefault(name, run)

    def foreign_measure(self, experiment: str, name: str, span: Span) -> Value:
        """A measure of another experiment; `span` ends with its name."""
        span = Span(span.source, span.end - len(name), span.end)
        other = self.file.experiments[experiment]
        family = other.value_named(name, span)
        if family is None or (family.kind != "measure" and not holds_cells(family)):
            known = [n for n, d in other.declared.items() if isinstance(d, nodes.Measure)]
            raise Problem(errors.unknown_name(span, name, known, "measure"))
        missing = [m for m in self.models if m not in other.models] or [
            d for d in self.data if d not in other.data
        ]
        if missing:
            raise Problem(errors.measure_not_there(span, f"{experiment}.{name}", missing[0], experiment))
        return family

    def metric_body(self, metric: nodes.Metric, scope: Scope) -> Expr:
        """The body of a metric with its parameters bound."""
        self._begin(metric.name, metric.span)
        self.file.called.add(id(metric))
        try:
            return self.values.value(metric.value, scope)
        finally:
            self.file.reading.pop()


def table_of(value: Expr) -> str | None:
    """What a measure holds in the place of numbers."""
    if isinstance(value, GeneratedText):
        return "text"
    return "top" if isinstance(value, MetricCall) and value.metric == "top" else None


def holds_cells(family: Value) -> bool:
    """Whether a let is a set or a truth value, which may be used from other experiments."""
    return family.truth or isinstance(family.variants[0].value, SetExpr)


def is_ratio(value: Expr) -> bool:
    """Outermost `/` by something that differs between items."""
    return isinstance(value, Operation) and value.op == "/" and ITEM in value.operands[1].dims
