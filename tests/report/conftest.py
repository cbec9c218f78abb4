from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from glassbox_dsl.report.material import Material
from glassbox_dsl.store.query import query
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.writer import Store
from tests.report.browser import CHROMIUM, Browser
from tests.store import example as ex

Written = Callable[..., Path]


@pytest.fixture(scope="session")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example run: two models, 8 items, a measure of every kind."""
    path = tmp_path_factory.mktemp("report") / "results.duckdb"
    ex.write_example(path)
    return path


@pytest.fixture
def material(db: Path) -> Iterator[Material]:
    """The example run, opened."""
    with opened(db) as found:
        yield found


class opened:  # noqa: N801 - reads like the function it stands for
    """The newest run of a results file, as the charts see it."""

    def __init__(self, path: Path) -> None:
        self.path, self.context = path, open_reader(path)

    def __enter__(self) -> Material:
        reader = self.context.__enter__()
        return Material(reader, reader.run().run_id, partial(query, self.path))

    def __exit__(self, *problem: Any) -> None:
        self.context.__exit__(*problem)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a run that differs from the example: other reports, batches or status."""

    def write(*batches: Any, name: str = "other.duckdb", status: str = "complete", **changes: Any) -> Path:
        path = tmp_path / name
        store = Store.create_or_open(path)
        manifest = ex.manifest(ex.new_run_id()).model_copy(update=changes)
        store.begin(manifest)
        for batch in batches:
            store.flush(batch)
        store.finish(status)  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with Browser() as found:
        yield found
