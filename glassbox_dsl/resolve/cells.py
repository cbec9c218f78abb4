"""The cells of a sweep on one model and data set: every member of a dimension gets its index or its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.program import (
    AnyOf,
    Arithmetic,
    At,
    Between,
    Depth,
    Dimension,
    Index,
    Member,
    Not,
    Position,
)
from glassbox_dsl.language.set_nodes import SetIndex
from glassbox_dsl.resolve import errors
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a variable stands for in one cell.

    Exactly one of: `at` (an index on its axis), `number`, `index` (a position that differs between items; `nth`
    picks one of several), `whole` (all positions or cells of an index at once); none of them for a name.
    """

    text: str
    at: int | None = None
    number: float | None = None
    index: Index | None = None
    nth: int | None = None
    whole: bool = False

    @property
    def key(self) -> str:
        """What makes two cells the same where values meet."""
        return str(self.at) if self.at is not None else self.text


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Sizes:
    """What the length of axes depends on: the model, the items kept, the longest prompt in tokens, and dictionaries."""

    facts: ModelFacts
    n_items: int
    longest: int
    model: str
    latents: int = 0

    def of(self, axis: str, site: str | None = None) -> int:
        """How many cells an axis (of one site) has at most."""
        if axis == ITEM:
            return self.n_items
        if axis == "latent":
            return self.latents
        return self.longest if axis in POSITION_AXES else self.facts.axis_size(axis, site) or 0


def whole_rows(axis: str, sizes: Sizes) -> tuple[Row, ...]:
    """Every cell of an axis."""
    return _numbered(sizes.of(axis))


@lru_cache(maxsize=64)
def _numbered(n: int) -> tuple[Row, ...]:
    return tuple((Cell(text=str(i), at=i),) for i in range(n))


def resolve_dimension(dimension: Dimension, sizes: Sizes) -> tuple[tuple[Row, ...], tuple[Diagnostic, ...]]:
    """The cells of a dimension in order, and warnings about members that this model does not have.

    Not for the cells of a set from results: those are known when what it reads was run.
    """
    warnings: list[Diagnostic] = []
    rows: tuple[Row, ...]
    if dimension.samples is not None:
        n = -(-dimension.samples // max(sizes.n_items, 1))
        rows = tuple((Cell(text=str(i), number=float(i)),) for i in range(n))
    elif dimension.members is None:
        rows = whole_rows(str(dimension.variables[0].axis), sizes)
    else:
        rows = tuple(_rows(dimension, sizes, warnings))
    for other in dimension.meets:
        if other.members_from is not None:
            continue
        keys = {tuple(c.key for c in row) for row in resolve_dimension(other, sizes)[0]}
        rows = tuple(row for row in rows if tuple(c.key for c in row) in keys)
    return rows, tuple(warnings)


def _rows(dimension: Dimension, sizes: Sizes, warnings: list[Diagnostic]) -> Iterable[Row]:
    seen: set[tuple[str, ...]] = set()
    for members in dimension.members or ():
        if len(members) == 1 and members[0].text == "*":
            found: list[Row] = [
                (cell,) for cell in _spread(members[0], str(dimension.variables[0].axis), sizes)
            ]
        else:
            cells = [_cell(m, v.axis, sizes) for m, v in zip(members, dimension.variables, strict=True)]
            found = [tuple(c for c in cells if c is not None)] if None not in cells else []
            if not found:
                warnings.append(
                    errors.member_outside(
                        members[0].span,
                        dimension.variables[0].axis or "",
                        sizes.model,
                        sizes.of(dimension.variables[0].axis or ""),
                    )
                )
        for row in found:
            key = tuple(c.key for c in row)
            if key in seen:
                warnings.append(errors.members_meet(members[0].span, members[0].text, sizes.model))
                continue
            seen.add(key)
            yield row


def _cell(member: Member, axis: str | None, sizes: Sizes) -> Cell | None:
    """The cell of one member; None where the axis has no such index."""
    if member.index is None or axis is None:
        return Cell(text=member.text, number=member.number)
    index = member.index
    if isinstance(index, Between | AnyOf | Not | SetIndex) or (
        isinstance(index, Position) and index.part == "span"
    ):
        return Cell(text=member.text, index=index, whole=True)
    if axis in POSITION_AXES:
        if isinstance(index, At) and index.value >= 0:
            return Cell(text=member.text, at=index.value)
        return Cell(text=member.text, index=index)
    at = fixed(index, sizes.of(axis))
    return Cell(text=member.text, at=at) if at is not None else None


def _spread(member: Member, axis: str, sizes: Sizes) -> list[Cell]:
    """The members of a range, span or complement, one by one."""
    index = member.index
    if isinstance(index, Not) and (axis not in POSITION_AXES or _counted(index.inner)):
        size = sizes.longest if axis in POSITION_AXES else sizes.of(axis)
        return [Cell(text=str(i), at=i) for i in range(size) if i not in _fixed_cells(index.inner, size)]
    if isinstance(index, Between) and axis not in POSITION_AXES:
        low, high = fixed(index.low, sizes.of(axis), cut=True), fixed(index.high, sizes.of(axis), cut=True)
        if low is None or high is None:
            return []
        return [Cell(text=str(i), at=i) for i in range(max(low, 0), min(high, sizes.of(axis) - 1) + 1)]
    if (
        isinstance(index, Between)
        and isinstance(index.low, At)
        and isinstance(index.high, At)
        and index.low.value >= 0
        and index.high.value >= 0
    ):
        return [
            Cell(text=str(i), at=i)
            for i in range(index.low.value, min(index.high.value, sizes.longest - 1) + 1)
        ]
    return [
        Cell(text=f"{index.span.text}+{k}" if index else "", index=index, nth=k) for k in range(sizes.longest)
    ]


def _counted(index: Index) -> bool:
    """Whether an index on positions names them by numbers from the start, alike in every prompt."""
    match index:
        case At(value=value):
            return value >= 0
        case Between():
            return _counted(index.low) and _counted(index.high)
        case AnyOf():
            return all(_counted(i) for i in index.items)
        case Not():
            return _counted(index.inner)
    return False


def _fixed_cells(index: Index, size: int) -> set[int]:
    """The cells of an axis of a size that an index without variables names."""
    match index:
        case Not():
            return set(range(size)) - _fixed_cells(index.inner, size)
        case AnyOf():
            return {i for item in index.items for i in _fixed_cells(item, size)}
        case Between():
            low, high = (fixed(end, size, cut=True) for end in (index.low, index.high))
            return set() if low is None or high is None else set(range(low, high + 1))
    found = fixed(index, size)
    return set() if found is None else {found}


def fixed(index: Index, size: int, *, cut: bool = False) -> int | None:
    """The cell that an index without variables names on an axis of a size; None outside it (unless `cut`)."""
    value = _integer(index, size)
    if value is None or (not cut and not 0 <= value < size):
        return None
    return value


def _integer(index: Index, size: int) -> int | None:
    match index:
        case At(value=value):
            return value + size if value < 0 else value
        case Depth(value=percent):
            return int(percent / 100 * (size - 1) + 0.5)
        case Arithmetic(op=op, left=left, right=right):
            a, b = _integer(left, size), _integer(right, size)
            if a is None or b is None:
                return None
            return {"+": a + b, "-": a - b, "*": a * b}[op]
    return None


def count(dimensions: Sequence[tuple[Row, ...]]) -> int:
    """How many cells a family with these dimensions has."""
    product = 1
    for rows in dimensions:
        product *= len(rows)
    return product
