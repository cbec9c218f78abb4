"""One attention function for every family: the arithmetic of `eager`, open at q, k, v, scores, pattern and z.

It is registered under `ATTENTION` together with the float mask of `eager`: without that mask transformers
would call it with none, and every token would see the whole prompt. Operations and their order are those of
`eager_attention_forward`, so a pass that edits nothing is bitwise the eager model's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.run import model_errors as errors
from glassbox_dsl.run.modules import where_changed

ATTENTION: Final = "glassbox"


Made = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Queries, keys and values as attention is given them, [batch, head or kv_head, pos, d_head]."""


class OwnHeads(Protocol):
    """Queries, keys and values of heads that read something of their own: see `head_copies`."""

    def shared(self, made: Made) -> Made:
        """Before the sites are visited."""

    def unturned(self, made: Made) -> Made:
        """The same before rotary positions."""

    def widened(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Behind the visits, where heads share keys and values."""


@dataclass(frozen=True)
class Tap:
    """What one layer's attention shows: `visit` gets a wanted site's value and returns the next."""

    layer: int
    wanted: frozenset[str]
    visit: Callable[[str, torch.Tensor], torch.Tensor]
    own: OwnHeads | None = None

    def __call__(self, site: str, value: torch.Tensor) -> torch.Tensor:
        """The value that the pass goes on with."""
        return self.visit(site, value) if site in self.wanted else value


@dataclass(frozen=True)
class Inputs:
    """What one call of the attention function is given: [batch, head, pos, d_head]; `mask` is added to scores.

    `sinks` [head] are scores of a key that holds nothing, where a model has one for each head.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    scaling: float
    softcap: float | None
    sinks: torch.Tensor | None = None

    def turned(self, scores: torch.Tensor) -> torch.Tensor:
        """Products of queries and keys, scaled and capped; they are scaled in place, as they may be large."""
        scores = scores.mul_(self.scaling)
        return scores if self.softcap is None else torch.tanh(scores / self.softcap) * self.softcap


Mix = Callable[[Tap, Inputs], torch.Tensor]
"""Scores, softmax and mixing of values: the site `attn.z` [batch, head, pos, d_head], before it is visited."""

_NOTHING: Final = Tap(layer=-1, wanted=frozenset(), visit=lambda _, value: value)
_taps: ContextVar[Mapping[nn.Module, Tap] | None] = ContextVar("attention_taps", default=None)
_mix: ContextVar[Mix | None] = ContextVar("attention_mix", default=None)
_stopping: ContextVar[bool] = ContextVar("attention_stopping", default=False)


@contextmanager
def tapped(taps: Mapping[nn.Module, Tap]) -> Iterator[None]:
    """Let `taps[module]` see and change the insides of that attention module's calls."""
    token = _taps.set(taps)
    try:
        yield
    finally:
        _taps.reset(token)


@contextmanager
def mixed_by(mix: Mix) -> Iterator[None]:
    """Let another function than `eager`'s arithmetic turn queries, keys and values into z."""
    token = _mix.set(mix)
    try:
        yield
    finally:
        _mix.reset(token)


class _Stopped(Exception):
    """Carries queries, keys and values out of a call that is not to go on."""

    def __init__(self, made: Made) -> None:
        super().__init__()
        self.made = made


def stopped_at_attention(call: Callable[[], object]) -> Made:
    """The queries, keys and values that a call of a layer makes; it goes no further, and no hook of ours runs."""
    token = _stopping.set(True)
    try:
        call()
    except _Stopped as stopped:
        return stopped.made
    finally:
        _stopping.reset(token)
    raise InternalError("a layer was called and did not come to its attention")


def stopping() -> bool:
    """Whether a layer is called only for its queries, keys and values: then sites are not visited."""
    return _stopping.get()


def unturned_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a layer or its attention with rotary positions that turn nothing: cosines of 1, sines of 0."""
    turns = kwargs.get("position_embeddings")
    if turns is None:
        return args, kwargs
    if isinstance(turns, torch.Tensor):  # complex numbers of length 1 (DeepSeek-V2)
        return args, {**kwargs, "position_embeddings": torch.ones_like(turns)}
    cosines, sines = turns
    still = torch.ones_like(cosines), torch.zeros_like(sines)
    return args, {**kwargs, "position_embeddings": still}


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of query [batch, head, pos, d_head] to key and value [batch, kv_head, pos, d_head].

    `attention_mask` is 0 where a key is visible and the dtype's least number elsewhere. Returns
    [batch, pos, head, d_head] and the pattern [batch, head, query, key].
    """
    if _stopping.get():
        raise _Stopped((query, key, value))
    tap = (_taps.get() or {}).get(module, _NOTHING)
    if tap.own is not None:
        query, key, value = tap.own.shared((query, key, value))
    query, key, value = tap("attn.q", query), tap("attn.k", key), tap("attn.v", value)
    if tap.own is not None:
        key, value = tap.own.widened(key, value)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    inputs = Inputs(query, key, value, attention_mask, scale, softcap, s_aux)
    mix = _mix.get()
    if mix is not None:
        return tap("attn.z", mix(tap, inputs)).transpose(1, 2), torch.empty(0)
    pattern = _pattern(tap, inputs)
    mixed = nn.functional.dropout(pattern, p=dropout, training=module.training)
    group = query.shape[1] // key.shape[1]
    z = torch.matmul(mixed, repeat_heads(value, group)).transpose(1, 2).contiguous()
    return tap("attn.z", z.transpose(1, 2)).transpose(1, 2), pattern


def _pattern(tap: Tap, inputs: Inputs) -> torch.Tensor:
    """The pattern [batch, head, query, key], as `eager` computes it."""
    group = inputs.query.shape[1] // inputs.key.shape[1]
    scores = inputs.turned(torch.matmul(inputs.query, repeat_heads(inputs.key, group).transpose(2, 3)))
    if inputs.mask is not None:
        scores = scores + inputs.mask
    if "attn.scores" in tap.wanted:
        scores = visit_scores(tap, scores, inputs.mask)
    sinks = None if inputs.sinks is None else inputs.sinks.view(1, -1, 1, 1)
    return tap("attn.pattern", softmax(scores, inputs.query.dtype, sinks))


def softmax(scores: torch.Tensor, dtype: torch.dtype, sinks: torch.Tensor | None = None) -> torch.Tensor:
    """As `eager` does: in float32, then in the dtype of the queries.

    With `sinks`, of one width where scores have keys, one more key takes its share of each row and is dropped
    (gpt-oss, in the dtype of the scores).
    """
    if sinks is None:
        return nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(dtype)
    every = torch.cat([scores, sinks.expand(*scores.shape[:-1], 1)], dim=-1)
    every = every - every.max(dim=-1, keepdim=True).values
    shares = nn.functional.softmax(every, dim=-1, dtype=every.dtype)
    return shares[..., :-1].to(dtype)


def repeat_heads(heads: torch.Tensor, group: int) -> torch.Tensor:
    """[batch, kv_head, pos, d_head] to [batch, head, pos, d_head]: head h uses kv head h // group."""
    if group == 1:
        return heads
    batch, n_kv, length, width = heads.shape
    return (
        heads[:, :, None]
        .expand(batch, n_kv, group, length, width)
        .reshape(batch, n_kv * group, length, width)
    )


def visit_scores(tap: Tap, scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Show masked cells as -inf. Cells that come back as shown keep the bits of eager's own arithmetic."""
    shown = scores
    if mask is not None:
        shown = scores.masked_fill(mask <= torch.finfo(mask.dtype).min, -torch.inf)
    edited = tap("attn.scores", shown)
    if edited is shown:
        return scores
    dead = torch.isneginf(edited).all(-1)
    if dead.any():
        item, head, query = dead.nonzero()[0].tolist()
        raise Findings([errors.no_key_left(tap.layer, item, head, query)])
    return where_changed(edited == shown, scores, edited)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, eager_mask)
