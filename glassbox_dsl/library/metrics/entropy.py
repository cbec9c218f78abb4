"""The entropy of the next-token distribution."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any) -> Any:
    """Logits [..., vocab] -> [...] in nats."""
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs).nan_to_num(0.0).sum(-1)


METRIC = Metric(
    name="entropy",
    shape="distribution",
    summary="-sum p log p of the next-token distribution",
    unit="nats",
    compute=compute,
    example="entropy(clean)",
)
