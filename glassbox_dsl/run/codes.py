"""Sparse dictionaries at work: codes and errors of a site's values, and what edits of them change there.

Bricken et al. 2023, transformer-circuits.pub/2023/monosemantic-features; jump ReLU: Rajamanoharan et al. 2024,
arXiv:2407.14435; top k: Gao et al. 2024, arXiv:2406.04093; gated: Rajamanoharan et al. 2024, arXiv:2404.16014.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from glassbox_dsl.language.dictionary_files import WEIGHTS
from glassbox_dsl.language.technique_nodes import Change, CodeChange, CodeRead, Dictionary
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import along
from glassbox_dsl.run.named import Named, both, take_named, tensor
from glassbox_dsl.run.site_values import SiteValues

if TYPE_CHECKING:
    from glassbox_dsl.run.evaluate import Evaluator

LATENT = "latent"


@dataclass(frozen=True)
class Weights:
    """The tensors of a dictionary in float32; see `dictionary_files` for their shapes."""

    about: Dictionary
    tensors: dict[str, Tensor]

    def encode(self, x: Tensor) -> Tensor:
        """The code [.., latent] of vectors [.., dim]."""
        w = self.tensors
        entering = x - w["b_dec"] if self.about.centred else x
        if self.about.architecture == "gated":
            before = entering @ w["W_enc"]
            return (before * w["r_mag"].exp() + w["b_mag"]).relu() * (before + w["b_gate"] > 0)
        before = entering @ w["W_enc"] + w["b_enc"]
        if self.about.architecture == "topk":
            kept = before.topk(self.about.k, -1)
            return torch.zeros_like(before).scatter(-1, kept.indices, kept.values.relu())
        code = before.relu()
        return code * (before > w["threshold"]) if self.about.architecture == "jumprelu" else code

    def error(self, x: Tensor, code: Tensor) -> Tensor:
        """What the code leaves out of vectors [.., dim]."""
        return x - (code @ self.tensors["W_dec"] + self.tensors["b_dec"])


def weights_of(dictionary: Dictionary, device: torch.device) -> Weights:
    """The weights where the vectors are, read once."""
    written = (Path(dictionary.path) / WEIGHTS).stat().st_mtime_ns
    return Weights(dictionary, _read(dictionary.path, str(device), written))


@lru_cache(maxsize=4)
def _read(folder: str, device: str, written: int) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {name: value.float() for name, value in load_file(str(Path(folder) / WEIGHTS), device).items()}


@dataclass(frozen=True)
class Codes:
    """Reads and changes codes in one context."""

    evaluator: Evaluator

    def value(self, expr: CodeRead, env: Env) -> Named:
        """The code or the error of what a run has at the site of the dictionary."""
        x = self.evaluator.value(expr.body, env)
        weights = weights_of(self.evaluator.context.experiment.dictionary(expr.dictionary), x.data.device)
        code = weights.encode(x.data.float())
        if expr.latent is None:
            return Named(weights.error(x.data.float(), code), x.dims, True, x.present)
        prompts = self.evaluator.context.prompts_read(expr.body)
        read = expr.body.changed(index=(expr.latent,))
        at = self.evaluator.places.coordinates(read, (LATENT,), env, prompts[0])
        present = None if x.present is None else x.present[..., None]
        found = take_named(Named(code, (*x.dims, "#latent"), False, present), {"#latent": at[LATENT]})
        values = SiteValues(self.evaluator.context)
        return values.only_existing(found, read, (LATENT,), at, env, prompts[0])

    def change(self, expr: CodeChange, env: Env) -> Named:
        """What edits of a code and its error add to the site, [the written cells, dim]; exactly 0 for no change."""
        own = env.own
        assert isinstance(own, Named)
        weights = weights_of(self.evaluator.context.experiment.dictionary(expr.dictionary), own.data.device)
        code = weights.encode(own.data)
        old = {
            "code": Named(code, (*own.dims, LATENT)),
            "error": Named(weights.error(own.data, code), own.dims, True),
        }
        new = dict(old)
        for change in expr.changes:
            new[change.part] = self._changed(change, new[change.part], env)
        moved = (new["code"].data - code) @ weights.tensors["W_dec"]
        return Named(moved + (new["error"].data - old["error"].data), own.dims, True)

    def _changed(self, change: Change, value: Named, env: Env) -> Named:
        """A code or error after one edit of it."""
        env = replace(env, own=value)
        mask = torch.ones(())
        if change.latent is not None:
            cells = along(LATENT, value.data.shape[-1])
            own = {} if LATENT in env.variables else {LATENT: Binding(cells, LATENT)}
            env = replace(env.with_variables(own), coordinates={**env.coordinates, LATENT: cells})
            chosen = self.evaluator.context.indexer.selection(
                [change.latent], [LATENT], {LATENT: cells}, env, str(env.prompt)
            )
            mask = tensor(chosen.spread(value.dims)[0])
        given = self.evaluator.value(change.value, env)
        data, there = given.spread(value.dims)
        if change.latent is not None and data.shape[-1] > 1:
            data = data[..., : value.data.shape[-1]]
            there = there if there is None or there.shape[-1] == 1 else there[..., : value.data.shape[-1]]
        if value.feature:
            data = data if given.feature else data[..., None]
            there = None if there is None else there[..., None]
        made = {
            ":=": lambda: data,
            "+=": lambda: value.data + data,
            "-=": lambda: value.data - data,
            "*=": lambda: value.data * data,
        }[change.op]()
        written = both(mask.bool(), there)
        assert written is not None
        result = torch.where(written, made.expand(value.data.shape), value.data)
        return Named(result, value.dims, value.feature)
