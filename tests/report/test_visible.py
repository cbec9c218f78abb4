"""Nothing in a text stays hidden."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassbox_dsl.report.visible import visible, visible_source, visible_token


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" Mary", "␣Mary"),
        ("\n\n", "⏎⏎"),
        ("\t", "⇥"),
        ("a\u202eb", "a‹U+202E›b"),
        ("\u200b", "‹U+200B›"),
        ("\ufffd", "‹U+FFFD›"),
        ("\x00", "‹U+0000›"),
        ("\u0301", "◌\u0301"),
        ("\u00a0", "‹U+00A0›"),
        ("<0x0A>", "<0x0A>"),
        ("naïve 日本", "naïve␣日本"),
    ],
)
def test_a_token_is_shown_with_what_it_hides(token, shown):
    assert visible_token(token) == shown


def test_running_text_keeps_its_spaces_and_source_its_lines():
    assert visible("a b\nc") == "a b⏎c"
    assert visible_source("a\tb\r\nc\u2066d") == "a\tb\nc‹U+2066›d"


@given(st.text())
def test_no_control_or_format_character_is_left(text):
    for show, kept in ((visible, ""), (visible_token, ""), (visible_source, "\n\t")):
        left = {unicodedata.category(c) for c in show(text) if c not in kept}
        assert not left & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
