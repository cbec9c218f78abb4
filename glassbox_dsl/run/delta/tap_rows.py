"""Metrics at the end of a climb: each row's logits are made once, whatever number of cells and metrics read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import CellEdit
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.delta.head import BATCH_LOGITS, LOGITS, Head
from glassbox_dsl.run.delta.readings import Reading, Readings, Step
from glassbox_dsl.run.delta.visits import Visits
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.take_taps import TapTaker
from glassbox_dsl.vocabulary.keys import HEAD


@dataclass
class TapRows:
    """Takes the metrics of the shares of one pack; `takers` score answers of several tokens, by context."""

    instrument: Instrument
    visits: Visits
    takers: dict[int, TapTaker]

    def take(self, stream: Tensor) -> None:
        """Everything that is read behind the last layer, off the stream [row, dim] that leaves it."""
        rowof = self.visits.floor.rowof
        listed = Readings(self.visits.pack, rowof)
        readings: list[Reading] = []
        steps: list[Step] = []
        for kept in self.visits.kept:
            taker = self._taker(kept.context)
            readings += listed.of(kept, taker)
            steps += listed.steps(kept, taker)
        for step in steps:  # anew, where a pack that ran out of memory has scored some of them
            place = torch.from_numpy(step.place)
            step.log_probs.view(-1)[place], step.greedy.view(-1)[place] = 0.0, True
        rows = self._rows(readings, steps)
        if not len(rows):
            return
        self.head = Head(self.instrument, self.visits, self.visits.tensor(rows), len(stream))
        self.normed = self.head.normed(stream)
        self.local = self.head.local(self.head.rows).cpu().numpy()
        self.edited = self._edited()
        few = [r for r in readings if r.metric.few_tokens and self.edited is None]
        pairs = [r for r in readings if r.metric.shape == "pair"]
        self._take_few(few)
        self._take_wide([r for r in readings if r not in few and r not in pairs], steps)
        for reading in pairs:
            self._take_pair(reading)
        for reading in readings:
            _average(reading)

    def _taker(self, context: Context) -> TapTaker:
        return self.takers.setdefault(id(context), TapTaker(context))

    def _edited(self) -> Tensor | None:
        """All logits after edits of them; None where nothing edits logits."""
        if (LOGITS.site, None) not in self.visits.floor.writes:
            return None
        return self.visits.written(LOGITS, self.head.logits(self.normed))

    def _logits(self, rows: Integers) -> Tensor:
        """Logits [row, vocab] of some of the rows that are read."""
        if self.edited is not None:
            return self.edited[self._at(rows)]
        return self.head.logits(self.normed[self._at(rows)])

    def _rows(self, readings: Sequence[Reading], steps: Sequence[Step]) -> Integers:
        """All rows whose final norm or logits are read or that an edit there takes values from."""
        used = [r.rows for r in readings] + [r.other for r in readings if r.other is not None]
        used += [s.rows for s in steps]
        used += self._kept_at(HEAD)
        if used:
            for (site, _), writes in self.visits.floor.writes.items():
                if site in HEAD:
                    used += [w.rows.reshape(-1) if isinstance(w, CellEdit) else w.src for w in writes]
        rows = np.unique(np.concatenate(used)) if used else np.zeros(0, dtype=np.int64)
        return rows[rows >= 0]

    def _kept_at(self, wanted: frozenset[str]) -> Iterator[Integers]:
        """The rows of sites behind the last layer that are kept as they are."""
        for kept in self.visits.kept:
            for site, stored in kept.results.sites.items():
                if site in wanted:
                    yield self.visits.table(kept, stored, stored.data.shape[2]).reshape(-1)

    # ------------------------------------------------------------ logits of the tokens that are scored

    def _take_few(self, readings: Sequence[Reading]) -> None:
        if not readings:
            return
        rows = np.unique(np.concatenate([r.rows for r in readings]))
        tokens = np.unique(np.concatenate([r.ids.reshape(-1) for r in readings if r.ids is not None]))
        for start in range(0, len(rows), max(1, BATCH_LOGITS // max(len(tokens), 1))):
            some = rows[start : start + max(1, BATCH_LOGITS // max(len(tokens), 1))]
            logits = self.head.logits(self.normed[self._at(some)], self.visits.tensor(tokens)).float()
            for reading in readings:
                mine = reading.some(np.isin(reading.rows, some))
                assert mine.ids is not None
                self._score(mine, logits, some, np.searchsorted(tokens, mine.ids))

    def _at(self, rows: Integers) -> Tensor:
        return torch.from_numpy(self.local[rows]).to(self.normed.device)

    # ------------------------------------------------------------ whole distributions

    def _take_wide(self, readings: Sequence[Reading], steps: Sequence[Step]) -> None:
        used = (
            [r.rows for r in readings]
            + [s.rows for s in steps]
            + list(self._kept_at(frozenset({LOGITS.site})))
        )
        if not used:
            return
        whole = np.unique(np.concatenate(used))
        whole = whole[whole >= 0]
        size = max(1, BATCH_LOGITS // self.instrument.facts.vocab_size)
        for start in range(0, len(whole), size):
            rows = whole[start : start + size]
            logits = self._logits(rows)
            self.visits.keep_logits(logits, self.visits.tensor(rows))
            for reading in readings:
                mine = reading.some(np.isin(reading.rows, rows))
                if len(mine.rows):
                    self._score(mine, logits.float(), rows, mine.ids)
            for step in steps:
                self._take_step(step, logits.float(), rows)

    def _score(self, reading: Reading, logits: Tensor, rows: Integers, ids: Integers | None) -> None:
        """Entries whose rows are at hand; equal ones are computed once."""
        at = np.searchsorted(rows, reading.rows)
        columns = [at[:, None]] + [c for c in (ids, reading.valid) if c is not None]
        kinds, which = np.unique(np.concatenate(columns, 1), axis=0, return_inverse=True)
        chosen = logits[torch.from_numpy(kinds[:, 0]).to(logits.device)]
        n = 0 if ids is None else ids.shape[1]
        tokens = torch.from_numpy(kinds[:, 1 : 1 + n]).to(logits.device)
        if reading.metric.shape == "distribution":
            value = reading.metric.compute(chosen)
        elif reading.metric.shape == "sequence":
            value = self._sequence(reading, chosen, tokens)
        else:
            valid = torch.from_numpy(kinds[:, 1 + n :].astype(np.bool_)).to(logits.device)
            value = reading.metric.compute(chosen, tokens, valid)
        _put(reading, value.float().cpu()[torch.from_numpy(which.reshape(-1))])

    @staticmethod
    def _sequence(reading: Reading, logits: Tensor, following: Tensor) -> Tensor:
        """A metric of next tokens, for rows that need not follow one another: laid out as one prompt for it."""
        behind = torch.cat([logits, logits[-1:]])[None]
        ids = torch.cat([following.new_zeros(1), following[:, 0]])[None]
        value: Tensor = reading.metric.compute(behind, ids)[0, :-1]
        return value

    @staticmethod
    def _take_step(step: Step, logits: Tensor, rows: Integers) -> None:
        mine = np.flatnonzero(np.isin(step.rows, rows))
        if not len(mine):
            return
        chosen = logits[torch.from_numpy(np.searchsorted(rows, step.rows[mine])).to(logits.device)]
        tokens = torch.from_numpy(step.tokens[mine]).to(logits.device)[:, None]
        log_prob = chosen.log_softmax(-1).gather(1, tokens)[:, 0].cpu()
        best = (chosen.gather(1, tokens)[:, 0] == chosen.amax(1)).cpu()
        place = torch.from_numpy(step.place[mine])
        flat, greedy = step.log_probs.view(-1), step.greedy.view(-1)
        flat.index_add_(0, place, log_prob)
        greedy[place[~best]] = False

    # ------------------------------------------------------------ two runs

    def _take_pair(self, reading: Reading) -> None:
        assert reading.other is not None
        reading = reading.some(reading.other >= 0)
        assert reading.other is not None
        kinds, which = np.unique(np.stack([reading.rows, reading.other], 1), axis=0, return_inverse=True)
        size = max(1, BATCH_LOGITS // (2 * self.instrument.facts.vocab_size))
        found = []
        for start in range(0, len(kinds), size):
            some = kinds[start : start + size]
            rows = np.unique(some)
            logits = self._logits(rows).float()
            host, guest = (
                logits[torch.from_numpy(np.searchsorted(rows, c)).to(logits.device)] for c in some.T
            )
            compute = reading.metric.compute
            found.append((compute(guest, host) if reading.swapped else compute(host, guest)).float().cpu())
        if found:
            _put(reading, torch.cat(found)[torch.from_numpy(which.reshape(-1))])


def _put(reading: Reading, value: Tensor) -> None:
    """Store the numbers of entries."""
    reading.target.view(-1)[torch.from_numpy(reading.place)] = value


def _average(reading: Reading) -> None:
    """The mean of entries that belong to one place."""
    if reading.averaged is None:
        return
    target, place = reading.averaged
    kinds, which = np.unique(place, return_inverse=True)
    where = torch.from_numpy(which.reshape(-1))
    sums = torch.zeros(len(kinds), dtype=torch.float64).index_add_(0, where, reading.target.double())
    counts = torch.zeros(len(kinds), dtype=torch.float64).index_add_(
        0, where, torch.ones(len(where)).double()
    )
    target.view(-1)[torch.from_numpy(kinds)] = (sums / counts).float()
