"""Nodes are frozen, know their fields, and are looked through once."""

import pytest

from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.syntax.nodes import Binary, Index, IndexItem, Name, Number, Tuple, every, everything

SPAN = Span(Source("a.gbx", "x"), 0, 1)


def name(id):
    return Name(span=SPAN, id=id)


TREE = Binary(
    span=SPAN,
    op="+",
    left=Index(span=SPAN, base=name("a"), items=(IndexItem(span=SPAN, name=None, value=name("b")),)),
    right=Tuple(span=SPAN, items=(Number(span=SPAN, value=1), name("c"))),
)


def test_everything_comes_in_the_order_of_the_text():
    kinds = [type(node).__name__ for node in everything(TREE)]
    assert kinds == ["Binary", "Index", "Name", "IndexItem", "Name", "Tuple", "Number", "Name"]


def test_nodes_of_some_kinds_come_in_that_order_too():
    assert [n.id for n in every(TREE, Name)] == ["a", "b", "c"]
    assert every(TREE, Number, Name) == tuple(n for n in everything(TREE) if isinstance(n, Number | Name))
    assert every(TREE, nodes.Expr)[0] is TREE and every(TREE, nodes.Call) == ()
    assert every(TREE, Name) is every(TREE, Name)


def test_what_was_found_is_not_taken_over_by_a_changed_node():
    assert every(TREE, Name)
    other = TREE.changed(left=name("d"))
    assert [n.id for n in every(other, Name)] == ["d", "c"] and other != TREE


@pytest.mark.parametrize("fields", [{}, {"id": "a"}, {"span": SPAN, "id": "a", "idd": "b"}])
def test_missing_and_unknown_fields_are_refused(fields):
    with pytest.raises(TypeError, match="missing or unknown"):
        Name(**fields)


def test_nothing_is_set_later():
    with pytest.raises(AttributeError, match="frozen"):
        name("a").id = "b"
