"""What the verbs write: data on stdout, everything else on stderr, nothing that could drive a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from enum import StrEnum
from math import isfinite
from typing import Any

from glassbox_dsl.cli import exits
from glassbox_dsl.diagnostics.render import visible

FORMAT_VERSION = 1


class Format(StrEnum):
    """How a table leaves the program."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def complain(text: str) -> None:
    """Write lines to stderr, their control characters made visible; nobody listening is no failure."""
    with suppress(BrokenPipeError):
        print(visible(text), file=sys.stderr, flush=True)


def say(text: str) -> None:
    """Write lines of data to stdout, their control characters made visible."""
    emit(visible(text))


def emit(text: str) -> None:
    """Write text to stdout as it is. Ends the program quietly once whoever reads it has gone (`| head`)."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(exits.OK) from None


def write_json(content: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout; it says its format version. NaN and infinity become null."""
    emit(json_text(content))


def json_text(content: Mapping[str, Any]) -> str:
    """What `write_json` writes."""
    document = {"format_version": FORMAT_VERSION, **content}
    return json.dumps(_plain(document), indent=2, ensure_ascii=True, allow_nan=False)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: Format) -> None:
    """Write rows to stdout as an aligned table, CSV, or a JSON object `{columns, rows}`.

    NULL is empty in a table and in CSV. In CSV the cells are exact (on a terminal, control characters are
    made visible); in a table floats have 6 digits.
    """
    text = table_text(columns, rows, form)
    emit(visible(text) if form is Format.csv and sys.stdout.isatty() else text)


def table_text(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: Format) -> str:
    """Rows as `write_table` writes them."""
    lines = [list(row) for row in rows]
    if form is Format.json:
        return json_text({"columns": list(columns), "rows": lines})
    return _csv([list(columns), *lines]) if form is Format.csv else "\n".join(_aligned(columns, lines))


def _csv(lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().removesuffix("\n")


def _plain(value: Any) -> Any:
    """What JSON can carry: numbers of any kind as numbers, what is no number as null, the rest as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float | Decimal):
        return float(value) if isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a table: numbers to the right, all else to the left."""
    texts = [[visible(name) for name in columns], *([_cell(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(columns))]
    right = [
        bool(rows) and all(row[i] is None or _is_number(row[i]) for row in rows) for i in range(len(columns))
    ]
    lines = [
        "  ".join(
            t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in texts
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return visible(str(cell).replace("\n", "\\n").replace("\t", "\\t"))
