"""`adapter: "dir"` -> `Adapter`: what adapter_config.json of a LoRA adapter says, checked before any weight is read.

LoRA (Hu et al. 2021, arXiv:2106.09685) adds scale * B A to a matrix; on load that is merged into the matrix. Only what
merges that way is accepted: a setting that is not known to leave the sum alone is refused, as an unknown key of a model
is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.resolve import model_errors as errors
from glassbox_dsl.resolve.checkpoint import BrokenFile, check_safetensors
from glassbox_dsl.vocabulary.models import ModelSource
from glassbox_dsl.vocabulary.plain import Plain

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PICKLES = ("adapter_model.bin", "adapter_model.pt")
READ = ("peft_type", "r", "lora_alpha", "use_rslora", "alpha_pattern", "init_lora_weights")
WITHOUT_EFFECT = (
    "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "eva_config", "exclude_modules",
    "fan_in_fan_out", "inference_mode", "layers_pattern", "layers_to_transform", "lora_dropout", "megatron_config",
    "megatron_core", "modules_to_save", "peft_version", "qalora_group_size", "rank_pattern", "revision",
    "runtime_config", "target_modules", "task_type", "loftq_config", "ensure_weight_tying",
)  # fmt: skip
"""Keys that change nothing of what the stored tensors add; the tensors say which modules they are for."""
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Ways to begin training that leave the base weights alone (PiSSA, OLoRA, CorDA and LoftQ do not)."""


class Adapter(Plain):
    """A LoRA adapter. `alpha_pattern` goes from a pattern of module paths to their own alpha."""

    folder: Path
    alpha: float
    rank_stabilised: bool = False
    alpha_pattern: dict[str, float] = {}

    def scale(self, module: str, rank: int) -> float:
        """What B A of a module is multiplied by: alpha / rank, or alpha / sqrt(rank) (rsLoRA, arXiv:2312.03732)."""
        own = (a for p, a in self.alpha_pattern.items() if re.match(rf"(.*\.)?({p})$", module))
        alpha = next(own, self.alpha)
        return alpha / (sqrt(rank) if self.rank_stabilised else rank)


def find_adapter(source: ModelSource, quantised: bool) -> Adapter:
    """The adapter that a source names. Raises Findings for what cannot be merged."""
    assert source.adapter is not None
    folder = Path(source.adapter)
    if (problem := _outside(folder, source)) is not None:
        raise Findings([problem])
    try:
        told = json.loads((folder / CONFIG).read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise Findings([errors.no_adapter(str(folder), f"{CONFIG}: {error}", source.span)]) from None
    reason = _why_not(told, quantised)
    if reason is not None:
        raise Findings([errors.adapter_not_mergeable(str(folder), reason, source.span)])
    return Adapter(
        folder=folder,
        alpha=float(told["lora_alpha"]),
        rank_stabilised=bool(told.get("use_rslora")),
        alpha_pattern={module: float(a) for module, a in (told.get("alpha_pattern") or {}).items()},
    )


def _outside(folder: Path, source: ModelSource) -> Diagnostic | None:
    """What is wrong with the files of an adapter."""
    if not (folder / CONFIG).is_file():
        return errors.no_adapter(str(folder), f"{CONFIG} is not there", source.span)
    if not (folder / WEIGHTS).is_file():
        pickles = [name for name in PICKLES if (folder / name).is_file()]
        if pickles:
            return errors.no_weights(str(folder), pickles, source.span)
        return errors.no_adapter(str(folder), f"{WEIGHTS} is not there", source.span)
    try:
        check_safetensors(folder / WEIGHTS)
    except (BrokenFile, OSError) as problem:
        return errors.broken_weights(WEIGHTS, str(folder), str(problem), source.span)
    return None


def _why_not(told: Any, quantised: bool) -> str | None:
    """Why an adapter cannot be merged; None if it can."""
    if quantised:
        return "the weights of the model are quantised, and merging adds to them"
    if not isinstance(told, Mapping):
        return f"{CONFIG} is not a JSON object"
    if told.get("peft_type") != "LORA":
        return f"its kind is {told.get('peft_type')!r}, and only LORA is merged"
    if not _is_number(told.get("lora_alpha")):
        return "it states no `lora_alpha`"
    patterns = told.get("alpha_pattern") or {}
    if not isinstance(patterns, Mapping) or not all(_is_number(v) for v in patterns.values()):
        return "its `alpha_pattern` is not a table of numbers"
    if told.get("init_lora_weights", True) not in PLAIN_STARTS:
        return f"training began with {told['init_lora_weights']!r}, which changes the base weights"
    strange = [key for key, value in told.items() if value and key not in (*READ, *WITHOUT_EFFECT)]
    if strange:
        return f"`{strange[0]}: {errors.brief(told[strange[0]])}` is not known to leave the sum W + scale B A as it is"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
