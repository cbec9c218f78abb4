"""A model's tokenizer, read from `tokenizer.json` without transformers: text to token ids with their places.

It gives what `AutoTokenizer` gives by default: the added tokens of `tokenizer_config.json`, a BOS where the
tokenizer adds one, no truncation or padding. Offsets are never trimmed, so that every character of a text
belongs to the tokens that hold it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from glassbox_dsl.resolve.chat import ChatRefused, render_chat
from glassbox_dsl.resolve.tokenizer_backend import Backend, TokenizerProblem, backend_of

__all__ = ["Encoding", "TextTokenizer", "TokenizerProblem"]

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"


@dataclass(frozen=True, slots=True)
class Encoding:
    """Token ids of a text; `offsets[i]` is the stretch of characters that token i holds, empty for a BOS."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


class TextTokenizer:
    """The tokenizer of the model in `folder`; read when first used. `bos` overrides whether one is added."""

    def __init__(self, folder: Path, *, bos: bool | None = None) -> None:
        self.folder = folder
        self.bos = bos
        self._texts: dict[int, str] = {}

    # ------------------------------------------------------------ text to tokens

    def encode(self, text: str) -> Encoding:
        """Tokens of a prompt, with the special tokens that the model's tokenizer adds by default."""
        encoding = self._encoded(text, special=True)
        return self._with_bos(encoding, added=True)

    def encode_plain(self, text: str) -> Encoding:
        """Tokens of a text alone: nothing is added, whatever `bos` says."""
        return self._encoded(text, special=False)

    def encode_chat(self, rendered: str) -> Encoding:
        """Tokens of a text that the chat template made, which has written its own BOS if it wants one."""
        plain = self.encode_plain(rendered)
        if self.bos is False and "bos_token" not in (self.chat_template or ""):
            return plain  # what looks like a BOS opens the first turn
        return self._with_bos(plain, added=False)

    def _encoded(self, text: str, *, special: bool) -> Encoding:
        ids, offsets = self._backend.encode(text, special)
        if self._space_id in ids:
            # A space that the tokenizer itself put before a word holds no character of the text.
            offsets = [
                (start, end)
                if token != self._space_id or text[start:end] in (" ", _SPACE)
                else (start, start)
                for token, (start, end) in zip(ids, offsets, strict=True)
            ]
        return Encoding(tuple(ids), tuple(offsets))

    def _with_bos(self, encoding: Encoding, *, added: bool) -> Encoding:
        """The tokens with or without a leading BOS as `bos` says; one that a prompt spells out stays."""
        ids, offsets = encoding.ids, encoding.offsets
        has = bool(ids) and ids[0] == self.bos_id and (not added or offsets[0] == (0, 0))
        if self.bos is False and has:
            return Encoding(ids[1:], offsets[1:])
        if self.bos is True and not has:
            if self.bos_id is None:
                raise TokenizerProblem("it has no BOS token to add")
            return Encoding((self.bos_id, *ids), ((0, 0), *offsets))
        return encoding

    def render_chat(self, messages: list[dict[str, str]]) -> str:
        """The chat template applied, ending where the answer begins; ChatRefused where it cannot be."""
        template = self.chat_template
        if template is None:
            raise ChatRefused("it has no chat template")
        return render_chat(template, messages, self._backend.files.special_tokens)

    # ------------------------------------------------------------ tokens to text

    def token_text(self, token: int) -> str:
        """The characters of a token as a person reads them: spaces as spaces, lone bytes as `\\xNN`.

        A model may have rows behind the tokenizer's last token: `[50300]` is the token of such a row.
        """
        if token not in self._texts:
            text = self.token_bytes(token).decode("utf-8", errors="backslashreplace")
            self._texts[token] = text if self.knows(token) else f"[{token}]"
        return self._texts[token]

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for in running text: none, where the tokenizer has no such token."""
        piece = self._backend.piece(token)
        if piece is None:
            return b""
        if self._backend.is_added(token):
            return piece.encode()
        if self._backend.byte_level:
            letters = _byte_letters()
            if all(letter in letters for letter in piece):
                return bytes(letters[letter] for letter in piece)
            return piece.encode()
        if match := _BYTE_PIECE.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return piece.replace(_SPACE, " ").encode()

    def is_ordinary(self, token: int) -> bool:
        """Whether a token is readable text: no added or special token, no lone byte, not only white space."""
        piece = self._backend.piece(token)
        if piece is None or self._backend.is_added(token) or _BYTE_PIECE.fullmatch(piece):
            return False
        try:
            text = self.token_bytes(token).decode("utf-8")
        except UnicodeDecodeError:
            return False
        return bool(text.strip()) and text.strip().isprintable()

    @cached_property
    def ordinary_tokens(self) -> tuple[int, ...]:
        """All ordinary token ids, ascending."""
        return tuple(token for token in range(self.size) if self.is_ordinary(token))

    # ------------------------------------------------------------ facts

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return self._backend.size

    @cached_property
    def lead(self) -> tuple[int, ...]:
        """The special tokens that a prompt starts with: a BOS, or nothing."""
        ids, plain = self.encode("a").ids, self.encode_plain("a").ids
        first = next(i for i in range(len(ids)) if ids[i : i + len(plain)] == plain)
        return ids[:first]

    def knows(self, token: int) -> bool:
        """Whether there is a token of this id."""
        return self._backend.piece(token) is not None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `tokenizer.json`."""
        return hashlib.sha256(self._backend.files.model).hexdigest()

    @cached_property
    def bos_id(self) -> int | None:
        """Id of the beginning-of-sequence token; None where the tokenizer has none."""
        token = self._backend.files.special_tokens.get("bos_token")
        return None if token is None else self._backend.token(token)

    @cached_property
    def chat_template(self) -> str | None:
        """The model's chat template: `chat_template.jinja`, else that of `tokenizer_config.json`."""
        file = self.folder / "chat_template.jinja"
        if file.is_file():
            return file.read_text("utf-8")
        template = self._backend.files.config.get("chat_template")
        if isinstance(template, list):
            named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None

    def keep_answers(self) -> None:
        """Let the next check of the same texts do without reading a slow tokenizer."""
        self._backend.keep()

    @cached_property
    def _backend(self) -> Backend:
        return backend_of(self.folder)

    @cached_property
    def _space_id(self) -> int | None:
        """The piece that stands for a space alone, in the tokenizers that may put one before a text."""
        return None if self._backend.byte_level else self._backend.token(_SPACE)


@cache
def _byte_letters() -> dict[str, int]:
    """The letter that byte-level tokenizers (GPT-2 and its kin) write for each byte, and back."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    letters = {chr(b): b for b in shown}
    return letters | {chr(256 + i): b for i, b in enumerate(hidden)}
