"""What the documents promise: commands, exit codes, sites and metrics are those of the program."""

import re
import tomllib
from pathlib import Path

import pytest

from glassbox_dsl.cli import app, exits, not_built
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.vocabulary.sites import sites

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The text below a heading, up to the next of its rank."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    return next(part for part in parts if part.split("\n")[0] == title)


def in_code(text: str) -> set[str]:
    """Names set in code type, without their arguments."""
    return {name for code in re.findall(r"`([^`\n]+)`", text) for name in re.findall(r"^[\w.]+", code)}


def test_the_command_list_is_current():
    rows = re.findall(r"^\| `gbx (.*?)\|", section(README, "Commands").replace("\\|", "/"), re.MULTILINE)
    assert {row.split()[0] for row in rows} == set(app.verb_names())


@pytest.mark.parametrize("verb", app.verb_names())
def test_the_options_in_the_command_list_exist(verb, capsys):
    row = next(line for line in README.splitlines() if line.startswith(f"| `gbx {verb} "))
    app.answer([verb, "--help"])
    help_text = capsys.readouterr().out
    for option in re.findall(r"(?<![\w-])--?[a-z]+", row):
        assert re.search(rf"{option}\b", help_text), f"gbx {verb} has no {option}"


def test_the_exit_codes_are_current():
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", section(README, "Commands"), re.MULTILINE)}
    assert listed == {value for value in vars(exits).values() if isinstance(value, int)}


def test_the_verbs_that_are_not_built_are_named():
    limits = section(README, "What is not built yet, and limits")
    assert set(not_built.NOT_BUILT) <= in_code(limits)


def test_the_families_are_named():
    files = {path.stem for path in (ROOT / "specs" / "families").glob("*.toml")}
    listed = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    assert files and files <= set(re.findall(r"^\| (\w+)", listed, re.MULTILINE))
    assert "docs/families.md" in README


def test_the_example_of_the_readme_is_right(tmp_path):
    from glassbox_dsl.pipeline import check_file

    examples = [
        *re.findall(r"```gbx\n(.*?)```", README, re.S),
        *re.findall(r"```gbx\n(.*?)```", LANGUAGE, re.S),
    ]
    assert len(examples) == 2
    for text in examples:
        (tmp_path / "example.gbx").write_text(text, encoding="utf-8")
        assert [(d.code, d.headline) for d in check_file(tmp_path / "example.gbx")] == []


def test_every_site_has_a_meaning_and_a_place_in_the_reference():
    table = tomllib.loads((ROOT / "specs" / "sites.toml").read_text(encoding="utf-8"))
    assert set(table) == set(sites()) and len(table) > 30
    assert [name for name, site in table.items() if len(site["meaning"].split()) < 3] == []
    assert sites().keys() <= in_code(section(LANGUAGE, "5. Sites"))


def test_every_metric_and_value_function_has_a_meaning_and_a_place_in_the_reference():
    values = section(LANGUAGE, "6. Values")
    entries = [*metrics().values(), *value_functions().values()]
    assert len(entries) >= 20
    for entry in entries:
        assert len(entry.summary.split()) >= 2 and entry.name in entry.example, entry.name
    assert {entry.name for entry in entries} <= in_code(values)


def test_the_folders_that_the_map_names_exist():
    for folder in re.findall(r"`((?:glassbox_dsl|specs)/[\w/]*)`", section(README, "The map of the code")):
        assert (ROOT / folder).exists(), folder
