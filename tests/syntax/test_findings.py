"""What is said about each way of writing something wrong: code, place, and the edit that mends it."""

from __future__ import annotations

import pytest

from glassbox_dsl.diagnostics import Diagnostic, render
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import parse


def findings(text: str) -> tuple[Diagnostic, ...]:
    return parse(Source("x.gbx", text)).diagnostics


def only(text: str) -> Diagnostic:
    (finding,) = findings(text)
    return finding


def place(finding: Diagnostic) -> str:
    assert finding.span is not None
    return finding.span.text


# text of one declaration, code, the text that is pointed at, a part of the headline, a part of the help
CASES = [
    # single lexemes
    ("let x = 'a'", "GB108", "'", "`'` is not part of the language", "double quotes"),
    ("let x = a & b", "GB108", "&", "`&`", "truth values multiply"),
    ("let x = a ≤ b", "GB108", "≤", "`≤`", "`<=`"),
    ("let x\xa0= a", "GB108", "\xa0", "U+00A0", "no-break space"),
    ("let x = a\x00", "GB108", "\x00", "U+0000", "remove"),
    ('let x = "a\x07b"', "GB108", "\x07", "U+0007", "remove"),
    ('let x = "a\ud800b"', "GB108", "\ud800", "U+D800", "remove"),
    ("let x = LogitDiff", "GB109", "LogitDiff", "neither a name nor a number", "`logit_diff`"),
    ("let x = 3layers", "GB109", "3layers", "neither a name nor a number", "blank"),
    ("let x = 0.5x", "GB109", "0.5x", "neither a name nor a number", "blank"),
    ("let x = é", "GB109", "é", "neither a name nor a number", "string"),
    ('let x = "abc', "GB110", '"', "not closed", '`"""`'),
    ('let x = """abc\n"" \\"""', "GB110", '"""', "not closed", '`"""`'),
    ('let x = "a\\qb"', "GB111", "\\q", "`\\q` is not an escape", "`\\n \\t"),
    ('let x = "\\\\ \\u{110000}"', "GB111", "\\u{110000}", "is not an escape", "`\\u{e9}`"),
    ('let x = "\\u{d800}"', "GB111", "\\u{d800}", "is not an escape", "`\\u{e9}`"),
    ('let x = "\\u00e9"', "GB111", "\\u", "is not an escape", "`\\u{e9}`"),
    ("let x = 9223372036854775808", "GB112", "9223372036854775808", "too large", "`inf`"),
    ("let x = 1e999", "GB112", "1e999", "too large", "`inf`"),
    ("let x = 1e999%", "GB112", "1e999%", "too large", "`inf`"),
    # brackets
    ("let x = f(a", "GB113", "(", "`(` is never closed", "`)`"),
    ("let x = {a, [b}", "GB113", "[", "`[` is never closed", "`]`"),
    ("let x = f(a))", "GB114", ")", "`)` closes nothing", "remove"),
    ("let x = f(a]", "GB114", "]", "`]` cannot close `(`", "`)`"),
    # something else expected
    ("let = 3", "GB115", "=", "expected a name, found `=`", "`let NAME[BINDERS] = VALUE`"),
    ("let x", "GB115", "x", "breaks off where `=` or `[` is expected", "`let NAME[BINDERS] = VALUE`"),
    ("let x =", "GB115", "=", "breaks off where a value is expected", "`let NAME"),
    ("let x = a + * b", "GB115", "*", "expected a value, found `*`", "let NAME"),
    ("let x = [a b]", "GB115", "b", "expected `,`, `]` or an operator, found `b`", "comma"),
    ('let x = ["a" "b"]', "GB115", '"b"', 'found the string "b"', "comma"),
    ("let x = {a: 1, b}", "GB115", "}", "expected `:`, found `}`", "let NAME"),
    ("let x = {a 1}", "GB115", "1", "expected", "comma"),
    ("let x = a[]", "GB115", "]", "expected a value or `:`, found `]`", "leave the brackets out"),
    ("let x[] = a", "GB115", "]", "found `]`", "leave the brackets out"),
    ("let x[layer im 0..5] = a", "GB115", "im", "found `im`", "did you mean `in`?"),
    ("let x = .5", "GB115", ".", "expected a value, found `.`", "`0.5`"),
    ("let x = 5.", "GB115", ".", "breaks off where a name is expected", ""),
    ("let x = a < b < c", "GB115", "<", "found `<`", "do not chain"),
    ("let x = 1..2..3", "GB115", "..", "found `..`", "brackets"),
    ("let x = a and b", "GB115", "and", "found `and`", "truth values multiply"),
    ("let x = a if b", "GB115", "if", "found `if`", "no `if`"),
    ("let x = a ** b", "GB115", "*", "expected a value, found `*`", "power"),
    ("let x = a // b", "GB115", "/", "expected a value, found `/`", "`#`"),
    ("let x = a == not b", "GB115", "b", "found `b`", "`(not b)`"),
    ("let x = a += b", "GB115", "+=", "found `+=`", ""),
    ("model m = smol", "GB115", "smol", "breaks off where `(` is expected", "SOURCE(...)"),
    ("metric m() = a", "GB115", ")", "expected a name, found `)`", "metric NAME"),
    ("import words", "GB115", "words", "expected a string, found `words`", 'import "FILE.gbx"'),
    ("data d { draw 3.5 }", "GB115", "3.5", "expected a whole number, found `3.5`", "draw COUNT"),
    ("data d { slots { a form b } }", "GB115", "form", "expected `,` or `from`", "`from`"),
    ("data d { keep a }", "GB115", "a", "expected `where`, found `a`", "keep where"),
    ("experiment e { run r = clean { a := b } }", "GB115", "{", "expected `(`, found `{`", "run NAME"),
    ("experiment e { models }", "GB115", "models", "breaks off where a name is expected", "models NAME"),
    ("hypothesis h { node n = a -> }", "GB115", "->", "breaks off where a name is expected", "node NAME"),
    ("report r { heatmap e.m { x pos } }", "GB115", "pos", "expected `:`, found `pos`", "colon"),
    ("report r { heatmap }", "GB115", "heatmap", "breaks off where a name or a string", "CHART"),
    # not the head of a statement
    ("experimnt e {}", "GB116", "experimnt", "`experimnt` starts nothing in a file", "`experiment`"),
    ("3", "GB115", "3", "expected an operator or the next statement, found `3`", ""),
    ("measure m = 3", "GB116", "measure", "`measure` starts nothing in a file", "an experiment"),
    ("draw 3", "GB116", "draw", "`draw` starts nothing in a file", "a data block"),
    ("experiment e { prompt p = a }", "GB116", "prompt", "nothing in an experiment", "a data block"),
    ("data d { promt p = a }", "GB116", "promt", "nothing in a data block", "did you mean `prompt`"),
    ("hypothesis h { a = b }", "GB116", "a", "nothing in a hypothesis", "node NAME"),
    ("report r { = }", "GB116", "=", "nothing in a report", "CHART"),
    # one sign for another
    ("let x := 3", "GB117", ":=", "expected `=`, found `:=`", "block of a run"),
    ("let x == 3", "GB117", "==", "expected `=`, found `==`", ""),
    ("let x: 3", "GB117", ":", "expected `=`, found `:`", ""),
    ("experiment e { run r = f(a) { b[1] = c } }", "GB117", "=", "expected `:=`, found `=`", "sets a site"),
    ("experiment e { run r = f(a) { b == c } }", "GB117", "==", "expected `:=`, found `==`", "sets a site"),
    ("experiment e { expect a = 3 }", "GB117", "=", "expected `==`, found `=`", "compares"),
    ("let x = {a: 1, b = 2}", "GB117", "=", "expected `:`, found `=`", "joined by `:`"),
    ("report r { line a { x = b } }", "GB117", "=", "expected `:`, found `=`", "joined by `:`"),
]


@pytest.mark.parametrize(("text", "code", "pointed_at", "headline", "hint"), CASES, ids=[c[0] for c in CASES])
def test_one_mistake_is_one_finding(text: str, code: str, pointed_at: str, headline: str, hint: str) -> None:
    finding = only(f"gbx 1\nlet before = 1\n{text}\nlet after = 2\n")
    assert finding.code == code
    assert place(finding) == pointed_at
    assert headline in finding.headline
    assert hint in finding.help
    assert finding.label
    assert finding.severity == "error"
    assert "None" not in render(finding)


@pytest.mark.parametrize(
    ("text", "code", "pointed_at"),
    [
        ("", "GB106", ""),
        ("# only a comment\n", "GB106", ""),
        ("let x = 1", "GB106", "let"),
        ("gbx\nlet x = 1", "GB106", "gbx"),
        ("1 gbx", "GB106", "1"),
        ("gbx 2\nexperiment = ( %", "GB107", "2"),
        ("gbx 1.5", "GB107", "1.5"),
        ("gbx 0", "GB107", "0"),
        ("gbx " + "9" * 5000, "GB107", "9" * 5000),
    ],
)
def test_the_header_comes_first(text: str, code: str, pointed_at: str) -> None:
    finding = findings(text)[0]
    assert (finding.code, place(finding)) == (code, pointed_at)


def test_a_newer_version_is_told_from_a_wrong_one() -> None:
    assert "newer release" in only("gbx 2").help
    assert "gbx 1" in only("gbx 0").help


def test_without_a_header_the_rest_is_still_read() -> None:
    parsed = parse(Source("x.gbx", "let x = 1\nlet y = =\nlet z = 2\n"))
    assert [d.code for d in parsed.diagnostics] == ["GB106", "GB115"]
    assert parsed.file is not None
    assert [d.name for d in parsed.file.declarations] == ["x", "z"]  # type: ignore[attr-defined]


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    parsed = parse(Source("x.gbx", "\ufeffgbx 1\nlet x = 1\n"))
    assert parsed.diagnostics == ()
    assert parsed.file is not None and parsed.file.declarations[0].span.text == "let x = 1"
