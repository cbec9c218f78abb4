"""The forms of the language that this version parses but does not run: one place, to delete from."""

from __future__ import annotations

from collections.abc import Iterator

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.errors import not_built
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.sites import sites

STATEMENTS: dict[type[nodes.Node], str] = {}
CALLS: tuple[str, ...] = ()
CHARTS: tuple[str, ...] = ()


def unbuilt_statement(node: nodes.Node) -> Diagnostic | None:
    """The finding for a statement or edit whose kind is not built."""
    if type(node) in STATEMENTS:
        return not_built(node.span, STATEMENTS[type(node)])
    return None


def unbuilt_forms(node: nodes.Node) -> Iterator[Diagnostic]:
    """Everything below a statement that is not built, outermost first."""
    found = unbuilt_statement(node)
    if found is None and isinstance(node, nodes.Call) and isinstance(node.function, nodes.Name):
        found = not_built(node.function.span, f"`{node.function.id}`") if node.function.id in CALLS else None
    if found is not None:
        yield found
        return
    for child in nodes.children(node):
        yield from unbuilt_forms(child)


def unbuilt_site(span: object, name: str) -> bool:
    """Whether the site is in the language but not in this version."""
    return name in sites() and not sites()[name].built
