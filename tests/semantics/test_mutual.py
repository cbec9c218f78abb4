"""Experiments that read sets and values of each other: what counts is which run needs which, not where it stands."""

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions

DATA = """
data d {
  rows [{a: "Anna", b: "Bob"}, {a: "Bob", b: "Dan"}]
  prompt clean = "When {a} went to the {b}"
  prompt corrupt = "When {b} went to the {a}"
  answer yes = " {a}"
  answer long = " {a} {b}"
}
"""
STREAM = "run stream[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }"
HEADS = "run heads[layer, head] = forward(corrupt) { attn.z[layer, head] := clean  resid_pre[BEST] := clean }"
AGAIN = "run again[(layer, head) in WORST] = forward(corrupt) { attn.z[layer, head] := mean(clean, over: {item}) }"
SHIFT = "run shift = forward(clean) { resid_post[1, last] *= sum(MORE) }"

APART = f"""
experiment two {{
  let best = largest(mean(one.m), k: 1)
  {HEADS.replace("BEST", "best")}
  measure h = logprob(heads, long)
  {SHIFT.replace("MORE", "one.more")}
  measure s = logit(shift, yes)
}}
experiment one {{
  let worst = largest(-mean(two.h), k: 2)
  {AGAIN.replace("WORST", "worst")}
  measure more = logit(again, yes)
  {STREAM}
  measure m = logit(stream, yes)
}}
"""
TOGETHER = f"""
experiment all {{
  {STREAM}
  measure m = logit(stream, yes)
  let best = largest(mean(m), k: 1)
  {HEADS.replace("BEST", "best")}
  measure h = logprob(heads, long)
  let worst = largest(-mean(h), k: 2)
  {AGAIN.replace("WORST", "worst")}
  measure more = logit(again, yes)
  {SHIFT.replace("MORE", "more")}
  measure s = logit(shift, yes)
}}
"""


@pytest.mark.parametrize("executor", ["delta", "hooked"])
def test_experiments_that_read_each_other_give_what_one_gives(gbx, llama, monkeypatch, executor):
    monkeypatch.setattr(sessions.Session, "executor", executor)
    apart, together = gbx(DATA + APART, llama).values, gbx(DATA + TOGETHER, llama).values
    assert apart.keys() == together.keys() == {"m", "h", "more", "s"}
    for name, expected in together.items():
        assert len(expected) > 1 and apart[name] == pytest.approx(expected, abs=1e-5)


def test_a_declaration_that_needs_itself_through_another_experiment_is_refused(gbx, llama):
    text = APART.replace("largest(mean(one.m), k: 1)", "largest(mean(one.more), k: 1)")
    with pytest.raises(Findings) as raised:
        gbx(DATA + text, llama)
    (problem,) = raised.value.diagnostics
    assert problem.code == "GB202" and problem.span is not None
    assert (
        problem.label
        == "`two.best` -> `one.more` -> `one.again` -> `one.worst` -> `two.h` -> `two.heads` -> `two.best`"
    )
