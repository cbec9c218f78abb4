"""Content keys: equal keys have equal results, so what a results file knows is not computed again.

The number of a metric in one cell on one item is found by the name of its *reading* (model, run variant with all that
its edits read, metric) and the key of its cell (what the variables stand for, exclusive-or what is read of the item).
Keys are two 64-bit numbers, and made for all cells of a run at once. Packs, threads, devices and the versions of torch
do not count; see docs/resuming.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from glassbox_dsl.language.file import condition_name
from glassbox_dsl.language.program import Dimension, Edit, Experiment, Program, Value
from glassbox_dsl.plan.canonical import SIZE, Content, Reads, Writer, digest, joined, written
from glassbox_dsl.plan.data_arrays import DataArrays
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.resolve.cells import Cell
from glassbox_dsl.resolve.data import DataTable, Item
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import family_texts
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.models import ModelSource

ENGINE = 3
"""Raise it whenever an executor or a metric may give other numbers: nothing that was computed before is found then."""

Keys = NDArray[np.uint64]
"""Digests as two numbers each, [..., 2]."""


def model_key(source: ModelSource, files: ModelFiles, facts: ModelFacts) -> bytes | None:
    """What the numbers of a model depend on; None when its weights are not known by a fingerprint."""
    sums = files.fingerprints
    if source.kind != "tiny" and not (sums.get("weights") or sums.get("revision")):
        return None
    specs = shipped("specs")
    family = written(family_texts(facts.family))
    asked = (source.kind, source.layers, source.seed, source.dtype, source.bos)  # an adapter has its sum
    named = source.target if source.kind in ("hub", "tiny", "bundled") else ""
    place = "" if source.dtype == "float32" else source.device
    library = installed("transformers")
    about = written((asked, named, source.revision, source.tokenizer, place, library, ENGINE))
    checkpoint = written((files.config, sums))
    return digest(about, checkpoint, family, (specs / "sites.toml").read_bytes())


def installed(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@dataclass
class JobKeys:
    """The keys of one job: `cells` [cell, item, 2] by itself, `names` of readings and what a metric reads beyond."""

    cells: Keys
    variants: Integers
    names: dict[tuple[int, Tap | Edit], str] = field(default_factory=dict)
    items: dict[tuple[int, Tap | Edit], Keys] = field(default_factory=dict)

    def of(self, number: int, what: Tap | Edit, cells: Integers, items: Integers) -> Keys:
        """The keys [n, 2] of a reading in cells [n] of a variant on items [n]."""
        found: Keys = self.cells[cells, items] ^ self.items[number, what][items]
        return found


@dataclass
class Contents:
    """Keys of everything in a program. `models` has the key of each model, `tables` the items before conditions."""

    program: Program
    models: Mapping[str, bytes | None]
    tables: Mapping[tuple[str, str], DataTable]
    executor: str = "delta"
    writers: dict[str, Writer] = field(default_factory=dict)
    read: dict[object, Keys] = field(default_factory=dict)
    whole: dict[int, tuple[DataArrays, bytes]] = field(default_factory=dict)

    def writer(self, experiment: Experiment) -> Writer:
        """Writes the declarations of an experiment."""
        if experiment.name not in self.writers:
            experiments = {e.name: e for e in self.program.experiments}
            self.writers[experiment.name] = Writer(experiment, experiments)
        return self.writers[experiment.name]

    @cached_property
    def world(self) -> bytes:
        """Every model, every item and every condition: for what reads across contexts."""
        tables = [
            written((*key, table.items)) for key, table in sorted(self.tables.items(), key=lambda t: t[0])
        ]
        conditions = [written(e) for e in self.program.experiments if e.name.startswith("keep ")]
        return joined([written(sorted(self.models.items())), *tables, *conditions])

    # ------------------------------------------------------------ readings

    def of_job(self, job: Job) -> JobKeys | None:
        """The keys of a job's readings; None when its model has no key."""
        setting, run = job.setting, job.run
        model = self.models.get(setting.model)
        if model is None:
            return None
        writer = self.writer(setting.experiment)
        variants = setting.cell_variants(run).reshape(-1)
        found = JobKeys(np.zeros((job.n_cells, setting.data.n_items, 2), dtype=np.uint64), variants)
        own = self.cells(setting, run.dimensions).reshape(-1, 2)
        for number, variant in enumerate(run.variants):
            content = writer.variant(run, number)
            mine = variants == number
            found.cells[mine] = own[mine][:, None] ^ self.items(setting, content.reads)[None]
            # What an edit does depends on those before it: its place counts, what is written there does not suffice.
            read: dict[Tap | Edit, int | None] = dict.fromkeys(job.wanted.taps)
            read |= {edit: place for place, edit in enumerate(variant.edits)}
            for what, place in read.items():
                about = writer.node(what)
                found.names[number, what] = self._name(model, content, about, place)
                found.items[number, what] = self.items(setting, about.reads, b"reading")
        return found

    def _name(self, model: bytes, content: Content, about: Content, place: int | None) -> str:
        world = self.world if content.reads.world or about.reads.world else b""
        where = () if place is None else (b"%d" % place,)
        return digest(model, self.executor.encode(), content.key, about.key, world, *where).hex()

    def of_piece(self, setting: Setting, value: Value, number: int, flat: Sequence[str]) -> str | None:
        """The name of a piece of a value of which some dimensions are not cut up; None when its model has no key."""
        model = self.models.get(setting.model)
        if model is None:
            return None
        about = written(("value", number, list(flat)))
        body = self.writer(setting.experiment).body(value)
        return digest(model, self.executor.encode(), about, body.key).hex()

    @staticmethod
    def cells(setting: Setting, dimensions: Sequence[Dimension]) -> Keys:
        """The keys [dimensions..., 2] of what the variables of some dimensions stand for."""
        found = np.zeros((*(len(setting.rows(d)) for d in dimensions), 2), dtype=np.uint64)
        for place, dimension in enumerate(dimensions):
            names = [v.name for v in dimension.variables]
            rows = [digest(b"cell", written(names), *map(_cell, row)) for row in setting.rows(dimension)]
            sizes = [-1 if axis == place else 1 for axis in range(len(dimensions))]
            found = found ^ numbers(rows).reshape(*sizes, 2)
        return found

    def items(self, setting: Setting, reads: Reads, kind: bytes = b"item") -> Keys:
        """The keys [item, 2] of what is read of each item."""
        data = setting.data
        key = (kind, id(data), frozenset(reads.prompts), frozenset(reads.answers), reads.every)
        if key not in self.read:
            first = next(iter(data.items[0].prompts)) if data.items else ""
            prompts = sorted(reads.prompts | {first})
            all_of_them = self._all(data) if reads.every else b""
            self.read[key] = numbers(
                [digest(kind, _item(i, prompts, reads), all_of_them) for i in data.items]
            )
        return self.read[key]

    def _all(self, data: DataArrays) -> bytes:
        if id(data) not in self.whole:
            # The arrays are kept too: their id must not come to stand for others.
            self.whole[id(data)] = data, digest(written(data.items))
        return self.whole[id(data)][1]

    # ------------------------------------------------------------ contexts

    def of_context(
        self, experiment: Experiment, model: str, data: str, executor: str = "delta"
    ) -> str | None:
        """The key of all that an experiment gives on a model and a data set; None when a model has no key."""
        own, table = self.models.get(model), self.tables.get((data, model))
        if own is None or table is None:
            return None
        writer, reads = self.writer(experiment), Reads()
        values = [
            (v.kind, v.name, v.has_item, v.feature, v.text, writer._whole(v, reads))
            for v in experiment.values
        ]
        runs = [(r.name, writer.run(r.name).key) for r in experiment.runs]
        for run in experiment.runs:
            reads.add(writer.run(run.name).reads)
        condition = [written(e) for e in self.program.experiments if e.name == condition_name(data)]
        spec = next(d for d in self.program.data if d.name == data)
        declared = written((experiment.name, experiment.inline_answers, values, runs, list(spec.prompts)))
        if reads.world:
            if any(key is None for key in self.models.values()):
                return None
            declared += self.world
        names = written((model, data, executor))
        return digest(own, names, declared, written(table.items), *condition).hex()


def _cell(cell: Cell) -> bytes:
    """What a variable stands for. A number or an index is itself; anything else has its text as well."""
    if cell.at is not None or cell.number is not None:
        return written((cell.at, cell.number))
    return written((cell.text, cell.index, cell.nth, cell.whole))


def _item(item: Item, prompts: Sequence[str], reads: Reads) -> bytes:
    tokens = [(n, item.prompts[n].ids, item.prompts[n].spans) for n in prompts if n in item.prompts]
    answers = [(n, item.answers[n]) for n in sorted(reads.answers) if n in item.answers]
    return written((tokens, answers, item.number if reads.every else None))


def numbers(digests: Sequence[bytes]) -> Keys:
    """Digests as pairs of numbers, [n, 2]."""
    assert all(len(d) == SIZE for d in digests)
    found: Keys = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
    return found
