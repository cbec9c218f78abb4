"""Glassbox: a declarative language for interpretability experiments on transformer language models.

A `.gbx` file states an experiment as equations over runs; the packages below turn it, stage by stage, into
rows in DuckDB and a report. `pipeline.py` shows the stages on one screen.
"""

__version__ = "0.1.0"
