"""Printing a tree and parsing the text gives the tree again, whatever the tree."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from glassbox_dsl.source import Source
from glassbox_dsl.syntax import format_file, nodes, parse
from tests.syntax.trees import data_items, declarations, edits, experiment_items, files, made, report_items

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def below(node: nodes.Node) -> list[nodes.Node]:
    return [node, *(deeper for child in nodes.children(node) for deeper in below(child))]


@settings(RELAXED, max_examples=150)
@given(files())
def test_printed_trees_parse_to_themselves(file: nodes.File) -> None:
    text = format_file(file)
    parsed = parse(Source("printed.gbx", text))
    assert parsed.diagnostics == ()
    assert parsed.file == file
    assert repr(parsed.file) == repr(file)  # 1 and 1.0 are equal, but not the same number
    assert format_file(parsed.file) == text


@settings(RELAXED, max_examples=60)
@given(files())
def test_every_expression_spans_its_own_text(file: nodes.File) -> None:
    parsed = parse(Source("printed.gbx", format_file(file))).file
    assert parsed is not None
    for parent in below(parsed):
        for child in nodes.children(parent):
            assert parent.span.start <= child.span.start < child.span.end <= parent.span.end
        if isinstance(parent, nodes.Expr):
            again = parse(Source("again.gbx", f"gbx 1 let x = {parent.span.text}")).file
            # Names that are words of the language elsewhere are no expressions by themselves.
            if again is not None and again.declarations and parent.span.text not in {"not", "inf"}:
                assert again.declarations[0] == made(nodes.Let, name="x", binders=(), value=parent)


def test_the_random_trees_hold_every_kind_of_node() -> None:
    bases = {nodes.Node, nodes.Expr, nodes.Statement, nodes.Edit, nodes.File}
    kinds = {kind for kind in vars(nodes).values() if isinstance(kind, type) and issubclass(kind, nodes.Node)}
    assert len(kinds) > 50
    parts = st.one_of(declarations, data_items, experiment_items, edits, report_items)
    until_found = settings(
        RELAXED, max_examples=3000, derandomize=True, database=None, phases=[Phase.generate]
    )
    seen: set[type[Any]] = set()

    def holds(tree: nodes.Node, kind: type[Any]) -> bool:
        seen.update(type(node) for node in below(tree))
        return kind in seen

    for kind in sorted(kinds - bases, key=lambda kind: kind.__name__):
        if kind not in seen:
            find(parts, partial(holds, kind=kind), settings=until_found)  # raises where no tree has one


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("(a + b) * c", "(a + b) * c"),
        ("a + (b * c)", "a + b * c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("-(-a)", "--a"),
        ("-(a + b)", "-(a + b)"),
        ("(not a) > b", "(not a) > b"),
        ("not (a > b)", "not a > b"),
        ("(a..b)..c", "(a..b)..c"),
        ("(a..b).c", "(a..b).c"),
        ("(-a)[0]", "(-a)[0]"),
        ("f(x)(y)[z].w", "f(x)(y)[z].w"),
        ("(a > b) * (c < d)", "(a > b) * (c < d)"),
        ("{a: {b}, c: {}}", "{a: {b}, c: {}}"),
        ("1e3", "1000.0"),
        ("1e300", "1e+300"),
        ("50%", "50%"),
        ("12.5%", "12.5%"),
        ('"""a\n"b"\t"""', '"a\\n\\"b\\"\\t"'),
    ],
)
def test_brackets_are_printed_only_where_needed(written: str, printed: str) -> None:
    file = parse(Source("x.gbx", f"gbx 1 let x = {written}")).file
    assert file is not None
    assert format_file(file) == f"gbx 1\n\nlet x = {printed}\n"
