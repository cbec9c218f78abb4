"""How a file names a model: the right side of `model NAME = SOURCE(...)`."""

from __future__ import annotations

from typing import Literal

from glassbox_dsl.source import Span
from glassbox_dsl.vocabulary.plain import Plain

SourceKind = Literal["bundled", "hub", "local", "gguf", "tiny"]
DtypeName = Literal["float32", "bfloat16", "float16"]


class ModelSource(Plain):
    """One `model` declaration. `target` is the bundled id, hub name, folder, file, or family (tiny).

    Paths are absolute (the language stage resolves them against the file that names them).
    """

    name: str
    kind: SourceKind
    target: str
    revision: str | None = None
    layers: int | None = None
    seed: int = 0
    tokenizer: str = "smollm2-135m"
    dtype: DtypeName = "float32"
    device: str = "auto"
    bos: bool | None = None
    adapter: str | None = None
    span: Span | None = None
