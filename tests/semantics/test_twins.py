"""Cells that are made once for several runs: their numbers and receipts are those of runs made apart."""

import pytest

from tests.semantics.tables import PEOPLE

ONE = """
experiment one {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  run scaled[layer] = forward(clean) { mlp.out[layer, last] *= 0.5  attn.out[1, last] += 0.1 * self }
  measure m1 = logit(patched, " store")
  measure m2 = logit(scaled, " store")
}
"""
TWO = """
experiment two {
  run moved[l: layer in {0, -1}, at: pos in {1, last, last}] = forward(corrupt) { resid_pre[l, at] := clean }
  run again[k: layer, a in [0.5, 2]] = forward(clean) { mlp.out[k, last] *= a  attn.out[1, last] += 0.1 * self }
  run half[k: layer] = forward(clean) { mlp.out[k, last] *= 0.5  attn.out[1, last] += 0.1 * self }
  measure m3 = prob(moved, " store")
  measure m4 = logit(half, " park")
  measure m5 = logit(again, " park")
  record r = half.resid_post[-1, :]
}
"""


def test_numbers_and_receipts_of_equal_cells_are_those_of_cells_made_apart(gbx, fam):
    together = gbx(PEOPLE.text + ONE + TWO, fam)
    apart = gbx(PEOPLE.text + ONE, fam), gbx(PEOPLE.text + TWO, fam)
    for alone in apart:
        assert alone.values
        for measure, values in alone.values.items():
            assert together.values[measure] == pytest.approx(values, abs=1e-4)
        for run, receipts in alone.receipts.items():
            for (ours, rows), (theirs, wanted) in zip(together.receipts[run], receipts, strict=True):
                assert rows == wanted
                assert (ours.fired, ours.fired_rows, ours.moved, ours.proven) == (
                    theirs.fired, theirs.fired_rows, theirs.moved, theirs.proven,
                )  # fmt: skip
                assert ours.fired_rows > 0
                assert ours.total == pytest.approx(theirs.total, rel=1e-3)
                assert ours.largest == pytest.approx(theirs.largest, rel=1e-3)
