"""The wording of everything that can be wrong with a file before its names have a meaning (GB1xx)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span

# The file itself


def no_such_file(path: str) -> Diagnostic:
    """Nothing lies at the path."""
    return Diagnostic(
        "GB101", f"no file `{path}`", label="there is nothing of this name", help="check the path"
    )


def is_a_folder(path: str) -> Diagnostic:
    """A folder lies at the path."""
    return Diagnostic(
        "GB101", f"`{path}` is a folder", label="a .gbx file is needed", help="name a file in it"
    )


def unreadable(path: str, reason: str) -> Diagnostic:
    """The system refuses to read the file."""
    return Diagnostic(
        "GB101", f"cannot read `{path}`", label=reason.lower(), help="check the path and its rights"
    )


def not_utf8(path: str, line: int, byte: int) -> Diagnostic:
    """The bytes are not text."""
    return Diagnostic(
        "GB102",
        f"`{path}` is not UTF-8 text",
        label=f"line {line} holds the byte 0x{byte:02x}, which is no character",
        help="save the file as UTF-8",
    )


def too_large(path: str, limit_bytes: int) -> Diagnostic:
    """The file has more bytes than a program can sensibly have."""
    return Diagnostic(
        "GB103",
        f"`{path}` is larger than {limit_bytes // 2**20} MiB",
        label="a .gbx file is a program; its data lie beside it",
        help='put the rows into a file and read them with `from "rows.jsonl"`',
    )


def nested_too_deep(place: Span, limit: int) -> Diagnostic:
    """One bracket too many inside others."""
    return Diagnostic(
        "GB104",
        f"brackets nest more than {limit} deep",
        place,
        f"this one has {limit} others around it",
        "name the inner parts with `let`",
    )


def expression_too_tall(place: Span, limit: int) -> Diagnostic:
    """More operators, calls and indices upon each other than later stages can walk."""
    return Diagnostic(
        "GB105",
        f"an expression has more than {limit} steps",
        place,
        f"the {limit} operators, calls and indices before this one build on each other",
        "name parts of it with `let`, or sum over an axis",
    )


def no_header(place: Span) -> Diagnostic:
    """The file does not say which version of the language it is written in."""
    return Diagnostic(
        "GB106",
        "the file does not start with `gbx 1`",
        place,
        "the version of the language comes first",
        "make `gbx 1` the first line",
    )


def other_version(place: Span, version: str) -> Diagnostic:
    """The file is written in a version that this program does not know."""
    newer = version.isdigit() and version.lstrip("0") not in {"", "1"}
    return Diagnostic(
        "GB107",
        f"version {shortened(version)} of the language is not known",
        place,
        "this program reads version 1",
        "install a newer release of glassbox-dsl" if newer else "write `gbx 1`",
    )


# Single lexemes

_INSTEAD = {
    "'": 'strings stand in double quotes: "..."',
    "‘": 'strings stand in double quotes: "..."',
    "’": 'strings stand in double quotes: "..."',
    "“": 'strings stand in straight double quotes: "..."',
    "”": 'strings stand in straight double quotes: "..."',
    ";": "nothing is needed between statements",
    "&": "truth values multiply: `a * b`",
    "|": "there is no `or`: `max(a, b) > 0` holds where one of two truth values does",
    "!": "the complement is `not x`; unequal is `!=`",
    "^": "there is no power operator: multiply, or use `exp`",
    "%": "a depth is a number and the sign, as in `50%`",
    "@": "the position of a metric is the argument `at:`",
    "`": 'strings stand in double quotes: "..."',
    "−": "the minus sign is `-`",
    "–": "the minus sign is `-`",
    "×": "multiplication is `*`",
    "→": "the arrow is `->`",
    "≤": "at most is `<=`",
    "≥": "at least is `>=`",
    "≠": "unequal is `!=`",
    "…": "a range is written with two dots: `0..5`",
    "\xa0": "a no-break space: type an ordinary one",
    "\ufeff": "a byte order mark: delete it",
}


def stray_character(place: Span) -> Diagnostic:
    """Characters that are no part of the language."""
    text = place.text
    shown = f"`{shortened(text)}`" if text.isprintable() and not text.isspace() else f"U+{ord(text[0]):04X}"
    return Diagnostic(
        "GB108",
        f"{shown} is not part of the language",
        place,
        "nothing in a .gbx file is written with this",
        _INSTEAD.get(text[:1], "remove it, or put it into a string"),
    )


def not_a_word(place: Span) -> Diagnostic:
    """Letters and digits that are neither a name nor a number."""
    text = place.text
    if text[0].isdigit():
        label, hint = "a number ends where its digits end", "put a blank between them"
    elif text.isascii():
        label, hint = "names are written in lower case", f"write `{shortened(_snake_case(text))}`"
    else:
        label, hint = "names are made of a-z, 0-9 and `_`", "put other letters into a string"
    return Diagnostic("GB109", f"`{shortened(text)}` is neither a name nor a number", place, label, hint)


def string_not_closed(place: Span) -> Diagnostic:
    """A quote without its other end."""
    if place.end - place.start == 3:
        return Diagnostic(
            "GB110", "a string is not closed", place, 'no other `"""` follows', 'end the text with `"""`'
        )
    return Diagnostic(
        "GB110",
        "a string is not closed",
        place,
        'no other `"` follows on this line',
        'end it with `"`; text of several lines stands between `"""` and `"""`',
    )


def unknown_escape(place: Span) -> Diagnostic:
    """A backslash before something that it gives no meaning to."""
    if place.text.startswith("\\u"):
        label, hint = "this names no character", "write the code point in braces, as in `\\u{e9}`"
    else:
        label = "a backslash stands for itself only when doubled"
        hint = 'the escapes are `\\n \\t \\" \\\\ \\u{...}`'
    return Diagnostic("GB111", f"`{shortened(place.text)}` is not an escape", place, label, hint)


def number_too_large(place: Span) -> Diagnostic:
    """A number that no 64-bit number holds."""
    return Diagnostic(
        "GB112",
        f"the number {shortened(place.text)} is too large",
        place,
        "numbers have 64 bits",
        "infinity is written `inf`",
    )


# Brackets


def never_closed(place: Span, bracket: str, closer: str) -> Diagnostic:
    """An opening bracket without a partner."""
    return Diagnostic(
        "GB113", f"`{bracket}` is never closed", place, f"its `{closer}` is missing", f"add the `{closer}`"
    )


def nothing_to_close(place: Span) -> Diagnostic:
    """A closing bracket without a partner."""
    return Diagnostic(
        "GB114",
        f"`{place.text}` closes nothing",
        place,
        "no bracket is open here that it could close",
        "remove it",
    )


def closed_by_another(place: Span, bracket: str, closer: str) -> Diagnostic:
    """A bracket closed by one of another kind."""
    return Diagnostic(
        "GB114",
        f"`{place.text}` cannot close `{bracket}`",
        place,
        f"the bracket that is open here is `{bracket}`",
        f"write `{closer}`",
    )


# Statements


def unexpected(found: str, expected: Sequence[str], after: str, place: Span, hint: str) -> Diagnostic:
    """Something else stands where the grammar wants one of a few things."""
    return Diagnostic(
        "GB115", f"expected {one_of(expected)}, found {found}", place, f"this follows {after}", hint
    )


def breaks_off(what: str, expected: Sequence[str], place: Span, hint: str) -> Diagnostic:
    """A statement that is over too soon; the place is its last lexeme."""
    wanted = one_of(expected)
    return Diagnostic(
        "GB115", f"{what} breaks off where {wanted} is expected", place, "nothing follows this", hint
    )


def no_statement(
    word: str, shown: str, block: str, forms: Mapping[str, str], elsewhere: str, place: Span
) -> Diagnostic:
    """A statement that starts with what starts none in this block; `elsewhere` is where the word would."""
    near = did_you_mean(word, forms)
    if near.startswith("did you mean"):
        hint = near
    elif elsewhere:
        hint = f"it stands in {elsewhere}"
    elif len(forms) == 1:
        hint = f"the form is `{next(iter(forms.values()))}`"
    else:
        hint = "what can stand here starts with " + one_of([f"`{head}`" for head in sorted(forms) if head])
    return Diagnostic("GB116", f"{shown} starts nothing in {block}", place, "a statement starts here", hint)


def out_of_place(place: Span) -> Diagnostic:
    """Something sound by itself, but not where it stands."""
    return Diagnostic("GB115", f"`{shortened(place.text)}` does not belong here", place, "remove this")


def wrong_sign(found: str, wanted: str, place: Span, label: str, hint: str) -> Diagnostic:
    """One of `=`, `:=`, `==`, `:` where another of them is meant."""
    return Diagnostic("GB117", f"expected `{wanted}`, found `{found}`", place, label, hint)


def first_of_many(last: Diagnostic, limit: int) -> Diagnostic:
    """The last finding that is shown, saying that there are more."""
    return replace(last, notes=(*last.notes, f"only the first {limit} problems of the file are shown"))


# Phrases


def one_of(things: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    if len(things) < 2:
        return "".join(things)
    return f"{', '.join(things[:-1])} or {things[-1]}"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def shortened(text: str) -> str:
    """A text of at most 40 characters, for quoting."""
    return text if len(text) <= 40 else text[:37] + "..."
