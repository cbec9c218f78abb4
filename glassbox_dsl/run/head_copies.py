"""The heads' own copies of `attn.in`: a head whose copy was written gets its query, key or value from that.

The layer itself is called again on the written rows and stopped where it has made q, k and v, so that fused, grouped
and normed projections and rotary positions are the model's own. Nothing is computed for copies that were not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.run.attention import Made, repeat_heads, stopped_at_attention, stopping, unturned_call
from glassbox_dsl.run.modules import LayerModules
from glassbox_dsl.vocabulary.keys import COPIES

Call = tuple[tuple[Any, ...], dict[str, Any]]
Divisor = tuple[torch.Tensor, torch.Tensor]


class Followed(torch.autograd.Function):
    """Queries, keys or values of all heads as made of their own copies, with the gradient of these alone.

    What is made is known already: only in the way back the layer is run again on the copies, once where all heads read
    the same.
    """

    @staticmethod
    def forward(ctx: Any, copies: torch.Tensor, made: torch.Tensor, made_of: MadeOf) -> torch.Tensor:
        """`made` [batch, head, pos, d_head], of `copies` [batch, head, pos, dim]."""
        ctx.save_for_backward(copies)
        ctx.made_of = made_of
        return made.clone()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The slope of the copies, each through its own head alone."""
        [copies] = ctx.saved_tensors
        found = torch.zeros_like(copies)
        heads = [head for head in range(copies.shape[1]) if bool(slope[:, head].any())]
        for some in [heads] if bool((copies == copies[:, :1]).all()) else [[head] for head in heads]:
            if some:
                found[:, some] = _slopes(ctx.made_of, copies[:, some[0]], slope, some)
        return found, None, None


MadeOf = Callable[[torch.Tensor], torch.Tensor]
"""What all heads make of the same rows: [batch, pos, dim] to [batch, head, pos, d_head]."""


def _slopes(made_of: MadeOf, rows: torch.Tensor, slope: torch.Tensor, heads: list[int]) -> torch.Tensor:
    """How rows [batch, pos, dim] move a number through each of some heads alone: [batch, of `heads`, pos, dim]."""
    with torch.enable_grad():
        rows = rows.detach().requires_grad_()
        made = made_of(rows)[:, heads]
    apart = made.new_zeros(len(heads), *made.shape)
    for place, head in enumerate(heads):
        apart[place, :, place] = slope[:, head]
    [found] = torch.autograd.grad(made, rows, apart, is_grads_batched=True)
    return found.transpose(0, 1)


@dataclass
class HeadCopies:
    """The written copies of one layer in one pass. Rows are [batch, pos]: a prompt's, or those of a pack."""

    layer: LayerModules
    n_heads: int
    written: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    followed: dict[str, torch.Tensor] = field(default_factory=dict)
    call: Call | None = None
    divisor: Divisor | None = None
    made: dict[str, torch.Tensor] | None = None

    def shown(self, stream: torch.Tensor) -> torch.Tensor:
        """The stream [batch, pos, dim] as every head reads it: [batch, head, pos, dim], without copying."""
        return stream[:, None].expand(-1, self.n_heads, -1, -1)

    def record(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A pre-hook of the layer: what it is called with, beside the stream, where it is not called for copies."""
        if stopping():
            return
        if args:
            self.call = args[1:], kwargs
        else:
            self.call = (), {name: value for name, value in kwargs.items() if name != "hidden_states"}

    def note(self, site: str, before: torch.Tensor, after: torch.Tensor) -> None:
        """Remember the copies of a site after its writes [batch, head, pos, dim], where they changed.

        Where gradients are followed through them, every head's is: its slope does not wait for it to move.
        """
        moved = (after != before).any(-1)
        if after.requires_grad:
            self.followed[site] = after
        if bool(moved.any()):
            self.written[site] = after.detach() if after.requires_grad else after, moved

    def shared(self, made: Made) -> Made:
        """q, k, v with the heads' own in their places, before those sites are visited.

        Keys and values that several heads share stay what they are: `widened` gives each head its own behind the
        visits, since `attn.k` and `attn.v` have one entry for each group.
        """
        single = made[1].shape[1] == self.n_heads
        query, key, value = made
        query = self._own("attn.q_in", query)
        return (
            (query, self._own("attn.k_in", key), self._own("attn.v_in", value))
            if single
            else (query, key, value)
        )

    def unturned(self, made: Made) -> Made:
        """What `shared` does, for q and k before rotary positions."""
        args, kwargs = self._recorded()[0]
        own = replace(
            self,
            written={**self.written},
            followed={**self.followed},
            call=unturned_call(args, kwargs),
            made=None,
        )
        return own.shared(made)

    def widened(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [batch, head, pos, d_head], one of each for every query head, if any has its own."""
        if not (self.written.keys() | self.followed.keys()) & {"attn.k_in", "attn.v_in"}:
            return key, value
        wide = [repeat_heads(t, self.n_heads // t.shape[1]) for t in (key, value)]
        return self._own("attn.k_in", wide[0]), self._own("attn.v_in", wide[1])

    def _own(self, site: str, now: torch.Tensor) -> torch.Tensor:
        """Queries, keys or values [batch, head, pos, d_head] with those of the written copies."""
        if site in self.followed:
            copies = self.followed.pop(site)
            made, (call, divisor) = self._exchanged(site, now.detach()), self._recorded()
            return Followed.apply(copies, made, lambda rows: self._made(site, rows, call, divisor))  # type: ignore[no-any-return, no-untyped-call]
        return self._exchanged(site, now)

    def _exchanged(self, site: str, now: torch.Tensor) -> torch.Tensor:
        """The same with those of the copies that changed alone."""
        if site not in self.written:
            return now
        if self.made is None:
            self.made = self._made_together()
        copies, moved = self.written.pop(site)
        if site in self.made:
            return torch.where(moved[..., None], self.made.pop(site), now)
        # The n-th changed head of every row at once: a sweep over heads changes one in each row.
        now = now.clone()
        order = moved.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        for place in range(_several(moved)):
            head = order[:, place, None, :, None]
            made = self._made(site, _at(copies, head)[:, 0], *self._recorded())
            there = moved.gather(1, head[..., 0])[..., None]
            own = torch.where(there, _at(made, head), _at(now, head))
            now.scatter_(1, head.expand_as(own), own)
        return now

    def _made_together(self) -> dict[str, torch.Tensor]:
        """By site [batch, head, pos, d_head], where it takes fewer calls to make equal copies of all sites together."""
        found: dict[str, torch.Tensor] = {}
        groups, apart = same_copies(self.written), sum(_several(moved) for _, moved in self.written.values())
        if len(groups) >= apart:
            return found
        for group in groups:
            site, head = group[0]
            every = self._all_made(self.written[site][0][:, head], *self._recorded())
            for site in dict.fromkeys(site for site, _ in group):
                heads, made = [head for own, head in group if own == site], every[COPIES.index(site)]
                made = repeat_heads(made, self.n_heads // made.shape[1])
                if site not in found:
                    found[site] = torch.zeros_like(made)
                found[site][:, heads] = made[:, heads]
        return found

    def _recorded(self) -> tuple[Call, Divisor | None]:
        """What the layer was called with, and its written divisor: what it makes of a copy depends on them."""
        if self.call is None:
            raise InternalError("a layer met its attention before it was called")
        return self.call, self.divisor

    def _made(self, site: str, rows: torch.Tensor, call: Call, divisor: Divisor | None) -> torch.Tensor:
        """What the layer makes of rows [batch, pos, dim] where attention would begin: [batch, head, pos, d_head]."""
        made = self._all_made(rows, call, divisor)[COPIES.index(site)]
        return repeat_heads(made, self.n_heads // made.shape[1])

    def _all_made(self, rows: torch.Tensor, call: Call, divisor: Divisor | None) -> Made:
        """The same for queries, keys and values, with one for each group of heads."""
        args, kwargs = call
        with self._frozen_norm(divisor):
            return stopped_at_attention(lambda: self.layer.layer(rows, *args, **kwargs))

    @contextmanager
    def _frozen_norm(self, divisor: Divisor | None) -> Iterator[None]:
        """A written divisor of the norm holds for copies, too, where it was changed."""
        if divisor is None:
            yield
            return
        norm, (before, after) = self.layer.norms["attn.norm_scale"], divisor

        def divide(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            own = norm.divisor(args[0])
            return norm.divided_by(output, own, torch.where(after == before, own, after))

        handle = norm.module.register_forward_hook(divide)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def recorded_by(copies: Iterable[HeadCopies]) -> Iterator[None]:
    """Let copies note what their layers are called with."""
    with ExitStack() as stack:
        for one in copies:
            handle = one.layer.layer.register_forward_pre_hook(one.record, with_kwargs=True)
            stack.callback(handle.remove)
        yield


Written = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""By site: copies [batch, head, pos, dim], and which of them changed [batch, head, pos]."""


def same_copies(written: Written) -> list[list[tuple[str, int]]]:
    """Sites and heads with a changed copy, those together that read the same in every row."""
    groups: dict[float, list[list[tuple[str, int]]]] = {}
    for site, (copies, moved) in written.items():
        sums = copies.sum((0, 2, 3)).tolist()  # what is equal has one sum: only then is it compared
        for head in moved.any(0).any(-1).nonzero()[:, 0].tolist():
            near = groups.setdefault(sums[head], [])
            first = ((g, written[g[0][0]][0][:, g[0][1]]) for g in near)
            own = next((g for g, copy in first if torch.equal(copy, copies[:, head])), None)
            if own is None:
                near.append([(site, head)])
            else:
                own.append((site, head))
    return [group for near in groups.values() for group in near]


def _several(moved: torch.Tensor) -> int:
    """How many heads changed in one row at most, of [batch, head, pos]."""
    return int(moved.sum(1).max())


def _at(heads: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """Of [batch, head, pos, width] the head that `head` [batch, 1, pos, 1] names: [batch, 1, pos, width]."""
    return heads.gather(1, head.expand(-1, -1, -1, heads.shape[-1]))
