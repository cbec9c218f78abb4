"""Both kernels of packed attention against a loop over owners and queries, in float64 and in plain torch."""

import numpy as np
import pytest
import torch

from glassbox_dsl.plan import grouping
from glassbox_dsl.plan.lowering import NOWHERE
from glassbox_dsl.plan.stack import Owners, stacked
from glassbox_dsl.run.delta.climb import Climb
from glassbox_dsl.run.delta.kernels import Rows, gathered, shared
from glassbox_dsl.vocabulary.keys import SiteKey

N_HEADS, N_KV, WIDTH, OUT = 6, 2, 8, 4
LENGTHS, TOP = (40, 23), 3
FORKS = ((0, 0, 30), (0, 1, 35), (0, 0, 38), (1, 0, 20), (0, 2, 31), (0, 0, 0))
"""Prompt, layer and position at which cells leave it."""


@pytest.fixture
def pack():
    """Two prompts and one that begins like the first, cells above them, and a cell above a cell."""
    owners = Owners(TOP)
    roots = [owners.add_root(np.arange(n) + 100 * i) for i, n in enumerate(LENGTHS)]
    roots.append(owners.add_root(np.concatenate([np.arange(35), np.arange(200, 203)])))
    fork = np.full((len(FORKS), TOP + 1), NOWHERE, dtype=np.int64)
    for cell, (_, layer, position) in enumerate(FORKS):
        fork[cell, layer:] = position
    cells = owners.add(np.array([roots[f[0]] for f in FORKS]), fork)
    over = np.full((1, TOP + 1), NOWHERE, dtype=np.int64)
    over[0, 1:] = 33
    everything = np.concatenate([cells, owners.add(cells[:1], over)])
    owners.read_whole(everything)
    everything = np.concatenate([roots, everything])
    return stacked(
        owners, [], (), lambda p: {SiteKey("logits"): [t[t >= 0] for t in [p.floors[-1].rowof]]}, TOP
    )


@pytest.fixture
def groups(pack, monkeypatch):
    monkeypatch.setattr(grouping, "SHARED_FROM", 1)
    monkeypatch.setattr(grouping, "BLOCK", 16)
    monkeypatch.setattr(grouping, "CHUNK", 12)
    monkeypatch.setattr(grouping, "KEYS_AT_ONCE", 50)
    floor = pack.floors[TOP - 1]
    climb = Climb.__new__(Climb)
    climb._shared = {}
    climb.visits = type("Visits", (), {"tensor": staticmethod(torch.as_tensor)})()
    positions = torch.as_tensor(pack.positions[: floor.n_rows])
    return floor, climb._groups(floor, positions), climb._bases(floor, positions)


def by_hand(rows, pack, floor, softcap):
    """z of every row: its query over the keys of its own prompt, one after the other."""
    z = torch.full((floor.n_rows, N_HEADS, OUT), torch.nan, dtype=torch.float64)
    positions = pack.positions[: floor.n_rows]
    for owner in range(len(floor.rowof)):
        for own in set(floor.rowof[owner][floor.rowof[owner] >= 0].tolist()):
            at = int(positions[own])
            keys = floor.rowof[owner, : at + 1]
            for head in range(N_HEADS):
                group = head // (N_HEADS // N_KV)
                scores = rows.key[keys, group].double() @ rows.query[own, head].double() * 0.3
                scores = scores if softcap is None else torch.tanh(scores / softcap) * softcap
                scores = scores + rows.mask[at, : at + 1].double()
                sink = [] if rows.sinks is None else [rows.sinks[head].double()[None]]
                pattern = torch.cat([scores, *sink]).softmax(0)[: at + 1]
                z[own, head] = pattern @ rows.value[keys, group].double()
    return z


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize(("softcap", "sinks"), [(None, False), (2.0, False), (None, True)])
def test_each_row_meets_the_keys_of_its_own_prompt(pack, groups, window, softcap, sinks):
    floor, owners, bases = groups
    torch.manual_seed(0)
    n, longest = floor.n_rows, max(LENGTHS)
    places = torch.arange(longest)
    seen = places[:, None] >= places
    if window is not None:
        seen &= places[:, None] - places < window
    mask = torch.zeros(longest, longest).masked_fill(~seen, torch.finfo(torch.float32).min)

    def turn(scores):
        scores = scores.mul_(0.3)
        return scores if softcap is None else torch.tanh(scores / softcap) * softcap

    rows = Rows(
        torch.randn(n, N_HEADS, WIDTH),
        torch.randn(n, N_KV, WIDTH),
        torch.randn(n, N_KV, OUT),
        mask,
        turn,
        torch.randn(N_HEADS) if sinks else None,
        0.3 if softcap is None else None,
    )
    want = by_hand(rows, pack, floor, softcap)
    assert len(owners.parts) > 4 and all(o.keys.numel() <= 50 for o in owners.parts)
    assert len(bases.parts) > 6 and not want.isnan().any()
    for kernel, parts in ((gathered, owners), (shared, bases)):
        assert (kernel(rows, parts).double() - want).abs().max() < 1e-5, kernel
