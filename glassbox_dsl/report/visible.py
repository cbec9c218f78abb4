"""Text that cannot be mistaken: white space in tokens, control and bidirectional characters become glyphs.

A token is data from a model or a stranger's file. Shown raw, a line break would break a table and a
right-to-left override would make a page say something else than it holds.
"""

from __future__ import annotations

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
SPACES = {" ": "␣", "\n": "⏎", "\t": "⇥"}
PRINTED = str.maketrans({"_": "‹_›", "¶": "‹¶›", "␣": "_", "⏎": "¶", "⇥": "‹tab›"})


def visible(text: str) -> str:
    """Running text: spaces stay, line breaks and tabs become ⏎ and ⇥, what is invisible ‹U+202E›."""
    if plain(text):
        return text
    return "".join(c if c == " " else glyph(c) for c in text)


def visible_token(text: str) -> str:
    """A token: its spaces are shown as well, and a leading combining mark gets a base to stand on."""
    if text and unicodedata.category(text[0]) in {"Mn", "Me"}:
        text = "◌" + text
    return "".join(glyph(c) for c in text)


def printed(shown: str) -> str:
    """A token as `visible_token` shows it in the letters of print: a space as _, a line break as ¶.

    ␣ and ⏎ are missing in most of those, and what is drawn instead is bold. A true _ or ¶ stands in brackets.
    """
    return shown.translate(PRINTED)


def visible_source(text: str) -> str:
    """Several lines of text: line breaks and tabs stay, everything else that cannot be seen is shown."""
    return "".join(c if c in " \n\t" else glyph(c) for c in text.replace("\r\n", "\n"))


def plain(text: str) -> bool:
    """Whether a text is ASCII letters, digits, signs and spaces: most are, and this is quick to see."""
    return text.isascii() and text.isprintable()


def glyph(char: str) -> str:
    """One character as it is shown."""
    if char in SPACES:
        return SPACES[char]
    hidden = unicodedata.category(char) in HIDDEN or char == "\N{REPLACEMENT CHARACTER}"
    strange_space = unicodedata.category(char) == "Zs"
    return f"‹U+{ord(char):04X}›" if hidden or strange_space else char
