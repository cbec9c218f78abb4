"""Next-token cross-entropy."""

from __future__ import annotations

from typing import Any

from glassbox_dsl.library.metric import Metric


def compute(logits: Any, ids: Any) -> Any:
    """Logits [batch, pos, vocab] and token ids [batch, pos] -> loss of token pos + 1 [batch, pos]; NaN at the end."""
    scored = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    out = scored.new_full(ids.shape, float("nan"))
    out[:, :-1] = -scored
    return out


METRIC = Metric(
    name="loss",
    shape="sequence",
    summary="cross-entropy of the next token: mean over the prompt, or that of token pos + 1 with `at: pos`",
    unit="nats",
    compute=compute,
    example="loss(clean)",
)
