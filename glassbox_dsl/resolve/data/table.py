"""The resolved data set: what an experiment asks of it, and its items as token ids of one model."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.syntax.nodes import Expr
from glassbox_dsl.vocabulary.plain import Plain


class DataNeeds(Plain):
    """What the file's experiments ask of a data set, so that only what they need can refuse an item.

    `one_token`: answers that must be one token. `aligned`: pairs of prompts that are compared position by
    position. `answers_after`: (answer, prompt) pairs where the answer follows the prompt. `prompts`: those in
    use, empty for all. `extra_answers`: answers written in place in a metric, under made-up names. `behind`: prompts
    that runs generate text from, and how many tokens at most.
    """

    one_token: frozenset[str] = frozenset()
    aligned: frozenset[tuple[str, str]] = frozenset()
    answers_after: frozenset[tuple[str, str]] = frozenset()
    prompts: frozenset[str] = frozenset()
    extra_answers: tuple[tuple[str, Expr], ...] = ()
    behind: tuple[tuple[str, int], ...] = ()


class PromptTokens(Plain):
    """One prompt of one item. `spans`: tokens [start, end) of each label; start == end if it is empty."""

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    spans: dict[str, tuple[int, int]]


class AnswerTokens(Plain):
    """Token ids of each alternative behind the prompt, no two the same; empty if it cannot follow."""

    alternatives: tuple[tuple[int, ...], ...]
    texts: tuple[str, ...]


class Item(Plain):
    """One row. A feature over positions is a tuple, one value (or None) for each token of its prompt."""

    number: int
    variables: dict[str, Any]
    template: int
    features: dict[str, Any]
    prompts: dict[str, PromptTokens]
    answers: dict[str, AnswerTokens]
    kept: bool = True
    dropped_by: str | None = None


class DataTable(Plain):
    """A data set for one model. `problem`: why this model cannot use it, while others may."""

    name: str
    model: str
    items: tuple[Item, ...]
    n_drawn: int
    n_tried: int
    n_kept: int
    warnings: tuple[Diagnostic, ...] = ()
    problem: Diagnostic | None = None
