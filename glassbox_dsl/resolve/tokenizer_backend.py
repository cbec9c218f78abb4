"""`tokenizer.json` as the tokenizers library reads it, with a memory for those that take long to read.

A vocabulary of 262,144 tokens takes over a second to build, and `gbx check` has to answer at once. What such a
tokenizer was asked is therefore kept in the user's cache, under a name made from its files' sizes and times of
change; a check of the same texts never builds it. Small tokenizers are simply read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SLOW_BYTES = 1 << 20
_SCHEME = 2  # to be raised when the same question has another answer than before
_MOST_ANSWERS = 4_000
_LONGEST_TEXT = 4096
_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
T = TypeVar("T")


class TokenizerProblem(Exception):
    """Why a folder gives no tokenizer, in words that follow a colon."""


class TokenizerFiles:
    """The files of a tokenizer as they are now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def model(self) -> bytes:
        """The contents of `tokenizer.json`."""
        try:
            return (self.folder / "tokenizer.json").read_bytes()
        except OSError as error:
            raise TokenizerProblem(f"tokenizer.json cannot be read ({error.strerror})") from error

    @cached_property
    def config(self) -> dict[str, Any]:
        """`tokenizer_config.json`."""
        return self._read("tokenizer_config.json")

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """`bos_token` and its like, from `tokenizer_config.json` or the older `special_tokens_map.json`."""
        merged = {**self._read("special_tokens_map.json"), **self.config}
        tokens = {key: content(merged.get(key)) for key in _NAMED}
        return {key: token for key, token in tokens.items() if token is not None}

    def _read(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.folder / name).read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise TokenizerProblem(f"{name} cannot be read") from error
        return value if isinstance(value, dict) else {}


class Backend:
    """What the tokenizers library says of one tokenizer; `memory` is the file of what it said before."""

    def __init__(self, files: TokenizerFiles, memory: Path | None) -> None:
        self.files = files
        self.memory = memory
        self._known: dict[str, str] = _remembered(memory)  # answers as JSON: a file asks few of them
        self._said: dict[str, Any] = {}
        self._news = False

    def encode(self, text: str, special: bool) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and untrimmed offsets; `special` adds what the tokenizer adds by default."""

        def ask() -> list[Any]:
            encoded = self._tokenizer.encode(text, add_special_tokens=special)
            return [encoded.ids, encoded.offsets]

        ids, offsets = self._answer(f"{int(special)}:{text}", ask) if len(text) <= _LONGEST_TEXT else ask()
        return ids, [(start, end) for start, end in offsets]

    def piece(self, token: int) -> str | None:
        """The piece of a token id, as the vocabulary spells it."""
        return self._answer(f"piece:{token}", lambda: self._tokenizer.id_to_token(token))

    def token(self, piece: str) -> int | None:
        """The id of a piece."""
        return self._answer(f"token:{piece}", lambda: self._tokenizer.token_to_id(piece))

    def is_added(self, token: int) -> bool:
        """Whether a token is an added one: special, or matched as a whole before any other."""
        return self._answer(f"added:{token}", lambda: token in self._added)

    @property
    def size(self) -> int:
        """Number of tokens, added ones included."""
        return self._answer("size", lambda: int(self._tokenizer.get_vocab_size(with_added_tokens=True)))

    @property
    def byte_level(self) -> bool:
        """Whether pieces spell bytes, as GPT-2's do."""
        return self._answer("byte_level", lambda: b"ByteLevel" in _state(self._tokenizer.decoder))

    def keep(self) -> None:
        """Write down what was asked, for the next time; where that cannot be, nothing is lost."""
        if self.memory is None or not self._news:
            return
        fresh = self.memory.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            # What was asked now goes last: dropped first, it would be asked for again, in the place of another.
            asked = {question: self._known[question] for question in self._said}
            others = {question: known for question, known in self._known.items() if question not in asked}
            newest = list({**others, **asked}.items())[-_MOST_ANSWERS:]
            fresh.write_text(json.dumps(dict(newest)), "utf-8")
            fresh.replace(self.memory)
            self._news = False

    def _answer(self, question: str, ask: Callable[[], T]) -> T:
        if self.memory is None:
            return ask()
        if question in self._said:
            return cast("T", self._said[question])
        known = self._known.get(question)
        if known is None:
            answer = ask()
            self._known[question] = json.dumps(answer, separators=(",", ":"))
            self._news = True
        else:
            answer = json.loads(known)
        self._said[question] = answer
        return answer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _build(self.files)

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._tokenizer.get_added_tokens_decoder())


def backend_of(folder: Path) -> Backend:
    """The tokenizer of a folder: the same object as long as its files stay as they are."""
    folder = folder.resolve()
    return _backend(folder, tuple(_stamp(folder / name) for name in _FILES))


Stamp = tuple[int, int, int, int]


def _stamp(file: Path) -> Stamp | None:
    """What changes when a file does, without reading it: hashing 33 MB takes a good part of a check."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


@lru_cache(maxsize=8)
def _backend(folder: Path, stamps: tuple[Stamp | None, ...]) -> Backend:
    model = stamps[0]
    slow = model is not None and model[0] >= SLOW_BYTES
    return Backend(TokenizerFiles(folder), _memory_of(folder, stamps) if slow else None)


def _memory_of(folder: Path, stamps: tuple[Stamp | None, ...]) -> Path | None:
    """Where the answers of these files, as they are and with the library as it is, are kept."""
    from glassbox_dsl.resolve.bundled import cache_folder

    facts = json.dumps([str(folder), stamps, _library(), _SCHEME])
    try:
        return cache_folder() / "tokens" / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"
    except (OSError, RuntimeError):
        return None


def _library() -> Stamp | None:
    """The tokenizers library as it is installed now; asking for its version would take a twentieth of a check."""
    found = find_spec("tokenizers")
    return None if found is None or found.origin is None else _stamp(Path(found.origin))


def _remembered(memory: Path | None) -> dict[str, str]:
    if memory is None:
        return {}
    try:
        known = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    sound = isinstance(known, dict) and all(isinstance(answer, str) for answer in known.values())
    return known if sound else {}


def _build(files: TokenizerFiles) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(files.model)
    except Exception as error:  # the library raises plain Exception
        raise TokenizerProblem(f"tokenizer.json is damaged ({error})") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _add_declared_tokens(tokenizer, files)
    post_processor = tokenizer.post_processor
    if post_processor is not None:
        # What it adds is the default that AutoTokenizer keeps: next to a tokenizer.json it drops the keys
        # `add_bos_token` and `add_eos_token` of the config.
        state = json.loads(_state(post_processor))
        if _untrimmed(state):
            post_processor.__setstate__(json.dumps(state).encode())
            tokenizer.post_processor = post_processor
    return tokenizer


def _add_declared_tokens(tokenizer: Tokenizer, files: TokenizerFiles) -> None:
    """Add the tokens that only the config files declare, as AutoTokenizer does: by id, then by name."""
    from tokenizers import AddedToken

    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    declared = files.config.get("added_tokens_decoder") or {}
    named = set(files.special_tokens.values())
    for _, entry in sorted(declared.items(), key=lambda pair: int(pair[0])):
        text = content(entry)
        if text is None or text in known:
            continue
        flags = {k: bool(entry.get(k, False)) for k in ("single_word", "lstrip", "rstrip", "normalized")}
        special = bool(entry.get("special", False)) or text in named
        tokenizer.add_tokens([AddedToken(text, special=special, **flags)])
        known.add(text)
    for text in files.special_tokens.values():
        if text not in known:
            tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)])
            known.add(text)


def _untrimmed(state: dict[str, Any]) -> bool:
    """Switch trimming off in the state of a post-processor, and in those inside it; whether it changed."""
    changed = False
    if state.get("trim_offsets"):
        state["trim_offsets"] = False
        changed = True
    for inner in state.get("processors", ()):
        changed = _untrimmed(inner) or changed
    return changed


def _state(part: Any) -> bytes:
    """A part of a tokenizer as JSON; nothing where it has none."""
    return b"" if part is None else bytes(part.__getstate__())


def content(token: Any) -> str | None:
    """The text of a token that a config file gives as a string or as a record."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None
