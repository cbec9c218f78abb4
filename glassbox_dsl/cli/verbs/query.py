"""`gbx query`: SQL over stored results."""

from __future__ import annotations

from pathlib import Path

import click

from glassbox_dsl.cli.output import Format, say, table_text, write_table
from glassbox_dsl.cli.values import PATH, Number

SUFFIXES = {".csv": Format.csv, ".json": Format.json, ".parquet": Format.parquet}


@click.command()
@click.argument("db", metavar="DB", type=PATH, help="A DuckDB file written by `gbx run`.")
@click.argument("sql", metavar="SQL", help="One SELECT; each measure is a view.")
@click.option(
    "--format",
    "-f",
    "form",
    type=click.Choice(Format),
    help="How to write the rows; table, or what the ending of -o says.",
)
@click.option("--json", is_flag=True, help="The same as --format json.")
@click.option("--out", "-o", metavar="FILE", type=PATH, help="Write the rows into this file.")
@click.option(
    "--seconds",
    type=Number(min=0.01),
    default=30.0,
    help="Stop a query that takes longer.",
)
def query(db: Path, sql: str, form: Format | None, json: bool, out: Path | None, seconds: float) -> None:
    """Query results with SQL, read-only: SELECT layer, avg(value) FROM exp.measure GROUP BY layer."""
    from glassbox_dsl.store.query import export, write_whole
    from glassbox_dsl.store.query import query as ask

    wanted = Format.json if json else form or (SUFFIXES.get(out.suffix) if out else None) or Format.table
    if wanted is Format.parquet and out is None:
        raise click.BadParameter("Parquet needs a file: -o FILE.parquet", param_hint="--format")
    if out is None:
        answer = ask(db, sql, seconds=seconds)
        write_table(answer.columns, answer.rows, wanted)
        return
    if wanted is Format.parquet:
        export(db, sql, out, seconds)
    else:
        answer = ask(db, sql, seconds=seconds)
        write_whole(out, table_text(answer.columns, answer.rows, wanted) + "\n")
    say(str(out))
