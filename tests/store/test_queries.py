"""The queries of docs/queries.md, each on what the file of that page left."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl import pipeline
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.resolve.tokenizer import TextTokenizer
from glassbox_dsl.run.fetch import prepare
from glassbox_dsl.store.query import query
from glassbox_dsl.vocabulary.models import ModelSource

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
TEXT = PAGE.read_text(encoding="utf-8")
QUERIES = re.findall(r"^(\d+)\. .*?```sql\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
SQL = {int(number): sql for number, sql in QUERIES}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    file, db = folder / "queries.gbx", folder / "results.duckdb"
    (text,) = re.findall(r"```gbx\n(.*?)```", TEXT, re.DOTALL)
    file.write_text(text)
    for _ in range(2):  # the second run computes nothing
        assert pipeline.run_file(file, db, None, Silent()).exit_code == 0
    return db


def test_there_are_twenty() -> None:
    assert sorted(SQL) == list(range(1, 21))


@pytest.mark.parametrize("number", sorted(SQL))
def test_each_query_gives_rows_without_holes(db: Path, number: int) -> None:
    answer = query(db, SQL[number])
    assert answer.rows
    for name in answer.columns:
        if name not in ("label", "pos_label", "tolerance", "value", "seconds", "left", "right"):
            assert all(v is not None for v in answer.column(name)), name


def rows(db: Path, sql: str) -> dict[str, np.ndarray]:
    answer = query(db, sql)
    return {name: np.array(answer.column(name)) for name in answer.columns}


def test_their_numbers_are_those_of_the_rows(db: Path) -> None:
    all_rows = rows(db, "SELECT model, layer, pos, item, value, num, den FROM patch.recovered")
    for model, layer, recovered in query(db, SQL[4]).rows:
        own = (all_rows["model"] == model) & (all_rows["layer"] == layer)
        expected = all_rows["num"][own].sum() / all_rows["den"][own].sum()
        assert recovered == pytest.approx(expected, rel=1e-9)
    for model, layer, pos, _, mean, *_ in query(db, SQL[5]).rows:
        own = (all_rows["model"] == model) & (all_rows["layer"] == layer) & (all_rows["pos"] == pos)
        assert mean == pytest.approx(all_rows["num"][own].sum() / all_rows["den"][own].sum(), rel=1e-9)
    for row in query(db, SQL[7]).dicts():
        assert len(row) == 1 + len(set(all_rows["pos"][all_rows["model"] == "small"].tolist()))
    base = rows(db, "SELECT model, item, value FROM patch.baseline")
    assert query(db, SQL[11]).column("value") == tuple(sorted(base["value"])[:5])
    last = rows(db, "SELECT model, item, value FROM lens.by_layer WHERE layer = 2 ORDER BY model, item")
    order = np.lexsort((base["item"], base["model"]))
    for model, r in query(db, SQL[14]).rows:
        one, other = (
            base["value"][order][base["model"][order] == model],
            last["value"][last["model"] == model],
        )
        assert r == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-9)


def test_tokens_have_the_bytes_of_the_prompt(db: Path) -> None:
    (text,) = query(db, "SELECT clean FROM data.people WHERE model = 'small' AND item = 0").column("clean")
    tokens = query(db, SQL[15])
    assert b"".join(tokens.column("bytes")).decode() == text
    files = prepare(
        ModelSource(name="m", kind="tiny", target="llama", tokenizer="smollm2-135m"), lambda _: None
    )
    assert files.tokenizer is not None
    known = TextTokenizer(files.tokenizer)
    assert tokens.column("bytes") == tuple(known.token_bytes(i) for i in tokens.column("token_id"))


def test_a_run_that_knew_its_numbers_shares_their_rows(db: Path) -> None:
    first, second = (r for (r,) in query(db, "SELECT run_id FROM runs ORDER BY 1").rows)
    same = "SELECT * EXCLUDE (run_id) FROM measurements WHERE run_id = '{}' ORDER BY ALL"
    assert query(db, same.format(first)).rows == query(db, same.format(second)).rows != ()
    assert query(db, "SELECT count(*), count(DISTINCT series) FROM series").rows[0][1] * 2 == len(
        query(db, "FROM series").rows
    )
    assert query(db, f"SELECT sum(measurements) FROM flushes WHERE run_id = '{second}'").rows == ((0,),)
    assert {r for r, *_ in query(db, SQL[20]).rows} == {first, second}
