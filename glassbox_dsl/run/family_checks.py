"""Contracts of family files on small random models: what `gbx families verify` runs, and docs/families.md shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from glassbox_dsl.resolve.facts import ModelFacts, facts_from_config
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.resolve.verified import Layout, layout_name
from glassbox_dsl.run.check import Check
from glassbox_dsl.run.contracts import contracts
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.quiet import quiet
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.vocabulary.sites import sites

SEED = 3


def layouts(names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Every family with each layout that its file has a small model of."""
    for name in names:
        yield from ((name, more) for more in (None, *family(name).tiny_more))


def checks_of(name: str, more: str | None = None) -> tuple[ModelFacts, tuple[Check, ...]]:
    """All contracts of one layout of a family."""
    config = tiny_config(family(name), more=more)
    facts = facts_from_config(config, layout_name(name, more))
    with quiet():
        model, plain = tiny_model(config, SEED), tiny_model(config, SEED, plain=True)
        instrument = Instrument(model.requires_grad_(False), facts, family(name, facts.variants))
        return facts, tuple(contracts(instrument, plain))


def checked(name: str, more: str | None = None) -> Layout:
    """One layout of a family, as it is recorded."""
    facts, checks = checks_of(name, more)
    bad = {c.site for c in checks if not c.ok and c.site}
    known = {}
    for site in sites().values():
        why = facts.absent.get(site.name)
        if site.name in bad:
            known[site.name] = "wrong"
        elif why is not None:
            known[site.name] = f"absent: {why}"
        else:
            known[site.name] = (
                "read and write" if facts.writable(site.name) else f"read: {_why(facts, site.name)}"
            )
    noisy = [c.value for c in checks if c.ok and c.tolerance > 0]
    return Layout(
        family=name,
        layout=more or "",
        model_type=facts.model_type,
        executor="hooked" if facts.own_attention else "delta",
        why=facts.own_attention or "",
        checks=len(checks),
        failed=tuple(f"{c.name} {c.site} {c.value:.3g}: {c.detail}" for c in checks if not c.ok),
        largest=max(noisy, default=0.0),
        sites=known,
    )


def _why(facts: ModelFacts, site: str) -> str:
    return facts.read_only.get(site) or sites()[site].why
