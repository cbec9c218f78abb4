"""Small pictures as text: an 8-bit palette image, written with zlib alone, as a `data:` address."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_PIXELS = 4000


def png(steps: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """An image [height, width] of palette entries; `palette` [256, 3] is RGB, and entry 0 is transparent."""
    height, width = steps.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), steps], axis=1)  # filter byte 0 before each row
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", b"\x00")
    return SIGNATURE + body + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)) + chunk(b"IEND", b"")


def enlarged(steps: NDArray[np.uint8], grain: int) -> NDArray[np.uint8]:
    """Each pixel as a square of `grain` by `grain`, fewer where the image would be more than 4,000 wide or high."""
    times = max(1, min(grain, MOST_PIXELS // max(steps.shape)))
    return steps.repeat(times, axis=0).repeat(times, axis=1)


def chunk(kind: bytes, content: bytes) -> bytes:
    """One part of a PNG file: length, kind, content, checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def data_uri(image: bytes) -> str:
    """A PNG file as an address that a page can carry."""
    return "data:image/png;base64," + b64encode(image).decode()
