"""A model's files -> an `Instrument`: weights on their device, the attention function in place."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.run import model_errors as errors
from glassbox_dsl.run.adapter import merge_adapter
from glassbox_dsl.run.implementations import implementations
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.memory import Heap
from glassbox_dsl.run.quiet import quiet
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.vocabulary.models import ModelSource


def load_model(files: ModelFiles, source: ModelSource, facts: ModelFacts) -> Instrument:
    """Load the weights of prepared files in the dtype and on the device of the source. Raises Findings."""
    device = _device(source)
    full_precision()
    if source.kind == "tiny":
        model = tiny_model(files.config, source.seed).to(device or "cpu", getattr(torch, source.dtype))
    else:
        model = _load(files, source, facts, device)
    if files.adapter is not None:
        merge_adapter(model, files.adapter, files.shown, source.span)
    _check_head(model, files, source)
    Heap.rest()
    return Instrument(model.eval().requires_grad_(False), facts, family(facts.family, facts.variants))


def full_precision() -> None:
    """Keep float32 products float32 on a GPU: TF32 is off in 1e-3 of a logit and more."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _device(source: ModelSource) -> torch.device | None:
    """The device that a source asks for; None to spread the model over all of them."""
    if source.device == "spread":
        return None
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if source.device == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(source.device)
    except RuntimeError:
        raise Findings([errors.no_device(source.device, available, source.span)]) from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and (device.index or 0) >= available):
        raise Findings([errors.no_device(source.device, available, source.span)])
    return device


def _load(
    files: ModelFiles, source: ModelSource, facts: ModelFacts, device: torch.device | None
) -> nn.Module:
    if files.weights is None:
        raise InternalError(f"the weights of {files.shown} were not prepared")
    try:
        with quiet():
            load: Any = AutoModelForCausalLM.from_pretrained
            model, info = load(
                str(files.weights),
                dtype=getattr(torch, source.dtype),
                **implementations(facts),
                device_map=_device_map(device),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as problem:
        if isinstance(problem, torch.OutOfMemoryError):
            raise Findings([errors.out_of_memory(files.shown, str(problem), source.span)]) from problem
        raise Findings([errors.cannot_load(files.shown, str(problem), source.span)]) from problem
    _check_complete(files, source, info)
    _check_placed(model, files, source)
    return cast(nn.Module, model)


def _check_placed(model: nn.Module, files: ModelFiles, source: ModelSource) -> None:
    """Weights that accelerate left in main memory or on disk are not there to be read, and come back for each pass."""
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if len(places) > 1 and places & {"cpu", "disk"}:
        left = " and ".join(sorted(places & {"cpu", "disk"}))
        raise Findings([errors.out_of_memory(files.shown, f"parts of it were left on {left}", source.span)])


def _device_map(device: torch.device | None) -> str | dict[str, torch.device] | None:
    """How accelerate places weights: over all devices (None), or each straight on its one device, without a copy."""
    if device is None:
        return "auto"
    return None if device.type == "cpu" else {"": device}


def _check_head(model: nn.Module, files: ModelFiles, source: ModelSource) -> None:
    """Logits of single tokens, and directions of answers, are rows of the unembedding: they must be numbers."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    weight = getattr(head, "weight", None)
    plain = type(head) in (nn.Linear, nn.Embedding) or "quantization_config" not in files.config
    if head is not None and not (plain and isinstance(weight, torch.Tensor) and weight.is_floating_point()):
        raise Findings([errors.quantised_head(files.shown, type(head).__name__, source.span)])


def _check_complete(files: ModelFiles, source: ModelSource, info: dict[str, Any]) -> None:
    """A weight that the file lacks would be random, one the model lacks ignored: both give wrong numbers."""
    problems = []
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys", "error_msgs"):
        names = sorted(str(name) for name in info.get(kind) or ())
        if names:
            problems.append(errors.weights_do_not_fit(files.shown, kind, names, source.span))
    if problems:
        raise Findings(problems)
