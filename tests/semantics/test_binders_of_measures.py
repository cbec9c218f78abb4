"""A measure's binder that names an axis has the cells that the measured families have, by whatever names those go."""

import pytest

from tests.semantics.tables import PEOPLE

CUT = """
experiment e {
  run cut[key in {a.span, b, last}, l: layer in {0, 50%}] = forward(clean) { attn.scores[l, :, last, key] := -inf }
  run put[layer in {0, 100%}, pos in {a, c.last}] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure short[key, l] = logit(cut, yes)
  measure long[key in {a.span, b, last}, l: layer in {0, 50%}] = logit(cut, yes)
  measure brief[layer, pos] = logit(put, yes)
  measure full[layer in {0, 100%}, pos in {a, c.last}] = logit(put, yes)
  measure inferred = logit(put, yes)
}
"""


@pytest.mark.parametrize("executor", ["delta", "hooked"])
def test_an_axis_alone_stands_for_the_cells_of_the_run(gbx, llama, monkeypatch, executor):
    from glassbox_dsl.run import session as sessions

    monkeypatch.setattr(sessions.Session, "executor", executor)
    found = gbx(PEOPLE.text + CUT, llama).values
    assert len(found["long"]) == 4 * 3 * 2 and len(set(found["long"].values())) > 12
    assert found["short"] == found["long"]
    assert len(found["full"]) == 4 * 2 * 2
    assert found["brief"] == found["full"] == found["inferred"]
