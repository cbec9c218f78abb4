"""Tables, CSV and JSON on stdout."""

import csv
import io
import json
from decimal import Decimal

import pytest

from glassbox_dsl.cli.output import Format, complain, say, write_json, write_table

COLUMNS = ["model", "layer", "value"]
ROWS = [("smol", 0, 0.123456789), ("gemma", 17, None), ("a,b\nc\x1b[31m", 5, float("nan"))]


def test_a_table_is_aligned_and_safe(capsys):
    write_table(COLUMNS, ROWS, Format.table)
    assert capsys.readouterr().out.splitlines() == [
        "model             layer     value",
        "----------------  -----  --------",
        "smol                  0  0.123457",
        "gemma                17",
        "a,b\\nc\\u{1b}[31m      5       nan",
    ]


def test_white_space_in_a_cell_does_not_move_the_columns(capsys):
    write_table(["a", "b"], [("x\ty", 1)], Format.table)
    assert capsys.readouterr().out.splitlines()[2] == "x\\ty  1"


def test_csv_cells_are_exact(capsys):
    write_table(COLUMNS, ROWS, Format.csv)
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines[:3] == [COLUMNS, ["smol", "0", "0.123456789"], ["gemma", "17", ""]]
    assert lines[3][0] == "a,b\nc\x1b[31m"


def test_csv_on_a_terminal_cannot_drive_it(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    write_table(COLUMNS, ROWS, Format.csv)
    assert "\x1b" not in capsys.readouterr().out


def test_json_is_valid_and_keeps_types(capsys):
    write_table(COLUMNS, [*ROWS, ("d", Decimal("1.5"), True)], Format.json)
    written = capsys.readouterr().out
    document = json.loads(written, parse_constant=lambda name: pytest.fail(name))
    assert document["columns"] == COLUMNS and document["format_version"] == 1
    assert document["rows"][0] == ["smol", 0, 0.123456789]
    assert document["rows"][2] == ["a,b\nc\x1b[31m", 5, None]
    assert document["rows"][3] == ["d", 1.5, True]
    assert "\x1b" not in written


def test_truth_values_are_written_as_in_sql(capsys):
    write_table(["a", "b"], [(True, False)], Format.table)
    assert capsys.readouterr().out.splitlines()[2].split() == ["true", "false"]


def test_an_empty_table_has_its_head(capsys):
    write_table(["a", "bb"], [], Format.table)
    assert capsys.readouterr().out == "a  bb\n-  --\n"


def test_nested_values_reach_json(capsys):
    write_json({"files": ["x"], "place": {"line": 3, "wide": float("inf")}})
    assert json.loads(capsys.readouterr().out)["place"] == {"line": 3, "wide": None}


def test_what_is_said_cannot_drive_a_terminal(capsys):
    say("a\x1b]0;title\x07b")
    complain("c\u202ed")
    streams = capsys.readouterr()
    assert streams.out == "a\\u{1b}]0;title\\u{7}b\n" and streams.err == "c\\u{202e}d\n"
