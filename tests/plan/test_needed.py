"""Which rows each layer computes, worked out by hand; loads no torch."""

import numpy as np
import pytest

from glassbox_dsl.plan import grouping
from glassbox_dsl.plan.lowering import NOWHERE
from glassbox_dsl.plan.stack import Owners, stacked
from glassbox_dsl.vocabulary.keys import SiteKey

LAYERS = 4
LENGTH = 6


def pack_of(reads, forks=(), length=LENGTH, top=LAYERS):
    """One prompt, and cells above it that fork at (layer, position); `reads` gives rows from the table [owner, pos]."""
    owners = Owners(top)
    root = owners.add_root(np.arange(length))
    if forks:
        fork = np.full((len(forks), top + 1), NOWHERE, dtype=np.int64)
        for cell, (layer, position) in enumerate(forks):
            fork[cell, layer:] = position
        cells = owners.add(np.full(len(forks), root), fork)
        owners.read_whole(cells)
    return stacked(owners, [], (), lambda pack: reads(pack.floors[-1].rowof), LAYERS)


def counts(pack):
    """Rows that enter and that leave each layer."""
    return [(floor.n_entered, floor.n_queried) for floor in pack.floors[:-1]]


def test_the_last_layer_has_keys_for_all_and_queries_for_what_is_read():
    pack = pack_of(lambda table: {SiteKey("logits"): [table[:, -1]]}, [(1, 2), (3, 4)])
    # 6 rows of the prompt; 4 of the first cell from layer 1 on, 2 of the second from layer 3 on.
    assert counts(pack) == [(6, 6), (10, 10), (10, 10), (12, 3)]
    last = pack.floors[3]
    assert last.entered is None and last.queried.tolist() == pack.floors[-1].rowof[:, -1].tolist()
    keys = {tuple(row) for group in last.grouping.groups() for row in group.keys.tolist()}
    assert keys == {tuple(row) for row in last.rowof.tolist()}


def test_nothing_stands_right_of_what_is_read_or_above_it():
    pack = pack_of(
        lambda table: {SiteKey("attn.z", 1): [table[0, [2]]], SiteKey("resid_pre", 1): [table[0, [3]]]}
    )
    # Attention of layer 1 at position 2 meets three keys; the stream that enters layer 1 is read behind it.
    assert counts(pack) == [(4, 4), (3, 1), (0, 0), (0, 0)]
    assert pack.floors[0].entered.tolist() == [0, 1, 2, 3]


def test_a_cell_that_nobody_reads_is_not_computed():
    pack = pack_of(lambda table: {SiteKey("logits"): [table[2, [5]]]}, [(0, 0), (2, 3)])
    # The second cell is read: three rows of its prompt, and three that join as copies of the prompt's at layer 2.
    assert [floor.n_rows for floor in pack.floors] == [12, 12, 15, 15, 15]
    assert counts(pack) == [(6, 6), (6, 6), (6, 6), (6, 1)]
    assert pack.floors[1].entered.tolist() == [0, 1, 2, 3, 4, 5]
    assert pack.floors[2].entered.tolist() == [0, 1, 2, 12, 13, 14]


@pytest.mark.parametrize("site", ["attn.pattern", "attn.scores"])
def test_a_layer_that_shows_its_pattern_is_called_once(site):
    reads = {SiteKey("logits"): [np.array([5])], SiteKey(site, 3): [np.array([5])]}
    pack = pack_of(lambda _: reads)
    assert pack.floors[3].queried is None


def test_long_prompts_share_the_keys_of_their_base():
    pack = pack_of(lambda table: {SiteKey("logits"): [table[:, -1]]}, [(0, 70), (0, 76)], length=80)
    prompt, base = pack.floors[3].grouping.bases()
    assert prompt.keys.shape == (1, 80) and prompt.queries.tolist() == [[79]] and prompt.n_shared == 80
    # What lies left of the forks is the prompt's, behind it stand the rows of both cells.
    assert base.n_shared == 76 and base.keys.tolist() == [[*range(76), *range(80, 90), *range(90, 94)]]
    assert base.queries.tolist() == [[89, 93]] and base.fork.tolist() == [[70, 76]]
    assert base.owner[0].tolist() == [base.asker[0, 0]] * 10 + [base.asker[0, 1]] * 4


def test_a_long_prompt_meets_in_blocks_the_keys_that_are_not_behind_them(monkeypatch):
    monkeypatch.setattr(grouping, "BLOCK", 32)
    monkeypatch.setattr(grouping, "CHUNK", 12)
    pack = pack_of(
        lambda table: {SiteKey("logits"): [table[table >= 0]]}, [(0, 70), (0, 76), (0, 78)], length=80
    )
    *blocks, last, chunk, rest = pack.floors[3].grouping.bases()
    assert [b.keys.shape for b in blocks] == [(1, 32), (1, 64)] and last.keys.shape == (1, 80)
    assert [b.queries[0].tolist() for b in (*blocks, last)] == [
        list(range(32)), list(range(32, 64)), list(range(64, 80))
    ]  # fmt: skip
    met = sorted(q for group in (chunk, rest) for q in group.queries[group.queries >= 0].tolist())
    assert met == list(range(80, 80 + 10 + 4 + 2))
    owns = {group.n_shared: group.keys.shape[1] - group.n_shared for group in (chunk, rest)}
    assert owns == {76: 10 + 4, 78: 2}


def test_the_few_own_rows_of_a_prompt_that_begins_like_another_are_not_padded_to_its_many():
    owners = Owners(LAYERS)
    prompts = [owners.add_root(np.arange(80)), owners.add_root(np.concatenate([np.arange(77), [97, 98, 99]]))]
    owners.read_whole(np.array(prompts))
    pack = stacked(owners, [], (), lambda p: {SiteKey("resid_post", 3): [np.arange(p.n_rows)]}, LAYERS)
    few, many = pack.floors[0].grouping.bases()
    assert few.queries.tolist() == [[80, 81, 82]] and few.keys.tolist() == [[*range(77), 80, 81, 82]]
    assert many.queries.tolist() == [[*range(80)]] and many.keys.tolist() == [[*range(80)]]


def test_rows_are_numbered_by_their_place_among_those_that_enter():
    pack = pack_of(lambda table: {SiteKey("logits"): [table[1, [5]]]}, [(0, 3)])
    last = pack.floors[3]
    assert last.entered.tolist() == [0, 1, 2, 6, 7, 8]
    (group,) = last.grouping.groups()
    assert group.keys.tolist() == [[0, 1, 2, 3, 4, 5]] and group.rows.tolist() == [[5]]
