"""`gbx query`, `diff`, `figure`, `index` and `report --watch`, from the command line to what they leave."""

from __future__ import annotations

import json
import xml.etree.ElementTree as xml
from pathlib import Path

import duckdb
import pytest

from glassbox_dsl.cli.app import answer
from glassbox_dsl.report import watch as watching
from glassbox_dsl.report.vega import installed
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.rows import Batch, new_run_id
from glassbox_dsl.store.writer import Store
from tests.store import example as ex

SQL = "SELECT model, layer, avg(value) AS v FROM lens.by_layer GROUP BY ALL ORDER BY ALL"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A file with two runs of other numbers."""
    path = tmp_path_factory.mktemp("verbs") / "r.duckdb"
    return path, ex.write_example(path), ex.write_example(path, seed=5)


@pytest.fixture
def db(runs: tuple[Path, str, str]) -> Path:
    return runs[0]


# ---------------------------------------------------------------- query


def test_an_answer_goes_to_a_file_of_each_format(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["query", str(db), SQL, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    for name in ("a.parquet", "a.csv", "a.json"):
        assert answer(["query", str(db), SQL, "-o", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out == f"{tmp_path / name}\n"
    parquet = duckdb.sql(f"FROM '{tmp_path}/a.parquet'").fetchall()
    csv = duckdb.sql(f"FROM '{tmp_path}/a.csv'").fetchall()
    assert [list(row) for row in parquet] == shown["rows"]
    assert csv == parquet
    assert json.loads((tmp_path / "a.json").read_text()) == shown
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.json", "a.parquet"]


def test_parquet_keeps_types_and_takes_any_reading_statement(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    for sql in (
        "FROM vocabulary -- all",
        "SHOW ALL TABLES;",
        "PIVOT lens.by_layer ON layer USING avg(value)",
    ):
        assert answer(["query", str(db), sql, "-o", str(out)]) == 0, sql
        assert duckdb.sql(f"FROM '{out}'").fetchall()
    answer(["query", str(db), "FROM vocabulary", "-o", str(out)])
    found = duckdb.sql(f"FROM '{out}'")
    assert dict(zip(found.columns, found.types, strict=True))["bytes"] == "BLOB"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1) TO '{other}'; --",
        "COPY (SELECT 1) TO '{other}'",
        "SELECT * FROM read_text('{secret}')",
        "SELECT 1; SELECT 2",
    ],
)
def test_an_answer_that_goes_to_a_file_reaches_no_other(
    db: Path, tmp_path: Path, sql: str, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    sql = sql.format(other=tmp_path / "other", secret=secret)
    assert answer(["query", str(db), sql, "-o", str(tmp_path / "a.parquet")]) == 1
    assert "GB62" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["secret.txt"]


def test_places_that_cannot_be_written_and_formats_that_need_one(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("nowhere/a.parquet", "nowhere/a.csv"):
        assert answer(["query", str(db), SQL, "-o", str(tmp_path / name)]) == 1
        assert "GB625" in capsys.readouterr().err
    assert answer(["query", str(db), SQL, "-f", "parquet"]) == 2
    assert answer(["query", str(db), "SELECT count(*) FROM range(1000000000000)", "--seconds", "0.2"]) == 1
    assert "GB622" in capsys.readouterr().err


# ---------------------------------------------------------------- diff


def test_two_runs_by_id_by_file_and_by_both(
    runs: tuple[Path, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, one, other = runs
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(db.read_bytes())
    found = []
    for before, after in ((one, other), (f"{db}@{one}", str(copy))):
        assert answer(["diff", before, after, "--db", str(db), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert (found[0]["before"], found[0]["after"]) == (one, other)
    gap = next(c for c in found[0]["changes"] if c["measure"] == "gap" and c["model"] == "smol")
    with open_reader(db) as reader:
        values = [
            reader.rows("patch_resid", "gap", run, {"model": "smol"}).column("value")[0]
            for run in (one, other)
        ]
    assert gap["changed"] and gap["largest"]["by"] == pytest.approx(values[1] - values[0])
    assert answer(["diff", one, other, "--db", str(db)]) == 0
    text = capsys.readouterr().out
    assert "patch_resid.gap" in text and "12 changed" in text
    assert answer(["diff", one, "ffff", "--db", str(db)]) == 1
    assert "GB609" in capsys.readouterr().err


# ---------------------------------------------------------------- figure


@pytest.mark.skipif(not installed(), reason="needs the extra `charts`")
@pytest.mark.parametrize(("ending", "begins"), [("svg", b"<svg"), ("pdf", b"%PDF-"), ("png", b"\x89PNG")])
def test_a_measure_becomes_a_figure_of_each_format(
    db: Path, tmp_path: Path, ending: str, begins: bytes
) -> None:
    out = tmp_path / f"a.{ending}"
    assert answer(["figure", str(db), "patch_resid.recovered", "-o", str(out)]) == 0
    assert out.read_bytes().startswith(begins) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not installed(), reason="needs the extra `charts`")
def test_a_matrix_shows_each_cell_with_its_number(
    db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(["figure", str(db), "patch_resid.recovered", "model=smol", "title=Where it is"]) == 0
    assert capsys.readouterr().out == "patch_resid.recovered.svg\n"
    text = (tmp_path / "patch_resid.recovered.svg").read_text()
    root = xml.fromstring(text)
    cells = [e.attrib["aria-label"] for e in root.iter() if "recovered: " in e.attrib.get("aria-label", "")]
    with open_reader(db) as reader:
        rows = reader.summary_table("patch_resid", "recovered", None, {"model": "smol"})
    assert len(cells) == len(rows.rows) == 56
    shown = sorted(float(c.rsplit("recovered: ", 1)[1].replace("−", "-")) for c in cells)
    assert shown == pytest.approx(sorted(rows.column("mean")), rel=1e-6)
    assert {"9 s2", "10 _gave", "13 last"} <= {e.text for e in root.iter() if e.tag.endswith("text")}
    assert "Where it is" in text and "http" not in text.replace("http://www.w3.org", "")


@pytest.mark.skipif(not installed(), reason="needs the extra `charts`")
def test_lines_and_mistakes(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "a.svg")
    assert answer(["figure", str(db), "lens.by_layer", "-o", out]) == 0
    assert "by_layer (nats)" in Path(out).read_text()
    for arguments, code in (
        (["lens.by_leyer"], "GB652"),
        (["lens.by_layer", "kind=pie"], "GB651"),
        (["lens.by_layer", "x=nothing"], "GB65"),
        (["lens.by_layer", "layer=77"], "GB654"),
        (["lens.by_layer", "kind=text"], "GB651"),
    ):
        assert answer(["figure", str(db), *arguments, "-o", out]) == 1
        assert code in capsys.readouterr().err
    assert answer(["figure", str(db), "lens"]) == 2
    assert answer(["figure", str(db), "lens.by_layer", "layer"]) == 2
    assert answer(["figure", str(db), "lens.by_layer", "-o", str(db / "a.svg")]) == 1


def test_without_the_extra_it_says_what_to_install(
    db: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("glassbox_dsl.report.paper.installed", lambda: False)
    assert answer(["figure", str(db), "lens.by_layer"]) == 1
    assert "GB658" in (said := capsys.readouterr().err) and "glassbox-dsl[charts]" in said


# ---------------------------------------------------------------- index, watch


def test_the_index_lists_every_run_with_its_pages(runs: tuple[Path, str, str], tmp_path: Path) -> None:
    db, one, other = runs
    assert answer(["index", str(db), "-o", str(tmp_path)]) == 0
    text = (tmp_path / "index.html").read_text()
    assert text.index(other) < text.index(one)  # the newest first
    for run in (one, other):
        assert f'<a href="{run}/ioi.html">' in text and (tmp_path / run / "ioi.html").is_file()
    assert text.count('<small class="wrong">2 expectations broken</small>') == 2
    before = (tmp_path / one / "ioi.html").stat().st_mtime_ns
    assert answer(["index", str(db), "-o", str(tmp_path)]) == 0
    assert (tmp_path / one / "ioi.html").stat().st_mtime_ns == before  # what has ended is not drawn again
    assert answer(["index", str(db), "-o", str(tmp_path / "bare"), "--no-pages"]) == 0
    assert [p.name for p in (tmp_path / "bare").iterdir()] == ["index.html"]


def test_hostile_names_are_text_in_the_index(tmp_path: Path) -> None:
    db, run = tmp_path / "x.duckdb", new_run_id()
    store = Store.create_or_open(db)
    store.begin(ex.manifest(run, file='/home/"><script>alert(1)</script>\u202e.gbx'))
    store.flush(Batch(models=(ex.MODELS[0].model_copy(update={"model": "<img src=x>"}),)))
    store.finish("failed")
    assert answer(["index", str(db), "-o", str(tmp_path / "out"), "--no-pages"]) == 0
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<script>alert" not in text and "<img" not in text and "\u202e" not in text
    assert 'class="status failed"' in text


def test_pages_follow_a_run_until_it_ends(tmp_path: Path) -> None:
    db, out = tmp_path / "x.duckdb", tmp_path / "pages"
    ex.write_example(db)
    store, rng = Store.create_or_open(db), ex.np.random.default_rng(0)
    steps = iter(
        [
            lambda: store.flush(ex.numbers(rng, "smol")),
            lambda: None,  # nothing new: nothing drawn
            lambda: store.flush(ex.numbers(rng, "gemma")),
            lambda: store.finish("complete"),
        ]
    )
    store.begin(ex.manifest(new_run_id()))
    store.flush(Batch(models=ex.MODELS, items=ex.items(), measures=ex.MEASURES, checks=ex.CHECKS))
    seen = []
    for run, pages in watching.watch(db, out, 2.0, sleep=lambda _: next(steps)()):
        text = pages[0].read_text()
        seen.append((run.status, '<meta http-equiv="refresh" content="2">' in text))
    assert seen == [("started", True)] * 3 + [("complete", False)]
    with pytest.raises(StopIteration):
        next(steps)


def test_watching_a_run_that_has_ended_draws_it_once(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["report", str(db), "--watch", "-o", str(tmp_path)]) == 0
    streams = capsys.readouterr()
    assert streams.out == f"{tmp_path / 'ioi.html'}\n" and "the run is complete" in streams.err


def test_an_older_run_is_drawn_when_asked_for(runs: tuple[Path, str, str], tmp_path: Path) -> None:
    db, one, other = runs
    assert answer(["report", str(db), "--run", one, "-o", str(tmp_path)]) == 0
    text = (tmp_path / "ioi.html").read_text()
    assert one in text and other not in text
