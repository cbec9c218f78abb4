"""Diagnostics as text for a terminal and as data for a program."""

from __future__ import annotations

import unicodedata
from typing import Any

from glassbox_dsl.diagnostics.diagnostic import Diagnostic
from glassbox_dsl.source import Span

LONGEST_LINE = 240
LONGEST_PART = 70


def visible(text: str) -> str:
    """Text with control and bidirectional characters shown, so that data cannot drive a terminal."""
    return "".join(
        f"\\u{{{ord(c):x}}}" if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c not in "\n\t" else c
        for c in text
    ).replace("\t", "    ")


def render(diagnostic: Diagnostic) -> str:
    """The finding in the shape of LANGUAGE.md section 11, without a trailing newline."""
    lines = [f"{diagnostic.severity}[{diagnostic.code}]: {visible(diagnostic.headline)}"]
    gutter = ""
    if diagnostic.span is not None:
        source = diagnostic.span.source
        number, column = source.place(diagnostic.span.start)
        gutter = " " * len(str(number))
        before, marked, after = excerpt(diagnostic.span)
        carets = "^" * max(1, len(visible(marked)))
        lines += [
            f"{gutter} --> {visible(source.path)}:{number}:{column}",
            f"{gutter} |",
            f"{number} | {visible(before + marked + after)}",
            f"{gutter} | {' ' * len(visible(before))}{carets} {visible(diagnostic.label)}".rstrip(),
        ]
    elif diagnostic.label:
        lines.append(f"  {visible(diagnostic.label)}")
    lines += [f"{gutter} = {visible(note)}" for note in diagnostic.notes]
    if diagnostic.help:
        lines.append(f"{gutter} = help: {visible(diagnostic.help)}")
    return "\n".join(lines)


def excerpt(span: Span) -> tuple[str, str, str]:
    """The line a span starts in: before, inside and after the span, each cut where the line is very long."""
    number, column = span.source.place(span.start)
    line = span.source.line(number)
    start = column - 1
    end = min(len(line), max(start + span.end - span.start, start + 1))
    before, marked, after = line[:start], line[start:end], line[end:]
    if len(line) <= LONGEST_LINE:
        return before, marked, after
    return shortened(before, first=False), shortened(marked), shortened(after)


def shortened(text: str, *, first: bool = True) -> str:
    """A long text's first or last characters."""
    if len(text) <= LONGEST_PART:
        return text
    return text[:LONGEST_PART] + "..." if first else "..." + text[-LONGEST_PART:]


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """The finding as plain data: lines and columns count from 1, offsets are characters."""
    place: dict[str, Any] | None = None
    if diagnostic.span is not None:
        line, column = diagnostic.span.source.place(diagnostic.span.start)
        end_line, end_column = diagnostic.span.source.place(diagnostic.span.end)
        place = {
            "file": diagnostic.span.source.path,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
        }
    return {
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "headline": diagnostic.headline,
        "label": diagnostic.label,
        "help": diagnostic.help,
        "notes": list(diagnostic.notes),
        "place": place,
    }
