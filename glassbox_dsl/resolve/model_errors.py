"""What can be wrong with a model before its weights are read: GB300 to GB339."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


def unknown_model_type(
    model_type: Any, known: Iterable[str], shown: str, span: Span | None, unfit: str | None = None
) -> Diagnostic:
    """No family file handles the checkpoint's `model_type`; `unfit`: why none could."""
    says = f"`{model_type}`" if model_type is not None else "nothing"
    listed = "families that can be used: " + ", ".join(f"`{name}`" for name in sorted(known))
    write = f"write one in a minute: `gbx families propose {model_type} -o FILE`, then `--families DIR`; "
    return Diagnostic(
        code="GB300",
        headline=f"no family file for the model type of {shown}",
        span=span,
        label=f"its config.json says `model_type`: {says}" + (f": {unfit}" if unfit else ""),
        help=(write if model_type is not None and not unfit else "") + listed,
    )


def unknown_config_key(key: str, value: Any, family: str, shown: str, span: Span | None) -> Diagnostic:
    """The config has a key that may change what the model computes."""
    return Diagnostic(
        code="GB301",
        headline=f"unknown config key `{key}` in {shown}",
        span=span,
        label=f"family `{family}` does not know what `{key}: {brief(value)}` does to the computation",
        help=f"if it does nothing, list it as harmless in specs/families/{family}.toml",
    )


def refused_config_value(
    key: str, value: Any, allowed: Iterable[Any], family: str, shown: str, span: Span | None
) -> Diagnostic:
    """The config has a known key with a value that is not built."""
    return Diagnostic(
        code="GB302",
        headline=f"config key `{key}` of {shown} is `{brief(value)}`",
        span=span,
        label=f"family `{family}` is built only for " + ", ".join(f"`{brief(a)}`" for a in allowed),
        help="use another checkpoint of this family",
    )


def bad_fact(
    keys: tuple[str, ...], value: Any, shown: str, span: Span | None, switch: bool = False
) -> Diagnostic:
    """A size is missing from the config, or is no size; or a switch is neither true nor false."""
    key = keys[0] if keys else "?"
    missing, wanted = value is None, "true or false" if switch else "a whole number above 0"
    return Diagnostic(
        code="GB304",
        headline=f"config.json of {shown} " + (f"lacks `{key}`" if missing else f"has a bad `{key}`"),
        span=span,
        label=f"{wanted} is needed" + ("" if missing else f", not `{brief(value)}`"),
        help="take config.json from the checkpoint's own page",
    )


def brief(value: Any) -> str:
    """A config value as JSON writes it, cut to a line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def adapter_not_mergeable(adapter: str, reason: str, span: Span | None) -> Diagnostic:
    """The adapter does something else than add to matrices."""
    return Diagnostic(
        code="GB305",
        headline=f"the adapter `{adapter}` cannot be merged into its model",
        span=span,
        label=reason,
        help="merge it with the library that made it, save the model, and use `local(...)`",
    )


def no_adapter(adapter: str, reason: str, span: Span | None) -> Diagnostic:
    """The folder of an adapter is not one."""
    return Diagnostic(
        code="GB331",
        headline=f"no adapter in `{adapter}`",
        span=span,
        label=reason,
        help="point at the folder that PEFT's `save_pretrained` wrote; paths start from the file that names them",
    )


def unknown_bundled(id: str, known: Iterable[str], span: Span | None) -> Diagnostic:
    """No bundled model has that id."""
    return Diagnostic(
        code="GB310",
        headline=f"no bundled model `{id}`",
        span=span,
        label="not one of the models that Python packages ship",
        help=did_you_mean(id, known, "bundled models"),
    )


def no_folder(path: str, is_file: bool, span: Span | None) -> Diagnostic:
    """`local` points at nothing, or at a file."""
    return Diagnostic(
        code="GB311",
        headline=f"no folder `{path}`",
        span=span,
        label="this is a file" if is_file else "nothing lies there",
        help="for a single GGUF file use `gguf(...)`"
        if is_file
        else "paths start from the file that names them",
    )


def no_config(path: str, span: Span | None) -> Diagnostic:
    """The folder is not a checkpoint."""
    return Diagnostic(
        code="GB312",
        headline=f"no config.json in `{path}`",
        span=span,
        label="a checkpoint is a folder with config.json, safetensors and tokenizer.json",
        help="point at the folder that `save_pretrained` wrote",
    )


def bad_config(path: str, reason: str, span: Span | None) -> Diagnostic:
    """config.json cannot be read."""
    return Diagnostic(
        code="GB313",
        headline=f"config.json of `{path}` cannot be read",
        span=span,
        label=reason,
        help="take config.json from the checkpoint's own page",
    )


def no_weights(path: str, pickles: Sequence[str], span: Span | None) -> Diagnostic:
    """There are no safetensors, and perhaps pickles, which can run code when they are loaded."""
    if pickles:
        return Diagnostic(
            code="GB314",
            headline=f"`{path}` has its weights only as pickle",
            span=span,
            label=f"`{pickles[0]}` can run code of its maker when it is loaded, so it is not",
            help="convert it with safetensors, or take the safetensors version of the model",
        )
    return Diagnostic(
        code="GB315",
        headline=f"no weights in `{path}`",
        span=span,
        label="no file there ends in .safetensors",
        help="point at the folder that `save_pretrained` wrote",
    )


def missing_shards(missing: Sequence[str], path: str, span: Span | None) -> Diagnostic:
    """The index of the weights lists files that are not there."""
    return Diagnostic(
        code="GB315",
        headline=f"weights of `{path}` are missing",
        span=span,
        label=f"its index lists {len(missing)} files that are not there, `{missing[0]}` first",
        help="download the checkpoint again",
    )


def broken_weights(file: str, path: str, reason: str, span: Span | None) -> Diagnostic:
    """A safetensors file is cut off or damaged."""
    return Diagnostic(
        code="GB316",
        headline=f"`{file}` of `{path}` is damaged",
        span=span,
        label=reason,
        help="download the checkpoint again",
    )


def no_tokenizer(shown: str, span: Span | None) -> Diagnostic:
    """The checkpoint has no tokenizer.json."""
    return Diagnostic(
        code="GB317",
        headline=f"no tokenizer.json in {shown}",
        span=span,
        label="older tokenizer files are not read",
        help="write one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)",
    )


def no_gguf(path: str, span: Span | None) -> Diagnostic:
    """`gguf` points at nothing."""
    return Diagnostic(
        code="GB318",
        headline=f"no file `{path}`",
        span=span,
        label="nothing lies there",
        help="paths start from the file that names them",
    )


def broken_gguf(path: str, reason: str, span: Span | None) -> Diagnostic:
    """A GGUF file is cut off or damaged."""
    return Diagnostic(
        code="GB319",
        headline=f"`{path}` is not a whole GGUF file",
        span=span,
        label=reason,
        help="download it again",
    )


def unknown_architecture(architecture: str, known: Iterable[str], path: str, span: Span | None) -> Diagnostic:
    """No family reads GGUF files of that architecture."""
    return Diagnostic(
        code="GB320",
        headline=f"no family file for the GGUF architecture `{architecture}`",
        span=span,
        label=f"`{path}` states it",
        help="architectures that can be read: " + ", ".join(f"`{name}`" for name in sorted(known)),
    )


def unknown_family(name: str, known: Iterable[str], span: Span | None) -> Diagnostic:
    """`tiny` names a family that has no file."""
    return Diagnostic(
        code="GB321",
        headline=f"no family `{name}`",
        span=span,
        label="a tiny model is made from a family file",
        help=did_you_mean(name, known, "families"),
    )


def tiny_layers(layers: int, most: int, span: Span | None) -> Diagnostic:
    """`tiny` asks for a depth that makes no sense."""
    return Diagnostic(
        code="GB322",
        headline=f"a tiny model cannot have {layers} layers",
        span=span,
        label=f"from 1 to {most} layers",
        help="leave `layers` out for the depth in the family file",
    )


def not_in_hub_cache(name: str, revision: str | None, span: Span | None) -> Diagnostic:
    """A hub model is not on this machine, and downloads are off."""
    wanted = f"{name} --revision {revision}" if revision else name
    return Diagnostic(
        code="GB323",
        headline=f"`{name}` is not in the local Hugging Face cache",
        span=span,
        label="nothing is downloaded from the hub unless asked for",
        help=f"fetch it with `hf download {wanted}`, or set GBX_DOWNLOAD=1",
    )


def hub_refused(name: str, reason: str, span: Span | None) -> Diagnostic:
    """The hub did not give the model."""
    return Diagnostic(
        code="GB324",
        headline=f"`{name}` could not be downloaded",
        span=span,
        label=reason,
        help="check the name, the network, and `hf auth login` for gated models",
    )


def bad_hub_name(name: str, span: Span | None) -> Diagnostic:
    """Not the form of a hub name."""
    return Diagnostic(
        code="GB325",
        headline=f"`{name}` is no name of a hub model",
        span=span,
        label="a name has the form `organisation/model`",
        help="for a folder on this machine use `local(...)`",
    )


def no_such_model(text: str, known: Iterable[str]) -> Diagnostic:
    """A command line names something that is no model."""
    return Diagnostic(
        code="GB330",
        headline=f"no model `{text}`",
        label="no bundled model, folder or file is called that",
        help=did_you_mean(text, known, "models")
        + "; or name a config.json, its folder, a .gguf, `hub:ORG/NAME`, `FILE.gbx:MODEL`",
    )


def not_in_file(name: str, file: str, known: Iterable[str]) -> Diagnostic:
    """A command line names a model that a .gbx file does not declare."""
    return Diagnostic(
        code="GB330",
        headline=f"`{file}` declares no model `{name}`",
        help=did_you_mean(name, known, "models"),
    )
