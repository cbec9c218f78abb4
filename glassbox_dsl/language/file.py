"""A file with its imports becomes a `Program`; every problem of the stage is collected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.language import errors
from glassbox_dsl.language.data import declare_data
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.experiment import ExperimentReader
from glassbox_dsl.language.models import read_model
from glassbox_dsl.language.program import Experiment, Program
from glassbox_dsl.language.reports import read_report
from glassbox_dsl.language.uncalled import check_uncalled, unread
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import nodes, parse, read_source
from glassbox_dsl.vocabulary.axes import AXES, RESERVED_WORDS
from glassbox_dsl.vocabulary.models import ModelSource
from glassbox_dsl.vocabulary.sites import sites

ROOT_MARKS = (".git", "pyproject.toml", "gbx.toml")


def project_root(path: Path) -> Path:
    """The folder that imports and data files may not leave: the nearest one above with a project's mark."""
    folder = path.resolve().parent
    return next((f for f in (folder, *folder.parents) if any((f / m).exists() for m in ROOT_MARKS)), folder)


def read_program(path: Path) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """The meaning of a file, and everything that is wrong or doubtful in it; None when there are errors."""
    reader = FileReader(path)
    try:
        reader.load(path, str(path), ())
    except Findings as findings:
        reader.diagnostics += findings.diagnostics
    # Nothing is read into statements that the syntax stage could not keep whole.
    program = reader.program() if reader.sources and not has_errors(reader.syntax) else None
    diagnostics = tuple(dict.fromkeys(reader.diagnostics))
    return (None if has_errors(diagnostics) else program), diagnostics


def has_errors(diagnostics: Sequence[Diagnostic]) -> bool:
    """Whether any finding is an error."""
    return any(d.severity == "error" for d in diagnostics)


class FileReader:
    """Reads declarations, imported ones first, and then the experiments that use them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = project_root(path)
        self.diagnostics: list[Diagnostic] = []
        self.syntax: list[Diagnostic] = []
        self.sources: list[Source] = []
        self.loaded: dict[Path, tuple[str, ...]] = {}
        self.declared: dict[str, nodes.Statement] = {}
        self.models: dict[str, ModelSource] = {}
        self.data: dict[str, Any] = {}
        self.lets: dict[str, nodes.Let] = {}
        self.metrics: dict[str, nodes.Metric] = {}
        self.hypotheses: dict[str, nodes.Hypothesis] = {}
        self.experiments: dict[str, ExperimentReader] = {}
        self.imported: set[str] = set()
        self.reports: list[nodes.Report] = []
        self.broken: set[str] = set()
        self.reading: list[tuple[str, str]] = []  # what is being read: experiment and name
        self.called: set[int] = set()  # metrics that were read, by the identity of their nodes
        self.data_nodes: list[nodes.Data] = []
        self.experiment_nodes: list[nodes.Experiment] = []

    # ------------------------------------------------------------ files

    def load(self, path: Path, shown: str, chain: tuple[str, ...]) -> None:
        """Parse one file and what it imports, and note its declarations."""
        source = read_source(path, shown)
        self.sources.append(source)
        self.loaded[path.resolve()] = chain
        parsed = parse(source)
        self.syntax += parsed.diagnostics
        self.diagnostics += parsed.diagnostics
        for node in parsed.file.declarations if parsed.file else ():
            if isinstance(node, nodes.Import):
                self._import(node, path, (*chain, path.name))
            else:
                self._declare(node, imported=bool(chain))

    def _import(self, node: nodes.Import, importer: Path, chain: tuple[str, ...]) -> None:
        target = (importer.parent / node.path).resolve() if "\0" not in node.path else None
        if target is None or Path(node.path).is_absolute() or not target.is_relative_to(self.root):
            why = "it lies outside the project's folder"
            self.diagnostics.append(errors.bad_import(node.span, node.path, why))
        elif target.name in chain and target in self.loaded:
            self.diagnostics.append(
                errors.import_cycle(node.span, [*chain[chain.index(target.name) :], target.name])
            )
        elif target not in self.loaded:
            try:
                shown = Path(node.span.source.path).parent / node.path
                self.load(target, str(shown), chain)
            except Findings as findings:
                why = findings.diagnostics[0].headline
                self.diagnostics.append(errors.bad_import(node.span, node.path, why))

    def _declare(self, node: nodes.Statement, *, imported: bool) -> None:
        if isinstance(node, nodes.Report):
            if not imported:
                self.reports.append(node)
            return
        name = str(getattr(node, "name", ""))
        if name in (*RESERVED_WORDS, *AXES, *sites()):
            self.broken.add(name)
            self.diagnostics.append(errors.reserved(node.span, name))
            return
        if name in self.declared:
            self.diagnostics.append(errors.declared_twice(node.span, name, self.declared[name].span))
            return
        self.declared[name] = node
        if imported:
            self.imported.add(name)
        self._sort_in(node, name)

    def _sort_in(self, node: nodes.Statement, name: str) -> None:
        match node:
            case nodes.Model():
                self._model(node)
            case nodes.Data():
                self.data_nodes.append(node)
            case nodes.Let():
                self.lets[name] = node
            case nodes.Metric():
                self.metrics[name] = node
            case nodes.Hypothesis():
                self.hypotheses[name] = node
            case nodes.Experiment():
                self.experiment_nodes.append(node)

    def _model(self, node: nodes.Model) -> None:
        try:
            self.models[node.name] = read_model(node, self.root)
        except Problem as problem:
            self.broken.add(node.name)
            self.diagnostics.append(problem.diagnostic)

    def _data(self) -> None:
        lets = {name: let.value for name, let in self.lets.items()}
        for node in self.data_nodes:
            folder = Path(node.span.source.path).resolve().parent
            spec, diagnostics = declare_data(node, folder=folder, root=self.root, lets=lets)
            self.diagnostics += diagnostics
            if has_errors(diagnostics):
                self.broken.add(node.name)
            self.data[node.name] = spec

    def path_in_project(self, node: nodes.String, folder: bool = False) -> Path:
        """The file (or folder) that a text names, relative to the file it stands in, inside the project."""
        base = Path(node.span.source.path).resolve().parent
        target = (base / node.value).resolve() if "\0" not in node.value else base
        if not target.is_relative_to(self.root):
            raise Problem(errors.bad_file(node.span, node.value, "it lies outside the project's folder"))
        if not (target.is_dir() if folder else target.is_file()):
            why = f"there is no such {'folder' if folder else 'file'}"
            raise Problem(errors.bad_file(node.span, node.value, why))
        return target

    # ------------------------------------------------------------ the program

    def program(self) -> Program:
        """Everything the files declare, experiments read."""
        self._data()
        self._file_lets()
        for node in self.experiment_nodes:
            self.experiments[node.name] = ExperimentReader(node, self)
        experiments = (*self._experiments(), *self._conditions())
        self.diagnostics += check_uncalled(*unread(self))
        reports = tuple(self._reports(experiments))
        return Program(
            span=nodes_span(self.sources[0]), sources=tuple(self.sources), models=tuple(self.models.values()),
            data=tuple(self.data.values()), experiments=experiments, reports=reports,
        )  # fmt: skip

    def _file_lets(self) -> None:
        for let in self.lets.values():
            if let.binders:
                self.broken.add(let.name)
                self.diagnostics.append(
                    errors.bad_domain(
                        let.binders[0].span,
                        "a `let` of the file holds one value",
                        "declare it inside an experiment",
                    )
                )

    def _experiments(self) -> Iterator[Experiment]:
        for name, reader in self.experiments.items():
            program = reader.read()
            self.diagnostics += [] if name in self.imported and not reader.diagnostics else reader.diagnostics
            yield program.changed(wanted=name not in self.imported)

    def _conditions(self) -> Iterator[Experiment]:
        """`keep where` conditions that need a model: read like the claims of an experiment over their data."""
        for name, spec in self.data.items():
            keeps = [keep for keep in spec.keeps if keep.needs_model]
            if not keeps or name in self.broken:
                continue
            here = nodes.UseData(span=spec.span, names=(nodes.Name(span=spec.span, id=name),))
            claims = [nodes.Expect(span=keep.span, claim=keep.condition) for keep in keeps]
            node = nodes.Experiment(
                span=spec.span, name=condition_name(name), title=None, items=(here, *claims)
            )
            reader = ExperimentReader(node, self)
            program = reader.read()
            self.diagnostics += reader.diagnostics
            yield program.changed(wanted=False)

    def _reports(self, experiments: Sequence[Experiment]) -> Iterator[Any]:
        seen: dict[str, nodes.Report] = {}
        for node in self.reports:
            if node.name in seen:
                self.diagnostics.append(errors.declared_twice(node.span, node.name, seen[node.name].span))
                continue
            seen[node.name] = node
            spec, diagnostics = read_report(node, self.experiments, self.data)
            self.diagnostics += diagnostics
            yield spec


def condition_name(data: str) -> str:
    """The name under which the conditions of a data set stand among the experiments."""
    return f"keep {data}"


def nodes_span(source: Source) -> Any:
    """The span of a whole source."""
    from glassbox_dsl.source import Span

    return Span(source, 0, len(source.text))
