"""Rows from the files that a data block names: csv, jsonl, parquet, and the word lists of the program.

Values come out as plain text, numbers, truth values, lists, records or None. A column of a csv file is
numeric only where every filled cell is written as Python would write that number, so that inserting it
into a template gives the very characters of the file.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from glassbox_dsl.resources import shipped


class Unreadable(Exception):
    """Why a file cannot serve, in words that follow "cannot read x:"."""


def inside(path: str, folder: Path, root: Path) -> Path:
    """The file that `path` means, seen from `folder`; Unreadable where missing or outside the project."""
    try:
        found = (folder / path).resolve()
        outside = not found.is_relative_to(root.resolve())
        exists = found.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise Unreadable("not a usable path") from error
    if outside:
        raise Unreadable("it lies outside the project's folder")
    if not exists:
        raise Unreadable("there is no such file")
    return found


def read_rows(path: Path) -> list[Any]:
    """All rows of a data file in order: records, or plain values where a line of jsonl holds one."""
    reader = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise Unreadable("only .csv, .jsonl and .parquet files hold rows")
    try:
        rows = reader(path)
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be opened") from error
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 (byte {error.start})") from error
    if not rows:
        raise Unreadable("it holds no rows")
    return rows


def word_lists() -> dict[str, Path]:
    """The word lists that ship with the program, by name."""
    folder = shipped("specs") / "words"
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix in (".txt", ".csv")}


def read_words(path: Path) -> list[Any]:
    """A shipped list: the lines of a .txt file, the rows of a .csv file."""
    if path.suffix == ".csv":
        return _csv(path)
    return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]


def read_text(path: Path) -> str:
    """A text file whole."""
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Unreadable(f"it is not UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be opened") from error


def _csv(path: Path) -> list[Any]:
    text = path.read_bytes().decode("utf-8-sig")
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise Unreadable(f"it is not a csv file ({error})") from error
    if not rows:
        return []
    header, *body = rows
    header = [name.strip() for name in header]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise Unreadable(f"the column `{twice}` stands twice in its first line")
    for number, row in enumerate(body):
        if len(row) != len(header):
            raise Unreadable(f"row {number} has {len(row)} cells, the first line names {len(header)} columns")
    columns = [_typed([row[i] for row in body]) for i in range(len(header))]
    return [dict(zip(header, values, strict=True)) for values in zip(*columns, strict=True)]


def _typed(cells: list[str]) -> list[Any]:
    filled = [cell for cell in cells if cell]
    if filled and all(_number(cell) is not None for cell in filled):
        return [_number(cell) if cell else None for cell in cells]
    return list(cells)


def _number(cell: str) -> int | float | None:
    """The number that is written exactly so, else None (`007` and `1.50` stay text)."""
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        if str(value) == cell and math.isfinite(value):
            return value
    return None


def _jsonl(path: Path) -> list[Any]:
    rows = []
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"line {number} is not JSON") from error
        rows.append(_plain(value))
    return rows


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _parquet(path: Path) -> list[Any]:
    import duckdb  # takes as long to import as a whole check may take, so only here

    try:
        with duckdb.connect(":memory:") as connection:
            result = connection.execute("SELECT * FROM read_parquet(?)", [[str(path)]])
            names = [column[0] for column in result.description]
            return [{n: _plain(v) for n, v in zip(names, row, strict=True)} for row in result.fetchall()]
    except duckdb.Error as error:
        raise Unreadable("it is not a parquet file") from error


def _plain(value: Any) -> Any:
    """A value of JSON or parquet as the language knows it: tuples for lists, text for dates and the like."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return None if isinstance(value, float) and math.isnan(value) else value
    if isinstance(value, (list, tuple)):
        return tuple(_plain(v) for v in value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    return str(value)
