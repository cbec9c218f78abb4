"""A layer whose rows need not all leave it: keys and values of all of them, everything else of those that are queried.

The layer is called on all rows and stopped inside the attention function, then again on the queried rows, whose
attention is that of the first call. So nothing here knows how a family projects its stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from glassbox_dsl.run.attention import Inputs, Tap
from glassbox_dsl.run.delta.packed_attention import PackedAttention


class Stopped(Exception):
    """A call of a layer has given what it was made for."""


@dataclass
class Projected:
    """Keeps the queries, keys and values that a layer makes, and stops it there."""

    inputs: Inputs = field(init=False)

    def __call__(self, tap: Tap, inputs: Inputs) -> Tensor:
        """Never returns."""
        self.inputs = inputs
        raise Stopped


@dataclass(frozen=True)
class QueriedAttention:
    """Mixes the `inputs` of an earlier call; of its rows, `queried` [row] are asked for."""

    attention: PackedAttention
    inputs: Inputs
    queried: Tensor

    def __call__(self, tap: Tap, inputs: Inputs) -> Tensor:
        """z [1, head, row, d_head]; what the second call has projected is not used."""
        return self.attention(tap, self.inputs).index_select(2, self.queried)
