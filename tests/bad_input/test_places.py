"""Where results go cannot be written, is held by another, or the program to make them is missing."""

import subprocess
import sys

import pytest

from tests.bad_input.conftest import HEAD

TEXT = HEAD + "experiment e { measure a = ld(clean) }\nreport r { bar e.a }\n"
HOLD = "import sys, duckdb; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def finding(ended):
    """Code and whole text of the one error that a command ended with."""
    assert ended.err.count("error[GB") == 1 and "Traceback" not in ended.err, ended.err
    return ended.err.partition("error[")[2].partition("]")[0], ended.err


def test_a_database_that_another_process_holds(folder, monkeypatch):
    from glassbox_dsl.store import writer

    monkeypatch.setattr(writer, "CLAIM_SECONDS", 0.2)
    folder.write(TEXT)
    assert folder.run("run", "x.gbx", "--db", "r.duckdb", "--quiet").code == 0
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, "r.duckdb"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        before = folder.state()
        ended = folder.run("run", "x.gbx", "--db", "r.duckdb", "--report", "pages", "--quiet")
        code, text = finding(ended)
        assert (ended.code, code, ended.out) == (4, "GB600", "")
        assert "r.duckdb" in text and f"{holder.pid}" in text and "help:" in text
        assert folder.state() == before
    finally:
        holder.communicate()


@pytest.mark.parametrize(("db", "code"), [("none/r.duckdb", "GB601"), ("x.gbx", "GB603"), ("taken", "GB60")])
def test_a_database_that_cannot_be_written(db, code, folder):
    folder.write(TEXT)
    (folder.path / "taken").mkdir()
    before = folder.state()
    ended = folder.run("run", "x.gbx", "--db", db, "--report", "pages", "--quiet")
    found, text = finding(ended)
    assert ended.code == 1 and found.startswith(code) and db in text and "help:" in text
    assert folder.state() == before and not (folder.path / "pages").exists()


@pytest.mark.parametrize("report", ["x.gbx", "x.gbx/pages"])
def test_a_report_folder_that_cannot_be_written(report, folder):
    folder.write(TEXT)
    before = folder.state()
    ended = folder.run("run", "x.gbx", "--db", "r.duckdb", "--report", report, "--quiet")
    found, text = finding(ended)
    assert (ended.code, found) == (1, "GB657") and report in text and "help:" in text
    assert folder.state() == before  # it is said before anything is computed


def test_without_the_extra_that_runs_models_nothing_is_made(folder, monkeypatch):
    folder.write(TEXT)
    before = folder.state()
    monkeypatch.setattr("glassbox_dsl.run.fetch.RUN_EXTRA", ("torch", "a_package_nobody_has"))
    ended = folder.run("run", "x.gbx", "--db", "r.duckdb", "--report", "pages", "--quiet")
    code, text = finding(ended)
    assert (ended.code, ended.out) == (1, "") and code and "a_package_nobody_has" in text
    assert 'pip install "glassbox-dsl[run]"' in text and folder.state() == before


def test_what_stops_a_run_after_its_models_leaves_no_database(folder):
    """Found only when items meet the model: `check` without its tokenizer could not say it."""
    folder.write(
        HEAD.replace('" {io}"', '" Xyzzyq {io}"') + "experiment e { measure a = logit(clean, target) }"
    )
    before = folder.state()
    ended = folder.run("run", "x.gbx", "--db", "r.duckdb", "--report", "pages", "--quiet")
    assert ended.code == 1 and folder.state() == before


def test_what_fails_in_a_cell_is_told_and_kept_out_of_the_numbers(folder):
    place = folder.write(
        HEAD + "experiment e { run p = forward(clean) { @@resid_pre[0, 0] *= 1 }  measure a = ld(p) }"
    )
    ended = folder.run("run", "x.gbx", "--db", "r.duckdb", "--quiet")
    code, text = finding(ended)
    assert ended.code == 1 and code == "GB535" and place in text and "help:" in text
    queried = folder.run("query", "r.duckdb", "SELECT value FROM e.a")
    assert (queried.code, queried.out) == (1, "") and "GB620" in queried.err


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "x.gbx", "--dbb", "y"], ["chekc", "x.gbx"], ["query", "r.duckdb"]]
)
def test_a_command_line_that_is_wrong_is_usage(arguments, folder):
    folder.write(TEXT)
    before = folder.state()
    ended = folder.run(*arguments)
    assert ended.code == 2 and ended.out == "" and "Usage" in ended.err and folder.state() == before
