"""The wording of what can be wrong with paths (GB270-GB271)."""

from __future__ import annotations

from collections.abc import Sequence

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span

ENDS = "`attn.q_in`, `attn.k_in`, `attn.v_in`, `mlp.in`"


def no_sender(span: Span, site: str, known: Sequence[str]) -> Diagnostic:
    """A path that begins at what nothing adds to the stream."""
    shown = ", ".join(f"`{name}`" for name in known)
    return Diagnostic(
        "GB270",
        f"a path cannot begin at `{site}`",
        span,
        "nothing adds it to the residual stream",
        f"begin at {shown}",
    )


def no_hop(span: Span, site: str) -> Diagnostic:
    """A path that passes something that does not read the stream."""
    return Diagnostic(
        "GB270", f"a path cannot pass `{site}`", span, "it does not read the stream and add to it again",
        f"pass {ENDS}",
    )  # fmt: skip


def no_receiver(span: Span, text: str) -> Diagnostic:
    """A path that ends where nothing reads the stream."""
    return Diagnostic(
        "GB270", f"a path cannot end at `{text}`", span, "nothing reads the residual stream there",
        f"end at {ENDS}, or `resid_post[-1]` for what reaches the logits directly",
    )  # fmt: skip


def not_upstream(span: Span, sender: str, receiver: str) -> Diagnostic:
    """A receiver that the sender cannot reach."""
    return Diagnostic(
        "GB271", f"`{sender}` does not reach `{receiver}`", span,
        "the receiver reads the stream before the sender adds to it", "name a later receiver, or an earlier sender",
    )  # fmt: skip
