"""`gbx families`: the known architectures, their contracts on the installed transformers, the table of the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import Format, complain, emit, say, write_json, write_table
from glassbox_dsl.cli.with_families import Families

COLUMNS = ("family", "model types", "like", "attention")


def register(app: typer.Typer) -> None:
    """Add the verb and its sub-commands."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback(invoke_without_command=True)(show)
    group.command("verify")(verify)
    group.command("table")(table)
    group.command("propose")(propose)
    app.add_typer(group, name="families", help="List the model families, or verify them.")


def show(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    families: Families = None,
) -> None:
    """List the families: the `model_type`s that each file serves, and what it extends."""
    if context.invoked_subcommand is not None:
        return
    from glassbox_dsl.resolve.families import extended_by
    from glassbox_dsl.resolve.families import families as known

    rows = [
        (
            one.name,
            ", ".join(one.model_types),
            extended_by(one.name) or "",
            "its own code" if one.layer.own_attention else "interface",
        )
        for one in known()
    ]
    if json:
        names = ("family", "model_types", "extends", "attention")
        write_json({"families": [dict(zip(names, row, strict=True)) for row in rows]})
    else:
        write_table(COLUMNS, rows, Format.table)


def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="FAMILY...", help="Default: all.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    record_to: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="Write the outcome as the record of a release."),
    ] = None,
    families: Families = None,
) -> None:
    """Run every contract on small random models of the installed transformers, and print what changed."""
    from importlib.metadata import version

    from glassbox_dsl.resolve.families import family_names
    from glassbox_dsl.resolve.verified import Layout, Record, changes, record
    from glassbox_dsl.run.family_checks import checked, layouts

    unknown = sorted(set(names or ()) - set(family_names()))
    if unknown:
        complain(f"no family {', '.join(unknown)}; `gbx families` lists them")
        raise typer.Exit(exits.USAGE)
    done: list[Layout] = []
    for name, more in layouts(names or family_names()):
        one = checked(name, more)
        done.append(one)
        if not json:
            said = (
                f"{len(one.failed)} of {one.checks} checks failed" if one.failed else f"{one.checks} checks"
            )
            say(f"{one.name}: {said}, largest error {one.largest:.1e}, {one.executor}")
        for line in one.failed:
            complain(f"  {line}")
    new = Record(transformers=version("transformers"), layouts=tuple(done))
    if record_to is not None:
        record_to.write_text(new.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return
    changed = list(changes(record(), new))
    if json:
        write_json(
            {"transformers": new.transformers, "layouts": [d.model_dump() for d in done], "changed": changed}
        )
    else:
        say(f"transformers {new.transformers}, the record is of {record().transformers}")
        say("\n".join(changed) if changed else "nothing changed")
    if changed or any(one.failed for one in done):
        raise typer.Exit(exits.FINDINGS)


def propose(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A checkpoint's folder, a config.json, or a model type of transformers."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the file, not to stdout.")
    ] = None,
    families: Families = None,
) -> None:
    """Propose a family file for a model type that has none, checked on a small random model of it."""
    from glassbox_dsl.resolve.families import family_of
    from glassbox_dsl.run.propose import Proposer, is_known_to_transformers

    config = _config_of(model)
    model_type = str(config.get("model_type", model))
    known = family_of(model_type)
    if known is not None:
        complain(f"`{model_type}` has a family file: {known.name}")
        raise typer.Exit(exits.USAGE)
    if not is_known_to_transformers(model_type):
        complain(f"transformers has no model type `{model_type}`; a newer version may")
        raise typer.Exit(exits.USAGE)
    proposal = Proposer(model_type, config).best()
    if out is None:
        emit(proposal.text.rstrip("\n"))
    else:
        out.write_text(proposal.text, encoding="utf-8")
    said = (
        "every contract holds" if proposal.proven else "not every contract holds: the file says which do not"
    )
    complain(f"{model_type}: laid out as {proposal.base}; {said}")
    if proposal.unknown:
        complain(f"keys to look at: {', '.join(proposal.unknown)}")
    if not proposal.proven:
        raise typer.Exit(exits.FINDINGS)


def _config_of(model: str) -> dict[str, Any]:
    """The config that a folder or file holds; empty for a model type."""
    from json import loads

    path = Path(model)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        return {}
    found = loads(path.read_text("utf-8"))
    return found if isinstance(found, dict) else {}


def table() -> None:
    """Write docs/families.md from the shipped record."""
    from glassbox_dsl.resolve.verified import page, record

    emit(page(record()).rstrip("\n"))
