"""Whatever the text, the parser returns a tree or findings, and raises nothing."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassbox_dsl.diagnostics import render
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import Parsed, format_file, parse
from glassbox_dsl.syntax.brackets import TALLEST_EXPRESSION
from glassbox_dsl.syntax.scan import DEEPEST_NESTING

EXAMPLES = [
    path.read_text(encoding="utf-8") for path in sorted((Path(__file__).parent / "examples").glob("*.gbx"))
]
PIECES = [re.findall(r'"""[\s\S]*?"""|"[^"\n]*"|\s+|#.*|\w+|\S', text) for text in EXAMPLES]
STRAY = [
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ":=",
    "=",
    "==",
    "..",
    ".",
    ",",
    "->",
    '"',
    '"""',
    "'",
    "@",
    "\\",
    "Foo",
    "3x",
]
STRAY += [
    "not",
    "in",
    "measure m = ",
    "experiment e {",
    "\x00",
    "\ud800",
    "9" * 5000,
    "gbx 2",
    "# ",
    "\n",
    "é",
]


def survives(text: str) -> Parsed:
    """Parse, and check what holds for every text."""
    parsed = parse(Source("any.gbx", text))
    for finding in parsed.diagnostics:
        assert finding.code.startswith("GB1") and finding.headline and finding.severity == "error"
        assert finding.span is not None
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        assert finding.code in render(finding)
    if not parsed.diagnostics:
        assert parsed.file is not None
        again = parse(Source("again.gbx", format_file(parsed.file)))
        assert again.file == parsed.file and again.diagnostics == ()
    return parsed


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_text(text: str) -> None:
    survives(text)
    survives(f"gbx 1 {text}")


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from(list('gbx 1letaxy=:+-*/.,()[]{}<>!"\\#\n\x00é\ud800%_')), max_size=60))
def test_text_of_the_letters_of_the_language(text: str) -> None:
    survives(f"gbx 1 let x = {text}")
    survives(f"gbx 1 experiment e {{ {text} }}")


@settings(deadline=None, max_examples=100)
@given(st.binary())
def test_bytes(raw: bytes) -> None:
    survives(raw.decode("latin-1"))
    survives(raw.decode("utf-8", errors="surrogateescape"))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, len(EXAMPLES) - 1), st.integers(0, 2**32))
def test_sound_files_with_lexemes_left_out_put_in_or_doubled(which: int, seed: int) -> None:
    chance = random.Random(seed)
    pieces = list(PIECES[which])
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at = chance.randrange(len(pieces))
        change = chance.randrange(4)
        if change == 0:
            del pieces[at]
        elif change == 1:
            pieces.insert(at, pieces[at])
        else:
            pieces.insert(at + change - 2, chance.choice([*STRAY, *chance.choice(PIECES)]))
    survives("".join(pieces))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, len(EXAMPLES) - 1), st.data())
def test_files_that_break_off(which: int, data: st.DataObject) -> None:
    survives(EXAMPLES[which][: data.draw(st.integers(0, len(EXAMPLES[which])))])


DEEP = {
    "brackets": "(" * DEEPEST_NESTING + "a" + ")" * DEEPEST_NESTING,
    "lists": "[" * DEEPEST_NESTING + "a" + "]" * DEEPEST_NESTING,
    "calls": "f(" * DEEPEST_NESTING + "a" + ")" * DEEPEST_NESTING,
    "records": "{a: " * DEEPEST_NESTING + "a" + "}" * DEEPEST_NESTING,
}


@pytest.mark.parametrize("shape", DEEP)
def test_nesting_has_a_limit(shape: str) -> None:
    sound = survives(f"gbx 1 let x = {DEEP[shape]}")
    assert sound.diagnostics == ()
    refused = survives(f"gbx 1 let x = [{DEEP[shape]}]")
    assert [d.code for d in refused.diagnostics] == ["GB104"]
    assert refused.file is None


TALL = {
    "sum": "a" + " + a" * TALLEST_EXPRESSION,
    "minus": "-" * TALLEST_EXPRESSION + "a",
    "not": "not " * TALLEST_EXPRESSION + "a",
    "dots": "a" + ".b" * TALLEST_EXPRESSION,
    "indices": "a" + "[1]" * (TALLEST_EXPRESSION // 2),
    "calls": "a" + "()" * (TALLEST_EXPRESSION // 2),
    "nested": "f(" * 50 + "1" + " + 1" * (TALLEST_EXPRESSION - 100) + ")" * 50,
    "behind": "(" * 20 + "a" + " + 1" * (TALLEST_EXPRESSION - 40) + ")" * 20,
}


@pytest.mark.parametrize("shape", TALL)
def test_the_height_of_an_expression_has_a_limit(shape: str) -> None:
    sound = survives(f"gbx 1 let x = {TALL[shape]} let y = {TALL[shape]}")  # each statement counts for itself
    assert sound.diagnostics == ()
    assert sound.file is not None
    assert hash(sound.file) == hash(survives(f"gbx 1 let x = {TALL[shape]} let y = {TALL[shape]}").file)
    assert repr(sound.file).startswith("File(")
    refused = survives(f"gbx 1 let x = ({TALL[shape]}) + 1")
    assert [d.code for d in refused.diagnostics] == ["GB105"]
    assert refused.file is None


def test_long_lists_are_not_tall() -> None:
    parsed = survives("gbx 1 let x = [" + "a + 1, " * 2000 + "]")
    assert parsed.diagnostics == ()
    assert parsed.file is not None and len(parsed.file.declarations[0].value.items) == 2000  # type: ignore[attr-defined]


HUGE = {
    "chain": ("gbx 1 let x = 1" + " + 1" * 100_000, "GB105"),
    "open": ("gbx 1 let x = " + "(" * 100_000, "GB104"),
    "minus": ("gbx 1 let x = " + "-" * 100_000, "GB105"),
    "digits": ("gbx 1 let x = " + "9" * 100_000, "GB112"),
    "digits of a depth": ("gbx 1 let x = " + "9" * 100_000 + "%", "GB112"),
    "digits of a version": ("gbx " + "9" * 100_000, "GB107"),
    "digits in a broken head": ("gbx 1 experiment e { run r[a in " + "9" * 5000 + " { a := b } }", "GB113"),
    "string": ('gbx 1 let x = "' + "\\\\" * 100_000, "GB110"),
    "quotes": ("gbx 1 let x = " + '"' * 100_001, "GB110"),
    "nothing": ("\x00" * 100_000, "GB106"),
    "closing": ("gbx 1 experiment e {" + "}" * 20_000, "GB114"),
}


@pytest.mark.parametrize("shape", HUGE)
def test_huge_texts_are_refused_not_choked_on(shape: str) -> None:
    text, code = HUGE[shape]
    assert survives(text).diagnostics[0].code == code
