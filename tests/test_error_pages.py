"""Every diagnostic has a page, every page a diagnostic, and what the pages show is what `gbx check` says."""

import ast
import re
from pathlib import Path

import pytest

from glassbox_dsl.resources import PACKAGE, shipped

CODE = re.compile(r"GBW?\d{3}")
BLOCK = re.compile(r"^```gbx (bad|good)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(shipped("specs").glob("errors/*.md"))}


def codes_in(path: Path) -> set[str]:
    """The codes that stand in a file as strings of their own, outside docstrings and comments."""
    strings = (node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant))
    return {text for text in strings if isinstance(text, str) and CODE.fullmatch(text)}


def speaks(path: Path) -> bool:
    """Whether a file makes diagnostics itself."""
    calls = (node.func for node in ast.walk(_tree(path)) if isinstance(node, ast.Call))
    return any(ast.unparse(function).split(".")[-1] == "Diagnostic" for function in calls)


def spoken() -> dict[str, set[str]]:
    """The codes of each errors module, by its path in the package."""
    return {name: codes_in(PACKAGE / name) for name in _modules() if Path(name).stem.endswith("errors")}


def _modules() -> list[str]:
    return [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def blocks(kind: str) -> list:
    """(code, text) of every block of a kind, as parameters of a test."""
    found = [(code, text) for code, page in PAGES.items() for k, text in BLOCK.findall(page) if k == kind]
    return [pytest.param(code, text, id=f"{code}-{i}") for i, (code, text) in enumerate(found)]


def test_wording_lives_in_the_errors_modules_only():
    assert any(speaks(PACKAGE / name) for name in spoken())
    assert [name for name in _modules() if speaks(PACKAGE / name) and name not in spoken()] == []


def test_other_modules_name_only_codes_that_exist():
    known = set().union(*spoken().values())
    named = {name: codes_in(PACKAGE / name) for name in _modules()}
    assert {name: codes - known for name, codes in named.items() if codes - known} == {}


def test_no_two_stages_share_a_code():
    owners: dict[str, list[str]] = {}
    for name, codes in spoken().items():
        for code in codes:
            owners.setdefault(code, []).append(name)
    assert {code: names for code, names in owners.items() if len(names) > 1} == {}


def test_every_code_has_a_page_and_every_page_a_code():
    codes = set().union(*spoken().values())
    assert len(codes) > 80
    assert {"without a page": codes - PAGES.keys(), "without a code": PAGES.keys() - codes} == {
        "without a page": set(),
        "without a code": set(),
    }


@pytest.mark.parametrize("code", PAGES)
def test_a_page_says_what_why_and_how(code):
    head, blank, *body = PAGES[code].splitlines()
    assert re.fullmatch(rf"# {code}: \S.*([^.]|\.\.\.)", head) and blank == ""
    why = "\n".join(body).split("```")[0].split("## ")[0].strip()
    assert len(why.split()) >= 8
    kinds = [kind for kind, _ in BLOCK.findall(PAGES[code])]
    assert set(kinds) == {"bad", "good"} or (not kinds and "How it arises" in PAGES[code])


@pytest.mark.parametrize(("code", "text"), blocks("bad"))
def test_the_bad_file_gives_exactly_its_code(code, text, tmp_path):
    assert {d.code for d in _check(text, tmp_path)} == {code}


@pytest.mark.parametrize(("code", "text"), blocks("bad"))
def test_what_is_said_of_it_has_a_place_and_names_an_edit(code, text, tmp_path):
    assert [(d.code, d.headline) for d in _check(text, tmp_path) if d.span is None or not d.help] == []


@pytest.mark.parametrize(("code", "text"), blocks("good"))
def test_the_good_file_gives_nothing(code, text, tmp_path):
    assert [(d.code, d.headline) for d in _check(text, tmp_path)] == []


def test_there_are_files_on_the_pages():
    assert len(blocks("bad")) > 40 and len(blocks("good")) > 40


def _check(text, folder):
    from glassbox_dsl.pipeline import check_file

    (folder / "page.gbx").write_text(text, encoding="utf-8")
    return check_file(folder / "page.gbx")
