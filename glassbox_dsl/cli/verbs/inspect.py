"""`gbx inspect`: what a model is, from its config alone."""

from __future__ import annotations

from typing import Any

import click

from glassbox_dsl.cli.anatomies import MODEL, described, shown_value
from glassbox_dsl.cli.output import Format, say, write_json, write_table
from glassbox_dsl.cli.values import PATH_OR_NAME


@click.command()
@click.argument("model", metavar="MODEL", type=PATH_OR_NAME, help=MODEL)
@click.option("--json", is_flag=True, help="Write one JSON object.")
def inspect(model: str, json: bool) -> None:
    """Show what a model is: norms, positions, attention, MLP, size, and every site. Reads no weights."""
    models = described([model])
    if json:
        write_json({"models": [_document(found) for found in models]})
        return
    for found in models:
        _write(found)


def _document(model: Any) -> dict[str, Any]:
    return {
        **model.model_dump(exclude={"parameters"}),
        "parameters": {"all": model.n_parameters or None, **model.parameters},
        "bytes": model.bytes(),
    }


def _write(model: Any) -> None:
    say(f"{model.shown}: model_type {model.model_type}, specs/families/{model.family}.toml\n")
    write_table(
        ("of", "what", "is", "that is"),
        [(f.group, f.title, shown_value(f.value), f.meaning) for f in model.features if not f.plain],
        Format.table,
    )
    say("")
    _write_size(model)
    for token in model.special_tokens:
        texts = " ".join(token.texts)
        say(f"{token.name} token: {', '.join(map(str, token.ids))}{f' {texts}' if texts.strip() else ''}")
    say("")
    there = [site for site in model.sites if site.absent is None]
    write_table(("site", "axes and width", "", "meaning"), [_site(site) for site in there], Format.table)
    say("\nabsent:")
    write_table(
        ("site", "because"), [(site.name, site.absent) for site in model.sites if site.absent], Format.table
    )


def _write_size(model: Any) -> None:
    from glassbox_dsl.plan.room import shown_bytes

    if model.uncounted is not None:
        say(f"parameters: not counted, {model.uncounted}")
        return
    parts = ", ".join(f"{part} {count:,}" for part, count in model.parameters.items())
    say(f"parameters: {model.n_parameters:,} ({parts})")
    say("weights: " + ", ".join(f"{shown_bytes(n)} in {dtype}" for dtype, n in model.bytes().items()))


def _site(site: Any) -> tuple[str, ...]:
    from glassbox_dsl.resolve.gap import site_size

    note = "read and write" if site.write else "read only"
    return site.name, site_size(site), note, site.meaning
