"""The parts of a page as plain data: what the charts make and the templates print."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of text under column heads. `numeric[i]`: a column of numbers; `left_out` rows were too many."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    caption: str = ""
    left_out: int = 0


@dataclass(frozen=True)
class Figure:
    """One item of a page. `data` is what its script reads; `sql` the query that gave its numbers.

    `group` is the title of its experiment, `definition` the statement of the file; `caption` says what the
    numbers mean; `notes` are things a reader must know (cells missing, items left out). `opened`: the tables
    are the figure.
    """

    key: str
    kind: str
    title: str = ""
    group: str = ""
    definition: str = ""
    caption: str = ""
    sql: str = ""
    opened: bool = False
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    data: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Block:
    """A part of a figure on paper: its size in pixels, the macro of parts.html that draws it, and what that one reads.

    `below`: it begins a row of its own.
    """

    width: float
    height: float
    macro: str
    content: Any = field(repr=False)
    title: str = ""
    below: bool = False


@dataclass(frozen=True)
class Fact:
    """A named number or text in the head of the page."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Alarm:
    """Something that must not be overlooked: a broken claim, failed cells, a check that did not hold."""

    headline: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the provenance: facts, then tables, long ones `folded` behind a line to open (and not on paper)."""

    title: str
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    text: str = ""
    folded: str = ""


@dataclass(frozen=True)
class Page:
    """One HTML file."""

    name: str
    title: str
    subtitle: str
    status: str
    facts: tuple[Fact, ...]
    alarms: tuple[Alarm, ...]
    claims: Table | None
    figures: tuple[Figure, ...]
    provenance: tuple[Section, ...]
    sources: tuple[tuple[str, str], ...]
