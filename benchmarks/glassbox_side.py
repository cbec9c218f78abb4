"""The Glassbox side: a `.gbx` text through the program's own stages, on a model that is loaded once."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.task import Site, Task
from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.file import has_errors, read_program
from glassbox_dsl.language.program import Program
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.resolve.data import DataTable
from glassbox_dsl.resolve.program import Resolved, resolve_facts, resolve_items
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.run import session as sessions
from glassbox_dsl.run.fetch import prepare
from glassbox_dsl.run.weights import load_model

FOLDER = Path(__file__).parent / "workloads"
MODEL, DATA, DEFAULT = "m", "pairs", 'bundled("smollm2-135m")'


@dataclass(frozen=True)
class Workload:
    """A file, what it sweeps, and how many of its items are used (None: all)."""

    file: str
    site: Site
    items: int | None
    title: str
    positions: int | None = None


WORKLOADS = {
    "resid": Workload("resid.gbx", "resid_pre", 1, "(a) residual stream, layer x position, one IOI pair"),
    "items": Workload("resid.gbx", "resid_pre", None, "(b) the same, 32 pairs"),
    "heads": Workload("heads.gbx", "z", 1, "(c) head outputs, layer x head, one pair"),
    "tracing": Workload("tracing.gbx", "resid_post", 1, "(d) causal tracing, layer x position, one pair"),
    "lens": Workload("lens.gbx", "lens", 1, "(e) logit lens, layer x position, one prompt"),
    "long": Workload(
        "long.gbx", "resid_pre", 1, "(f) residual stream, last 10 of 600 positions, one pair", 10
    ),
}


class Glassbox:
    """One workload on one model. `instrument` may come from another workload, so that it is loaded once."""

    name = "Glassbox"

    def __init__(
        self, name: str, source: str = DEFAULT, instrument: Any = None, draw: int | None = None
    ) -> None:
        self.workload = WORKLOADS[name]
        text = (FOLDER / self.workload.file).read_text(encoding="utf-8").replace(DEFAULT, source)
        if draw is not None:
            text = text.replace("draw 32", f"draw {draw}")
        started = time.perf_counter()
        self.program, resolved = resolved_text(text)
        self.files: dict[str, ModelFiles] = {m.name: prepare(m, print) for m in self.program.models}
        items = resolve_items(resolved, files=self.files)
        _refuse(items.diagnostics)
        self.reading_seconds = time.perf_counter() - started
        self.facts = resolved.facts
        self.table = kept(items.tables[DATA, MODEL], self.workload.items)
        self.instrument = instrument or load_model(
            self.files[MODEL], self.program.models[0], self.facts[MODEL]
        )
        self.task = task(name, self.table, self.facts[MODEL])

    def session(self) -> sessions.Session:
        """A session that finds its model loaded and checked, and has run nothing."""
        session = sessions.Session(
            self.program, self.facts, self.files, {(DATA, MODEL): self.table}, Silent()
        )
        session.instruments[MODEL] = self.instrument
        session.checks[MODEL] = ()
        return session

    def results(self) -> list[sessions.Results]:
        """What is timed: contexts, runs, measures and claims; everything but the database and the report."""
        return list(self.session().results())

    def run(self) -> Tensor:
        """The values [item, layer, cell] of the file's one measure."""
        (results,) = self.results()
        (measured,) = results.measured
        columns = {c.name: torch.as_tensor(c.values).long() for c in measured.columns}
        numbers = torch.tensor([item.number for item in self.table.items if item.kept])
        assert measured.item is not None
        item = torch.searchsorted(numbers, torch.as_tensor(measured.item).long())
        other = next(name for name in columns if name != "layer")
        cell = torch.searchsorted(torch.tensor(self.task.cells), columns[other].contiguous())
        found = torch.full((len(numbers), self.task.n_layers, len(self.task.cells)), torch.nan)
        found[item, columns["layer"], cell] = torch.as_tensor(measured.numbers).float()
        return found


def resolved_text(text: str) -> tuple[Program, Resolved]:
    """A text through the stages that need no weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.gbx"
        path.write_text(text, encoding="utf-8")
        program, diagnostics = read_program(path)
        if program is None:
            raise Findings(diagnostics)
        resolved = resolve_facts(program)
    _refuse(resolved.diagnostics)
    return program, resolved


def _refuse(diagnostics: Any) -> None:
    if has_errors(diagnostics):
        raise Findings(diagnostics)


def kept(table: DataTable, items: int | None) -> DataTable:
    """A table with only its first items. One is allowed here, where nothing is averaged."""
    if items is None:
        return table
    sessions.FEWEST_ITEMS = 1
    return table.changed(items=table.items[:items], n_kept=items)


def task(name: str, table: DataTable, facts: Any) -> Task:
    """The same work for the other sides, from the items that Glassbox drew."""
    workload = WORKLOADS[name]
    items = [item for item in table.items if item.kept]
    lengths = {len(p.ids) for item in items for p in item.prompts.values()}
    if len(lengths) != 1:
        raise ValueError(f"{name}: prompts of {sorted(lengths)} tokens; all must be equally long")
    (length,) = lengths

    def ids(prompt: str) -> Tensor:
        return torch.tensor([item.prompts[prompt].ids for item in items])

    def answer(which: str) -> Tensor | None:
        if which not in items[0].answers:
            return None
        return torch.tensor([item.answers[which].alternatives[0][0] for item in items])

    target = answer("target")
    assert target is not None
    positions = tuple(range(length))[-(workload.positions or length) :]
    found = Task(
        name=name,
        site=workload.site,
        base=ids("clean" if workload.site in ("resid_post", "lens") else "other"),
        source=ids("clean"),
        target=target,
        distractor=answer("distractor"),
        n_layers=facts.n_layers,
        cells=tuple(range(facts.n_heads)) if workload.site == "z" else positions,
    )
    if workload.site != "resid_post":
        return found
    start, end = items[0].prompts["clean"].spans["city"]
    return Task(**{**vars(found), "spoiled": ids("other"), "subject": tuple(range(start, end))})
