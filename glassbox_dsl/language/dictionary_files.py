"""What the files of a sparse dictionary say of it: `cfg.json` and the header of `sae_weights.safetensors`.

The layout is that of SAELens: W_enc [dim, latent], b_enc [latent], W_dec [latent, dim], b_dec [dim], and threshold
[latent] where the code has one. A gated dictionary has b_gate, r_mag and b_mag [latent] in the place of b_enc.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from glassbox_dsl.language import errors
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.tensors import header
from glassbox_dsl.syntax import nodes

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
ARCHITECTURES = ("standard", "jumprelu", "topk", "gated")
HOOKS = {
    "hook_resid_pre": "resid_pre", "hook_resid_mid": "resid_mid", "hook_resid_post": "resid_post",
    "hook_attn_out": "attn.out", "hook_mlp_out": "mlp.out",
}  # fmt: skip
PLAIN = {
    "normalize_activations": (None, "none"), "reshape_activations": (None, "none"),
    "rescale_acts_by_decoder_norm": (None, False), "use_error_term": (None, False, True),
    "finetuning_scaling_factor": (None, False), "model_from_pretrained_kwargs": None,
}  # fmt: skip
"""Keys that change what a dictionary computes, with the values that it is read with (None: any)."""


def read(folder: Path, node: nodes.String, place: tuple[str, int]) -> dict[str, Any]:
    """The fields of a `Dictionary` but its name and place. Raises Problem with what does not fit, at `node`."""
    config = _config(folder, node)
    width, latents = (_whole(config, key, node) for key in ("d_in", "d_sae"))
    architecture, k = _architecture(config, node)
    for key, known in PLAIN.items():
        if known is not None and config.get(key) not in known:
            raise _unfit(node, f"`{key}: {config[key]!r}` is not built")
    _check_place(config, node, place)
    shapes = {"W_enc": [width, latents], "W_dec": [latents, width], "b_dec": [width]}
    own = {"gated": ("b_gate", "r_mag", "b_mag"), "jumprelu": ("b_enc", "threshold")}
    shapes |= dict.fromkeys(own.get(architecture, ("b_enc",)), [latents])
    found = header(folder / WEIGHTS, node)
    for key, shape in shapes.items():
        entry = found.get(key)
        has = entry.get("shape") if isinstance(entry, dict) else None
        if has != shape:
            said = f"has the shape {has}" if has else "is missing"
            raise _unfit(node, f"`{key}` {said} in {WEIGHTS}; `{CONFIG}` asks for {shape}")
    centred = bool(config.get("apply_b_dec_to_input", architecture != "jumprelu"))
    return {"path": str(folder), "architecture": architecture, "width": width, "latents": latents,
            "k": k, "centred": centred}  # fmt: skip


def _config(folder: Path, node: nodes.String) -> dict[str, Any]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError as problem:
        why = f"no `{CONFIG}` in it: {problem.strerror or problem}"
        raise Problem(errors.bad_file(node.span, node.value, why)) from problem
    except (ValueError, RecursionError) as problem:
        raise Problem(errors.bad_file(node.span, node.value, f"`{CONFIG}` is no JSON")) from problem
    if not isinstance(found, dict):
        raise Problem(errors.bad_file(node.span, node.value, f"`{CONFIG}` is no object"))
    metadata = found.get("metadata")
    return {**metadata, **found} if isinstance(metadata, dict) else found


def _whole(config: dict[str, Any], key: str, node: nodes.String) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value < 1:
        raise _unfit(node, f"`{CONFIG}` does not say `{key}`")
    return value


def _architecture(config: dict[str, Any], node: nodes.String) -> tuple[str, int]:
    """The activation function of the code, and how many latents it leaves (0: as many as there are)."""
    name = config.get("architecture", "standard")
    function = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if name == "standard" and function == "topk":
        name = "topk"
    if name not in ARCHITECTURES or (name != "topk" and function != "relu"):
        shown = name if name not in ARCHITECTURES else f"{name}, {function}"
        raise _unfit(node, f"the architecture `{shown}` is unknown (known: {', '.join(ARCHITECTURES)})")
    if name != "topk":
        return name, 0
    options = config.get("activation_fn_kwargs")
    k = config.get("k", options.get("k") if isinstance(options, dict) else None)
    if not isinstance(k, int) or not 1 <= k <= config["d_sae"]:
        raise _unfit(node, f"`{CONFIG}` does not say `k`, how many latents are kept")
    return name, k


def _check_place(config: dict[str, Any], node: nodes.String, place: tuple[str, int]) -> None:
    """The dictionary was trained where it stands now, as far as its config says."""
    hook = config.get("hook_name")
    known = re.fullmatch(r"blocks\.(\d+)\.(\w+)", hook) if isinstance(hook, str) else None
    if hook is None:
        return
    if known is None or known[2] not in HOOKS:
        raise _unfit(node, f"it was trained at `{hook}`, which is no site that a dictionary can stand at")
    trained = HOOKS[known[2]], int(known[1])
    if (
        trained != place
        and {trained, place} != {("resid_pre", place[1] + 1), ("resid_post", place[1])}
        and ({trained, place} != {("resid_post", place[1] - 1), ("resid_pre", place[1])})
    ):
        raise _unfit(
            node, f"it was trained at {trained[0]}[{trained[1]}] (`{hook}`), not at {place[0]}[{place[1]}]"
        )


def _unfit(node: nodes.String, why: str) -> Problem:
    return Problem(errors.bad_dictionary(node.span, node.value, why))
