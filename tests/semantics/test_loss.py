"""The loss of one token at one position alone or beside others, and values indexed behind brackets."""

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


def test_values_are_indexed_by_the_values_of_variables(llama, gbx):
    """Behind brackets as behind a name: by number, by name, and under another name than the axis."""
    body = """experiment e {
      run steered[alpha in [0, 2]] = forward(corrupt) { resid_pre[1, last] *= alpha }
      run cut[l: layer] = forward(corrupt) { mlp.out[l] := 0 }
      run one[p in {corrupt, clean}] = forward(p) { mlp.out[0] *= 2 }
      measure a = (loss(steered) * 1)[2]  measure b = (loss(cut) * 1)[-1]  measure c = (loss(one) * 1)[clean]
      measure d = loss(steered)  measure f = loss(cut)  measure g = loss(one)
    }"""
    values = gbx(DATA + body, llama).values
    for got, whole, cell in (("a", "d", 2), ("b", "f", 2), ("c", "g", "clean")):
        wanted = {key[:-1]: v for key, v in values[whole].items() if key[-1] == cell}
        assert len(wanted) == 3 and values[got] == pytest.approx(wanted, abs=1e-6)
