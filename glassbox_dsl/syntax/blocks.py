"""The blocks of a file and the words that their statements start with: what a broken file is cut by."""

from __future__ import annotations

from typing import NamedTuple


class Block(NamedTuple):
    """A place where statements stand: the grammar rule of one, the words that start one, and what inner blocks there are.

    `heads` is empty where any name starts a statement. `field` is where the node keeps the statements.
    """

    called: str
    rule: str
    heads: frozenset[str]
    field: str
    inner: dict[str, str]


BLOCKS = {
    "file": Block(
        "a file",
        "declaration",
        frozenset({"import", "model", "data", "metric", "let", "experiment", "hypothesis", "report"}),
        "declarations",
        {word: word for word in ("data", "experiment", "hypothesis", "report")},
    ),
    "data": Block(
        "a data block",
        "data_item",
        frozenset({"from", "rows", "slots", "draw", "prompt", "answer", "feature", "keep"}),
        "items",
        {"slots": "slots"},
    ),
    "slots": Block("slots", "slot_line", frozenset(), "lines", {}),
    "experiment": Block(
        "an experiment",
        "exp_item",
        frozenset(
            {"models", "data", "run", "measure", "record", "let", "metric", "fit", "circuit", "expect", "hypothesis"}
        ),
        "items",
        {"run": "run", "hypothesis": "hypothesis"},
    ),
    "run": Block("the edits of a run", "edit", frozenset({"path", "keep"}), "edits", {}),
    "hypothesis": Block("a hypothesis", "node", frozenset({"node"}), "nodes", {}),
    "report": Block("a report", "item", frozenset(), "items", {}),
}


def where_it_stands(word: str) -> str:
    """The block whose statements start with a word, empty if there is none."""
    homes = [block.called for block in BLOCKS.values() if word in block.heads]
    return " or ".join(homes)
