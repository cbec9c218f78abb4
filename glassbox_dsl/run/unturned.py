"""Queries and keys before rotary positions: what attention makes of its input when positions turn nothing.

The attention module is run once more on what enters it, with cosines of 1 and sines of 0, and stopped where it has
made q and k. So what it does before (biases, norms of heads, latent projections) and which part of a head it turns
are the model's own. A factor that some models put on cosines and sines (YaRN) belongs to the turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from glassbox_dsl.run.attention import Tap, stopped_at_attention, stopping, unturned_call


def seen_unturned(module: nn.Module, tap: Tap) -> Callable[..., Any]:
    """The forward of an attention module that first shows a tap what it makes before positions are put on."""
    forward = module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        if not stopping():
            still, more = unturned_call(args, {**kwargs, "past_key_values": None})
            if "past_key_values" not in kwargs:
                del more["past_key_values"]
            made = stopped_at_attention(lambda: forward(*still, **more))
            query, key, _ = made if tap.own is None else tap.own.unturned(made)
            tap("attn.q_pre", query)
            tap("attn.k_pre", key)
        return forward(*args, **kwargs)

    return run
