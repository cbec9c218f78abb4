"""Paths: the receiver reads the stream with the sender's output exchanged, worked out from the change alone."""

import pytest

from glassbox_dsl.diagnostics import Findings
from tests.semantics.conftest import TECHNIQUES
from tests.semantics.reference import setting
from tests.semantics.tables import PEOPLE, same

TRIED_ON = TECHNIQUES


def added(fam, layer, block, raw):
    """What a block adds to the stream, from its raw output: Gemma norms it first."""
    reference, module = fam.reference, fam.reference.layers[layer]
    if fam.name != "gemma3_text":
        return raw
    norm = module.post_attention_layernorm if block == "attn" else module.post_feedforward_layernorm
    return reference.normed(norm, raw, reference.divisor(raw))


def of_heads(fam, own, other, layer, heads, at=slice(None)):
    """The change of `attn.out` when some heads put out what they do in another run."""
    raw = own["attn.out_raw", layer].clone()
    for head in heads:
        raw[at] += (other["attn.result", layer] - own["attn.result", layer])[head][at]
    return added(fam, layer, "attn", raw) - own["attn.out", layer]


def plus(site, layer, place, change):
    """An edit that adds a change to some place of a site."""
    return setting(site, layer, place, lambda x: x + change)


def compare(fam, found, measure, expected):
    """`expected(item, own, corrupt)`: {variables: the run's sites}; the measure is the logit of `yes`."""
    want = {}
    for item in PEOPLE.items(fam):
        own, corrupt = fam.run(item.clean), fam.run(item.corrupt)
        for key, values in expected(item, own, corrupt).items():
            token = fam.speak.one(" " + item.row["a"])
            want[(fam.name, item.number, *key)] = values["logits", None][-1, token]
    same(found, measure, want)
    assert len({round(float(v), 4) for v in want.values()}) > 2


@pytest.fixture(params=["delta", "hooked"])
def executor(request, monkeypatch):
    from glassbox_dsl.run import session as sessions

    monkeypatch.setattr(sessions.Session, "executor", request.param)


def test_one_hop_to_every_kind_of_receiver(fam, gbx, executor):
    found = gbx(PEOPLE.text + """experiment e {
  run q = forward(clean) { path attn.result[0, 1] -> attn.q_in[1, 0] := corrupt }
  run k = forward(clean) { path attn.z[0, 1] -> attn.k_in[1, {0, 1}, c..last] := corrupt }
  run v = forward(clean) { path attn.out[0] -> attn.v_in[1, 1] := corrupt }
  run mlp = forward(clean) { path embed -> mlp.in[1] := corrupt }
  run end = forward(clean) { path attn.result[0, {0, 1}, last] -> resid_post[-1] := corrupt }
  run over[head] = forward(clean) { path attn.result[0, head] -> resid_post[-1, last] := corrupt }
  measure m_query = logit(q, yes)  measure m_key = logit(k, yes)  measure m_value = logit(v, yes)
  measure m_mlp = logit(mlp, yes)  measure m_end = logit(end, yes)  measure m_over = logit(over, yes)
}
""", fam)  # fmt: skip
    n, last = fam.reference.n_layers, -1

    def query(item, own, corrupt):
        change = of_heads(fam, own, corrupt, 0, [1])
        return {(): fam.run(item.clean, plus("attn.q_in", 1, 0, change))}

    def key(item, own, corrupt):
        at = slice(item.clean.last("c"), None)
        change = of_heads(fam, own, corrupt, 0, [1])[at]
        edits = [plus("attn.k_in", 1, (head, at), change) for head in (0, 1)]
        return {(): fam.run(item.clean, *edits)}

    def value(item, own, corrupt):
        change = corrupt["attn.out", 0] - own["attn.out", 0]
        return {(): fam.run(item.clean, plus("attn.v_in", 1, 1, change))}

    def mlp(item, own, corrupt):
        change = corrupt["embed", None] - own["embed", None]
        return {(): fam.run(item.clean, plus("mlp.in", 1, ..., change))}

    def end(item, own, corrupt):
        change = of_heads(fam, own, corrupt, 0, [0, 1], last)[last]
        return {(): fam.run(item.clean, plus("resid_post", n - 1, last, change))}

    def over(item, own, corrupt):
        return {
            (head,): fam.run(
                item.clean, plus("resid_post", n - 1, last, of_heads(fam, own, corrupt, 0, [head])[last])
            )
            for head in range(fam.reference.n_heads)
        }

    for run in (query, key, value, mlp, end, over):
        compare(fam, found, f"m_{run.__name__}", run)


def test_several_hops_pass_on_only_what_the_part_between_makes_of_it(fam, gbx, executor):
    k = int(fam.reference.parallel)  # the MLP of a parallel block reads the heads of the layers before
    found = gbx(PEOPLE.text + """experiment e {
  run by_value = forward(clean) { path embed -> attn.v_in[0, 1] -> resid_post[-1] := corrupt }
  run by_mlp = forward(clean) { path attn.result[0, 0] -> mlp.in[K] -> attn.k_in[L, 1] := corrupt }
  run long = forward(clean) { path attn.result[0, 1] -> mlp.in[K] -> attn.q_in[L, 0] -> resid_post[-1] := corrupt }
  measure m_by_value = logit(by_value, yes)  measure m_by_mlp = logit(by_mlp, yes)
  measure m_long = logit(long, yes)
}
""".replace("K", str(k)).replace("L", str(k + 1)), fam)  # fmt: skip
    n = fam.reference.n_layers

    def by_value(item, own, corrupt):
        passed = fam.run(item.clean, plus("attn.v_in", 0, 1, corrupt["embed", None] - own["embed", None]))
        return {(): fam.run(item.clean, plus("resid_post", n - 1, ..., of_heads(fam, own, passed, 0, [1])))}

    def mlp_change(item, own, corrupt, head):
        passed = fam.run(item.clean, plus("mlp.in", k, ..., of_heads(fam, own, corrupt, 0, [head])))
        return passed["mlp.out", k] - own["mlp.out", k]

    def by_mlp(item, own, corrupt):
        return {(): fam.run(item.clean, plus("attn.k_in", k + 1, 1, mlp_change(item, own, corrupt, 0)))}

    def long(item, own, corrupt):
        asked = fam.run(item.clean, plus("attn.q_in", k + 1, 0, mlp_change(item, own, corrupt, 1)))
        return {
            (): fam.run(item.clean, plus("resid_post", n - 1, ..., of_heads(fam, own, asked, k + 1, [0])))
        }

    for run in (by_value, by_mlp, long):
        compare(fam, found, f"m_{run.__name__}", run)


def test_other_edits_and_other_paths_of_a_run_are_held(fam, gbx, executor):
    """The sender is exchanged in the run as it is: edits stand, and a second path meets what the first one did."""
    found = gbx(PEOPLE.text + """experiment e {
  run edited[alpha in [0.5, 2]] = forward(clean) {
    mlp.out[0] *= alpha
    path attn.result[0, 1] -> attn.q_in[1, 0] := corrupt
  }
  run twice = forward(clean) {
    path attn.result[0, 1] -> attn.q_in[1, 0] := corrupt
    path attn.result[0, 0] -> attn.q_in[1, 0] := corrupt
    path mlp.out[0] -> attn.q_in[1, 1] := corrupt
  }
  measure m_edited = logit(edited, yes)  measure m_twice = logit(twice, yes)
}
""", fam)  # fmt: skip

    def edited(item, own, corrupt):
        done = {}
        for alpha in (0.5, 2.0):
            scale = setting("mlp.out", 0, ..., lambda x, a=alpha: x * a)
            change = of_heads(fam, fam.run(item.clean, scale), corrupt, 0, [1])
            done[(alpha,)] = fam.run(item.clean, scale, plus("attn.q_in", 1, 0, change))
        return done

    def twice(item, own, corrupt):
        change = sum(of_heads(fam, own, corrupt, 0, [head]) for head in (0, 1))
        other = corrupt["mlp.out", 0] - own["mlp.out", 0]
        return {(): fam.run(item.clean, plus("attn.q_in", 1, 0, change), plus("attn.q_in", 1, 1, other))}

    compare(fam, found, "m_edited", edited)
    compare(fam, found, "m_twice", twice)


def test_all_senders_through_every_receiver_are_the_other_run(llama, gbx):
    """Conformance C13, by way of the end: everything that is added comes from the other run, so its logits do."""
    found = gbx(PEOPLE.text + """experiment e {
  run all = forward(clean) {
    path embed -> resid_post[-1] := corrupt
    path attn.out -> resid_post[-1] := corrupt
    path mlp.out -> resid_post[-1] := corrupt
  }
  measure a = logit(all, yes)  measure b = logit(corrupt, yes)  measure c = logit(clean, yes)
}
""", llama)  # fmt: skip
    a, b, c = (found.values[name] for name in "abc")
    assert a == pytest.approx(b, abs=1e-4) and max(abs(b[k] - c[k]) for k in b) > 1e-2


def test_the_nested_runs_of_the_reference_say_the_same(llama, gbx):
    """A direct path to the logits is what freezing every other output by edits gives."""
    found = gbx(PEOPLE.text + """experiment e {
  run direct[layer, head] = forward(clean) { path attn.result[layer, head, last] -> resid_post[-1, last] := corrupt }
  run sent[layer, head] = forward(clean) {
    mlp.out := clean
    attn.z[not {(layer, head)}] := clean
    attn.z[layer, head, last] := corrupt
  }
  run got[layer, head] = forward(clean) { resid_post[-1, last] := sent }
  measure a = logit(direct, yes)  measure b = logit(got, yes)
}
""", llama)  # fmt: skip
    assert len(found.values["a"]) == 4 * llama.reference.n_layers * llama.reference.n_heads
    assert found.values["a"] == pytest.approx(found.values["b"], abs=1e-4)


def test_receipts_speak_of_the_run_in_the_file_only(llama, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run r = forward(clean) { path attn.result[0, 1] -> attn.q_in[1, 0] := corrupt }
  measure a = logit(r, yes)
}
""", llama)  # fmt: skip
    [(receipt, rows)] = found.receipts["r"]
    assert set(found.receipts) == {"r"} and receipt.fired_rows == rows == 4 and receipt.moved == 4
    assert receipt.edit.text == "path attn.result[0, 1] -> attn.q_in[1, 0] := corrupt"
    assert found.codes() == []


def test_a_path_that_nothing_takes_is_reported(llama, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run r[layer] = forward(clean) { path attn.result[layer, 1] -> attn.q_in[0, 0] := corrupt }
  measure a = logit(r, yes)
}
""", llama)  # fmt: skip
    assert "GB535" in found.codes()


@pytest.mark.parametrize(
    ("path", "code", "at"),
    [
        ("attn.pattern[0, 0] -> attn.q_in[1, 0]", "GB270", "attn.pattern[0, 0]"),
        ("attn.result[0, 0] -> attn.z[1, 0]", "GB270", "attn.z[1, 0]"),
        ("attn.result[0, 0] -> resid_post[1]", "GB270", "resid_post[1]"),
        ("attn.result[0, 0] -> attn.out[1] -> resid_post[-1]", "GB270", "attn.out[1]"),
        ("attn.result[1, 0] -> attn.q_in[1, 1]", "GB271", "attn.q_in[1, 1]"),
        ("mlp.out[1] -> mlp.in[1]", "GB271", "mlp.in[1]"),
        ("attn.result[layer: 2] -> mlp.in[layer: 1]", "GB271", "mlp.in[layer: 1]"),
        ("attn.reslt[0, 0] -> attn.q_in[1, 0]", "GB219", "attn.reslt[0, 0]"),
        ("attn.result[0, 9] -> attn.q_in[1, 0]", "GB383", None),
    ],
)
def test_what_is_no_path_is_refused_where_it_stands(path, code, at, llama, gbx):
    with pytest.raises(Findings) as found:
        gbx(PEOPLE.text + f"""experiment e {{
  run r = forward(clean) {{ path {path} := corrupt }}
  measure a = logit(r, yes)
}}
""", llama)  # fmt: skip
    [first, *_] = found.value.diagnostics
    assert first.code == code
    assert at is None or first.span.text == at
