"""Freed memory of a process: kept while it may be spare, handed back beyond."""

import sys

import pytest
import torch

from glassbox_dsl.run.memory import Heap, held_bytes

MB = 2**20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only glibc hands back on demand")


@pytest.fixture
def freed(monkeypatch):
    """What is held at rest, with 200 MB more that were used and freed."""
    monkeypatch.setattr(Heap, "resting", 0)
    Heap.rest()
    tensors = [torch.ones(50 * MB, dtype=torch.uint8) for _ in range(4)]
    assert held_bytes() > Heap.resting + 190 * MB
    del tensors
    return Heap.resting


def test_freed_memory_is_kept_while_it_may_be_spare(freed):
    assert held_bytes() > freed + 190 * MB
    Heap(spare=150 * MB).keep_to(pack=40 * MB, kept=30 * MB)
    assert held_bytes() > freed + 190 * MB


def test_beyond_that_it_is_handed_back(freed):
    Heap(spare=100 * MB).keep_to(pack=40 * MB, kept=30 * MB)
    assert held_bytes() < freed + 20 * MB
    assert Heap.resting == freed


def test_small_packs_are_not_looked_at(freed):
    Heap(spare=160 * MB).keep_to(pack=8 * MB, kept=0)
    assert held_bytes() > freed + 190 * MB


def test_without_a_budget_a_pack_may_leave_as_much_as_it_uses(freed):
    Heap().keep_to(pack=110 * MB, kept=0)
    assert held_bytes() > freed + 190 * MB
    Heap().keep_to(pack=80 * MB, kept=0)
    assert held_bytes() < freed + 20 * MB


def test_what_others_have_come_to_hold_is_not_asked_for_again(freed):
    others = torch.ones(150 * MB, dtype=torch.uint8)
    Heap(spare=10 * MB).keep_to(pack=20 * MB, kept=0)
    assert Heap.resting > freed + 120 * MB
    del others
