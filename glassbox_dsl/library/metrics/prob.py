"""The probability of an answer; of a set, the sum."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, ids: Any, valid: Any) -> Any:
    """Logits [..., vocab], answer ids [..., n] and which of them count -> [...] in 0..1."""
    return combine(logits.log_softmax(-1).gather(-1, ids), None, valid)


def combine(log_probs: Any, greedy: Any, valid: Any) -> Any:
    """Summed probability of the alternatives [..., n]."""
    return (log_probs.exp() * valid).sum(-1)


METRIC = Metric(
    name="prob",
    shape="answer",
    summary="probability of the answer; of a set, the sum",
    unit="probability",
    compute=compute,
    example="prob(clean, target)",
    several_tokens=True,
    combine=combine,
)
