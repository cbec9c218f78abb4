"""What the names in an experiment stand for, as far as that needs no other statement to be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.data.spec import TextPrompt
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.program import AllCells, Index, Run, RunUse
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.data.spec import DataSpec
    from glassbox_dsl.language.dictionaries import DictionaryReader
    from glassbox_dsl.language.file import FileReader
    from glassbox_dsl.language.values import ValueReader

Named = (
    nodes.Run
    | nodes.Let
    | nodes.Measure
    | nodes.RecordTensor
    | nodes.Metric
    | nodes.Hypothesis
    | nodes.Fit
    | nodes.Circuit
)


class Names:
    """The names of one experiment, its data sets and its file."""

    name: str
    file: FileReader
    data: tuple[str, ...]
    declared: dict[str, Named]
    runs: dict[str, Run]
    inline: dict[str, nodes.Expr]
    broken: set[str]
    values: ValueReader
    dictionaries: DictionaryReader

    def scope(self, **fields: object) -> Scope:
        """A scope over the experiment's data sets."""
        return Scope(data=self.data, **fields)  # type: ignore[arg-type]

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

    def only_data(self, prompts: Iterable[str]) -> str | None:
        """The one of several data sets that has some prompts: a run over them is a run on it."""
        having = {s.name for s in self.specs(self.data) if set(prompts) <= set(s.prompts)}
        return next(iter(having)) if len(having) == 1 and len(self.data) > 1 else None

    def prompt_names(self, scope: Scope) -> list[str]:
        """The prompts in scope."""
        return [name for spec in self.specs(scope.data) for name in spec.prompts]

    def literal_let(self, name: str) -> nodes.Expr | None:
        """The value of a `let` that is a literal or stands at the top of the file."""
        if name in self.broken or name in self.file.broken:
            raise Poisoned
        node = self.declared.get(name) or self.file.lets.get(name)
        if isinstance(node, nodes.Let) and (literal(node.value) or name in self.file.lets):
            return node.value
        return None

    def named_set(self, name: str) -> nodes.Expr | None:
        """The set, list or range that a `let` declares."""
        if self._may_be_label(name):
            raise Poisoned
        value = self.literal_let(name)
        return (
            value
            if isinstance(value, nodes.Set | nodes.List | nodes.Range | nodes.Number | nodes.Unary)
            else None
        )

    def _may_be_label(self, name: str) -> bool:
        """Whether a name that nothing declares may be a label of a prompt that is broken."""
        if name in AXES or name in self.declared or name in self.file.lets or name in self.file.experiments:
            return False
        prompts = [p for spec in self.specs(self.data) for p in spec.prompts.values()]
        unread = any(isinstance(p, TextPrompt) and not p.variants for p in prompts)
        return unread and not any(name in p.labels for p in prompts)

    def metric_named(self, name: str) -> nodes.Metric | None:
        """The metric of the experiment or file."""
        node = self.declared.get(name)
        return node if isinstance(node, nodes.Metric) else self.file.metrics.get(name)

    def metric_names(self) -> list[str]:
        """All metrics that the file declares."""
        return [*(n for n, d in self.declared.items() if isinstance(d, nodes.Metric)), *self.file.metrics]

    def kind_of(self, name: str, scope: Scope) -> str | None:
        """What a name is, when it is not a value."""
        if name in self.file.broken:
            raise Poisoned
        if isinstance(self.declared.get(name), nodes.RecordTensor):
            return "a record (stored, not read back)"
        if isinstance(self.declared.get(name, self.file.hypotheses.get(name)), nodes.Hypothesis):
            return "a hypothesis"
        if isinstance(self.declared.get(name), nodes.Fit):
            return "a fit"
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
        file = self.file
        tables = {"a model": file.models, "a data set": file.data, "an experiment": file.experiments,
                  "a site": sites(), "an axis": AXES}  # fmt: skip
        return next((what for what, names in tables.items() if name in names), None)

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

    def is_experiment(self, name: str) -> bool:
        """Whether the file has another experiment of this name."""
        return name in self.file.experiments and name != self.name

    def check_site(self, name: str, span: Span) -> None:
        """The site exists."""
        if name.split(".")[0] in self.broken:
            raise Poisoned
        if name not in sites():
            raise Problem(errors.unknown_site(span, name, sites()))

    def all_cells(self, span: Span, axes: Sequence[str]) -> tuple[Index, ...]:
        """`:` on every axis."""
        return tuple(AllCells(span=span) for _ in axes)

    def target_feature(self, scope: Scope) -> str | None:
        """The feature axis of the written site."""
        if scope.target is None:
            return None
        name = self.values.site_name(scope.target.path, scope)
        code = self.dictionaries.part(name)
        return sites()[name].feature if code is None else self.dictionaries.feature(code)

    def file_path(self, node: nodes.String, folder: bool = False) -> Path:
        """A file (or folder) that the text names, relative to the file it stands in."""
        return self.file.path_in_project(node, folder)

    def data_of(self, run: str) -> tuple[str, ...]:
        """The data sets that a run is made for."""
        found = self.runs.get(run)
        if found is None:
            return self.data
        if found.data is not None:
            return (found.data,)
        prompts = {v.prompt for v in found.variants}
        return tuple(s.name for s in self.specs(self.data) if prompts <= set(s.prompts))

    def data_read(self, value: nodes.Node) -> tuple[str, ...]:
        """The data sets that every run in a value is made for; none where it reads no run."""
        uses = [set(self.data_of(n.run)) for n in nodes.everything(value) if isinstance(n, RunUse)]
        return tuple(d for d in self.data if all(d in use for use in uses)) if uses else ()

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

    def check_feature(self, node: nodes.Name, data: Sequence[str]) -> None:
        """`within:` names a feature or variable of every data set in question."""
        for spec in self.specs(data):
            known = [*spec.features, *spec.variables, "template"]
            if node.id not in known:
                raise Problem(errors.not_for_data(node.span, "feature", node.id, [spec.name], known))


def literal(node: nodes.Expr) -> bool:
    """Whether a `let` holds a collection that other statements take apart."""
    return isinstance(node, nodes.Set | nodes.List | nodes.Range | nodes.Record | nodes.String)
