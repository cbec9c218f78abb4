"""docs/gallery.md is what its command writes from the experiments and the record of their claims: no run is needed."""

import importlib.util
import re

import pytest

from glassbox_dsl.language.file import read_program
from glassbox_dsl.resources import PACKAGE

ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "tools" / "gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_command_writes(gallery):
    assert gallery.PAGE.read_text(encoding="utf-8") == gallery.page(gallery.load())


def test_what_was_measured_was_measured_with_the_files_as_they_are(gallery):
    record, files = gallery.load(), gallery.experiments()
    assert len(record) > 25 and record.keys() <= {path.stem for path in files}
    now = {p.stem: gallery.fingerprint(p) for p in files if p.stem in record}
    assert now == {name: kept["text"] for name, kept in record.items()}


def test_every_claim_was_seen_to_hold_on_every_model(gallery):
    record = gallery.load()
    assert [
        (name, c["text"]) for name, kept in record.items() for c in kept["claims"] if not c["holds"]
    ] == []
    for path in (p for p in gallery.experiments() if p.stem in record):
        program, _ = read_program(path)
        for experiment in (e for e in program.experiments if e.wanted):
            written = {v.text.removeprefix("expect ") for v in experiment.values if v.kind == "expect"}
            claims = [c for c in record[path.stem]["claims"] if c["experiment"] == experiment.name]
            assert {c["text"].removeprefix("expect ") for c in claims} == written, path.stem
            if written:
                assert {c["model"] for c in claims if c["model"]} in (set(experiment.models), set()), (
                    path.stem
                )


def test_an_experiment_fits_on_a_screen_and_names_its_paper(gallery):
    for path in gallery.experiments():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 43 and re.search(r"\d{4}", gallery.comment(text)), path.stem
        assert gallery.questions(text) and "bundled(" in text or "tiny(" in text, path.stem


def test_every_shared_data_set_is_read_by_an_experiment(gallery):
    shared = {
        name
        for path in (ROOT / "specs" / "data").glob("*.gbx")
        for name in re.findall(r"^data (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(shared) > 20
    read = set()
    for path in gallery.experiments():
        program, _ = read_program(path)
        read |= {name for experiment in program.experiments if experiment.wanted for name in experiment.data}
    assert shared - read == set()


def test_a_change_in_an_imported_file_is_noticed_and_a_comment_is_not(gallery, tmp_path):
    (tmp_path / "a.gbx").write_text('gbx 1\nimport "b.gbx"\n', encoding="utf-8")
    seen = []
    for text in (
        "gbx 1\n# one\nlet a = 1\n",
        "gbx 1\n# another comment\nlet a = 1\n",
        "gbx 1\n# one\nlet a = 2\n",
    ):
        (tmp_path / "b.gbx").write_text(text, encoding="utf-8")
        seen.append(gallery.fingerprint(tmp_path / "a.gbx"))
    assert seen[0] == seen[1] != seen[2]


def test_claims_are_shown_with_both_sides_where_the_right_one_is_no_number(gallery):
    claim = {"text": "mean(a) > 1", "left": 2.0, "right": 1.0, "cells": 1, "holds": True}
    assert gallery._sides(claim) == "2"
    assert gallery._sides({**claim, "text": "mean(a) > mean(b)"}) == "2 and 1"
    assert (
        gallery._sides({**claim, "holds": False, "cells": 3})
        == "2 (the nearest of 3 cells) **does not hold**"
    )
