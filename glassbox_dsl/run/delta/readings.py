"""What metrics read at the end of a climb: rows, the tokens scored there, and where each number goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassbox_dsl.library.metric import Metric, metrics
from glassbox_dsl.plan.named import Integers, Mask
from glassbox_dsl.plan.pack import Pack
from glassbox_dsl.plan.places import Places
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.run.delta.visits import Kept, positions_of
from glassbox_dsl.run.evaluate import Evaluator
from glassbox_dsl.run.take_taps import TapTaker


@dataclass(frozen=True, eq=False)
class Reading:
    """Entries of one metric: the row of each, and its place in `target` flattened.

    `ids` [entry, n] are the tokens scored there and `valid` which of them count; `other` is the row of the second
    run. `averaged`: the table and the places in it that entries are averaged into.
    """

    metric: Metric
    target: Tensor
    rows: Integers
    place: Integers
    ids: Integers | None = None
    valid: Mask | None = None
    other: Integers | None = None
    swapped: bool = False
    averaged: tuple[Tensor, Integers] | None = None

    def some(self, chosen: NDArray[np.int64] | Mask) -> Reading:
        """Only some entries."""
        return replace(
            self,
            rows=self.rows[chosen],
            place=self.place[chosen],
            ids=None if self.ids is None else self.ids[chosen],
            valid=None if self.valid is None else self.valid[chosen],
            other=None if self.other is None else self.other[chosen],
        )


@dataclass(frozen=True, eq=False)
class Step:
    """Tokens of answers of several: row, token and the place of the alternative in the tables of a `TapTaker`."""

    rows: Integers
    tokens: Integers
    place: Integers
    log_probs: Tensor
    greedy: Tensor


@dataclass(frozen=True)
class Readings:
    """Lists what the shares of a pack read; `rowof` [owner, pos] is that of the last floor."""

    pack: Pack
    rowof: Integers

    def of(self, kept: Kept, taker: TapTaker) -> Iterator[Reading]:
        """The metrics of a share that are read off logits."""
        job = kept.share.job
        if job.extension is not None:
            return
        for number, tap in enumerate(job.wanted.taps):
            entry = metrics()[tap.metric]
            scored = tap.answer is not None and entry.several_tokens and taker.several(tap.answer)
            if entry.shape == "pattern" or scored:
                continue
            reading = self._reading(kept, tap, entry, number)
            yield reading.some(reading.rows >= 0)

    def _reading(self, kept: Kept, tap: Tap, entry: Metric, number: int) -> Reading:
        target = kept.results.taps[tap].data
        owners, cell, at = self._positions(kept, tap)
        place = self._place(kept, target, cell, at)
        inside = (at >= 0) & (at < self.rowof.shape[1])
        rows = np.where(inside, self.rowof[owners[cell], at.clip(0, self.rowof.shape[1] - 1)], -1)
        reading = Reading(entry, target, rows, place)
        if entry.shape == "sequence":
            return self._sequence(reading, owners[cell], at, mean="mean" in dict(tap.options))
        if entry.shape == "pair":
            return replace(reading, other=self._other(kept, tap, number, cell, at), swapped=tap.swapped)
        if entry.shape == "answer":
            ids, valid = _scored(kept, tap)
            return replace(reading, ids=ids[cell], valid=valid[cell])
        return reading

    def _positions(self, kept: Kept, tap: Tap) -> tuple[Integers, Integers, Integers]:
        """The owners [cell] of a share, and for each entry its cell and position."""
        owners = kept.share.owners
        if tap.at is not None:
            return owners, np.arange(len(owners)), positions_of(kept, tap.at)
        lengths = self.pack.lengths_of(owners)
        cell = np.repeat(np.arange(len(owners)), lengths)
        return owners, cell, np.arange(len(cell)) - np.repeat(np.cumsum(lengths) - lengths, lengths)

    @staticmethod
    def _place(kept: Kept, target: Tensor, cell: Integers, at: Integers) -> Integers:
        share = kept.share
        flat: Integers = share.cells[cell] * target.shape[1] + share.items[cell]
        return flat * target.shape[2] + at if target.ndim == 3 else flat

    def _sequence(self, reading: Reading, owners: Integers, at: Integers, mean: bool) -> Reading:
        """The token behind each position is scored; the last position has none."""
        lengths = self.pack.lengths_of(owners)
        tokens = self.pack.padded_tokens()[self.pack.root[owners]]
        following = np.take_along_axis(tokens, (at + 1).clip(0, tokens.shape[1] - 1)[:, None], 1)
        rows = np.where(at + 1 < lengths, reading.rows, -1)
        reading = replace(reading, rows=rows, ids=following)
        if not mean:
            return reading
        kept = rows >= 0
        averaged = reading.target, reading.place[kept]
        alone = torch.full((int(kept.sum()),), torch.nan)
        return replace(
            reading,
            rows=rows[kept],
            ids=following[kept],
            target=alone,
            place=np.arange(len(alone)),
            averaged=averaged,
        )

    def _other(self, kept: Kept, tap: Tap, number: int, cell: Integers, at: Integers) -> Integers | None:
        guests = kept.share.guests.get(number)
        if guests is None or tap.other is None:
            return None
        context, share = kept.context, kept.share
        env = RowMaker(context).env(share.job.run, share.cells, share.items, share.job.extension)
        points = Places(context).read_at(tap.other, env)
        there = np.where(points.full_presence(), points.data, -1)
        position = np.broadcast_to(there, len(share.cells))[cell]
        n = self.rowof.shape[1]
        inside = (guests[cell] >= 0) & (position >= 0) & (position < n)
        found: Integers = np.where(inside, self.rowof[guests[cell], position.clip(0, n - 1)], -1)
        return found

    # ------------------------------------------------------------ answers of several tokens

    def steps(self, kept: Kept, taker: TapTaker) -> Iterator[Step]:
        """The tokens of answers of several: alternatives of one token off the plain pass, each other off its own."""
        job = kept.share.job
        answers = dict.fromkeys(
            t.answer for t in job.wanted.taps if t.answer is not None and metrics()[t.metric].several_tokens
        )
        for answer in answers:
            if taker.several(answer) and (job.extension is None or job.extension[0] == answer):
                yield self._step(kept, taker, answer)

    def _step(self, kept: Kept, taker: TapTaker, answer: str) -> Step:
        share, job = kept.share, kept.share.job
        log_probs, greedy = taker.table(job.run.name, answer)
        first = self._first(kept)
        rows, tokens, places = [], [], []
        for n, (cell, item) in enumerate(zip(share.cells.tolist(), share.items.tolist(), strict=True)):
            for which, ids in enumerate(kept.context.data.items[item].answers[answer].alternatives):
                if (len(ids) == 1) if job.extension is None else job.extension[1] == which:
                    rows += self.rowof[share.owners[n], first[n] : first[n] + len(ids)].tolist()
                    tokens += ids
                    flat = (cell * log_probs.shape[1] + item) * log_probs.shape[2] + which
                    places += [flat] * len(ids)
        at, chosen, place = (np.array(a, dtype=np.int64) for a in (rows, tokens, places))
        return Step(at, chosen, place, log_probs, greedy)

    @staticmethod
    def _first(kept: Kept) -> Integers:
        """The last position of each cell's prompt, whatever stands behind it."""
        share, job, context = kept.share, kept.share.job, kept.context
        variants = context.cell_variants(job.run).reshape(-1)[share.cells]
        lengths = RowMaker(context).lengths(job.run, None)
        found: Integers = lengths[variants, share.items] - 1
        return found


def _scored(kept: Kept, tap: Tap) -> tuple[Integers, Mask]:
    """The tokens [cell, n] that a metric scores, and which of them count."""
    share, context, job = kept.share, kept.context, kept.share.job
    if tap.token is not None:
        env = RowMaker(context).env(job.run, share.cells, share.items, None)
        found = Evaluator(context).value(tap.token, env)
        ids = found.spread(("row",))[0].expand(len(share.cells)).long().numpy()[:, None]
        return ids, np.ones_like(ids, dtype=np.bool_)
    assert tap.answer is not None
    ids, valid = context.answer_table(tap.answer)
    return ids[share.items], valid[share.items]
