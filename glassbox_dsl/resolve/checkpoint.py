"""The outside of weight files: is a safetensors file whole, what does a GGUF file say, and what is its hash.

Only headers are interpreted. Formats: https://github.com/huggingface/safetensors#format and
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

LIMIT = 100_000_000
"""No header, string or array is longer: a corrupt length must not fill the memory."""


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    sum = sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            sum.update(block)
    return sum.hexdigest()


class BrokenFile(Exception):
    """The file is not what its name says; the message says why."""


def check_safetensors(path: Path) -> None:
    """Raise BrokenFile unless the header can be read and the file has the length that it states."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little") if len(head) == 8 else LIMIT + 1
        if length > min(LIMIT, size):
            raise BrokenFile("it does not begin with a safetensors header")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            stated = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise BrokenFile("its safetensors header is damaged") from None
    if size != stated:
        raise BrokenFile(f"it has {size} bytes and its header says {stated}")


def gguf_metadata(path: Path) -> dict[str, Any]:
    """The key-value pairs of a GGUF file, of arrays only the length; `has_output`: is the head stored.

    Raises BrokenFile where the header does not parse or tensors begin behind the end of the file.
    """
    with open(path, "rb") as file:
        try:
            return _Gguf(file, path.stat().st_size).metadata()
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError):
            raise BrokenFile("its GGUF header is damaged or cut off") from None


_NUMBERS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class _Gguf:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size

    def metadata(self) -> dict[str, Any]:
        if self.file.read(4) != b"GGUF":
            raise BrokenFile("it does not begin with `GGUF`")
        version = self._number("<I")
        if version not in (2, 3):
            raise BrokenFile(f"GGUF version {version} cannot be read")
        n_tensors, n_pairs = self._number("<Q"), self._number("<Q")
        pairs = {self._string(): self._value(self._number("<I")) for _ in range(n_pairs)}
        tensors = [self._tensor() for _ in range(n_tensors)]
        align = int(pairs.get("general.alignment", 32))
        begin = -(-self.file.tell() // align) * align
        if any(begin + offset >= self.size for _, offset in tensors):
            raise BrokenFile("it ends before its last tensor begins")
        return {**pairs, "has_output": any(name == "output.weight" for name, _ in tensors)}

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self.file.read(struct.calcsize(form)))[0]

    def _string(self) -> str:
        length = self._number("<Q")
        if length > min(LIMIT, self.size):
            raise BrokenFile("its GGUF header is damaged or cut off")
        raw = self.file.read(length)
        if len(raw) != length:
            raise BrokenFile("its GGUF header is cut off")
        return raw.decode("utf-8", errors="replace")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_NUMBERS[kind])
        of, count = self._number("<I"), self._number("<Q")
        if count > LIMIT:
            raise BrokenFile("its GGUF header is damaged or cut off")
        skip: Callable[[], Any]
        if of in _NUMBERS:
            self.file.seek(count * struct.calcsize(_NUMBERS[of]), 1)
            return {"array": count}
        skip = self._string if of == _STRING else lambda: self._value(of)
        for _ in range(count):
            skip()
        return {"array": count}

    def _tensor(self) -> tuple[str, int]:
        name = self._string()
        n_dims = self._number("<I")
        if n_dims > 8:
            raise BrokenFile("its GGUF header is damaged or cut off")
        for _ in range(n_dims):
            self._number("<Q")
        self._number("<I")
        return name, self._number("<Q")
