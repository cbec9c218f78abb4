"""What can be wrong with a family file that a user adds: GB307 and GB308."""

from __future__ import annotations

from collections.abc import Iterable

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


def unreadable(span: Span, why: str) -> Diagnostic:
    """The file is no TOML, or no text."""
    return Diagnostic("GB307", "a family file that cannot be read", span, why, "mend the TOML of this line")


def unknown_key(span: Span, path: str, name: str, known: Iterable[str]) -> Diagnostic:
    """A key that has no meaning where it stands: `path` is the way to it, `name` its last part."""
    known = sorted(known)
    listed = "allowed here: " + ", ".join(f"`{one}`" for one in known)
    help_ = did_you_mean(name, known) or listed
    return Diagnostic("GB307", f"unknown key `{path}` in a family file", span, "it means nothing here", help_)


def missing_key(span: Span, path: str, why: str = "") -> Diagnostic:
    """A key that a family must have."""
    return Diagnostic(
        "GB307",
        f"`{path}` is missing from a family file",
        span,
        why or "there is nothing that could be assumed in its place",
        f"write `{path}`",
    )


def wrong_value(span: Span, path: str, why: str) -> Diagnostic:
    """A value of the wrong kind, or none of those that there are; `why` says what is allowed."""
    return Diagnostic(
        "GB307", f"`{path}` of a family file has a wrong value", span, why, f"give `{path}` such a value"
    )


def no_such_family(span: Span, key: str, name: str, known: Iterable[str]) -> Diagnostic:
    """`extends` or `traits_from` names a family that is not there."""
    help_ = did_you_mean(name, known) or "`gbx families` lists those that there are"
    return Diagnostic("GB308", f"`{key}` names no family: `{name}`", span, "no file of that name", help_)


def in_a_circle(span: Span, key: str, names: Iterable[str]) -> Diagnostic:
    """Families that extend each other."""
    return Diagnostic(
        "GB308",
        f"`{key}` leads back to the file itself",
        span,
        " -> ".join(f"`{name}`" for name in names),
        "let one of these files say everything itself",
    )


def no_traits(span: Span, name: str) -> Diagnostic:
    """`traits_from` names a family that states none."""
    return Diagnostic(
        "GB308",
        f"`traits_from` names a family without traits: `{name}`",
        span,
        "its file has no table [traits]",
        "name another family, or write [traits] here",
    )
