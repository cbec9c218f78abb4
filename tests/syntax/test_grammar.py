"""The grammar file itself: no ambiguity anywhere, and what the recovery knows of it is what it says."""

from __future__ import annotations

import re
from pathlib import Path

import lark
import pytest

from glassbox_dsl.resources import shipped
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import format_file, parse
from glassbox_dsl.syntax.blocks import BLOCKS
from glassbox_dsl.syntax.grammar import STARTS
from glassbox_dsl.syntax.scan import scan

GRAMMAR = (shipped("grammars") / "gbx.lark").read_text(encoding="utf-8")
EXAMPLES = sorted((Path(__file__).parent / "examples").glob("*.gbx"))


def strict_parser(grammar: str = GRAMMAR) -> lark.Lark:
    """Without the functions that make nodes, in the mode that refuses conflicts of rules and of terminals."""
    return lark.Lark(grammar, parser="lalr", lexer="contextual", start=list(STARTS), strict=True)


def test_the_grammar_is_lalr_without_conflicts() -> None:
    parser = strict_parser()
    assert {rule.origin.name for rule in parser.rules} >= set(STARTS)


@pytest.mark.parametrize(
    ("sound", "spoilt", "complaint"),
    [
        (
            "parameters: LPAR NAME (COMMA NAME)* COMMA? RPAR",
            "parameters: LPAR names COMMA? RPAR",
            "Shift/Reduce",
        ),
        ("FLOAT.1: ", "FLOAT: /[0-9]+/ | ", "Collision"),
    ],
)
def test_strict_mode_notices_a_conflict(sound: str, spoilt: str, complaint: str) -> None:
    assert sound in GRAMMAR
    with pytest.raises((lark.exceptions.GrammarError, lark.exceptions.LexError), match=complaint):
        strict_parser(GRAMMAR.replace(sound, spoilt))


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_the_words_of_each_block_are_those_of_its_rule(block: object) -> None:
    accepts = strict_parser().parse_interactive("", start=block.rule).accepts()  # type: ignore[attr-defined]
    words = {"" if name == "NAME" else name.lower() for name in accepts}
    assert words == set(block.forms)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_parse_and_survive_printing(path: Path) -> None:
    parsed = parse(Source(path.name, path.read_text(encoding="utf-8")))
    assert parsed.diagnostics == ()
    assert parsed.file is not None and len(parsed.file.declarations) >= 1
    assert parse(Source("printed.gbx", format_file(parsed.file))).file == parsed.file


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_light_scan_sees_the_lexemes_that_the_parser_sees(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    interactive = strict_parser().parse_interactive(text, start="start")
    seen = [(token.start_pos, str(token)) for token in interactive.iter_parse()]
    assert seen == [(lexeme.start, lexeme.text) for lexeme in scan(Source(path.name, text)).lexemes]


def test_no_technique_metric_chart_or_site_is_named() -> None:
    names = re.findall(r"[a-z_]+", re.sub(r"//.*", "", GRAMMAR).lower())
    assert {"forward", "logit", "heatmap", "resid_pre", "mlp", "logistic", "eap", "bundled"}.isdisjoint(names)
    assert "experiment" in names
