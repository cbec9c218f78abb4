"""What is read behind the last layer of a pack: which rows get logits, and over how many tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glassbox_dsl.language.program import Index
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Integers
from glassbox_dsl.plan.pack import Pack, Share
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.taps import Tap
from glassbox_dsl.vocabulary.keys import HEAD

LOGITS = "logits"


@dataclass(frozen=True)
class LogitRows:
    """Rows with logits over the whole vocabulary, and rows with those of a few tokens."""

    wide: int = 0
    few: int = 0
    tokens: int = 0


def logit_rows(pack: Pack) -> LogitRows:
    """What is read of logits in a pack. Where logits are edited, all rows read get the whole vocabulary."""
    wide: list[Integers] = []
    few: list[Integers] = []
    tokens: list[Integers] = []
    edited = (LOGITS, None) in pack.floors[-1].writes
    for share in pack.shares:
        for at, tap in whole_reads(share.job):
            found = rows_scored(pack, share, at)
            if edited or tap is None or not _few(share.job, tap):
                wide.append(found)
            else:
                few.append(found)
                tokens.append(_tokens(share, tap))
    n_few = len(np.unique(np.concatenate(few))) if few else 0
    n_tokens = len(np.unique(np.concatenate(tokens))) if tokens else 0
    return LogitRows(len(np.unique(np.concatenate(wide))) if wide else 0, n_few, n_tokens)


def whole_reads(job: Job) -> Iterator[tuple[Index | None, Tap | None]]:
    """Where logits of a job are read (None: at every position), and by which metric (None: kept, or scored whole)."""
    if job.extension is not None:
        yield None, None
        return
    for tap in job.wanted.taps:
        if metrics()[tap.metric].shape != "pattern":
            yield tap.at, tap
    if LOGITS in job.wanted.layers:
        yield job.wanted.positions.get(LOGITS), None


def reads_head(job: Job) -> bool:
    """Whether anything behind the last layer is read of a job."""
    return any(True for _ in whole_reads(job)) or any(site in HEAD for site in job.wanted.layers)


def reads_of_a_cell(job: Job) -> tuple[int, bool]:
    """At how many positions logits of each cell are read, and whether it is at all of them."""
    places = {at for at, _ in whole_reads(job)}
    return len(places), None in places


def _few(job: Job, tap: Tap) -> bool:
    entry = metrics()[tap.metric]
    several = tap.answer is not None and bool((job.setting.data.token_counts(tap.answer) > 1).any())
    return entry.few_tokens and not (entry.several_tokens and several)


def _tokens(share: Share, tap: Tap) -> Integers:
    """The tokens that a metric scores in a share."""
    setting, items = share.job.setting, np.unique(share.items)
    if tap.answer is None:
        return -1 - items  # one token of each item, not known here
    found: Integers = setting.answer_table(tap.answer)[0][items].reshape(-1)
    return found


def rows_scored(pack: Pack, share: Share, at: Index | None) -> Integers:
    """The rows whose logits are read of a share; behind an answer, those that its tokens are scored in."""
    job = share.job
    if at is not None or job.extension is None:
        return rows_at(pack, share, at)
    rowof = pack.floors[-1].rowof[share.owners]
    lengths = pack.lengths_of(share.owners)
    first = lengths - job.setting.answer_lengths(job.extension)[share.items]
    place = np.arange(rowof.shape[1])
    inside = (place >= first[:, None]) & (place < lengths[:, None]) & (rowof >= 0)
    return np.unique(rowof[inside])


def rows_at(pack: Pack, share: Share, at: Index | None, floor: int = -1) -> Integers:
    """The rows of a floor in which an index of each cell stands (None: every position)."""
    rowof = pack.floors[floor].rowof[share.owners]
    if at is None:
        return np.unique(rowof[rowof >= 0])
    job, setting = share.job, share.job.setting
    position = np.full(len(share.cells), -1, dtype=np.int64)
    variants = setting.cell_variants(job.run).reshape(-1)[share.cells]
    for number, variant in enumerate(job.run.variants):
        mine = np.flatnonzero(variants == number)
        env = RowMaker(setting).env(job.run, share.cells[mine], share.items[mine], job.extension)
        point = setting.indexer.point(at, "pos", env, variant.prompt)
        position[mine] = np.where(point.full_presence(), point.data, -1)
    inside = (position >= 0) & (position < rowof.shape[1])
    found: Integers = np.unique(rowof[inside, position[inside]])
    return found[found >= 0]
