"""Claims are judged in every cell and item, and a broken one shows a cell that breaks it."""

import pytest

from tests.semantics.test_patching import DATA, pairs

BODY = """
experiment e {
  measure size[layer] = norm(clean.resid_post[layer, last])
  expect size > 0
  expect ld(clean) > 1000
}
metric ld(r) = logit(r, yes) - logit(r, no)
"""


def test_a_broken_claim_names_a_cell_and_both_sides(llama, gbx):
    holds, broken = gbx(DATA + BODY, llama).claims
    values = [ld(llama.run(clean)) for _, clean, _, ld in pairs(llama)]
    assert (holds.cells, holds.broken) == (3 * llama.reference.n_layers, 0)
    assert holds.example == {"layer": "0", "item": "0"}
    assert (broken.cells, broken.broken, broken.right) == (3, 3, 1000)
    assert broken.left == pytest.approx(values[int(broken.example["item"])], abs=1e-4)
