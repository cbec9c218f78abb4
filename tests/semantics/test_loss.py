"""The loss of one token, asked for at one position alone or beside others."""

import math

import pytest

from tests.semantics.test_patching import DATA, pairs


def loss_at(values, ids, place):
    return -float(values["logits", None][place].log_softmax(-1)[ids[place + 1]])


@pytest.mark.parametrize(
    "more", ["", "measure whole = loss(corrupt)  measure each[pos] = loss(corrupt, at: pos)"]
)
def test_loss_at_a_position(more, fam, gbx):
    body = f"""experiment e {{
      measure a = loss(corrupt, at: c)  measure b = loss(corrupt, at: c + 1)  measure z = loss(corrupt, at: last)
      {more}
    }}"""
    found = gbx(DATA + body, fam)
    for item, _, corrupt, _ in pairs(fam):
        values, place = fam.run(corrupt), corrupt.last("c")
        for name, at in (("a", place), ("b", place + 1)):
            wanted = loss_at(values, corrupt, at)
            assert found.values[name][fam.name, item] == pytest.approx(wanted, abs=1e-4)
        assert math.isnan(found.values["z"].get((fam.name, item), math.nan))
