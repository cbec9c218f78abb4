"""A GGUF file -> a folder with safetensors in float32, the tokenizer and a manifest.

Loading from GGUF dequantises every tensor and takes up to a minute; from the folder it takes a second.
"""

from __future__ import annotations

import json
import os
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.bundled import MANIFEST
from glassbox_dsl.resolve.checkpoint import digest
from glassbox_dsl.run import model_errors as errors
from glassbox_dsl.run.quiet import quiet
from glassbox_dsl.source import Span


def convert_gguf(file: Path, folder: Path, shown: str, span: Span | None) -> None:
    """Write model and tokenizer of a GGUF file to a new folder, durably. Raises Findings if it is damaged."""
    folder.mkdir(parents=True)
    try:
        # One of the loader's progress bars cannot be switched off.
        with quiet(), redirect_stderr(StringIO()):
            _write_model(file, folder)
            _write_tokenizer(file, folder)
    except OSError as problem:
        if problem.errno is not None:
            raise
        raise Findings([errors.conversion_failed(shown, str(problem), span)]) from problem
    except Exception as problem:  # the loader meets damaged data with whatever error comes first
        raise Findings([errors.conversion_failed(shown, str(problem), span)]) from problem
    _write_manifest(file, folder)
    for path in (*folder.iterdir(), folder):
        _sync(path)


def _write_model(file: Path, folder: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
    )
    # The loader leaves the marks of a quantised model, which save_pretrained refuses; the weights are plain.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    for name, weight in model.named_parameters():
        if weight.dtype != torch.float32 or not bool(torch.isfinite(weight).all()):
            raise ValueError(f"{name} has values that are not finite float32 numbers")
    model.save_pretrained(folder, max_shard_size="50GB")


def _write_tokenizer(file: Path, folder: Path) -> None:
    load: Any = AutoTokenizer.from_pretrained
    tokenizer = load(str(file.parent), gguf_file=file.name, local_files_only=True)
    tokenizer.save_pretrained(folder)


def _write_manifest(file: Path, folder: Path) -> None:
    sums = {
        "gguf": digest(file),
        "weights": digest(folder / "model.safetensors"),
        "tokenizer": digest(folder / "tokenizer.json"),
    }
    manifest = {"sha256": sums, "converted_with": f"transformers {transformers.__version__}"}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    """Force a file or folder to disk, so that a name never outlives its content."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
