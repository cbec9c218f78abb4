"""The blocks of a file and the statements that stand in each: what a broken file is cut by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Block:
    """A place where statements stand.

    `rule` is the grammar's for one of them and `keeps` the field of the node that holds them. `forms` has
    the word that a statement starts with, and its form; the empty word is for those that start with any name.
    `inner` names the block that a statement has in its braces.
    """

    called: str
    rule: str
    keeps: str
    forms: Mapping[str, str]
    inner: Mapping[str, str] = field(default_factory=dict)


_SHARED = {
    "let": "let NAME[BINDERS] = VALUE",
    "metric": "metric NAME(RUN) = VALUE",
    "hypothesis": "hypothesis NAME { ... }",
}

BLOCKS = {
    "file": Block(
        "a file",
        "declaration",
        "declarations",
        {
            "import": 'import "FILE.gbx"',
            "model": "model NAME = SOURCE(...)",
            "data": "data NAME { ... }",
            "experiment": 'experiment NAME "TITLE" { ... }',
            "report": 'report NAME "TITLE" { ... }',
            **_SHARED,
        },
        {"data": "data", "experiment": "experiment", "report": "report", "hypothesis": "hypothesis"},
    ),
    "data": Block(
        "a data block",
        "data_item",
        "items",
        {
            "from": 'from "FILE"',
            "rows": "rows [{NAME: VALUE}, ...]",
            "slots": "slots { NAME, NAME from SOURCE }",
            "draw": "draw COUNT, seed: NUMBER",
            "prompt": "prompt NAME = TEMPLATE",
            "answer": "answer NAME = TEMPLATE",
            "feature": "feature NAME[BINDERS] = VALUE",
            "keep": "keep where CLAIM",
        },
        {"slots": "slots"},
    ),
    "slots": Block("slots", "slot_line", "lines", {"": "NAME, NAME from SOURCE"}),
    "experiment": Block(
        "an experiment",
        "exp_item",
        "items",
        {
            "models": "models NAME, NAME",
            "data": "data NAME, NAME",
            "run": "run NAME[BINDERS] = forward(PROMPT) { EDITS }",
            "measure": "measure NAME[BINDERS] = VALUE",
            "record": "record NAME[BINDERS] = VALUE",
            "fit": "fit NAME[BINDERS] = KIND(...)",
            "circuit": "circuit NAME[BINDERS] = KIND(...)",
            "expect": "expect CLAIM",
            **_SHARED,
        },
        {"run": "run", "hypothesis": "hypothesis"},
    ),
    "run": Block(
        "the edits of a run",
        "edit",
        "edits",
        {
            "": "SITE[INDICES] := VALUE",
            "path": "path SITE -> SITE := RUN",
            "keep": "keep CIRCUIT, else RUN",
        },
    ),
    "hypothesis": Block(
        "a hypothesis",
        "node",
        "nodes",
        {"node": "node NAME = SITE -> NODE.PORT agree FEATURE"},
    ),
    "report": Block("a report", "item", "items", {"": "CHART EXPERIMENT.MEASURE { OPTION: VALUE }"}),
}


def where_it_stands(word: str) -> str:
    """The blocks in which a statement starts with a word, empty if there is none."""
    return " or ".join(block.called for block in BLOCKS.values() if word in block.forms)
