"""`gbx explain`: the text, the document, and what it does not load."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from glassbox_dsl.cli.app import answer
from tests.plan.small import PATCHING, checkpoint, write

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("explained.txt")


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("glassbox_dsl.plan.room.free_bytes", lambda: 10 * 2**30)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    checkpoint(tmp_path / "llama")
    return write(tmp_path, PATCHING)


def test_the_plan_as_a_person_reads_it(file, tmp_path, capsys):
    assert answer(["explain", str(file)]) == 0
    streams = capsys.readouterr()
    assert streams.err == ""
    assert streams.out.replace(str(tmp_path), "FOLDER") == GOLDEN.read_text(encoding="utf-8")


def test_the_document_has_one_shape(file, capsys):
    assert answer(["explain", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["format_version", "exact", "notes", "models", "planned", "naive", "budget"]
    (model,) = document["models"]
    counts = ["cells", "noops", "packs", "layer_calls", "passes", "rows", "token_layers", "flops"]
    assert list(document["planned"]) == ["base_runs", *counts, "seconds", "peak_bytes"]
    assert list(model["planned"]) == [*counts, "seconds", "peak_bytes"]
    assert list(document["naive"]) == ["passes", "token_layers", "flops", "seconds"]
    assert set(model["speed"]) == {"device", "flops_per_second", "measured"}
    assert [set(run) for run in model["runs"]] == [
        {"experiment", "run", "data", "stage", "shape", "items", "cells", "noops", "executor", "reason"}
    ] * 2
    assert (document["planned"]["token_layers"], document["naive"]["token_layers"]) == (84, 312)
    assert document["budget"] == {"bytes": 8 * 2**30, "chosen": False}


def test_a_chosen_budget_is_said(file, capsys):
    assert answer(["explain", str(file), "--json", "--memory", "1GiB"]) == 0
    assert json.loads(capsys.readouterr().out)["budget"] == {"bytes": 2**30, "chosen": True}


@pytest.mark.parametrize("verb", ["explain", "run"])
def test_what_is_no_amount_is_a_wrong_command_line(verb, file, capsys):
    assert answer([verb, str(file), "--memory", "lots"]) == 2
    assert "8GiB" in capsys.readouterr().err


def test_a_broken_file_is_a_finding(tmp_path, capsys):
    (tmp_path / "bad.gbx").write_text('gbx 1\nmodel smol = bundled("smollm2")\n')
    assert answer(["explain", str(tmp_path / "bad.gbx")]) == 1
    streams = capsys.readouterr()
    assert streams.out == "" and streams.err.startswith("error[GB310]")


def test_a_model_that_was_never_fetched_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "empty"))
    path = tmp_path / "file.gbx"
    path.write_text('gbx 1\nmodel smol = bundled("smollm2-135m")\n' + PATCHING)
    assert answer(["explain", str(path)]) == 1
    said = capsys.readouterr().err
    assert "error[GB547]" in said and "gbx models fetch smollm2-135m" in said


def test_neither_torch_nor_transformers_is_loaded(file):
    script = (
        "import sys; from glassbox_dsl.cli.app import answer; "
        f"code = answer(['explain', {str(file)!r}]); "
        "print(code, sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"
