"""Pictures that were drawn before are not drawn again, unless anything about them is different."""

import json
import sys

import pytest

from glassbox_dsl.report import drawn, render, vega
from glassbox_dsl.report.charts import bar
from glassbox_dsl.report.series import Series
from glassbox_dsl.report.spec import ItemSpec

pytest.importorskip("altair")
PICTURE = {"light": drawn.DATA + "bA==", "dark": drawn.DATA + "ZA==", "width": 3, "height": 2}


def numbers(value: float) -> Series:
    row = {"x": "a", "y": value, "low": 0.0, "high": 1.0, "color": "", "panel": ""}
    return Series((row,), "x", False, None, None, {"x": ["a"], "color": [], "panel": [""]}, "y")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path):
    code = tmp_path / "code.py"
    code.write_text("one way to draw")
    return code


def once(of, file, gives=PICTURE):
    """The picture, and whether it had to be drawn."""
    calls = []
    found = drawn.drawn_once(of, (file,), lambda: calls.append(1) or gives)
    return found, bool(calls)


def test_a_picture_is_drawn_once(file):
    assert once(numbers(0.5), file) == (PICTURE, True)
    assert once(numbers(0.5), file, None) == (PICTURE, False)


def test_other_numbers_or_other_code_are_another_picture(file):
    once(numbers(0.5), file)
    assert once(numbers(0.5000000000000001), file)[1]
    file.write_text("another way to draw")
    assert once(numbers(0.5), file)[1]


def test_another_version_of_what_draws_is_another_picture(file, monkeypatch):
    once(numbers(0.5), file)
    monkeypatch.setattr(drawn, "version", lambda package: "0")
    assert once(numbers(0.5), file)[1]


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "{}",
        json.dumps({**PICTURE, "light": "https://example.org"}),
        json.dumps({**PICTURE, "width": "3"}),
    ],
)
def test_what_is_no_picture_is_drawn_again(file, broken):
    once(numbers(0.5), file)
    (kept,) = drawn.folder().iterdir()
    kept.write_text(broken)
    assert once(numbers(0.5), file) == (PICTURE, True)
    assert once(numbers(0.5), file, None) == (PICTURE, False)


def test_old_pictures_make_room(file, monkeypatch):
    monkeypatch.setattr(drawn, "KEPT", 3)
    for value in range(5):
        once(numbers(value), file)
    assert len(list(drawn.folder().iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_no_failure(file, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "taken"))
    assert once(numbers(0.5), file) == (PICTURE, True)
    render.environment.cache_clear()
    assert render.environment().get_template("page.html") is not None
    render.environment.cache_clear()


def test_a_known_bar_chart_starts_no_altair(material, monkeypatch):
    item = ItemSpec(kind="bar", source=("patch_resid", "baseline"))
    first = bar.build(item, material, "figure-1")
    assert first.light.startswith(drawn.DATA) and first.width > 100
    monkeypatch.setitem(sys.modules, "altair", None)  # importing it fails
    monkeypatch.setattr(vega, "svg", lambda chart: pytest.fail("drawn again"))
    assert bar.build(item, material, "figure-1") == first
