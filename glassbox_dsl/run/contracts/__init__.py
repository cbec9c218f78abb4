"""What every family has to keep, whatever its layout: equations and edits that name no module of it.

A contract runs on a small random model (`[tiny]` of the family file) beside the same model untouched: transformers' own
`eager` code without hooks, asked for its hidden states and attentions. I1-I10 are the equations between sites, C1-C25
the conformance tests; each function says what its own are about.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from glassbox_dsl.run.check import Check, check
from glassbox_dsl.run.contracts.edits import EDITS
from glassbox_dsl.run.contracts.reads import READS
from glassbox_dsl.run.contracts.subject import Subject
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.verify import verify


def contracts(instrument: Instrument, plain: nn.Module) -> Iterator[Check]:
    """All contracts of a model: those of `verify` (both executors), then the others; a failure says by how much."""
    yield from verify(instrument)
    subject = Subject(instrument, plain)
    for name, contract in {**READS, **EDITS}.items():
        try:
            yield from contract(subject)
        except Exception as problem:
            yield check(name, float("inf"), 0.0, f"{type(problem).__name__}: {problem}")
