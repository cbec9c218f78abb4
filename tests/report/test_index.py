"""The page over all runs, in a real browser: it searches, opens runs, and does nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassbox_dsl.report.index import took, write_index
from tests.report.browser import Browser
from tests.store import example as ex


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    for status in ("complete", "failed", "complete"):
        ex.write_example(folder / "r.duckdb", status=status)
    return write_index(folder / "r.duckdb", folder / "out")


def test_it_runs_clean_and_finds_runs(browser: Browser, index: Path):
    for dark in (False, True):
        seen = browser.open(index, dark=dark)
        assert seen.problems == []
        assert {url for url in seen.requests if not url.startswith("data:")} == {index.resolve().as_uri()}
        assert browser.run("document.documentElement.dataset.scripts") == "ready"
    shown = "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).length"
    assert browser.run(shown) == 3
    for words, count in (
        ("failed", 1),
        ("RECOVERED smol", 3),
        ("complete by_layer", 2),
        ("nothing", 0),
        ("", 3),
    ):
        browser.run(
            f"(() => {{ const i = document.querySelector('input'); i.value = {words!r};"
            " i.dispatchEvent(new Event('input')); })()"
        )
        assert browser.run(shown) == count, words
    assert (
        browser.run("document.querySelector('label').htmlFor === document.querySelector('input').id") is True
    )


@pytest.mark.parametrize("width", [380, 800, 1400])
def test_no_width_of_a_window_cuts_it_off(browser: Browser, index: Path, width: int):
    assert browser.open(index, width=width).problems == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    tall = (
        "Math.max(...[...document.querySelectorAll('tbody tr')].map(r => r.getBoundingClientRect().height))"
    )
    assert browser.run(tall) < 340
    browser.run("document.querySelector('input').value = 'no such run'")
    browser.run("document.querySelector('input').dispatchEvent(new Event('input'))")
    seen = "[...document.querySelectorAll('tbody tr')].some(r => r.getBoundingClientRect().height)"
    assert browser.run(seen) is False


def test_its_links_lead_to_pages(index: Path):
    import re

    links = re.findall(r'href="([^"#:]+)"', index.read_text())
    assert len(links) == 3 and all((index.parent / link).is_file() for link in links)


def test_without_scripts_every_run_shows(browser: Browser, index: Path):
    assert browser.open(index, scripts=False).problems == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (42, "42 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, text: str):
    assert took(seconds) == text
