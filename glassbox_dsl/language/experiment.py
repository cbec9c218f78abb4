"""One experiment: its statements become runs and values, each name read when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language import errors
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.calls import CallReader
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.indices import IndexReader
from glassbox_dsl.language.program import (
    AllCells,
    Dimension,
    Expr,
    Index,
    MetricCall,
    Operation,
    Run,
    RunVariant,
    Value,
    ValueVariant,
)
from glassbox_dsl.language.program import Experiment as ExperimentProgram
from glassbox_dsl.language.runs import RunReader
from glassbox_dsl.language.scope import Met, Scope
from glassbox_dsl.language.unbuilt import unbuilt_forms
from glassbox_dsl.language.values import ValueReader
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES, ITEM, RESERVED_WORDS
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.data.spec import DataSpec
    from glassbox_dsl.language.file import FileReader

T = TypeVar("T")
VALUE_KINDS = {nodes.Let: "let", nodes.Measure: "measure", nodes.RecordTensor: "record"}
Named = nodes.Run | nodes.Let | nodes.Measure | nodes.RecordTensor | nodes.Metric


class ExperimentReader:
    """Reads one experiment. Names are resolved lazily, so order of declaration does not matter."""

    def __init__(self, node: nodes.Experiment, file: FileReader) -> None:
        self.node = node
        self.file = file
        self.name = node.name
        self.diagnostics: list[Diagnostic] = []
        self.declared: dict[str, Named] = {}
        self.runs: dict[str, Run] = {}
        self.families: dict[str, Value] = {}
        self.broken: set[str] = set()
        self.reading: list[str] = []
        self.inline: dict[str, nodes.Expr] = {}
        self.reader = IndexReader(self.labels, self.named_set)
        self.values = ValueReader(self)
        self.calls = CallReader(self)
        self.run_reader = RunReader(self)
        self.models = self._used(nodes.UseModels, tuple(file.models), "model")
        self.data = self._used(nodes.UseData, tuple(file.data), "data")
        self._declare()

    # ------------------------------------------------------------ reading it all

    def read(self) -> ExperimentProgram:
        """Everything the experiment declares; problems are collected in `diagnostics`."""
        if not self.models or not self.data:
            self.diagnostics.append(errors.nothing_to_run(self.node.span, self.name))
        claims = []
        for number, item in enumerate(self.node.items):
            if isinstance(item, nodes.Run):
                self._guard(lambda item=item: self._run(item))  # type: ignore[misc]
            elif isinstance(item, nodes.Let | nodes.Measure | nodes.RecordTensor):
                self._guard(lambda item=item: self._family(item))  # type: ignore[misc]
            elif isinstance(item, nodes.Metric):
                self._guard(lambda item=item: self._check_metric(item))  # type: ignore[misc]
            elif isinstance(item, nodes.Expect):
                claim = self._guard(lambda item=item, number=number: self._claim(item, number))  # type: ignore[misc]
                claims += [claim] if claim is not None else []
        return self.program(claims)

    def program(self, claims: Sequence[Value]) -> ExperimentProgram:
        """What was read, frozen."""
        return ExperimentProgram(
            span=self.node.span, name=self.name, title=self.node.title, models=self.models, data=self.data,
            runs=tuple(self.runs.values()), values=(*self.families.values(), *claims),
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
        if not written:
            return known
        return tuple(dict.fromkeys(n.id for n in written if n.id in known))

    def _declare(self) -> None:
        for item in self.node.items:
            found = list(unbuilt_forms(item))
            self.diagnostics += found
            name = getattr(item, "name", None)
            if name is None:
                continue
            if found:
                self.broken.add(name)
            if name in self.declared:
                self.diagnostics.append(errors.declared_twice(item.span, name, self.declared[name].span))
            elif name in (*RESERVED_WORDS, *AXES, *sites()):
                self.diagnostics.append(errors.reserved(item.span, name))
            elif isinstance(item, Named):
                self.declared[name] = item

    # ------------------------------------------------------------ one name

    def _lazily(self, name: str, span: Span, known: dict[str, T], make: Callable[[], T]) -> T:
        """The declaration under a name, read now unless it is known; a cycle or broken one raises."""
        if name in known:
            return known[name]
        if name in self.broken:
            raise Poisoned
        if name in self.reading:
            chain = [*self.reading[self.reading.index(name) :], name]
            raise Problem(errors.cycle(span, chain))
        self.reading.append(name)
        try:
            known[name] = make()
        except Problem:
            self.broken.add(name)
            raise
        finally:
            self.reading.pop()
        return known[name]

    def _run(self, node: nodes.Run) -> Run:
        return self._lazily(node.name, node.span, self.runs, lambda: self.run_reader.read(node))

    def _family(self, node: nodes.Let | nodes.Measure | nodes.RecordTensor) -> Value | None:
        if isinstance(node, nodes.Let) and literal(node.value):
            return None
        return self._lazily(node.name, node.span, self.families, lambda: self._value(node))

    def _value(self, node: nodes.Let | nodes.Measure | nodes.RecordTensor) -> Value:
        dimensions = read_binders(node.binders, self.reader, self.scope())
        value = self.read_value(
            VALUE_KINDS[type(node)], node.name, node.span, node.value, dimensions, bool(node.binders)
        )
        if value.kind == "measure" and value.feature is not None:
            raise Problem(errors.vector_measure(node.value.span, node.name, value.feature))
        return value

    def _claim(self, node: nodes.Expect, number: int) -> Value:
        value = self.read_value("expect", f"expect_{number}", node.span, node.claim, (), False)
        if value.feature is not None:
            raise Problem(errors.vector_measure(node.claim.span, "the claim", value.feature))
        return value.model_copy(update={"text": " ".join(node.claim.span.text.split())})

    def read_value(
        self, kind: str, name: str, span: Span, body: nodes.Expr, binders: Sequence[Dimension], written: bool
    ) -> Value:
        """A let, measure, record or claim, once per reading of its name-valued binders."""
        met = Met()
        variants = []
        for when, words in readings(binders):
            bound = {v.name: d for d in binders for v in d.variables if v.name not in words}
            scope = self.scope(met=met, binders=bound, words=words)
            variants.append(ValueVariant(span=span, when=when, value=self.values.value(body, scope)))
        values = [v.value for v in variants]
        free = [met.merged(n) for n in dict.fromkeys(d for v in values for d in v.dims) if n != ITEM]
        dimensions = self._dimensions(span, name, binders, free, written, kind)
        first = values[0]
        return Value(
            span=span, kind=kind, name=name, dimensions=dimensions, variants=tuple(variants),
            has_item=any(ITEM in v.dims for v in values), feature=first.feature,
            ratio=kind == "measure" and all(is_ratio(v) for v in values),
            table="top" if isinstance(first, MetricCall) and first.metric == "top" else None,
        )  # fmt: skip

    @staticmethod
    def _dimensions(
        span: Span,
        name: str,
        binders: Sequence[Dimension],
        free: Sequence[Dimension],
        written: bool,
        kind: str,
    ) -> tuple[Dimension, ...]:
        bound = {d.name: d for d in binders}
        loose = [d for d in free if d.name not in bound]
        if written and loose:
            raise Problem(errors.free_axes(span, name, [d.name for d in loose], [d.name for d in binders]))
        meets = {d.name: d for d in free}
        return tuple(meets.get(d.name, d) for d in binders) + tuple(loose)

    def _check_metric(self, node: nodes.Metric) -> None:
        """A metric is read where it is called; here only its own declaration is looked at."""
        if node.name in self.broken:
            raise Poisoned

    # ------------------------------------------------------------ what names stand for

    def scope(self, **fields: object) -> Scope:
        """A scope over the experiment's data sets."""
        return Scope(data=self.data, **fields)  # type: ignore[arg-type]

    def value_named(self, name: str, span: Span) -> Value | None:
        """The let or measure of the experiment under a name."""
        node = self.declared.get(name)
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
        run = Run(span=span, name=name, dimensions=(), variants=(variant,), data=data)
        return self.runs.setdefault(name, run)

    def is_experiment(self, name: str) -> bool:
        """Whether the file has another experiment of this name."""
        return name in self.file.experiments and name != self.name

    def foreign_measure(self, experiment: str, name: str, span: Span) -> Value:
        """A measure of another experiment."""
        other = self.file.experiments[experiment]
        family = other.value_named(name, span)
        if family is None or family.kind != "measure":
            known = [n for n, d in other.declared.items() if isinstance(d, nodes.Measure)]
            raise Problem(errors.unknown_name(span, name, known, "measure"))
        missing = [m for m in self.models if m not in other.models] or [
            d for d in self.data if d not in other.data
        ]
        if missing:
            label = f"experiment `{experiment}` does not run on `{missing[0]}`"
            raise Problem(errors.bad_report(span, f"`{experiment}.{name}` is not there for `{missing[0]}`", label,
                                            "list the same models and data in both experiments"))  # fmt: skip
        return family

    def specs(self, data: Sequence[str]) -> Iterator[DataSpec]:
        """The data sets of some names."""
        return (self.file.data[d] for d in data if d in self.file.data)

    def labels(self, scope: Scope) -> frozenset[str]:
        """The span labels that the prompts in scope define."""
        return frozenset(
            label
            for spec in self.specs(scope.data)
            for prompt in spec.prompts.values()
            for label in prompt.labels
        )

    def has_prompt(self, name: str, scope: Scope) -> bool:
        """Whether a data set in scope has the prompt."""
        return any(name in spec.prompts for spec in self.specs(scope.data))

    def prompt_names(self, scope: Scope) -> list[str]:
        """The prompts in scope."""
        return [name for spec in self.specs(scope.data) for name in spec.prompts]

    def literal_let(self, name: str) -> nodes.Expr | None:
        """The value of a `let` that is a literal or stands at the top of the file."""
        node = self.declared.get(name) or self.file.lets.get(name)
        if isinstance(node, nodes.Let) and (literal(node.value) or name in self.file.lets):
            return node.value
        return None

    def named_set(self, name: str) -> nodes.Expr | None:
        """The set, list or range that a `let` declares."""
        value = self.literal_let(name)
        return (
            value
            if isinstance(value, nodes.Set | nodes.List | nodes.Range | nodes.Number | nodes.Unary)
            else None
        )

    def metric_named(self, name: str) -> nodes.Metric | None:
        """The metric of the experiment or file."""
        node = self.declared.get(name)
        return node if isinstance(node, nodes.Metric) else self.file.metrics.get(name)

    def metric_names(self) -> list[str]:
        """All metrics that the file declares."""
        return [*(n for n, d in self.declared.items() if isinstance(d, nodes.Metric)), *self.file.metrics]

    def metric_body(self, metric: nodes.Metric, scope: Scope) -> Expr:
        """The body of a metric with its parameters bound."""
        if metric.name in self.reading:
            raise Problem(
                errors.cycle(metric.span, [*self.reading[self.reading.index(metric.name) :], metric.name])
            )
        self.reading.append(metric.name)
        try:
            return self.values.value(metric.value, scope)
        finally:
            self.reading.pop()

    def kind_of(self, name: str, scope: Scope) -> str | None:
        """What a name is, when it is not a value."""
        if isinstance(self.declared.get(name), nodes.RecordTensor):
            return "a record (stored, not read back)"
        if self.metric_named(name) is not None:
            return "a metric"
        for spec in self.specs(scope.data):
            for what, names in (
                ("an answer", spec.answers),
                ("a feature", spec.features),
                ("a variable of the data", spec.variables),
            ):
                if name in names:
                    return what
        tables = (("a model", self.file.models), ("a data set", self.file.data), ("an experiment", self.file.experiments),
                  ("a site", sites()), ("an axis", AXES))  # fmt: skip
        return next((what for what, names in tables if name in names), None)

    def visible_names(self, scope: Scope) -> list[str]:
        """What could have been meant."""
        return [
            *scope.binders,
            *scope.parameters,
            *self.declared,
            *self.prompt_names(scope),
            *self.file.lets,
            *self.file.experiments,
        ]

    def check_site(self, name: str, span: Span) -> None:
        """The site exists and is built."""
        if name not in sites():
            raise Problem(errors.unknown_site(span, name, sites()))
        if not sites()[name].built:
            raise Problem(errors.not_built(span, f"the site `{name}`"))

    def all_cells(self, span: Span, axes: Sequence[str]) -> tuple[Index, ...]:
        """`:` on every axis."""
        return tuple(AllCells(span=span) for _ in axes)

    def target_feature(self, scope: Scope) -> str | None:
        """The feature axis of the written site."""
        if scope.target is None:
            return None
        return sites()[self.values.site_name(scope.target.path, scope)].feature

    def file_path(self, node: nodes.String) -> Path:
        """A file that the text names, relative to the file it stands in."""
        return self.file.path_in_project(node)

    def data_of(self, run: str) -> tuple[str, ...]:
        """The data sets that a run is made for."""
        found = self.runs.get(run)
        if found is None:
            return self.data
        if found.data is not None:
            return (found.data,)
        prompts = {v.prompt for v in found.variants}
        return tuple(s.name for s in self.specs(self.data) if prompts <= set(s.prompts))

    # ------------------------------------------------------------ answers and features

    def answer_name(self, node: nodes.Expr, data: Sequence[str]) -> str:
        """The answer that an expression means; texts, lists and variables become inline answers."""
        if isinstance(node, nodes.Name):
            having = [s.name for s in self.specs(data) if node.id in s.answers]
            if having and set(having) == set(data):
                return node.id
            held = [s for s in self.specs(data) if node.id in s.variables]
            if len(held) < len(data):
                known = [n for s in self.specs(data) for n in (*s.answers, *s.variables)]
                lacking = [d for d in data if d not in having]
                if known and self.kind_of(node.id, self.scope()) is None and not having:
                    raise Problem(errors.unknown_name(node.span, node.id, known, "answer"))
                raise Problem(errors.not_for_data(node.span, "answer", node.id, lacking, known))
        name = "#" + " ".join(node.span.text.split())
        self.inline[name] = node
        return name

    def need_answer(self, name: str, node: nodes.Expr, *, one_token: bool, run: str | None) -> None:
        """Note that an answer is scored (which answers need one token is read off the program later)."""

    def check_feature(self, node: nodes.Name, scope: Scope) -> None:
        """`within:` names a feature or variable of every data set in scope."""
        for spec in self.specs(scope.data):
            known = [*spec.features, *spec.variables, "template"]
            if node.id not in known:
                raise Problem(errors.not_for_data(node.span, "feature", node.id, [spec.name], known))


def literal(node: nodes.Expr) -> bool:
    """Whether a `let` holds a collection that other statements take apart."""
    return isinstance(node, nodes.Set | nodes.List | nodes.Range | nodes.Record | nodes.String)


def is_ratio(value: Expr) -> bool:
    """Outermost `/` by something that differs between items."""
    return isinstance(value, Operation) and value.op == "/" and ITEM in value.operands[1].dims


__all__ = ["ExperimentReader", "replace"]
