"""Which sides there are: a folder of a model -> the peers that run it. A peer is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from benchmarks.task import Task

PEERS = {"transformerlens": "transformer_lens", "nnsight": "nnsight", "pyvene": "pyvene"}
"""Peers by the name that the command line takes, and the module that must be installed."""


class Side(Protocol):
    """Computes the values [item, layer, cell] of a task at some layers."""

    name: str

    def refuses(self, task: Task) -> str:
        """Why a task cannot be done, or need not be; empty where it is run."""

    def run(self, task: Task, layers: Sequence[int]) -> Tensor:
        """The values."""


def sides_of(peer: str, folder: Path) -> list[Side]:
    """The ways in which a peer is used; each peer has its own copy of the model."""
    if peer == "hooks":
        from benchmarks.peers.hooks import Hooks, OneColumn

        return [Hooks(folder), OneColumn(folder)]
    if peer == "transformerlens":
        from benchmarks.peers.transformerlens import TransformerLens, TransformerLensBatch, bridge

        model = bridge(folder)
        return [TransformerLens(model), TransformerLensBatch(model)]
    if peer == "nnsight":
        from benchmarks.peers.nnsights import NNsight, NNsightBatch, wrapped

        model = wrapped(folder)
        return [NNsight(model), NNsightBatch(model)]
    from benchmarks.peers.pyvenes import Pyvene, PyveneBatch

    return [Pyvene(folder), PyveneBatch(folder)]
