"""What a results file knows is not computed again; what it does not know is, and nothing else."""

import duckdb
import pytest

from glassbox_dsl import pipeline
from glassbox_dsl.run import session as sessions
from glassbox_dsl.run.check import check
from glassbox_dsl.run.execute import RunMaker
from tests.resume.conftest import EXPERIMENTS, PEOPLE, assert_same, data, rows

TEXT = data() + EXPERIMENTS


@pytest.fixture
def no_session(monkeypatch):
    """Fails where anything would be computed."""

    def refuse(*_):
        raise AssertionError("a session was made")

    return lambda: monkeypatch.setattr(pipeline, "_session", refuse)


def test_a_second_run_computes_nothing_and_leaves_the_same_rows(gbx, tmp_path, no_session):
    assert gbx(TEXT).packs > 0
    no_session()
    gbx("\n\n# moved down\n" + TEXT)
    first, second = rows(tmp_path / "r.duckdb", 0), rows(tmp_path / "r.duckdb", 1)
    lines = {table: [line for row in found for line in row if isinstance(line, int)] for table, found in
             (("first", first["expectations"]), ("second", second["expectations"]))}  # fmt: skip
    assert lines["second"][0] == lines["first"][0] + 3, "claims point at where they stand now"
    gbx(TEXT)
    assert_same(first, rows(tmp_path / "r.duckdb", 2))


def test_fresh_computes_everything_again(gbx, tmp_path):
    whole = sorted(gbx(TEXT).cells)
    assert sorted(gbx(TEXT, fresh=True).cells) == whole
    assert_same(rows(tmp_path / "r.duckdb", 0), rows(tmp_path / "r.duckdb", 1))


def test_conditions_that_need_the_model_are_known_too(gbx, tmp_path, no_session):
    text = data(more="keep where logit(clean, yes) > logit(clean, no) - 100") + EXPERIMENTS
    gbx(text)
    no_session()
    gbx(text)
    assert_same(rows(tmp_path / "r.duckdb", 0), rows(tmp_path / "r.duckdb", 1))


@pytest.mark.parametrize(
    ("change", "computed"),
    [
        pytest.param(lambda t: t.replace("layer in {0, 1}", "layer in {0, 1, 2}"), {"patched"}, id="layer"),
        pytest.param(lambda t: t.replace("measure q", "measure half = ld(named) / 2\n measure q"), set(), id="sum"),
        pytest.param(lambda t: t.replace("measure t", "measure r = rank(named, no)\nmeasure t"), {"named"}, id="rank"),
        pytest.param(lambda t: t.replace("experiment ablate", "experiment off"), set(), id="name"),
    ],
)  # fmt: skip
def test_a_change_computes_only_what_it_changes(gbx, tmp_path, change, computed):
    before = set(gbx(TEXT).cells)
    text = change(TEXT)
    assert text != TEXT
    more = gbx(text).cells
    assert {run for run, _, _ in more} == computed
    if computed == {"patched"}:
        assert all(cell >= 2 * len({c for r, c, _ in before if r == "patched"}) // 2 for cell, _ in _of(more))
    gbx(text, db="whole.duckdb")
    assert_same(rows(tmp_path / "r.duckdb"), rows(tmp_path / "whole.duckdb"))


def _of(cells):
    return [(cell, item) for run, cell, item in cells if run == "patched"]


def test_a_new_item_is_the_only_one_that_is_computed(gbx, tmp_path):
    sweep = EXPERIMENTS[: EXPERIMENTS.index("experiment ablate")]
    gbx(data(PEOPLE[:3]) + sweep)
    more = gbx(data(PEOPLE) + sweep)
    assert {item for run, _, item in more.cells} == {3}
    gbx(data(PEOPLE) + sweep, db="whole.duckdb")
    assert_same(rows(tmp_path / "r.duckdb"), rows(tmp_path / "whole.duckdb"))


def test_what_the_hooked_executor_gave_is_known_as_its_own(gbx, tmp_path, monkeypatch):
    db, text = tmp_path / "r.duckdb", data() + EXPERIMENTS
    failed = check("T4 pack", 0.5, 1e-5, "prompts of two lengths in one pack against apart")
    monkeypatch.setattr(sessions, "verified", lambda *_: (failed,))
    passes = []
    plain = RunMaker._pass
    monkeypatch.setattr(RunMaker, "_pass", lambda self, *rest: passes.append(1) or plain(self, *rest))
    gbx(text)
    assert passes
    passes.clear()
    gbx(text)  # nothing is loaded, so nothing is known of the checks either
    assert not passes
    with duckdb.connect(db, read_only=True) as connection:
        ((hooked,),) = connection.execute("SELECT count(DISTINCT key) FROM main.contexts").fetchall()
        ((actual,),) = connection.execute(
            "SELECT value FROM main.run_env WHERE kind = 'actual' AND key = 'token_layers' ORDER BY run_id LIMIT 1"
        ).fetchall()
    assert int(actual) > 0
    monkeypatch.setattr(sessions, "verified", lambda *_: ())
    assert gbx(text, fresh=True).cells
    with duckdb.connect(db, read_only=True) as connection:
        ((both,),) = connection.execute("SELECT count(DISTINCT key) FROM main.contexts").fetchall()
    assert both == 2 * hooked
