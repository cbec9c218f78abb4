"""Templates: pieces, labels, and mistakes that point into the string."""

import pytest

from glassbox_dsl.language.data.spec import Insert, Text
from glassbox_dsl.language.data.templates import parse_template
from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax.literals import string_value
from glassbox_dsl.syntax.nodes import String


def literal(written: str) -> String:
    source = Source("t.gbx", "prompt p = " + written)
    return String(value=string_value(written), span=Span(source, 11, len(source.text)))


def shape(written: str) -> list[tuple]:
    template, problems = parse_template(literal(written))
    assert problems == ()
    return [
        (p.text, p.label) if isinstance(p, Text) else (p.variable, p.field, p.label) for p in template.pieces
    ]


def test_a_hole_names_its_span_after_the_variable():
    assert shape('"a {name}b"') == [("a ", None), ("name", None, "name"), ("b", None)]


def test_a_label_comes_before_the_colon():
    assert shape('"{s2: s}{ x : q.country }"') == [("s", None, "s2"), ("q", "country", "x")]


def test_a_field_is_labelled_with_an_underscore():
    assert shape('"{q.country}"') == [("q", "country", "q_country")]


def test_fixed_text_can_be_labelled():
    assert shape(r'"the {thing: \"red ball\"}."') == [("the ", None), ("red ball", "thing"), (".", None)]
    assert shape('"""the {thing: "red ball"}"""') == [("the ", None), ("red ball", "thing")]


def test_double_braces_are_braces():
    assert shape('"{{x}} {{{x}}}"') == [("{x} {", None), ("x", None, "x"), ("}", None)]


MISTAKES = [
    ('"a } b"', "GB233", "}"),
    ('"a { b"', "GB233", "{"),
    ('"{a b}"', "GB233", "{a b}"),
    ('"{}"', "GB233", "{}"),
    ('"{A}"', "GB233", "{A}"),
    ('"{a.b.c}"', "GB233", "{a.b.c}"),
    ('"{a} {a}"', "GB232", "a"),
    ('"{x: a} {x: b}"', "GB232", "b"),
    (r'"\n\t\u{1f680}\" {a b}"', "GB233", "{a b}"),
    ('"""first\r\nsecond {a b}"""', "GB233", "{a b}"),
]


@pytest.mark.parametrize(("written", "code", "marked"), MISTAKES)
def test_a_mistake_points_at_its_characters(written, code, marked):
    _, problems = parse_template(literal(written))
    assert [(p.code, p.span.text) for p in problems] == [(code, marked)]


def test_the_second_of_two_equal_labels_is_marked():
    _, (problem,) = parse_template(literal('"{a} {a}"'))
    assert problem.span.start == 11 + len('"{a} {')
    assert "`{a_2: a}`" in problem.help


def test_a_hole_after_escapes_has_its_place():
    template, _ = parse_template(literal(r'"\u{1f680}\n{name}"'))
    hole = template.pieces[-1]
    assert isinstance(hole, Insert) and hole.span.text == "name"
