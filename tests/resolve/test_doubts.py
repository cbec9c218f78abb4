"""Warnings about what can be run and is likely a mistake: where they point, and what they leave alone."""

import pytest

from glassbox_dsl.pipeline import check_file
from glassbox_dsl.resources import shipped

HEAD = """gbx 1
model small = MODEL
data d {
  rows [{a: "Mary", b: "John"}, {a: "Anna", b: "Paul"}]
  prompt clean = "When {a} and {b} went"
  prompt corrupt = "When {b} and {a} went"
  answer yes = " {a}"
  answer no = " {b}"
  feature early = a == "Anna"
}
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  run cut[layer] = forward(corrupt) { resid_pre[layer, last] := clean }
"""
LLAMA = 'tiny("llama", layers: 2)'


@pytest.fixture
def said(tmp_path):
    """What `gbx check` says of statements, as (code, the text that it points at)."""

    def check(statements: str, model: str = LLAMA) -> list[tuple[str, str]]:
        path = tmp_path / "e.gbx"
        path.write_text(HEAD.replace("MODEL", model) + statements + "\n}\n", encoding="utf-8")
        found = check_file(path)
        assert all(d.severity == "warning" and d.help and d.label for d in found), found
        return [(d.code, " ".join(d.span.text.split())) for d in found]

    return check


@pytest.mark.parametrize(
    ("value", "warned"),
    [
        ("mean(clean.resid_post[1], over: {item, pos})", True),
        ("mean(clean.resid_post[1, pos], over: {item, pos})", True),
        ("std(clean.mlp.out[1], over: {pos})", True),
        ("mean(clean.resid_post[1, 1..-1], over: {item, pos})", False),
        ("mean(clean.resid_post[1, a.span], over: {item, pos})", False),
        ("mean(clean.resid_post[1, 0], over: {item})", False),
        ("mean(clean.embed, over: {pos})", False),
    ],
)
def test_the_first_position_in_a_mean(said, value, warned):
    found = said(f"measure x = norm({value})")
    assert found == ([("GBW701", value)] if warned else [])


def test_a_mean_of_norms_counts_too_and_a_mean_of_losses_does_not(said):
    norms = "mean(norm(clean.resid_post[1]), over: {pos})"
    assert said(f"measure x = {norms}") == [("GBW701", norms)]
    assert said("measure x = mean(loss(clean, at: pos), over: {pos})") == []


@pytest.mark.parametrize(
    ("edit", "model", "warned"),
    [
        ("attn.q[0, 1, last] := corrupt.attn.q[0, 1, a]", LLAMA, True),
        ("attn.k[0, kv_head: 0, a] := corrupt.attn.k[0, kv_head: 0, b]", LLAMA, True),
        ("attn.q[0, 1, last] := corrupt.attn.q[0, 1, last]", LLAMA, False),
        ("attn.q[0, 1, last] := corrupt", LLAMA, False),
        ("attn.z[0, 1, last] := corrupt.attn.z[0, 1, a]", LLAMA, False),
        ("attn.q[0, 1, last] := corrupt.attn.q[0, 1, a]", 'tiny("gpt2", layers: 2)', False),
    ],
)
def test_a_turned_query_or_key_at_another_position(said, edit, model, warned):
    found = said(f"run r = forward(clean) {{ {edit} }}\nmeasure x = ld(r)", model)
    assert found == ([("GBW702", edit)] if warned else [])


@pytest.mark.parametrize(
    ("edit", "model", "pointed"),
    [
        ("attn.v[1, 0] := corrupt", LLAMA, "0"),
        ("attn.v[1, kv_head: 0] := corrupt", LLAMA, None),
        ("attn.v[1, 0] := corrupt", 'tiny("gpt2", layers: 2)', None),
        ("attn.q[1, 0] := corrupt", LLAMA, None),
    ],
)
def test_a_number_where_heads_share_keys(said, edit, model, pointed):
    found = said(f"run r = forward(clean) {{ {edit} }}\nmeasure x = ld(r)", model)
    assert found == ([("GBW703", pointed)] if pointed else [])


def test_numbers_of_swept_key_value_heads_are_not_doubted(said):
    assert said("run r[kv_head] = forward(clean) { attn.v[1, kv_head] := corrupt }\nmeasure x = ld(r)") == []


@pytest.mark.parametrize(
    ("call", "warned"),
    [
        ("kl(clean, clean)", True),
        ("kl(clean, same)", True),
        ("kl(clean, corrupt)", False),
        ("kl(clean, moved)", False),
    ],
)
def test_the_gradient_of_a_divergence_from_itself(said, call, warned):
    runs = "run same = forward(clean)\nrun moved = forward(clean) { resid_pre[0, last] := corrupt }\n"
    found = said(runs + f"measure x = norm(grad({call}, clean.resid_post[0, last]))")
    assert found == ([("GBW704", call)] if warned else [])


@pytest.mark.parametrize(
    ("measure", "pointed"),
    [
        ("x = ld(cut) / (ld(clean) - ld(corrupt))", None),
        ("x = mean(ld(cut) / (ld(clean) - ld(corrupt)))", "ld(cut) / (ld(clean) - ld(corrupt))"),
        ("x = ld(cut) / (ld(clean) - ld(corrupt)) - 1", "ld(cut) / (ld(clean) - ld(corrupt))"),
        ("x = prob(cut, yes) / prob(clean, yes) - 1", "prob(cut, yes) / prob(clean, yes)"),
        ("x = log(prob(cut, yes) / prob(clean, yes))", None),
        ("x = mean(ld(cut)) / mean(ld(clean) - ld(corrupt))", None),
        ("x = mean(ld(cut) / 2)", None),
        ("x = mean(ld(cut) / norm(clean.resid_post[1, last]))", None),
    ],
)
def test_a_mean_of_quotients(said, measure, pointed):
    assert said(f"measure {measure}") == ([("GBW705", pointed)] if pointed else [])


def test_a_probe_without_a_control(said):
    probe = "fit probe[layer] = logistic(clean.resid_post[layer, last], label: early)"
    control = "fit drawn[layer] = logistic(clean.resid_post[layer, last], label: early, control: item)"
    scored = "measure right[layer] = accuracy(probe)"
    used = "run r[layer] = forward(clean) { resid_post[layer, last] += probe.direction }\nmeasure x[layer] = ld(r)"
    assert said(f"{probe}\n{scored}") == [("GBW706", probe)]
    assert said(f"{probe}\n{control}\n{scored}\nmeasure chance[layer] = accuracy(drawn)") == []
    assert said(f"{probe}\n{used}") == []


def test_effects_in_few_digits(said):
    few = 'tiny("llama", layers: 2, dtype: bfloat16)'
    effect = "measure x[layer] = ld(cut) - ld(clean)"
    [(code, text)] = said(effect, few)
    assert code == "GBW707" and text == few
    assert said(effect) == []
    assert said("measure x = logit(clean, yes)", few) == []


def test_imported_experiments_are_not_doubted_again(tmp_path):
    path = tmp_path / "one.gbx"
    mean = "measure x = norm(mean(clean.resid_post[1], over: {item, pos}))"
    path.write_text(HEAD.replace("MODEL", LLAMA) + mean + "\n}\n", encoding="utf-8")
    (tmp_path / "two.gbx").write_text(
        'gbx 1\nimport "one.gbx"\nexperiment f { measure y = e.x }\n', encoding="utf-8"
    )
    assert [d.code for d in check_file(path)] == ["GBW701"]
    assert check_file(tmp_path / "two.gbx") == ()


@pytest.mark.parametrize("path", sorted(shipped("specs").glob("experiments/*.gbx")), ids=lambda p: p.stem)
def test_shipped_experiments_raise_no_doubt(path):
    assert [d.code for d in check_file(path) if d.code.startswith("GBW")] == []


def test_doubts_end_a_check_well(tmp_path, capsys):
    from glassbox_dsl.cli.app import answer

    mean = "measure x = norm(mean(clean.resid_post[1], over: {item, pos}))"
    (tmp_path / "e.gbx").write_text(HEAD.replace("MODEL", LLAMA) + mean + "\n}\n", encoding="utf-8")
    assert answer(["check", str(tmp_path / "e.gbx")]) == 0
    said = capsys.readouterr().err
    assert "warning[GBW701]" in said and "0 errors, 1 warning" in said


@pytest.mark.parametrize(("layers", "warned"), [(2, False), (40, True)])
def test_edges_of_a_large_model_are_not_tried_one_by_one_without_a_word(said, layers, warned):
    search = "acdc(ld, clean: clean, corrupt: corrupt, threshold: 0.1)"
    found = said(f"circuit c = {search}\nmeasure n = size(c)", f'tiny("llama", layers: {layers})')
    assert found == ([("GBW708", search)] if warned else [])
    scored = "circuit c = eap(ld, clean: clean, corrupt: corrupt, edges: 3)\nmeasure n = size(c)"
    assert said(scored, f'tiny("llama", layers: {layers})') == []
