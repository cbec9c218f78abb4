"""What a file asks of its data: which answers follow which prompts, however the metric comes to read them."""

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.file import read_program
from glassbox_dsl.resolve.needs import data_needs
from glassbox_dsl.resolve.program import resolve_facts, resolve_items
from glassbox_dsl.resolve.sources import locate
from glassbox_dsl.vocabulary.models import ModelSource

DATA = """gbx 1
model m = tiny("llama", layers: 2, tokenizer: "smollm2-135m")
data d {
  rows [{w: "it"}, {w: "she"}]
  prompt first_ = "So {w}"
  prompt bare   = "So {w}"
  prompt marked = "So {w} !"
  answer t = "'s"
}
data e {
  rows [{w: "it"}, {w: "she"}]
  prompt marked = "So {w} !"
  answer t = "'s"
}
"""
USES = {
    "a metric of a run": ("measure m = logit(marked, t)", {"marked"}),
    "a metric of a value": ("measure m = logit(unembed(marked.resid_post[0, last]), t)", {"marked"}),
    "a metric of a let": (
        "let x = unembed(marked.resid_post[0, last])  measure m = logit(x, t)",
        {"marked"},
    ),
    "a metric of a let of a let": (
        "let x = marked.resid_post[0, last]  let y = 2 * x  measure m = logit(unembed(y), t)",
        {"marked"},
    ),
    "one cell of a family of runs": (
        "run r[p in {bare, marked}] = forward(p)  measure m = logit(r[p: marked], t)",
        {"marked"},
    ),
    "one cell of a family of values": (
        "let x[p in {bare, marked}] = unembed(p.resid_post[0, last])  measure m = logit(x[marked], t)",
        {"marked"},
    ),
    "all cells of a family": (
        "run r[p in {bare, marked}] = forward(p)  measure m = logit(r, t)",
        {"bare", "marked"},
    ),
    "a direction beside a run": (
        "measure m = dot(marked.resid_post[0, last], direction(t))",
        {"marked"},
    ),
    "a direction in an edit": (
        "run r = forward(marked) { resid_post[0, last] += direction(t) }  measure m = norm(r.logits[last])",
        {"marked"},
    ),
    "a condition of an edit's source": (
        "run r = forward(bare) { resid_post[0, last] := logit(marked, t) * bare.resid_post[0, last] }"
        "  measure m = norm(r.resid_post[1, last])",
        {"marked"},
    ),
}


@pytest.mark.parametrize("use", USES)
def test_an_answer_follows_the_prompts_that_are_read(use, tmp_path):
    body, prompts = USES[use]
    program = read(tmp_path, f"experiment x {{ data d  {body} }}")
    assert data_needs(program.experiments, "d").answers_after == {("t", p) for p in prompts}
    assert data_needs(program.experiments, "e").answers_after == frozenset()


def test_a_run_over_one_data_set_asks_nothing_of_another(tmp_path):
    program = read(tmp_path, "experiment x { data d, e  measure m = mean(logit(e.marked, t)) }")
    assert data_needs(program.experiments, "e").answers_after == {("t", "marked")}
    assert data_needs(program.experiments, "d").answers_after == frozenset()


def test_a_measure_of_another_experiment_is_followed(tmp_path):
    program = read(
        tmp_path,
        """experiment a { data d  measure x = norm(marked.resid_post[0, last]) }
experiment b { data d  measure m = dot(a.x * bare.resid_post[0, last], direction(t)) }""",
    )
    assert data_needs(program.experiments, "d").answers_after == {("t", "marked"), ("t", "bare")}


def test_tokens_that_differ_between_the_prompts_of_one_value_are_refused(tmp_path):
    """Behind `So it` the answer is `'s`; behind `So it !` it is `'` and `s`."""
    if locate(ModelSource(name="m", kind="bundled", target="smollm2-135m")).tokenizer is None:
        pytest.skip("smollm2-135m has not been fetched (`gbx models fetch smollm2-135m`)")
    one = "experiment x { data d  let v = unembed(bare.resid_post[0, last])  measure m = logit(v, t) }"
    [first, *_] = items(tmp_path, one)["d", "m"].items
    assert first.answers["t"].texts == ("'s",) and len(first.answers["t"].alternatives[0]) == 1
    both = (
        "experiment x { data d  let v[p in {bare, marked}] = unembed(p.resid_post[0, last])"
        "  measure m = logit(v, t) }"
    )
    assert codes(tmp_path, both) == ["GB343"]
    assert codes(tmp_path, both.replace("logit(v, t)", "logit(v[marked], t)")) == ["GB340"]
    assert codes(tmp_path, both.replace("logit(v, t)", "logit(v[bare], t)")) == []


def read(folder, text):
    path = folder / "page.gbx"
    path.write_text(DATA + text)
    program, diagnostics = read_program(path)
    assert [d.code for d in diagnostics] == []
    return program


def items(folder, text):
    resolved = resolve_facts(read(folder, text))
    found = resolve_items(resolved, files=resolved.files)
    if found.diagnostics:
        raise Findings(found.diagnostics)
    return found.tables


def codes(folder, text):
    try:
        items(folder, text)
    except Findings as raised:
        return [d.code for d in raised.diagnostics]
    return []
