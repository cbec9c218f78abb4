"""`gbx resume`: goes on with a run that did not end; `gbx run` of the same file does the same."""

from __future__ import annotations

from pathlib import Path

import click

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import complain, say, write_json
from glassbox_dsl.cli.running import run_and_tell
from glassbox_dsl.cli.values import PATH
from glassbox_dsl.diagnostics import render


@click.command()
@click.argument(
    "file",
    required=False,
    metavar="[FILE]",
    type=PATH,
    help="The .gbx file (default: that of the newest run that did not end).",
)
@click.option("--db", type=PATH, default="results.duckdb", help="The DuckDB file of the run.")
@click.option("--report", metavar="DIR", type=PATH, help="Write the report of the run into this folder.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress and no summary, only what is wrong.")
@click.option("--json", is_flag=True, help="Write what came of it as one JSON object.")
def resume(file: Path | None, db: Path, report: Path | None, quiet: bool, json: bool) -> int:
    """Say what a run that was interrupted or killed left open, and complete it; nothing is computed twice."""
    from glassbox_dsl.language.file import read_program
    from glassbox_dsl.plan.contexts import contexts
    from glassbox_dsl.store.unfinished import unfinished

    if file is not None and file.suffix in (".duckdb", ".db"):
        raise click.BadParameter(
            f"`{file}` is no .gbx file; results are given with --db {file}", param_hint="FILE"
        )
    found = unfinished(db, file)
    if found is None:
        done = f"nothing to resume: {'every file' if file is None else file} in {db} was run to its end"
        write_json({"db": str(db), "done": done}) if json else say(done)
        return exits.OK
    program, _ = read_program(found.file)
    for line in found.told(tuple(contexts(program)) if program is not None else ()):
        complain(line)
    for diagnostic in found.warnings:
        complain(render(diagnostic) + "\n")
    return run_and_tell(found.file, db, report, quiet, json=json)
