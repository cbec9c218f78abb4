"""Attention that is a model's own code, opened where it calls torch: two products with a softmax between them.

Families older than the attention interface of transformers compute scores, softmax and mixture themselves. While such
a module runs, a function mode watches its calls: the first product of two activations takes queries and keys, the
softmax takes the scores, the next product mixes the values. Shapes differ ([batch * head, ...] or [batch, head, ...]).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from glassbox_dsl.run.attention import Tap, visit_scores

PRODUCTS: Final = frozenset(
    {torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__, torch.baddbmm, Tensor.baddbmm}
)
SOFTMAXES: Final = frozenset({torch.softmax, nn.functional.softmax, Tensor.softmax})
ADDED: Final = frozenset({torch.baddbmm, Tensor.baddbmm})


HIDDEN: Final = torch.finfo(torch.float16).min / 32
"""No score of a key that is seen is as small: the least number of any dtype over the root of a head's width."""


class OwnAttention(TorchFunctionMode):
    """One call of an attention module of `n_heads` heads on a batch; `n_kv` of them have keys of their own."""

    def __init__(self, tap: Tap, n_heads: int, n_kv: int) -> None:
        super().__init__()
        self.tap, self.n_heads, self.n_kv = tap, n_heads, n_kv
        self.scored = self.mixed = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch, and show what goes into and comes out of the three that matter."""
        kwargs = kwargs or {}
        if func in SOFTMAXES and not self.scored:
            self.scored = True
            return func(self._scores(args[0]), *args[1:], **kwargs)
        if func not in PRODUCTS or self.mixed or (len(args) > 1 and args[1].ndim == 2):
            return func(*args, **kwargs)  # a product with a matrix of weights is a projection
        if self.scored:
            self.mixed = True
            pattern = self._shown("attn.pattern", args[0])
            return self._shown("attn.z", func(pattern, self._shown("attn.v", args[1]), *args[2:], **kwargs))
        if func in ADDED:  # product of batch1 and batch2, added to the first argument
            names = ("batch1", "batch2")
            taken = dict(zip(names, args[1:], strict=False)) | kwargs
            query, key = self._query_key(taken["batch1"], taken["batch2"])
            return func(args[0], **{**taken, "batch1": query, "batch2": key})
        return func(*self._query_key(args[0], args[1]), **kwargs)

    def _query_key(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        # Where these families have rotary positions, the sites before them are absent: elsewhere they are the same.
        query, flipped = self._shown("attn.q_pre", query), self._shown("attn.k_pre", key.transpose(-1, -2))
        query, flipped = self._shown("attn.q", query), self._shown("attn.k", flipped)
        return query, flipped.transpose(-1, -2)

    def _shown(self, site: str, value: Tensor) -> Tensor:
        """A value after its visit in the layout [batch, head, ...], keys and values one for each head of theirs."""
        if site not in self.tap.wanted:
            return value
        laid_out = value if value.ndim == 4 else value.view(-1, self.n_heads, *value.shape[1:])
        group = laid_out.shape[1] // self.n_kv if site in ("attn.k", "attn.k_pre", "attn.v") else 1
        shown = laid_out[:, ::group] if group > 1 else laid_out
        after = self.tap(site, shown)
        if after is shown:
            return value
        if group > 1:
            after = after.repeat_interleave(group, dim=1)
        return after.reshape(value.shape)

    def _scores(self, scores: Tensor) -> Tensor:
        if "attn.scores" not in self.tap.wanted:
            return scores
        laid_out = scores if scores.ndim == 4 else scores.view(-1, self.n_heads, *scores.shape[1:])
        # Where a key is not seen, these models put or add the least number of their dtype; some scale it afterwards.
        hidden = laid_out <= HIDDEN
        mask = torch.zeros_like(laid_out).masked_fill(hidden, torch.finfo(laid_out.dtype).min)
        return visit_scores(self.tap, laid_out, mask).reshape(scores.shape)


def opened_attention(module: nn.Module, tap: Tap, n_heads: int, n_kv: int) -> Callable[..., Any]:
    """The forward of an attention module whose insides a tap sees."""
    forward = module.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        with OwnAttention(tap, n_heads, n_kv):
            return forward(*args, **kwargs)

    return run
