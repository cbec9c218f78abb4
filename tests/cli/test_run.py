"""`gbx run`: what it prints of the outcome, and where."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from glassbox_dsl.cli.app import answer
from glassbox_dsl.diagnostics import Diagnostic, Findings


@dataclass
class Outcome:
    """Stands in for the pipeline's."""

    exit_code: int = 0
    db: Path = Path("results.duckdb")
    reports: tuple[Path, ...] = ()
    headlines: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    run_id: str = ""


@dataclass
class Pipeline:
    """Notes how it was called, reports some progress, and gives the outcome it was told to give."""

    outcome: Outcome = field(default_factory=Outcome)
    raises: BaseException | None = None
    called: tuple[object, ...] = ()
    memory: int | None = None

    def __call__(self, path, db, report_dir, progress, fresh=False, memory=None):
        self.fresh = fresh
        self.called = (path, db, report_dir)
        self.memory = memory
        progress.stage("patch_resid", 2)
        progress.advance(2)
        if self.raises:
            raise self.raises
        return self.outcome


@pytest.fixture
def pipeline(monkeypatch):
    stand_in = Pipeline()
    monkeypatch.setattr("glassbox_dsl.pipeline.run_file", stand_in)
    return stand_in


def test_headlines_and_places_go_to_stdout_progress_to_stderr(pipeline, capsys):
    pipeline.outcome = Outcome(headlines=("recovered 0.9 [0.8, 1.0]",), reports=(Path("out/ioi_page.html"),))
    assert answer(["run", "a.gbx", "--report", "out"]) == 0
    streams = capsys.readouterr()
    assert streams.out == "recovered 0.9 [0.8, 1.0]\nresults: results.duckdb\nreport:  out/ioi_page.html\n"
    assert "patch_resid: done" in streams.err
    assert pipeline.called == (Path("a.gbx"), Path("results.duckdb"), Path("out"))


def test_the_memory_budget_is_handed_on_in_bytes(pipeline, capsys):
    assert answer(["run", "a.gbx", "--quiet", "--memory", "8GiB"]) == 0
    assert pipeline.memory == 8 * 2**30


def test_quiet_leaves_stderr_empty(pipeline, capsys):
    assert answer(["run", "a.gbx", "--quiet", "--db", "b.duckdb"]) == 0
    assert capsys.readouterr().err == ""
    assert pipeline.called == (Path("a.gbx"), Path("b.duckdb"), None)


def test_quiet_still_says_which_claims_are_broken(pipeline, capsys):
    holds, broken = (
        "e on m: expect a > 0: holds",
        "e on m: expect a > 1: BROKEN in 2 of 3 cells (0.5 against 1)",
    )
    pipeline.outcome = Outcome(exit_code=1, headlines=(holds, broken))
    assert answer(["run", "a.gbx", "--quiet"]) == 1
    streams = capsys.readouterr()
    assert streams.err == f"{broken}\n" and streams.out == "results: results.duckdb\n"


@pytest.mark.parametrize("code", [1, 3, 130])
def test_the_outcome_sets_the_exit_code_and_its_diagnostics_are_shown(pipeline, code, capsys):
    pipeline.outcome = Outcome(exit_code=code, diagnostics=(Diagnostic("GB530", "an expectation is broken"),))
    assert answer(["run", "a.gbx"]) == code
    streams = capsys.readouterr()
    assert "error[GB530]: an expectation is broken" in streams.err
    assert streams.out == "results: results.duckdb\n"


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Findings([Diagnostic("GB200", "unknown name")]), 1),
        (Findings([Diagnostic("GB600", "in use")]), 4),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 70),
    ],
)
def test_each_way_to_fail_has_its_code_and_claims_no_result(pipeline, problem, code, capsys):
    pipeline.raises = problem
    assert answer(["run", "a.gbx"]) == code
    streams = capsys.readouterr()
    assert streams.out == "" and "Traceback" not in streams.err and "done" not in streams.err


def test_without_the_extra_the_message_names_it(monkeypatch, capsys):
    monkeypatch.setattr("glassbox_dsl.run.fetch.RUN_EXTRA", ("torch", "a_package_nobody_has"))
    assert answer(["run", "a.gbx"]) == 1
    said = capsys.readouterr().err
    assert "a_package_nobody_has" in said and "glassbox-dsl[run]" in said
