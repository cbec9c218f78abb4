"""`gbx models`: what is listed, and refusing what is not."""

import json

import pytest

from glassbox_dsl.cli.app import answer
from glassbox_dsl.resolve.bundled import bundled_models


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))


def test_the_table_has_both_models_with_size_and_licence(capsys):
    assert answer(["models"]) == 0
    streams = capsys.readouterr()
    rows = {line.split()[0]: line for line in streams.out.splitlines()[2:]}
    assert set(rows) == {"smollm2-135m", "gemma3-270m"}
    assert "Apache-2.0" in rows["smollm2-135m"] and rows["smollm2-135m"].endswith("false")
    assert "Gemma Terms of Use" in streams.err


def test_a_model_in_the_cache_counts_as_fetched(capsys):
    bundled_models()["smollm2-135m"].folder.mkdir(parents=True)
    assert answer(["models", "--json"]) == 0
    listed = {model["id"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert listed["smollm2-135m"]["fetched"] is True and listed["gemma3-270m"]["fetched"] is False
    assert listed["gemma3-270m"]["download_mb"] > 100 and listed["gemma3-270m"]["licence"] == "Gemma"


def test_fetching_an_unknown_model_names_the_known_ones(capsys):
    assert answer(["models", "fetch", "smollm"]) == 1
    streams = capsys.readouterr()
    assert streams.out == "" and "GB310" in streams.err and "smollm2-135m" in streams.err


def test_fetch_needs_an_id(capsys):
    assert answer(["models", "fetch"]) == 2
    assert "ID" in capsys.readouterr().err
