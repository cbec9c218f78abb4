"""Whether the answer is the most likely next token; of a set, any of them."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, ids: Any, valid: Any) -> Any:
    """Logits [..., vocab], answer ids [..., n] and which of them count -> [...] of 1 and 0.

    Ties count as in `rank`: in favour of the answer.
    """
    best = logits.amax(-1, keepdim=True)
    return ((logits.gather(-1, ids) == best) & valid).any(-1).to(logits.dtype)


def combine(log_probs: Any, greedy: Any, valid: Any) -> Any:
    """Whether every token of some alternative [..., n] is the most likely one behind those before it."""
    return (greedy & valid).any(-1).to(log_probs.dtype)


METRIC = Metric(
    name="correct",
    shape="answer",
    summary="1 where the answer is the top token (of several tokens: each of them, teacher-forced), else 0",
    differentiable=False,
    unit="0 or 1",
    compute=compute,
    example="correct(clean, target)",
    several_tokens=True,
    combine=combine,
)
