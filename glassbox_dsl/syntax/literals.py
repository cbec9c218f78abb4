"""String literals to text and back: the escapes in one place for reader and printer."""

from __future__ import annotations

import re

ESCAPE = re.compile(r"\\(?:u\{(?P<hex>[0-9a-fA-F]{1,6})\}|(?P<plain>[nt\"\\]))")
LARGEST_CODE_POINT = 0x10FFFF

_MEANING = {"n": "\n", "t": "\t", '"': '"', "\\": "\\"}
_ESCAPED = {meaning: f"\\{letter}" for letter, meaning in _MEANING.items()}
_NEEDS_ESCAPE = re.compile(r'["\\]|[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]|[\ud800-\udfff]')


def is_character(code_point: int) -> bool:
    """Whether a number names a character: within Unicode and not half of a surrogate pair."""
    return code_point <= LARGEST_CODE_POINT and not 0xD800 <= code_point <= 0xDFFF


def string_value(literal: str) -> str:
    """The text that a checked literal stands for, quotes included in `literal`.

    A line break inside triple quotes is `\\n` whatever the file uses: a checkout must not change prompts.
    """
    width = 3 if literal.startswith('"""') else 1
    body = literal[width:-width].replace("\r\n", "\n").replace("\r", "\n")
    return ESCAPE.sub(_meaning, body) if "\\" in body else body


def _meaning(match: re.Match[str]) -> str:
    if match["hex"]:
        return chr(int(match["hex"], 16))
    return _MEANING[match["plain"]]


def quoted(text: str) -> str:
    """The literal on one line whose value is `text`."""
    return '"' + _NEEDS_ESCAPE.sub(lambda m: _ESCAPED.get(m[0]) or f"\\u{{{ord(m[0]):x}}}", text) + '"'
