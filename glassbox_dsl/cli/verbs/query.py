"""`gbx query`: SQL over stored results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.output import Format, write_table


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("query")(ask)


def ask(
    db: Annotated[Path, typer.Argument(metavar="DB", help="A DuckDB file written by `gbx run`.")],
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; each measure is a view.")],
    form: Annotated[Format, typer.Option("--format", "-f", help="How to write the rows.")] = Format.table,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Query results with SQL, read-only: SELECT layer, avg(value) FROM exp.measure GROUP BY layer."""
    from glassbox_dsl.store.query import query

    result = query(db, sql)
    write_table(result.columns, result.rows, Format.json if json else form)
