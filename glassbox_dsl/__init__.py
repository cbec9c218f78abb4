"""Glassbox: a declarative language for interpretability experiments on transformer language models.

A `.gbx` file states an experiment as equations over runs; the packages below turn it, stage by stage, into
rows in DuckDB and a report. `pipeline.py` shows the stages on one screen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassbox_dsl.results import Results

__version__ = "0.1.0"


def open(path: str | Path) -> Results:
    """A results file to ask questions of: `open("results.duckdb").sql("FROM patch_resid.recovered").df()`.

    Imports no model library. Raises Findings where the file is not there, or holds no results (GB603 ... GB608).
    """
    from glassbox_dsl.results import Results

    return Results(path)
