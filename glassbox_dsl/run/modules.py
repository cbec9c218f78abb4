"""Where a loaded model keeps the parts that a family file names; the arithmetic of norms and projections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import Family, Norm
from glassbox_dsl.run import model_errors as errors


@dataclass(frozen=True)
class NormModule:
    """A norm of the model and how it divides."""

    module: nn.Module
    kind: str
    eps: float

    def divisor(self, x: torch.Tensor) -> torch.Tensor:
        """What the norm divides by: x [..., dim] to [...], float32 (LayerNorm divides x less its mean)."""
        x = x.float()
        spread = x.pow(2).mean(-1) if self.kind == "rms" else x.var(-1, unbiased=False)
        return torch.sqrt(spread + self.eps)

    def divided_by(self, output: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """The output [..., dim] had the norm divided by `other` [...] and not by its `own` divisor."""
        bias = getattr(self.module, "bias", None)
        bias = 0.0 if bias is None else bias.float()
        changed = (output.float() - bias) * (own / other).unsqueeze(-1) + bias
        return where_changed((own == other).unsqueeze(-1), output, changed.to(output.dtype))


@dataclass(frozen=True)
class OutProjection:
    """The output projection of attention: heads side by side in, stream out."""

    module: nn.Module
    n_heads: int

    def results(self, x: torch.Tensor) -> torch.Tensor:
        """Each head's share without the bias: [batch, pos, head * width] to [batch, head, pos, dim]."""
        heads = x.view(*x.shape[:-1], self.n_heads, -1)
        return torch.einsum("bphd,hdm->bhpm", heads, self._weight())

    def _weight(self) -> torch.Tensor:
        """[head, width, dim]."""
        inner = inner_weight(self.module)
        return inner.reshape(self.n_heads, -1, inner.shape[-1])


def where_changed(same: torch.Tensor, old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """A value that is computed anew where something was changed, and keeps its bits where nothing was.

    In a pass with gradients it is the new one everywhere: the old one does not depend on what was written.
    """
    return new if torch.is_grad_enabled() else torch.where(same, old, new)


def inner_weight(module: nn.Module) -> torch.Tensor:
    """The weight of a projection as [in, out]. `nn.Linear` keeps [out, in], GPT-2's `Conv1D` [in, out]."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return weight.t() if isinstance(module, nn.Linear) else weight


@dataclass(frozen=True)
class LayerModules:
    """One layer: `at` goes by the paths of the family file, `norms` by site; a router and experts where it has them."""

    layer: nn.Module
    attention: nn.Module
    out_proj: OutProjection
    at: dict[str, nn.Module]
    norms: dict[str, NormModule]
    router: nn.Module | None = None
    experts: nn.Module | None = None


@dataclass(frozen=True)
class ModelModules:
    """The parts of a model that the executor hooks."""

    layers: tuple[LayerModules, ...]
    final_norm: NormModule
    unembed: nn.Module
    positions: nn.Module | None = None


def find_modules(model: nn.Module, family: Family, facts: ModelFacts) -> ModelModules:
    """Follow the family's paths. Raises Findings if the model is not built as the family file says."""
    find = _finder(model, family)
    layers = list(find(model, family.model.layers).children())
    if len(layers) != facts.n_layers:
        raise Findings([errors.layer_count(family.name, len(layers), facts.n_layers)])
    unembed = getattr(model, "get_output_embeddings", lambda: None)()
    if unembed is None:
        raise Findings([errors.module_missing(family.name, "output embeddings", type(model).__name__)])
    return ModelModules(
        layers=tuple(_layer(number, layer, family, facts, find) for number, layer in enumerate(layers)),
        final_norm=_norm(find(model, family.model.final_norm.module), family.model.final_norm),
        unembed=unembed,
        positions=None if family.model.positions is None else find(model, family.model.positions),
    )


Find = Callable[[nn.Module, str], nn.Module]


def _finder(model: nn.Module, family: Family) -> Find:
    def find(parent: nn.Module, path: str) -> nn.Module:
        try:
            return parent.get_submodule(path)
        except AttributeError:
            raise Findings([errors.module_missing(family.name, path, type(model).__name__)]) from None

    return find


def _norm(module: nn.Module, norm: Norm) -> NormModule:
    eps = norm.eps if isinstance(norm.eps, float) else float(getattr(module, norm.eps))
    return NormModule(module=module, kind=norm.kind, eps=eps)


def _layer(number: int, layer: nn.Module, family: Family, facts: ModelFacts, find: Find) -> LayerModules:
    spots = [s for site, s in family.sites.items() if s.module and number in facts.layers_with(site)]
    paths = dict.fromkeys(p for s in spots for p in (s.module, s.gate, s.norm) if p is not None)
    mixture = family.experts if number in facts.layers_with("router.logits") else None
    return LayerModules(
        layer=layer,
        attention=find(layer, family.layer.attention),
        out_proj=OutProjection(find(layer, family.layer.out_proj), facts.n_heads),
        at={path: find(layer, path) for path in paths},
        norms={site: _norm(find(layer, norm.module), norm) for site, norm in family.norms.items()},
        router=None if mixture is None else find(layer, mixture.router),
        experts=None if mixture is None else find(layer, mixture.experts),
    )


def only_tokens(unembed: nn.Module, tokens: torch.Tensor) -> dict[nn.Module, Callable[..., torch.Tensor]]:
    """The forward of an unembedding that makes the logits of some tokens [n] alone."""
    weight, bias = unembed.weight, getattr(unembed, "bias", None)
    assert isinstance(weight, torch.Tensor)
    at = tokens.to(weight.device)
    some = weight[at], None if bias is None else bias[at]
    return {unembed: lambda x: nn.functional.linear(x, *some)}
