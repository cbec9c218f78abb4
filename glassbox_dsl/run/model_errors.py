"""What can go wrong while models are fetched, loaded and run: GB500 to GB529."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def no_key_left(layer: int, item: int, head: int, query: int) -> Diagnostic:
    """Written scores leave a query without a key."""
    return Diagnostic(
        code="GB520",
        headline="every key of a query was set to -inf",
        label=f"layer {layer}, head {head}, query position {query}, row {item} of the batch has no softmax",
        help="leave at least one key, e.g. the query itself or the first token",
    )


def layer_count(family: str, found: int, expected: int) -> Diagnostic:
    """The model has another number of layers than its config says."""
    return Diagnostic(
        code="GB513",
        headline=f"the model has {found} layers and its config says {expected}",
        label=f"the layers that specs/families/{family}.toml points at",
        help="check the path `layers` of the family file",
    )


def module_missing(family: str, path: str, model_class: str) -> Diagnostic:
    """A path of the family file leads nowhere in the loaded model."""
    return Diagnostic(
        code="GB514",
        headline=f"{model_class} has no module `{path}`",
        label=f"specs/families/{family}.toml names it",
        help="check the family file against the installed version of transformers",
    )


def extra_missing(missing: Sequence[str]) -> Diagnostic:
    """What running needs is not installed."""
    return Diagnostic(
        code="GB500",
        headline="running needs packages that are not installed",
        label="missing: " + ", ".join(missing),
        help='install the extra `run`: pip install "glassbox-dsl[run]"',
    )


def no_pip(id: str, span: Span | None) -> Diagnostic:
    """The interpreter has no pip to download with."""
    return Diagnostic(
        code="GB501",
        headline="pip is missing from this Python",
        span=span,
        label=f"`{id}` is downloaded with it",
        help=f"{sys.executable} -m ensurepip",
    )


def download_failed(what: str, reason: str, span: Span | None) -> Diagnostic:
    """Pip could not download a package."""
    return Diagnostic(
        code="GB502",
        headline=f"`{what}` could not be downloaded",
        span=span,
        label=reason,
        help="check the network and the package index that pip uses, then run again",
    )


def wrong_hash(package: str, version: str, expected: str, actual: str, span: Span | None) -> Diagnostic:
    """A download is not the file that specs/models.toml states."""
    return Diagnostic(
        code="GB503",
        headline=f"`{package}` ({version}) is not the file that was published",
        span=span,
        label=f"its SHA-256 is {actual[:16]}..., expected {expected[:16]}...",
        help="it was cut off or changed on the way: run again, or use another package index",
    )


def bad_wheel(package: str, file: str, reason: str, span: Span | None) -> Diagnostic:
    """A wheel does not hold the file it should."""
    return Diagnostic(
        code="GB503",
        headline=f"the wheel of `{package}` is damaged",
        span=span,
        label=f"{file}: {reason}",
        help="run again, or use another package index",
    )


def disk_full(folder: str, free_mb: int, needed_mb: int, span: Span | None) -> Diagnostic:
    """Too little room for the converted model."""
    return Diagnostic(
        code="GB504",
        headline="too little room on the disk for the model",
        span=span,
        label=f"{folder} has {free_mb} MB free, about {needed_mb} MB are needed",
        help="make room, or set GBX_CACHE to a folder on another disk",
    )


def cannot_write(folder: str, reason: str, span: Span | None) -> Diagnostic:
    """The cache cannot be written."""
    return Diagnostic(
        code="GB504",
        headline="the cache of models cannot be written",
        span=span,
        label=f"{folder}: {reason}",
        help="set GBX_CACHE to a folder that can be written",
    )


def conversion_failed(shown: str, reason: str, span: Span | None) -> Diagnostic:
    """A GGUF file could not be turned into safetensors."""
    return Diagnostic(
        code="GB505",
        headline=f"{shown} could not be converted from GGUF",
        span=span,
        label=first_line(reason),
        help="the file may be cut off: download it again",
    )


def hub_weights_missing(name: str, span: Span | None) -> Diagnostic:
    """The weights of a hub model are not on this machine."""
    return Diagnostic(
        code="GB506",
        headline=f"the weights of `{name}` are not in the local Hugging Face cache",
        span=span,
        label="its config is there, its safetensors are not",
        help=f"fetch them with `hf download {name}`, or set GBX_DOWNLOAD=1",
    )


def cannot_load(shown: str, reason: str, span: Span | None) -> Diagnostic:
    """Transformers could not load the checkpoint."""
    return Diagnostic(
        code="GB510",
        headline=f"{shown} could not be loaded",
        span=span,
        label=first_line(reason),
        help="check that the checkpoint is whole and fits its config.json",
    )


def weights_do_not_fit(shown: str, kind: str, names: Sequence[str], span: Span | None) -> Diagnostic:
    """The checkpoint has other weights than the model."""
    meaning = {
        "missing_keys": "lacks weights that the model has",
        "unexpected_keys": "has weights that the model does not use",
        "mismatched_keys": "has weights of another shape than the model",
    }.get(kind, "has weights that could not be read")
    return Diagnostic(
        code="GB511",
        headline=f"{shown} {meaning}",
        span=span,
        label=f"{len(names)} of them, `{names[0]}` first",
        help="its numbers would not be those of the model: check config.json against the weights",
    )


def adapter_does_not_fit(shown: str, reason: str, span: Span | None) -> Diagnostic:
    """The tensors of an adapter have no place in the model."""
    return Diagnostic(
        code="GB516",
        headline=f"the adapter does not fit {shown}",
        span=span,
        label=reason,
        help="use the model that `base_model_name_or_path` of its adapter_config.json names",
    )


def quantised_head(shown: str, kind: str, span: Span | None) -> Diagnostic:
    """The unembedding is quantised, and logits of single tokens need its rows."""
    return Diagnostic(
        code="GB517",
        headline=f"the unembedding of {shown} is quantised",
        span=span,
        label=f"it is a `{kind}`, whose rows cannot be read as numbers",
        help="use a checkpoint that keeps `lm_head` as it was, or the one before quantisation",
    )


def no_device(name: str, available: int, span: Span | None) -> Diagnostic:
    """The device does not exist here."""
    return Diagnostic(
        code="GB512",
        headline=f"no device `{name}` on this machine",
        span=span,
        label=f"{available} CUDA devices can be used",
        help="use `device: auto` or `device: cpu`",
    )


def out_of_memory(shown: str, reason: str, span: Span | None) -> Diagnostic:
    """The device is too small for the model."""
    return Diagnostic(
        code="GB515",
        headline=f"{shown} does not fit on its device",
        span=span,
        label=first_line(reason),
        help="use `dtype: bfloat16`, `device: spread` or `device: cpu`",
    )


def first_line(reason: str) -> str:
    """The first line of an error of another library, cut to a readable length."""
    line = next((line.strip() for line in reason.splitlines() if line.strip()), "no reason given")
    return line if len(line) <= 200 else line[:197] + "..."
