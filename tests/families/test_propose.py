"""A model type without a family file: what is proposed, that it is checked, and that a user can go on with it."""

import json
import tomllib

import pytest

from glassbox_dsl.cli import app
from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import add_families, family_of, forget_families
from glassbox_dsl.run.propose import _toml

FILE = """gbx 1
model small = tiny("arcee", layers: 2)
data capitals {
  rows [{country: "France", city: "Paris"}, {country: "Italy", city: "Rome"}]
  prompt clean = "The capital of {country} is"
  answer target = " {city}"
}
experiment look {
  measure size = clean.mlp.SITE[0, 3, last]
  measure score = logit(clean, target)
}
"""


@pytest.mark.slow
def test_a_new_architecture_is_added_in_one_file_that_is_proposed(tmp_path, capsys):
    folder = tmp_path / "families"
    folder.mkdir()
    assert app.answer(["families", "propose", "arcee", "-o", str(folder / "arcee.toml")]) == 0
    text = (folder / "arcee.toml").read_text("utf-8")
    assert 'extends = "llama"' in text and "checks hold" in text and "is not gated" in text
    assert family_of("arcee") is None
    try:
        assert (
            app.answer(["families", "verify", "arcee", "--families", str(folder)]) == 1
        )  # new to the record
        assert "arcee: not in the record" in capsys.readouterr().out
        for site, code in (("pre", 0), ("up", 1)):
            path = tmp_path / f"{site}.gbx"
            path.write_text(FILE.replace("SITE", site), "utf-8")
            assert app.answer(["check", str(path), "--families", str(folder)]) == code
        assert "GB303" in capsys.readouterr().err
        db = tmp_path / "r.duckdb"
        assert app.answer(["run", str(tmp_path / "pre.gbx"), "--db", str(db), "--families", str(folder)]) == 0
    finally:
        forget_families(folder)


@pytest.mark.slow
def test_what_does_not_fit_is_said_in_the_file(capsys):
    assert app.answer(["families", "propose", "diffllama"]) == 1
    told = capsys.readouterr()
    assert "checks fail on a small random model" in told.out and "attn.q" in told.out
    assert "not every contract holds" in told.err


def test_a_checkpoint_of_a_known_type_needs_no_file(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert app.answer(["families", "propose", str(tmp_path)]) == 2
    assert "has a family file: llama" in capsys.readouterr().err
    assert app.answer(["families", "propose", "no_such_type"]) == 2


@pytest.mark.parametrize(
    ("model_type", "said"),
    [("t5", "encoder and a decoder"), ("mamba", "state"), ("gemma3n_text", "streams"), ("bert", "encoder")],
)
def test_what_cannot_fit_is_refused_with_the_reason(model_type, said):
    with pytest.raises(Findings) as refused:
        facts_from_config({"model_type": model_type}, "`m`")
    (found,) = refused.value.diagnostics
    assert found.code == "GB300" and said in found.label and "propose" not in found.help


def test_an_unknown_type_is_told_how_to_be_added():
    with pytest.raises(Findings) as refused:
        facts_from_config({"model_type": "arcee"}, "`m`")
    assert "gbx families propose arcee" in refused.value.diagnostics[0].help


def test_a_folder_of_families_is_added_and_taken_away_again(tmp_path):
    (tmp_path / "mine.toml").write_text('extends = "llama"\nmodel_types = ["mine"]\n')
    add_families(tmp_path)
    try:
        assert family_of("mine").sites == family_of("llama").sites
    finally:
        forget_families(tmp_path)
    assert family_of("mine") is None


def test_values_of_a_config_are_written_as_toml():
    told = {"a b": {"c": 1.5, "none": None, "d": [True, "x\n", {"e": []}]}}
    assert tomllib.loads(f"key = {_toml(told)}")["key"] == {"a b": {"c": 1.5, "d": [True, "x\n", {"e": []}]}}
