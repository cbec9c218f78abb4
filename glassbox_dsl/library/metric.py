"""What a metric file says of itself, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from glassbox_dsl.library.discovery import entries

Shape = Literal["answer", "distribution", "pair", "sequence", "pattern", "rows"]


@dataclass(frozen=True)
class Metric:
    """A number read off a run.

    `shape` says what `compute` takes (all float32, natural logarithms):
    - answer: (logits [..., vocab], ids [..., n], valid [..., n]) -> [...]; ids are the single tokens of a set
    - distribution: (logits [..., vocab]) -> [...]
    - pair: (logits [..., vocab], logits [..., vocab]) -> [...]
    - sequence: (logits [batch, pos, vocab], ids [batch, pos]) -> [batch, pos]; the last position is NaN
    - pattern: (pattern [batch, head, query, key], ids [batch, pos], reach, kind) -> [batch, head]
    - rows: (logits [..., vocab], k) -> dict of [..., k]
    `several_tokens`: an answer of several tokens may be scored, teacher-forced behind the prompt; `combine` then
    joins the alternatives of a set from (log-probabilities [..., n], all tokens greedy [..., n], valid [..., n]).
    `few_tokens`: only the logits of the scored tokens matter, so that no others need be made.
    `differentiable`: it changes smoothly with the logits, so that it has a gradient.
    `options` names the keyword arguments besides `at:` with the words or type each takes.
    """

    name: str
    shape: Shape
    summary: str
    unit: str
    compute: Callable[..., Any]
    example: str
    source: str = ""
    several_tokens: bool = False
    combine: Callable[..., Any] | None = None
    few_tokens: bool = False
    differentiable: bool = True
    options: tuple[tuple[str, tuple[str, ...] | type], ...] = ()


@cache
def metrics() -> dict[str, Metric]:
    """All metrics by name."""
    return entries("metrics", "METRIC")
