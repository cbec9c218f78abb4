from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.example import write_example


@pytest.fixture(scope="session")
def _example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "patch_resid.duckdb"  # named like an experiment on purpose
    write_example(path)
    return path


@pytest.fixture
def example(_example: Path, tmp_path: Path) -> Path:
    """A results file of its own for each test."""
    path = tmp_path / _example.name
    path.write_bytes(_example.read_bytes())
    return path
