"""Declarations as bytes: equal bytes mean the same computation, whatever the declaration is called or where it stands.

Names of runs, lets and measures are replaced by what they declare, at any depth; places and texts in the file do not
count. What a declaration reads of the data set is collected on the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.language import program as p
from glassbox_dsl.language import technique_nodes as techniques
from glassbox_dsl.language.dictionary_files import WEIGHTS
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.plan.whole_uses import uses
from glassbox_dsl.source import Span
from glassbox_dsl.syntax.nodes import Frozen
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.plain import Plain

SIZE = 16
"""Bytes of a digest."""

ITEMWISE = (
    *(p.Index, p.Variable, p.Member, p.Dimension, p.Constant, p.VariableValue, p.RunUse, p.SiteRead, p.AnswerUse),
    *(p.TokenAt, p.MetricCall, p.Operation, p.Unembed, p.Direction, p.Load, p.OwnValue, p.Reference, p.Edit),
    *(p.Run, p.RunVariant, p.Value, p.ValueVariant, Tap, techniques.Attribution, techniques.FitUse),
    *(techniques.FitValue, techniques.Grad, techniques.GeneratedText),
    *(techniques.CodeRead, techniques.CodeChange, techniques.Change),
)  # fmt: skip
"""Nodes whose value for an item depends on nothing but that item; `Writer` looks at the others one by one."""

SHOWN = {"span", "text", "title", "when", "nth"}
"""Fields that say how a declaration is written, not what it computes."""


def digest(*parts: bytes) -> bytes:
    """The digest of some parts, each told apart from its neighbours."""
    whole = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
    return whole.digest()


@dataclass
class Reads:
    """What a declaration reads of the data: prompts and answers by name; `every` item, not only its own.

    `world`: something of another model or data set, or something of which that is not known.
    """

    prompts: set[str] = field(default_factory=set)
    answers: set[str] = field(default_factory=set)
    every: bool = False
    world: bool = False

    def add(self, other: Reads) -> None:
        """Read what another declaration reads too."""
        self.prompts |= other.prompts
        self.answers |= other.answers
        self.every |= other.every
        self.world |= other.world


@dataclass(frozen=True)
class Content:
    """What a declaration comes to."""

    key: bytes
    reads: Reads


@dataclass
class Writer:
    """Writes the declarations of one experiment; `experiments` are all of the program, by name.

    `at_own_cells`: uses of runs (their ids) of which no more is written than the cells that they name.
    """

    experiment: p.Experiment
    experiments: dict[str, p.Experiment]
    known: dict[object, Content] = field(default_factory=dict)
    at_own_cells: set[int] = field(default_factory=set)

    def run(self, name: str) -> Content:
        """A run with all its cells."""
        return self._once(("run", name), lambda reads: self._run(self.experiment.run(name), reads))

    def variant(self, run: p.Run, number: int) -> Content:
        """One variant of a run, whatever its cells are."""

        def written(reads: Reads) -> bytes:
            variant = run.variants[number]
            self._elsewhere(run, reads)
            reads.prompts.add(variant.prompt)
            return self.write((variant.prompt, variant.edits, run.model, run.data), reads)

        return self._once(("variant", run.name, number), written)

    def fit(self, name: str) -> Content:
        """A fit with all its cells; it is made from every item."""

        def written(reads: Reads) -> bytes:
            fit = self.experiment.fit(name)
            reads.every = True
            reads.world |= fit.data is not None
            variants = [
                (v.when, self.write(tuple(v.__dict__[f] for f in v._fields if f not in SHOWN), reads))
                for v in fit.variants
            ]
            return self.write((fit.dimensions, fit.examples, fit.gives, variants), reads)

        return self._once(("fit", name), written)

    def node(self, node: Frozen) -> Content:
        """A tap or an edit."""
        return self._once(node, lambda reads: self.write(node, reads))

    def value(self, value: p.Value, home: p.Experiment | None = None) -> Content:
        """A let, measure, record or claim with all its cells; `home`: the experiment that has it, if another one."""
        home = home or self.experiment
        writer = self if home is self.experiment else Writer(home, self.experiments)
        return self._once(("value", home.name, value.kind, value.name), partial(writer._whole, value))

    def body(self, value: p.Value) -> Content:
        """A value, whatever its cells are, and those of the runs that it reads at its own cells."""
        parts = (v.value for v in value.variants)
        own = {id(use) for part in parts for use, direct in uses(part, self.experiment, ()) if direct}

        def written(reads: Reads) -> bytes:
            axes = _axes(value.dimensions)
            return self.write(
                (value.kind, value.ratio, value.table, axes, self._readings(value, reads)), reads
            )

        self.at_own_cells = own
        try:
            return self._once(("body", value.kind, value.name), written)
        finally:
            self.at_own_cells = set()

    def cell(self, name: str) -> Content:
        """A run in one of its cells, whatever other cells it has."""
        return self._once(("cell", name), lambda reads: self._run(self.experiment.run(name), reads, _axes))

    def _whole(self, value: p.Value, reads: Reads) -> bytes:
        readings = self._readings(value, reads)
        return self.write((value.kind, value.dimensions, value.ratio, value.table, readings), reads)

    def _readings(self, value: p.Value, reads: Reads) -> list[tuple[Any, bytes]]:
        return [(v.when, self.write(v.value, reads)) for v in value.variants]

    def _run(self, run: p.Run, reads: Reads, about: Callable[[Any], Any] = tuple) -> bytes:
        variants = []
        for number, variant in enumerate(run.variants):
            content = self.variant(run, number)
            reads.add(content.reads)
            variants.append((variant.when, content.key))
        return self.write((about(run.dimensions), variants), reads)

    def _once(self, key: object, write: Callable[[Reads], bytes]) -> Content:
        if key not in self.known:
            reads = Reads()
            written = write(reads)
            self.known[key] = Content(digest(written), reads)
        return self.known[key]

    @staticmethod
    def _elsewhere(run: p.Run, reads: Reads) -> None:
        if run.model is not None or run.data is not None:
            reads.world = True

    # ------------------------------------------------------------ nodes

    def write(self, value: Any, reads: Reads) -> bytes:
        """A value of any kind that stands in a declaration."""
        if isinstance(value, Frozen):
            return self._node(value, reads)
        return plain(value, lambda inner: self.write(inner, reads))

    def _node(self, node: Frozen, reads: Reads) -> bytes:
        self._note(node, reads)
        match node:
            case p.RunUse():
                content = self.cell(node.run) if id(node) in self.at_own_cells else self.run(node.run)
                reads.add(content.reads)
                return b"run" + content.key + self.write(node.where, reads)
            case p.Reference() | SetReference():
                home = self.experiments[node.experiment]
                content = self.value(home.value(node.kind, node.name), home)
                reads.add(content.reads)
                return b"value" + content.key + self.write((node.where, node.dims, node.feature), reads)
            case techniques.GeneratedText():
                run = self.experiment.run(node.run.run)
                behind = [(v.when, v.generation, v.generated) for v in run.variants]
                return b"text" + self.write((node.run, behind), reads)
            case techniques.Expansion():
                content = self.run(node.run)
                reads.add(content.reads)
                rest = (node.base, node.where, node.sources, node.along, node.steps)
                return b"expansion" + content.key + self.write(rest, reads)
            case techniques.FitUse():
                content = self.fit(node.fit)
                reads.add(content.reads)
                return b"fit" + content.key + self.write((node.where, node.rank), reads)
            case techniques.CodeRead() | techniques.CodeChange():
                about = self.experiment.dictionary(node.dictionary)
                own = {n: node.__dict__[n] for n in node._fields if n not in (*SHOWN, "dictionary")}
                made = [about.__dict__[n] for n in about._fields if n not in (*SHOWN, "name", "path")]
                return b"code" + _file(f"{about.path}/{WEIGHTS}") + self.write((made, own), reads)
            case p.Load():
                return b"load" + _file(node.path) + self.write((node.key, node.dims, node.feature), reads)
        return fields(node, lambda inner: self.write(inner, reads))

    def _note(self, node: Frozen, reads: Reads) -> None:
        match node:
            case p.Reduce() | p.OverDimension():
                reads.world |= bool(node.contexts)
                reads.every |= getattr(node, "within", None) is not None
                reads.every |= any(v.axis == ITEM for d in node.over for v in d.variables)
            case p.Resample() | p.Noise() | p.Scrubbed() | techniques.Auroc():
                reads.every = True
            case p.VariableValue(variable=name) | p.Swept(variable=name):
                reads.every |= name == ITEM
            case p.InContext():
                reads.every |= node.item is not None
                reads.world |= node.model is not None or node.data is not None
            case p.AnswerUse(name=name):
                reads.answers.add(name)
            case p.TokenAt(prompt=prompt):
                reads.prompts.add(prompt)
            case Tap():
                reads.answers |= {node.answer} - {None}  # type: ignore[arg-type]
            case techniques.Expansion():
                reads.every = True  # the items of a batch move together
            case _ if not isinstance(node, ITEMWISE):
                reads.world = True


def _axes(dimensions: Iterable[p.Dimension]) -> list[tuple[str, str | None]]:
    """What sweeps are called and what they are over, but not from where to where."""
    return [(v.name, v.axis) for d in dimensions for v in d.variables]


def fields(node: Frozen, write: Callable[[Any], bytes]) -> bytes:
    """The kind of a node and its fields, without those that only show how it was written."""
    parts = [type(node).__name__.encode()]
    hidden = SHOWN - {"text"} if isinstance(node, p.Member | p.ByValue) else SHOWN
    for name in node._fields:
        if name not in hidden:
            parts.append(write(node.__dict__[name]))
    return b"<" + b",".join(parts) + b">"


def plain(value: Any, write: Callable[[Any], bytes]) -> bytes:
    """Anything but a node; `write` is for what stands inside. What it does not know, it refuses."""
    match value:
        case None | bool() | int() | float() | str() | bytes():
            text = value if isinstance(value, bytes) else repr(value).encode("utf-8", "backslashreplace")
            return type(value).__name__.encode() + str(len(text)).encode() + b":" + text
        case tuple() | list():
            return b"(" + b",".join(map(write, value)) + b")"
        case dict():
            pairs = (write(key) + b"=" + write(entry) for key, entry in value.items())
            return b"{" + b",".join(sorted(pairs)) + b"}"
        case set() | frozenset():
            return b"{" + b",".join(sorted(map(write, value))) + b"}"
        case Span():
            return b"."
        case Path():
            return write(str(value))
        case Plain():
            inner = {n: value.__dict__[n] for n in value._fields if n != "span"}
            return type(value).__name__.encode() + write(inner)
    raise InternalError(f"a {type(value).__name__} has no canonical form")


def written(value: Any) -> bytes:
    """Anything by itself: its names stand for themselves."""
    return fields(value, written) if isinstance(value, Frozen) else plain(value, written)


def _file(path: str) -> bytes:
    """The content of a file; a missing one is its name (reading it will say so)."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return path.encode()


def joined(keys: Iterable[bytes]) -> bytes:
    """The digest of a sequence of keys."""
    return digest(*keys)
