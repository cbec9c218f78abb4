"""A pack: the rows that climb the layers together, and what is done to them in each layer. Pure data.

Prompts (*roots*) and edited cells are *owners* of rows. A root owns a row for each of its tokens, those left out with
which an earlier prompt begins as well: tokens see nothing to their right. A cell owns rows from
the leftmost position that its edits have reached so far to the last one that is read of it; left of them, and below its
first edit, it is its base: `rowof[owner, pos]` says in which row the value of an owner stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from glassbox_dsl.language.program import Edit, RunVariant
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Integers, Mask

if TYPE_CHECKING:
    from glassbox_dsl.plan.grouping import Grouping


EditKey = tuple[Job, int, int]
"""An edit: its job, and its variant and place there."""


def edit_of(key: EditKey) -> Edit:
    """The edit of a key."""
    job, variant, place = key
    return job.run.variants[variant].edits[place]


@dataclass(frozen=True, eq=False)
class RowCopy:
    """`value[dst] = value[src]`: a site set to what stands there in another run.

    `number` says which row of the edit each pair belongs to; `mask` [pair, other axes] restricts it to some of the
    site's cells (None: all of them).
    """

    part: EditPart
    number: Integers
    dst: Integers
    src: Integers
    mask: Mask | None


@dataclass(frozen=True, eq=False)
class CellEdit:
    """An edit that is evaluated: `rows` [cell, position] hold its cells' values, `own` which of them it may change."""

    part: EditPart
    number: Integers
    positions: Integers
    rows: Integers
    own: Mask


@dataclass(frozen=True, eq=False)
class EditPart:
    """One edit of a variant (by its place) on those cells [row] of a job that stand in the pack."""

    job: Job
    variant: RunVariant
    place: int
    cells: Integers
    items: Integers

    @property
    def edit(self) -> Edit:
        """The edit."""
        return self.variant.edits[self.place]

    @property
    def key(self) -> EditKey:
        """What receipts are kept by."""
        return self.job, self.job.run.variants.index(self.variant), self.place


Write = RowCopy | CellEdit


@dataclass(frozen=True, eq=False)
class OwnerGroup:
    """Owners whose queries are padded to one number: `rows` [owner, query] (-1: none), `keys` [owner, pos].

    `ends` [owner]: behind how many positions an owner has no keys; what stands there in `keys` is padding.
    """

    rows: Integers
    keys: Integers
    ends: Integers

    def placed(self, place: Integers) -> OwnerGroup:
        """The same with rows numbered by `place` [row] (-1: not there)."""
        return OwnerGroup(_placed(self.rows, place), _placed(self.keys, place).clip(min=0), self.ends)


@dataclass(frozen=True, eq=False)
class BaseGroup:
    """Bases [base] with rows that query their keys: `keys` [base, key], `queries` [base, query] (-1: none).

    The first `n_shared` keys are those of the base, in the order of their positions; behind them stand the own rows of
    the cells that are above it. Query `q` sees of the first those left of `fork` [base, query], of the others those
    whose `owner` [base, own key] (-1: padding) is its own, `asker` [base, query] (-1: a query of the base itself).
    """

    keys: Integers
    queries: Integers
    n_shared: int
    fork: Integers
    asker: Integers
    owner: Integers

    def placed(self, place: Integers) -> BaseGroup:
        """The same with rows numbered by `place` [row] (-1: not there)."""
        keys = _placed(self.keys, place).clip(min=0)
        return replace(self, keys=keys, queries=_placed(self.queries, place))


def places(tables: Sequence[Integers], n_rows: int) -> Integers:
    """Where each row [row] lies in tables of rows (-1: none), flattened one behind the other; 0: nowhere."""
    flat = np.concatenate([table.ravel() for table in tables])
    found = np.zeros(n_rows + 1, dtype=np.int64)
    found[flat] = np.arange(len(flat))  # what is none goes to the end, which is dropped
    return found[:-1]


def _placed(rows: Integers, place: Integers) -> Integers:
    found: Integers = np.where(rows >= 0, place[rows.clip(min=0)], -1)
    return found


@dataclass(frozen=True, eq=False)
class Floor:
    """What happens at one layer: `joins` are the rows that the new ones are copies of.

    `writes` go by site, in order; the last floor, behind the layers, has those of the end of the stream and the head.
    `entered` are the rows that enter the layer, `queried` those that leave it (None: all of `entered`, of the floor);
    its `grouping` numbers rows by their place in `entered`. What is not there is read nowhere.
    """

    n_rows: int
    joins: Integers
    rowof: Integers
    grouping: Grouping
    writes: dict[tuple[str, int | None], list[Write]]
    entered: Integers | None = None
    queried: Integers | None = None

    @property
    def n_entered(self) -> int:
        """How many rows enter the layer: their keys and values are made."""
        return self.n_rows if self.entered is None else len(self.entered)

    @property
    def n_queried(self) -> int:
        """How many rows leave the layer."""
        return self.n_entered if self.queried is None else len(self.queried)

    def leaving(self) -> Integers:
        """The rows that leave the layer."""
        if self.queried is not None:
            return self.queried
        return np.arange(self.n_rows) if self.entered is None else self.entered


@dataclass(frozen=True, eq=False)
class Share:
    """The cells [n] of a job in a pack and the owner of each.

    `guests` has, for metrics of two runs (by place among the taps), the owner in the other run (-1: none).
    """

    job: Job
    cells: Integers
    items: Integers
    owners: Integers
    guests: dict[int, Integers]

    def holds(self, cells: Integers, items: Integers) -> Mask:
        """Which of some cells [n] on items [n] of its job are in it."""
        n_items = self.job.setting.data.n_items
        return np.isin(cells * n_items + items, self.cells * n_items + self.items)


Proven = tuple[EditKey, Integers, Integers]
"""An edit and the cells [n] on items [n] in which all of it changes nothing, provably."""


@dataclass(frozen=True, eq=False)
class Twin:
    """Cells [n] on items [n] whose rows are those of equal cells `of_cells` [n] on `of_items` [n].

    An edit did in them what its twin did there.
    """

    key: EditKey
    cells: Integers
    items: Integers
    of: EditKey
    of_cells: Integers
    of_items: Integers


@dataclass(frozen=True, eq=False)
class Pack:
    """Rows are numbered in the order in which they join; `positions` [row] is where each stands in its prompt.

    The first rows are tokens: `entering` [row] says of which prompt each is.
    """

    tokens: tuple[Integers, ...]
    root: Integers
    lengths: Integers
    positions: Integers
    entering: Integers
    floors: tuple[Floor, ...]
    shares: tuple[Share, ...]
    proven: tuple[Proven, ...] = ()
    twins: tuple[Twin, ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows at the top."""
        return self.floors[-1].n_rows

    @property
    def token_layers(self) -> int:
        """Rows that leave a layer, summed over layers: what the climb computes."""
        return sum(floor.n_queried for floor in self.floors[:-1])

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(len(t) for t in self.tokens)

    def padded_tokens(self) -> Integers:
        """Token ids [root, pos], 0 behind the end."""
        out = np.zeros((len(self.tokens), self.longest), dtype=np.int64)
        for place, ids in enumerate(self.tokens):
            out[place, : len(ids)] = ids
        return out

    def lengths_of(self, owners: Integers) -> Integers:
        """Tokens of the prompts of owners."""
        lengths = np.array([len(ids) for ids in self.tokens], dtype=np.int64)
        found: Integers = lengths[self.root[owners]]
        return found

    def ids_of(self, owners: Integers, length: int) -> Integers:
        """Token ids [owner, pos] of owners whose prompts have at least that length."""
        found: Integers = self.padded_tokens()[self.root[owners]][:, :length]
        return found
