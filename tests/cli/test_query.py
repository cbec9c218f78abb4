"""`gbx query`: rows on stdout in three forms, refusals on stderr."""

import csv
import io
import json
import subprocess
import sys

import pytest

from glassbox_dsl.cli.app import answer
from tests.store.example import write_example

COUNT = "SELECT model, count(*) AS n FROM patch_resid.recovered GROUP BY model ORDER BY model"


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    path = tmp_path_factory.mktemp("query") / "results.duckdb"
    write_example(path)
    return path


def rows(db, capsys) -> list[list[object]]:
    assert answer(["query", str(db), COUNT, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["columns"] == ["model", "n"]
    return document["rows"]


def test_the_three_forms_agree(db, capsys):
    expected = rows(db, capsys)
    assert expected and all(n > 1 for _, n in expected)
    assert answer(["query", str(db), COUNT, "--format", "csv"]) == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines == [["model", "n"], *([model, str(n)] for model, n in expected)]
    assert answer(["query", str(db), COUNT]) == 0
    streams = capsys.readouterr()
    assert [line.split() for line in streams.out.splitlines()[2:]] == [[m, str(n)] for m, n in expected]
    assert streams.err == ""


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nope FROM patch_resid.recovered",
        "DROP TABLE runs",
        "SELECT 1; SELECT 2",
        "",
        "COPY runs TO 'x.csv'",
    ],
)
def test_what_is_refused_ends_with_1_and_leaves_stdout_empty(db, sql, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert answer(["query", str(db), sql]) == 1
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.startswith("error[GB62")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_a_finding_and_is_not_created(tmp_path, capsys):
    assert answer(["query", str(tmp_path / "none.duckdb"), "SELECT 1"]) == 1
    assert capsys.readouterr().err.startswith("error[GB60")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_somebody_writes_ends_with_4(db, capsys):
    holder = f"import duckdb; c = duckdb.connect({str(db)!r}); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert answer(["query", str(db), "SELECT 1"]) == 4
        process.communicate("\n")
    assert "error[GB600]" in capsys.readouterr().err


def test_an_unknown_format_is_a_wrong_command_line(db, capsys):
    assert answer(["query", str(db), COUNT, "--format", "yaml"]) == 2
    assert "csv" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["query", "index", "figure"])
def test_a_process_says_nothing_more_when_it_ends(verb, db, tmp_path):
    """Not of what Python leaves behind, either: the program itself, not a call of it."""
    more = {
        "query": [COUNT],
        "index": ["-o", str(tmp_path / "pages"), "--no-pages"],
        "figure": ["patch_resid.recovered", "-o", str(tmp_path / "figure.svg")],
    }[verb]
    program = [sys.executable, "-m", "glassbox_dsl", verb, str(db), *more]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "leak" not in done.stderr and len(done.stderr.splitlines()) <= 1
