"""`gbx query`: SQL over stored results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassbox_dsl.cli.output import Format, say, table_text, write_table

SUFFIXES = {".csv": Format.csv, ".json": Format.json, ".parquet": Format.parquet}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("query")(ask)


def ask(
    db: Annotated[Path, typer.Argument(metavar="DB", help="A DuckDB file written by `gbx run`.")],
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT; each measure is a view.")],
    form: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How to write the rows; table, or what the ending of -o says."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the rows into this file.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Stop a query that takes longer.", min=0.01)] = 30.0,
) -> None:
    """Query results with SQL, read-only: SELECT layer, avg(value) FROM exp.measure GROUP BY layer."""
    from glassbox_dsl.store.query import export, query, write_whole

    wanted = Format.json if json else form or (SUFFIXES.get(out.suffix) if out else None) or Format.table
    if wanted is Format.parquet and out is None:
        raise typer.BadParameter("Parquet needs a file: -o FILE.parquet", param_hint="--format")
    if out is None:
        answer = query(db, sql, seconds=seconds)
        write_table(answer.columns, answer.rows, wanted)
        return
    if wanted is Format.parquet:
        export(db, sql, out, seconds)
    else:
        answer = query(db, sql, seconds=seconds)
        write_whole(out, table_text(answer.columns, answer.rows, wanted) + "\n")
    say(str(out))
