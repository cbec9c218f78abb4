"""The rank of an answer among all tokens, 1 = best; of a set, the best."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, ids: Any, valid: Any) -> Any:
    """Logits [..., vocab], answer ids [..., n] and which of them count -> [...], ties in favour of the answer."""
    best = logits.gather(-1, ids).masked_fill(~valid, float("-inf")).amax(-1, keepdim=True)
    return 1 + (logits > best).sum(-1).to(logits.dtype)


METRIC = Metric(
    name="rank",
    shape="answer",
    summary="1 + the number of tokens with a higher logit (ties in favour); of a set, the best",
    differentiable=False,
    unit="rank",
    compute=compute,
    example="rank(clean, target)",
)
