"""Which fits a value depends on: by itself, through lets and measures, and through the edits of the runs it reads."""

from __future__ import annotations

from glassbox_dsl.language.program import Experiment, Reference, RunUse
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.language.technique_nodes import FitUse
from glassbox_dsl.syntax import nodes


def fits_read(node: nodes.Node, experiment: Experiment) -> list[str]:
    """The names of the fits, each once."""
    if not experiment.fits:
        return []
    found: dict[str, None] = {}
    _collect(node, experiment, found, set())
    return list(found)


def _collect(
    node: nodes.Node, experiment: Experiment, found: dict[str, None], seen: set[tuple[str, str]]
) -> None:
    for below in nodes.everything(node):
        match below:
            case FitUse():
                key, meant = ("fit", below.fit), experiment.fit(below.fit)
                found[below.fit] = None
            case RunUse():
                key, meant = ("run", below.run), experiment.run(below.run)  # type: ignore[assignment]
            case Reference() | SetReference() if below.experiment == experiment.name:
                key = (below.kind, below.name)
                meant = experiment.value(below.kind, below.name)  # type: ignore[assignment]
            case _:
                continue
        if key not in seen:
            seen.add(key)
            _collect(meant, experiment, found, seen)
