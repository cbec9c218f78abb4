"""`gbx families`: the known architectures, their contracts on the installed transformers, the table of the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glassbox_dsl.cli import exits
from glassbox_dsl.cli.output import Format, complain, emit, say, write_json, write_table
from glassbox_dsl.cli.values import PATH, PATH_OR_NAME
from glassbox_dsl.cli.with_families import with_families

COLUMNS = ("family", "model types", "like", "attention")


@click.group(invoke_without_command=True)
@click.option("--json", is_flag=True, help="Write one JSON object.")
@with_families
@click.pass_context
def families(context: click.Context, json: bool) -> None:
    """List the model families, or verify them."""
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


@families.command()
@click.argument("names", nargs=-1, metavar="[FAMILY]...", help="Default: all.")
@click.option("--json", is_flag=True, help="Write one JSON object.")
@click.option(
    "--record",
    "record_to",
    metavar="FILE",
    type=PATH,
    help="Write the outcome as the record of a release.",
)
@with_families
def verify(names: tuple[str, ...], json: bool, record_to: Path | None) -> int:
    """Run every contract on small random models of the installed transformers, and print what changed."""
    from importlib.metadata import version

    from glassbox_dsl.resolve.families import family_names
    from glassbox_dsl.resolve.verified import Layout, Record, changes, record
    from glassbox_dsl.run.family_checks import checked, layouts

    unknown = sorted(set(names) - set(family_names()))
    if unknown:
        complain(f"no family {', '.join(unknown)}; `gbx families` lists them")
        return exits.USAGE
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
        return exits.OK
    changed = list(changes(record(), new))
    if json:
        write_json(
            {"transformers": new.transformers, "layouts": [d.model_dump() for d in done], "changed": changed}
        )
    else:
        say(f"transformers {new.transformers}, the record is of {record().transformers}")
        say("\n".join(changed) if changed else "nothing changed")
    return exits.FINDINGS if changed or any(one.failed for one in done) else exits.OK


@families.command()
@click.argument(
    "model",
    metavar="MODEL",
    type=PATH_OR_NAME,
    help="A checkpoint's folder, a config.json, or a model type of transformers.",
)
@click.option("--out", "-o", metavar="FILE", type=PATH, help="Write the file, not to stdout.")
@with_families
def propose(model: str, out: Path | None) -> int:
    """Propose a family file for a model type that has none, checked on a small random model of it."""
    from glassbox_dsl.resolve.families import family_of
    from glassbox_dsl.run.propose import Proposer, is_known_to_transformers

    config = _config_of(model)
    model_type = str(config.get("model_type", model))
    known = family_of(model_type)
    if known is not None:
        complain(f"`{model_type}` has a family file: {known.name}")
        return exits.USAGE
    if not is_known_to_transformers(model_type):
        complain(f"transformers has no model type `{model_type}`; a newer version may")
        return exits.USAGE
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
    return exits.OK if proposal.proven else exits.FINDINGS


def _config_of(model: str) -> dict[str, Any]:
    """The config that a folder or file holds; empty for a model type."""
    from json import loads

    path = Path(model)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        return {}
    found = loads(path.read_text("utf-8"))
    return found if isinstance(found, dict) else {}


@families.command()
def table() -> None:
    """Write docs/families.md from the shipped record."""
    from glassbox_dsl.resolve.verified import page, record

    emit(page(record()).rstrip("\n"))
