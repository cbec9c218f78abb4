"""docs/why.md: what it shows of `.gbx` is in the file that is run, and its numbers are those that are measured."""

import re
from pathlib import Path

import pytest

from glassbox_dsl.resolve.bundled import MANIFEST, bundled_models

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
MARKED = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- end \1 -->", re.S)


def test_what_is_shown_is_what_runs():
    experiment = (ROOT / "specs" / "experiments" / "habits.gbx").read_text(encoding="utf-8")
    shown = [line for block in re.findall(r"```gbx\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
    assert len(shown) >= 6
    for line in shown:
        # The page shows two of the four parts of one line.
        assert (
            line in experiment
            or line.replace("mlp.out}", "mlp.out, attn.out_raw, mlp.out_raw}") in experiment
        ), line


def test_every_habit_has_its_numbers():
    tables = dict(MARKED.findall(PAGE))
    assert set(tables) == {"norm_again", "values_per_head", "folded", "raw_contributions"}
    assert all(len(NUMBER.findall(table)) >= 6 for table in tables.values())


@pytest.mark.slow
@pytest.mark.gallery
@pytest.mark.timeout(1800)
def test_the_numbers_are_those_that_are_measured():
    from docs.why.__main__ import measure, tables

    if not all((model.folder / MANIFEST).is_file() for model in bundled_models().values()):
        pytest.skip("the bundled models were not fetched")
    made, written = tables(measure()), dict(MARKED.findall(PAGE))
    assert made.keys() == written.keys()
    for name, table in made.items():
        assert NUMBER.sub("#", table) == NUMBER.sub("#", written[name])
        for new, old in zip(NUMBER.findall(table), NUMBER.findall(written[name]), strict=True):
            assert float(new) == pytest.approx(float(old), rel=0.02), (name, new, old)
