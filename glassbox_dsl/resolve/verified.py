"""What was verified of the shipped families, and with which transformers: the record, and the page made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.resources import shipped

FILE = "verified.json"
HEAD = """# Families

Which models can be read and written, and where. This page is made from the contracts that every family keeps on small
random models (`gbx families verify`; `gbx families table` writes the page): what the untouched model gives out itself,
the equations between sites, edits with known outcomes, prompts of mixed length in one pack, and both executors.
Errors are relative, in float32. `rw` read and write, `r` read only, `-` absent; the reasons stand below.
"""


class Layout(BaseModel):
    """The outcome of all contracts on one layout of a family. `sites`: what can be done with each, or why not."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    family: str
    layout: str
    model_type: str
    executor: str
    why: str
    checks: int
    failed: tuple[str, ...]
    largest: float
    sites: dict[str, str]

    @property
    def name(self) -> str:
        """How it is shown."""
        return layout_name(self.family, self.layout)


class Record(BaseModel):
    """All layouts, with the version of transformers that their models are of."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    transformers: str
    layouts: tuple[Layout, ...]


def layout_name(family: str, layout: str | None) -> str:
    """`falcon`, or `falcon (alibi)` for one of its further layouts."""
    return f"{family} ({layout})" if layout else family


@cache
def record() -> Record:
    """The shipped record."""
    return Record(**json.loads((shipped("specs") / FILE).read_text("utf-8")))


def changes(old: Record, new: Record) -> Iterator[str]:
    """What is otherwise than recorded, of the layouts that were checked again."""
    before = {one.name: one for one in old.layouts}
    for one in new.layouts:
        was = before.get(one.name)
        if was is None:
            yield f"{one.name}: not in the record"
            continue
        if one.executor != was.executor:
            yield f"{one.name}: runs on the {one.executor} executor, was {was.executor}"
        for site in {**was.sites, **one.sites}:
            if (now := one.sites.get(site)) != (then := was.sites.get(site)):
                yield f"{one.name}: {site} is `{now}`, was `{then}`"


def page(of: Record) -> str:
    """docs/families.md."""
    return "\n".join([HEAD, *_about(of), "", *_table(of), "", *_reasons(of.layouts), ""])


def _about(of: Record) -> Iterator[str]:
    n = len({one.family for one in of.layouts})
    total = sum(one.checks for one in of.layouts)
    worst = max(of.layouts, key=lambda one: one.largest)
    yield (
        f"{n} families in {len(of.layouts)} layouts, transformers {of.transformers}: {total:,} checks; "
        f"the largest error of all is {worst.largest:.1e} ({worst.name})."
    )


def _table(of: Record) -> Iterator[str]:
    names = list(of.layouts[0].sites)
    yield "| family | executor | largest error | " + " | ".join(f"`{name}`" for name in names) + " |"
    yield "|---" * (len(names) + 3) + "|"
    for one in of.layouts:
        cells = [_short(one.sites[name]) for name in names]
        yield f"| {one.name} | {one.executor} | {one.largest:.1e} | " + " | ".join(cells) + " |"


def _short(what: str) -> str:
    return {"read and write": "rw", "wrong": "**wrong**"}.get(what, "r" if what.startswith("read:") else "-")


def _reasons(layouts: Sequence[Layout]) -> Iterator[str]:
    yield "## Why not"
    yield ""
    told: dict[str, list[str]] = {}
    for one in layouts:
        for site, what in one.sites.items():
            if ": " in what:
                told.setdefault(f"`{site}` {what}", []).append(one.name)
        if one.why:
            told.setdefault(f"hooked executor: {one.why}", []).append(one.name)
    for what, names in sorted(told.items()):
        yield f"- {what} ({', '.join(names)})"
