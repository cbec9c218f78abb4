"""The log-probability of an answer; of a set, the log of the summed probability."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, ids: Any, valid: Any) -> Any:
    """Logits [..., vocab], answer ids [..., n] and which of them count -> [...] in nats."""
    return combine(logits.log_softmax(-1).gather(-1, ids), None, valid)


def combine(log_probs: Any, greedy: Any, valid: Any) -> Any:
    """Log of the summed probability of the alternatives [..., n]."""
    return log_probs.masked_fill(~valid, float("-inf")).logsumexp(-1)


METRIC = Metric(
    name="logprob",
    shape="answer",
    summary="log-probability of the answer; of a set, the log of the sum",
    unit="nats",
    compute=compute,
    example="logprob(clean, target)",
    several_tokens=True,
    combine=combine,
)
