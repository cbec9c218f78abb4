"""The k most likely next tokens."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, k: int) -> Any:
    """Logits [..., vocab] -> `token_id`, `logit`, `prob`, each [..., k], best first."""
    best = logits.topk(k, dim=-1)
    return {
        "token_id": best.indices,
        "logit": best.values,
        "prob": (best.values - logits.logsumexp(-1, keepdim=True)).exp(),
    }


METRIC = Metric(
    name="top",
    shape="rows",
    summary="the k most likely tokens with logit and probability",
    differentiable=False,
    unit="tokens",
    compute=compute,
    example="top(clean, k: 5)",
    options=(("k", int),),
)
