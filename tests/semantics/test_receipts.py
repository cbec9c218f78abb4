"""Receipts: in how many cells an edit fired and how far it moved them, whatever is made together."""

import pytest

from glassbox_dsl.plan import packing
from glassbox_dsl.run import session as sessions
from tests.semantics.test_agreement import DATA

WHOLE = "record all = edited.resid_post[-1, :]"
"""Where all of the last stream is read, nothing may be left out."""
EDITED = (
    # one edit is the same in all cells, and comes before the other: prompts that carry it are made once
    "run edited[layer in 1..-1, pos] = forward(corrupt) "
    "{ mlp.norm_scale[0, {0, -1}] *= 1.25  resid_post[layer, pos] := other }",
    # it comes before the other in some cells only
    "run edited[layer, pos] = forward(corrupt) { mlp.out[{0, 1}, 2] *= 0.5  resid_mid[layer, pos] := other }",
    # a copy that is the same in all cells
    "run edited[layer in 1..-1, pos] = forward(clean) "
    "{ attn.z[0, 1, 1..3] := other  mlp.out[layer, pos] -= self * 0.25 }",
    # every cell has places of its own, in a prompt of its own length
    "run edited[layer, part: pos in {1, c, d.span}] = forward(clean) "
    "{ attn.q[layer, {0, 1}, part] *= 2  resid_pre[:, not part] += noise(scale: 0.3, seed: 1) }",
    # two values of a variable come to the same
    "run edited[layer, p in {last, 2, 2}, a in [1, 2]] = forward(clean) "
    "{ embed[0] *= 2  mlp.post[layer, :, p] *= 0.5 }",
    # the same edit twice, and one that sets what stands there already
    "run edited[layer] = forward(clean) { mlp.out[layer, last] *= 0.5  mlp.out[layer, last] *= 0.5 "
    "resid_post[0, 2] := other  resid_post[0, 2] := other }",
)
OTHER = "run other = forward(corrupt) { embed[0] += noise(scale: 0.3, seed: 2) }"


def receipts(gbx, monkeypatch, text, fam, executor, rows=4096) -> list[tuple]:
    """What each edit of `edited` did: counts, then numbers."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    monkeypatch.setattr(packing, "ROWS", rows)
    found = gbx(text, fam).receipts["edited"]
    return [
        (r.edit.text, cells, r.fired, r.fired_rows, r.moved, r.proven, r.total, r.relative, r.largest)
        for r, cells in found
    ]


def assert_equal(got: list[tuple], want: list[tuple]) -> None:
    for mine, theirs in zip(got, want, strict=True):
        assert mine[:6] == theirs[:6]
        assert mine[6:] == pytest.approx(theirs[6:], rel=1e-3)


@pytest.mark.parametrize("edited", EDITED)
@pytest.mark.parametrize("rows", [4096, 60])
def test_an_edit_does_in_packs_what_it_does_in_passes_apart(edited, rows, fam, gbx, monkeypatch):
    text = f"{DATA}experiment e {{\n  {OTHER}\n  {edited}\n  {WHOLE}\n}}\n"
    want = receipts(gbx, monkeypatch, text, fam, "hooked")
    assert all(fired for _, _, fired, *_ in want) and all(total > 0 for *_, total, _, _ in want[:2])
    assert_equal(receipts(gbx, monkeypatch, text, fam, "delta", rows), want)


PROVEN = (
    "run edited[layer in 1..-1, pos] = forward(corrupt) "
    "{ resid_mid[0, 1] := clean  mlp.out[0, c.first] := clean  resid_post[layer, pos] := clean }"
)


@pytest.mark.parametrize("edited", [*EDITED, PROVEN])
def test_receipts_do_not_depend_on_what_is_made_together(edited, llama, gbx, monkeypatch):
    text = f"{DATA}experiment e {{\n  {OTHER}\n  {edited}\n  measure m = ld(edited)\n}}\n"
    together = receipts(gbx, monkeypatch, text, llama, "delta")
    for rows in (200, 20):
        assert_equal(receipts(gbx, monkeypatch, text, llama, "delta", rows), together)


def test_an_edit_of_all_cells_that_is_proven_counts_in_each(llama, gbx, monkeypatch):
    text = f"{DATA}experiment e {{\n  {OTHER}\n  {PROVEN}\n  measure m = ld(edited)\n}}\n"
    (_, cells, *_, proven, _, _, _), second, third = receipts(gbx, monkeypatch, text, llama, "delta")
    assert proven == cells and second[5] == 0 and second[3] == cells and 0 < third[5] < cells
