"""Running text in pieces that start at the same character for every model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from glassbox_dsl.resolve.tokenizer import Encoding, TextTokenizer

_WORD = re.compile(r"(?:(?<=\s)|^)\S")
_MARGIN = (
    16  # tokens behind a piece that must stand in the window, so that its last ones are as in running text
)


@dataclass(frozen=True)
class Chunk:
    """One piece as one model sees it: `encoding` with the model's BOS, offsets within `text`."""

    text: str
    encoding: Encoding


def cut(text: str, tokenizers: Mapping[str, TextTokenizer], tokens: int) -> list[dict[str, Chunk]]:
    """All pieces of a text, by model: each starts at the first word that no model has read yet.

    A piece has `tokens` tokens of text for every model; what is left at the end is too short and left out.
    """
    pieces: list[dict[str, Chunk]] = []
    start = _next_word(text, 0)
    while start is not None:
        piece: dict[str, Chunk] = {}
        for model, tokenizer in tokenizers.items():
            chunk = _chunk(text, start, tokenizer, tokens)
            if chunk is None:
                return pieces
            piece[model] = chunk
        pieces.append(piece)
        start = _next_word(text, start + max(len(chunk.text) for chunk in piece.values()))
    return pieces


def _next_word(text: str, start: int) -> int | None:
    match = _WORD.search(text, start)
    return None if match is None else match.start()


def _chunk(text: str, start: int, tokenizer: TextTokenizer, tokens: int) -> Chunk | None:
    lead = len(tokenizer.lead)
    size = 8 * tokens + 256
    while True:
        window = text[start : start + size]
        encoding = tokenizer.encode(window)
        if len(encoding.ids) >= lead + tokens + _MARGIN or start + size >= len(text):
            break
        size *= 2
    places = encoding.offsets[lead : lead + tokens]
    if len(places) < tokens or places[-1] == (0, 0):
        return None
    end = places[-1][1]
    return Chunk(window[:end], Encoding(encoding.ids[: lead + tokens], encoding.offsets[: lead + tokens]))
