"""Runs the text of a small .gbx file through the stages and hands out its numbers, cell by cell."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.file import has_errors, read_program
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.program import resolve_facts, resolve_items
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.run import session as sessions
from glassbox_dsl.run.tiny import tiny_model
from tests.semantics.reference import reference_of
from tests.semantics.texts import Speaker

torch.set_num_threads(1)  # the models are tiny: threads only wait for each other
FAMILIES = ("llama", "gemma3_text", "gpt2")
TECHNIQUES = (*FAMILIES, "gpt_neox", "mixtral")
"""The families that every technique is tried on: a parallel block and a mixture of experts with them."""
LAYERS = {"llama": 3, "gemma3_text": 3, "gpt2": 2, "gpt_neox": 3, "mixtral": 3}
WORDS = (
    *("Anna", "Bob", "Carla", "Dan", "Eve", "store", "park", "school", "drink", "ball", "book", "cat", "dog"),
    *("red", "blue", "green", "the", "a", "to", "gave", "went", "and", "When", "said"),
)


@dataclass
class Found:
    """What a file gave. `values[measure]`: {(model, item, variables...): number}; no `item` where there is none.

    `columns[measure, variable]`: {the same key: (what is stored of the variable, its label)}.
    """

    values: dict = field(default_factory=dict)
    parts: dict = field(default_factory=dict)
    tops: dict = field(default_factory=dict)
    columns: dict = field(default_factory=dict)
    said: dict = field(default_factory=dict)
    records: dict = field(default_factory=dict)
    claims: list = field(default_factory=list)
    receipts: dict = field(default_factory=dict)
    diagnostics: list = field(default_factory=list)
    tables: dict = field(default_factory=dict)
    datas: dict = field(default_factory=dict)

    def codes(self) -> list[str]:
        return [d.code for d in self.diagnostics]


class Family:
    """A tiny checkpoint: its folder, its reference, its tokenizer."""

    written_out = True
    """Whether the computation of the family is written out in the reference."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.known = {}
        bos = name == "gemma3_text"
        tokenizer = train(bos)
        folder.mkdir()
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(
            json.dumps(
                {"tokenizer_class": "PreTrainedTokenizerFast", **({"bos_token": "<bos>"} if bos else {})}
            )
        )
        config = tiny_config(family(name), LAYERS[name], tokenizer.get_vocab_size() + 3)
        tiny_model(config, seed=3).save_pretrained(folder)
        plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        self.plain = plain.eval()
        self.reference = reference_of(self.plain) if self.written_out else None
        self.speak = Speaker(Tokenizer.from_file(str(folder / "tokenizer.json")))

    def run(self, ids, *edits):
        """The reference's sites; unedited passes are kept, because many tests ask for the same ones."""
        if edits:
            return self.reference.run(ids, *edits)
        if tuple(ids) not in self.known:
            self.known[tuple(ids)] = self.reference.run(ids)
        return self.known[tuple(ids)]


def train(bos: bool) -> Tokenizer:
    """Byte-level BPE that knows `WORDS` as one token each; other words are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<bos>"] if bos else ["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS), " " + " ".join(reversed(WORDS))] * 20, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))]
        )
    return tokenizer


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: Family(name, root / name) for name in TECHNIQUES}


def pytest_generate_tests(metafunc):
    """A module says with TRIED_ON which families its tests with `fam` run on."""
    if "fam" in metafunc.fixturenames:
        metafunc.parametrize("fam", getattr(metafunc.module, "TRIED_ON", FAMILIES), indirect=True)


@pytest.fixture
def fam(request, checkpoints):
    return checkpoints[request.param]


@pytest.fixture
def llama(checkpoints):
    return checkpoints["llama"]


@pytest.fixture
def gbx(tmp_path, checkpoints, monkeypatch):
    """Run a text: `gbx(text, llama)` declares the models; each goes by its family's name."""
    monkeypatch.setattr(sessions, "verified", lambda *_: ())

    def run(text: str, *used: Family) -> Found:
        declared = "".join(f'model {f.name} = local("{f.folder}")\n' for f in used)
        path = tmp_path / "test.gbx"
        path.write_text(f"gbx 1\n{declared}{text}")
        return outcome(path)

    return run


def outcome(path: Path) -> Found:
    program, diagnostics = read_program(path)
    if program is None:
        raise Findings(diagnostics)
    resolved = resolve_facts(program)
    if has_errors(resolved.diagnostics):
        raise Findings(resolved.diagnostics)
    tables = resolve_items(resolved, files=resolved.files)
    if has_errors(tables.diagnostics):
        raise Findings(tables.diagnostics)
    session = sessions.Session(program, resolved.facts, resolved.files, dict(tables.tables), Silent())
    # A patched class does not change what its dataclass was made with.
    session.executor = sessions.Session.executor
    found = Found(diagnostics=[*diagnostics, *resolved.diagnostics, *tables.diagnostics])
    for results in session.results():
        collect(found, results)
    found.diagnostics += session.problems
    found.tables = session.tables
    return found


def collect(found: Found, results) -> None:
    for m in results.measured:
        keys = keys_of(m)
        into = found.values.setdefault(m.value.name, {})
        for c in m.columns:
            labels = [None] * len(keys) if c.labels is None else c.labels.tolist()
            beside = found.columns.setdefault((m.value.name, c.name), {})
            beside.update(zip(keys, zip(c.values.tolist(), labels, strict=True), strict=True))
        if m.generated is not None:
            found.said.setdefault(m.value.name, {}).update(zip(keys, m.generated, strict=True))
            continue
        if m.top is not None:
            rows = found.tops.setdefault(m.value.name, {})
            for key, rank, token, logit, prob in zip(
                keys, *(m.top[c].tolist() for c in ("rank", "token_id", "logit", "prob")), strict=True
            ):
                rows[(*key, rank)] = (token, logit, prob)
            continue
        assert len(set(keys)) == len(keys), f"{m.value.name}: a cell stands twice"
        into.update(zip(keys, m.numbers.tolist(), strict=True))
        found.datas.setdefault((m.value.name, m.data), {}).update(zip(keys, m.numbers.tolist(), strict=True))
        if m.num is not None:
            found.parts.setdefault(m.value.name, {}).update(
                zip(keys, zip(m.num.tolist(), m.den.tolist(), strict=True), strict=True)
            )
    for r in results.recorded:
        found.records.setdefault(r.value.name, {})[(r.model, *(() if r.item is None else (r.item,)))] = r
    found.claims += results.claimed
    for run, receipt, rows in results.receipts:
        found.receipts.setdefault(run, []).append((receipt, rows))
    found.diagnostics += results.diagnostics


def keys_of(m) -> list[tuple]:
    columns = [] if m.item is None else [m.item.tolist()]
    for c in m.columns:
        if c.name == "split":  # says which items count, and is the same in every row
            continue
        values = c.values.tolist()
        columns.append([cell(c, v, i) for i, v in enumerate(values)])
    return (
        [(m.model, *row) for row in zip(*columns, strict=True)] if columns else [(m.model,)] * len(m.numbers)
    )


def cell(column, value, place):
    """A named position by its name, anything else by its value."""
    return column.labels[place] if column.labels is not None and column.named else value
