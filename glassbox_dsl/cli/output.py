"""What the verbs write: data on stdout, everything else on stderr, nothing that could drive a terminal."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from glassbox_dsl.diagnostics.render import visible

FORMAT_VERSION = 1


class Format(StrEnum):
    """How a table leaves the program."""

    table = "table"
    csv = "csv"
    json = "json"


def complain(text: str) -> None:
    """Write lines to stderr, their control characters made visible."""
    print(visible(text), file=sys.stderr, flush=True)


def write_json(content: Any) -> None:
    """Write one JSON document to stdout; an object says which format version it has."""
    if isinstance(content, dict):
        content = {"format_version": FORMAT_VERSION, **content}
    print(json.dumps(content, indent=2, ensure_ascii=True, default=str))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: Format) -> None:
    """Write rows to stdout as an aligned table, CSV, or a JSON object `{columns, rows}`.

    NULL is empty in a table and in CSV. In CSV the cells are exact; in a table floats have 6 digits.
    """
    if form is Format.json:
        write_json({"columns": list(columns), "rows": [list(row) for row in rows]})
    elif form is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    else:
        print("\n".join(_aligned(columns, [list(row) for row in rows])))


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
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return visible(str(cell)).replace("\n", "\\n")
