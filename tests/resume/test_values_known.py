"""Values of whole tensors: those of an item that is known are not made again, and no number differs for it."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from glassbox_dsl.diagnostics import Findings, InternalError
from glassbox_dsl.plan import kept_values, packing
from glassbox_dsl.plan.tensors_read import TensorsRead
from glassbox_dsl.run.keeping_values import KeptPiece, read_rows, written_rows
from glassbox_dsl.store import known
from tests.resume.conftest import PEOPLE, assert_same, data, rows
from tests.semantics.test_agreement import LISTED, ROWS, experiments

READS = """
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  let lens[layer] = unembed(clean.resid_post[layer, last])
  run patched[layer in {0, 1}, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  run halved[layer] = forward(clean) { mlp.out[layer, last] := clean.mlp.out[layer, last] * 0.5 }
  measure size[layer, pos] = norm(clean.resid_post[layer, pos])
  measure place[layer] = rank(lens, yes)
  measure words[layer, pos] = top(unembed(clean.resid_post[layer, pos]), k: 3)
  measure away[layer] = kl(clean, lens)
  measure moved[layer in {0, 1}, pos] =
    norm(patched[layer: layer, pos: pos].resid_post[-1, last] - clean.resid_post[-1, last])
  measure share[layer] = norm(halved.mlp.out[layer, last]) / norm(clean.mlp.out[layer, last])
  measure part[layer in {1, 2}] = norm(halved[layer: layer].final_norm[last]) / norm(clean.final_norm[last])
  measure weight[layer] = softmax(norm(clean.mlp.out[layer, last]), over: layer)
  measure seen[layer, head] = clean.attn.pattern[layer, head, last, c]
  measure twice[layer] = place[layer] * 2 + 1
  record pattern = clean.attn.pattern
  record z = halved.attn.z[1, :, last]
  expect mean(max(size, over: pos), over: item) > 0
}
"""


def added(gbx, before: str, after: str):
    """The cells that are made when a file grows, after a look whether its rows are those of a fresh run."""
    gbx(before, db="grown.duckdb")
    more = list(gbx(after, db="grown.duckdb").cells)
    whole = gbx(after, db="whole.duckdb").cells
    assert set(more) <= set(whole)
    return more, whole


def same(tmp_path):
    assert_same(rows(tmp_path / "grown.duckdb"), rows(tmp_path / "whole.duckdb"))


@pytest.mark.parametrize("count", [2, 3])
def test_a_new_item_is_the_only_one_of_which_tensors_are_made(gbx, tmp_path, count):
    more, whole = added(gbx, data(PEOPLE[:count]) + READS, data(PEOPLE) + READS)
    same(tmp_path)
    assert {item for _, _, item in more} == set(range(count, len(PEOPLE)))
    assert set(more) == {cell for cell in whole if cell[2] >= count}


def test_longer_prompts_that_are_new_do_not_change_the_known(gbx, tmp_path):
    short, long = PEOPLE[2:], [*PEOPLE[2:], ("Eve", "Carla", "Zebulon the Great and Dan")]
    more, _ = added(gbx, data(short) + READS, data(long) + READS)
    same(tmp_path)
    assert {item for _, _, item in more} == {2}


def test_a_new_layer_is_the_only_one_of_which_tensors_are_made(gbx, tmp_path):
    wider = READS.replace("layer in {0, 1}", "layer in {0, 1, 2}")
    more, whole = added(gbx, data() + READS, data() + wider)
    same(tmp_path)
    cells = {run: {c for r, c, _ in whole if r == run} for run in ("patched", "halved")}
    new = {cell for run, cell, _ in more if run == "patched"}
    assert new and min(new) == len(range(max(cells["patched"]) + 1)) * 2 // 3
    assert not any(run == "halved" for run, _, _ in more)


def test_a_new_layer_and_a_new_item(gbx, tmp_path):
    wider = READS.replace("layer in {0, 1}", "layer in {0, 1, 2}")
    added(gbx, data(PEOPLE[:2]) + READS, data() + wider)
    same(tmp_path)


def test_a_value_of_known_tensors_alone_is_made_for_all_items(gbx, tmp_path):
    more, _ = added(
        gbx,
        data() + READS,
        data() + READS.replace("record z", "measure w = norm(clean.embed[last])\n  record z"),
    )
    same(tmp_path)
    assert {run for run, _, _ in more} == {"clean"} and {item for _, _, item in more} == set(
        range(len(PEOPLE))
    )


SHORT = """
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  measure size[layer, pos] = norm(clean.resid_post[layer, pos])
MORE
}
"""
OTHERS = [
    """measure mean_size[layer] = mean(norm(clean.resid_post[layer, last]), over: item)
  expect norm(clean.resid_post[0, last]) > 0
  run off[layer] = forward(clean) { mlp.out[layer, last] := mean(corrupt.mlp.out[layer, last], over: item) }
  measure o = ld(off)
  measure size_z[layer, head] = norm(clean.attn.z[layer, head, last])
  run some = forward(clean) { attn.z[largest(mean(size_z, over: item), k: 2)] *= 0 }
  measure s = ld(some)
  run swap = forward(clean) { resid_pre[1, last] := resample(corrupt, seed: 1) }
  measure r = norm(swap.final_norm[last])""",
    """measure pull[layer] = attribution(clean.mlp.out[layer, last], ld)
  measure slope[layer] = norm(grad(ld(clean), clean.resid_post[layer, last]))""",
]


@pytest.mark.parametrize("more", OTHERS, ids=["plain", "gradients"])
def test_what_reads_other_items_has_all_of_them(gbx, tmp_path, more):
    text = SHORT.replace("MORE", f"  {more}")
    added(gbx, data(PEOPLE[:2]) + text, data() + text)
    same(tmp_path)


def test_a_reader_that_was_overlooked_is_no_silent_number(gbx, monkeypatch):
    text = SHORT.replace("MORE", "  expect norm(clean.resid_post[0, last]) > 0")
    gbx(data(PEOPLE[:2]) + text)
    plain = TensorsRead._value
    monkeypatch.setattr(TensorsRead, "_value", lambda self, v: v.kind != "expect" and plain(self, v))
    with pytest.raises(InternalError, match="not made"):
        gbx(data() + text)


def test_a_value_with_very_many_numbers_is_made_again(gbx, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_values, "MOST", 10)
    text = SHORT.replace("MORE", "")
    more, _ = added(gbx, data(PEOPLE[:2]) + text, data() + text)
    same(tmp_path)
    assert {item for run, _, item in more if run == "clean"} == set(range(len(PEOPLE)))


@pytest.mark.parametrize("there", [(True, True, True), (True, False, True)])
def test_rows_are_read_as_they_were_written(there):
    numbers, here = torch.randn(2, 3, 4), torch.tensor([there, (True, True, True)])
    found = read_rows(np.arange(2), np.arange(2), written_rows(numbers, here), (3,))
    assert torch.equal(found.data, numbers) and torch.equal(found.there, here)


@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(draw=st.data())
def test_experiments_that_grow_end_as_those_that_did_not(gbx, tmp_path, monkeypatch, draw):
    """Items and then positions are added to experiments that hypothesis puts together."""
    text = draw.draw(experiments("llama"))
    monkeypatch.setattr(packing, "ROWS", draw.draw(st.sampled_from([4096, 60])))
    listed = [", ".join(f'{{a: "{r["a"]}", b: "{r["b"]}", d: "{r["d"]}"}}' for r in ROWS[:n]) for n in (2, 3)]
    steps = [text.replace(LISTED, listed[0]), text.replace(LISTED, listed[1]), text]
    steps += [
        text.replace("pos in {c, last}", "pos in {c, last, 2}").replace(
            "pos in {1, 3, d", "pos in {1, 2, 3, d"
        )
    ]
    for path in tmp_path.glob("*.duckdb*"):
        path.unlink()
    try:
        for step in steps:
            gbx(step, db="grown.duckdb")
    except Findings:
        return  # what cannot be run cannot grow
    gbx(steps[-1], db="whole.duckdb")
    grown, whole = rows(tmp_path / "grown.duckdb"), rows(tmp_path / "whole.duckdb")
    assert_same(grown, whole)


SWEPT = """
experiment e {
  run halved[layer, pos] = forward(clean) { mlp.out[layer, pos] *= 0.5 }
  measure size[layer, pos] = norm(halved[layer: layer, pos: pos].resid_post[-1, last] - clean.resid_post[-1, last])
  measure words = top(unembed(halved[layer: 1, pos: 2].resid_post[-1, last]), k: 2)
}
"""


def test_values_of_items_that_are_done_survive_an_interruption(gbx, made, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "ROWS", 40)
    monkeypatch.setattr(known, "EVERY_SECONDS", 0.0)
    text = data() + SWEPT
    whole = gbx(text, db="whole.duckdb")
    every = set(whole.cells)
    made.stop_at = whole.packs - 1
    with pytest.raises(KeyboardInterrupt):
        gbx(text, db="grown.duckdb")
    made.stop_at = -1
    again = {item for _, _, item in gbx(text, db="grown.duckdb").cells}
    assert again < {item for _, _, item in every}
    same(tmp_path)


def test_memory_that_runs_out_while_a_value_is_evaluated_halves_the_pack(gbx, tmp_path, monkeypatch):
    text = data() + SWEPT
    gbx(text, db="whole.duckdb")
    evaluated, seen = KeptPiece._evaluated, []

    def fails_once(self, env):
        seen.append(self.context)
        if len(seen) == 1:
            raise MemoryError("out of memory")
        assert self.context.partly
        return evaluated(self, env)

    monkeypatch.setattr(KeptPiece, "_evaluated", fails_once)
    assert gbx(text, db="grown.duckdb").packs > 1 and len(seen) > 1
    assert not seen[0].partly
    same(tmp_path)


TWICE = """
experiment e {
  run other = forward(clean) { }
  run set[layer in {0, 1}] = forward(corrupt) {
    resid_post[layer, {2, c}] := other  resid_post[layer, {2, c}] := clean
    mlp.out[layer, last] *= 0.5  mlp.out[layer, last] *= 0.5
  }
  measure m = ld(set)
}
"""


def test_edits_that_come_to_the_same_keep_receipts_of_their_own(gbx, tmp_path):
    metric = "metric ld(r) = logit(r, yes) - logit(r, no)\n"
    for people in (PEOPLE[:2], PEOPLE):
        gbx(data(people) + metric + TWICE, db="grown.duckdb")
    gbx(data() + metric + TWICE, db="whole.duckdb")
    same(tmp_path)
    moved = [row[-1] for row in rows(tmp_path / "grown.duckdb")["receipts"]]
    assert len(moved) == 4 and sum(share == 0 for share in moved) == 1
