"""KL(p || q) between two next-token distributions, summed over the vocabulary."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(p: Any, q: Any) -> Any:
    """Logits p and q [..., vocab] -> [...] in nats; 0 * log 0 is 0."""
    log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).nan_to_num(0.0).sum(-1)


METRIC = Metric(
    name="kl",
    shape="pair",
    summary="KL(p || q) = sum p (log p - log q), summed (not averaged) over the vocabulary",
    unit="nats",
    compute=compute,
    example="kl(clean, corrupt)",
)
