"""One experts function for every mixture of experts: the arithmetic of `eager`, open at weights, neurons and outputs.

Experts are three-dimensional parameters, one matrix for each (transformers' `ExpertsInterface`). The function is
registered under `EXPERTS`; its operations and their order are those of the models' own eager code, so a pass that
edits nothing is bitwise the eager model's. Values of tokens that were not routed to an expert are NaN: they do not
exist, and writing them does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers.integrations.moe import ExpertsInterface

EXPERTS: Final = "glassbox"


@dataclass(frozen=True)
class ExpertTap:
    """What the experts of one layer show: `visit` gets a wanted site's value, `shape` is (batch, pos) of its rows."""

    wanted: frozenset[str]
    visit: Callable[[str, Tensor], Tensor]
    shape: Callable[[], tuple[int, int]]

    def __call__(self, site: str, rows: Tensor) -> Tensor:
        """Rows [row, expert, ...] after the visit, laid out for it as [batch, expert, ..., pos(, dim)]."""
        if site not in self.wanted:
            return rows
        batch, length = self.shape()
        # The position stands behind the axes that are indexed, before the feature axis.
        place = 3 if site == "expert.post" else 2
        shown = rows.view(batch, length, *rows.shape[1:]).movedim(1, place)
        after = self.visit(site, shown)
        return rows if after is shown else after.movedim(place, 1).reshape(rows.shape)


_taps: ContextVar[Mapping[nn.Module, ExpertTap] | None] = ContextVar("expert_taps", default=None)


@contextmanager
def experts_tapped(taps: Mapping[nn.Module, ExpertTap]) -> Iterator[None]:
    """Let `taps[module]` see and change the insides of that experts module's calls."""
    token = _taps.set(taps)
    try:
        yield
    finally:
        _taps.reset(token)


def mix_experts(module: Any, rows: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of experts: rows [row, dim], of each the `indices` [row, k] of its experts and their weights."""
    tap = (_taps.get() or {}).get(module)
    if tap is not None and "router.weights" in tap.wanted:
        indices, weights = _reweighted(module, tap, indices, weights)
    out = torch.zeros_like(rows)
    with torch.no_grad():
        chosen = nn.functional.one_hot(indices, num_classes=module.num_experts + 1).permute(2, 1, 0)
        hit = torch.greater(chosen.sum(dim=(-1, -2)), 0).nonzero().flatten().tolist()
    parts = [(e, *torch.where(chosen[e])) for e in hit if e != module.num_experts]
    posts = {e: _post(module, e, rows[token]) for e, _, token in parts}
    posts = _visited(module, tap, "expert.post", parts, posts, len(rows))
    outs = {e: _down(module, e, posts[e]) for e, _, _ in parts}
    outs = _visited(module, tap, "expert.out", parts, outs, len(rows))
    for e, place, token in parts:
        weighted = outs[e] * weights[token, place, None]
        out.index_add_(0, token, weighted.to(out.dtype))
    return out


def _post(module: Any, expert: int, rows: Tensor) -> Tensor:
    """What the down-projection of an expert reads: [row, neuron]."""
    name = "gate_up_proj" if module.has_gate else "up_proj"
    both = _projected(module, name, expert, rows)
    found: Tensor = module._apply_gate(both) if module.has_gate else module.act_fn(both)
    return found


def _down(module: Any, expert: int, post: Tensor) -> Tensor:
    return _projected(module, "down_proj", expert, post)


def _projected(module: Any, name: str, expert: int, rows: Tensor) -> Tensor:
    weight = getattr(module, name)[expert]
    if not module.is_transposed:
        bias = getattr(module, f"{name}_bias")[expert] if module.has_bias else None
        return nn.functional.linear(rows, weight, bias)
    found: Tensor = rows @ weight
    return found + getattr(module, f"{name}_bias")[expert] if module.has_bias else found


Part = tuple[int, Tensor, Tensor]
"""An expert, the place among a token's experts, and the token, of each row routed to it."""


def _visited(
    module: Any, tap: ExpertTap | None, site: str, parts: list[Part], values: dict[int, Tensor], n: int
) -> dict[int, Tensor]:
    """Show the values of all experts at once: [row, expert, width], NaN where a row is not routed to an expert."""
    if tap is None or site not in tap.wanted or not values:
        return values
    first = next(iter(values.values()))
    table = first.new_full((n, module.num_experts, first.shape[-1]), torch.nan)
    for e, _, token in parts:
        table[token, e] = values[e]
    after = tap(site, table)
    if after is table:
        return values
    # NaN in the place of a value is a source that was not routed there: no such cell.
    return {e: torch.where(after[token, e].isnan(), values[e], after[token, e]) for e, _, token in parts}


def _reweighted(module: Any, tap: ExpertTap, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Show the weights as [row, expert], 0 where not routed; a written weight routes a row to an expert, 0 away."""
    table = weights.new_zeros((len(weights), module.num_experts + 1)).scatter_(1, indices, weights)
    shown = table[:, : module.num_experts]
    after = tap("router.weights", shown)
    if after is shown or torch.equal(after, shown):
        return indices, weights
    used = after != 0
    most = max(int(used.sum(1).max()), 1)
    order = used.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    found = after.gather(1, order)
    return torch.where(found != 0, order, module.num_experts), found


class RouterMode(TorchFunctionMode):
    """Alive while a router runs: its one linear map gives the logits, which `visit` may change."""

    def __init__(self, visit: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.visit = visit

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of torch; show what `linear` gives."""
        found = func(*args, **(kwargs or {}))
        return self.visit(found) if func is nn.functional.linear else found


def opened_router(router: nn.Module, visit: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """The forward of a router that shows its logits [row, expert]."""
    forward = router.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        with RouterMode(visit):
            return forward(*args, **kwargs)

    return run


ExpertsInterface.register(EXPERTS, mix_experts)
