"""The logit of an answer; the mean over a set of answers."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, ids: Any, valid: Any) -> Any:
    """Logits [..., vocab], answer ids [..., n] and which of them count -> [...]."""
    chosen = logits.gather(-1, ids)
    return (chosen * valid).sum(-1) / valid.sum(-1)


METRIC = Metric(
    name="logit",
    shape="answer",
    summary="logit of the answer as the model returns it (softcap and scale included); of a set, the mean",
    unit="logits",
    compute=compute,
    example="logit(clean, target)",
    few_tokens=True,
)
