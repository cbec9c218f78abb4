"""Walks over the tree of a program. Loads no numpy: `gbx check` uses it."""

from __future__ import annotations

from glassbox_dsl.language.program import Experiment, Reference
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.syntax import nodes

CONDITIONS = "keep "
"""How the names of experiments begin that hold the conditions of a data set."""


def references(experiment: Experiment) -> tuple[Reference | SetReference, ...]:
    """Everything that an experiment reads of values by name, its own and others'."""
    return nodes.every(experiment, Reference, SetReference)
