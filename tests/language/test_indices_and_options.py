"""Indices are given once, and what options take from variables is known before anything runs."""

import pytest

from glassbox_dsl.language.file import read_program
from tests.language.test_experiments import findings

TWICE = (
    "measure a = norm(clean.resid_pre[0, layer: 1])",
    "measure a = norm(clean.attn.z[head: 0, 1, head: 2])",
    "measure a = clean.resid_pre[0, last, dim: 1, dim: 2]",
    "run p = forward(clean) { resid_pre[0, layer: 1] *= 2 }  measure a = ld(p)",
    "run p[k in [1, 2]] = forward(clean) { resid_pre[0] *= k + 1 }  measure a = ld(p[1, k: 2])",
    "let q = norm(clean.resid_pre[layer, last])  measure a = q[layer: 0, layer: 1]",
    "let q = norm(clean.resid_pre[layer, last])  measure a = (2 * q)[layer: 0, layer: 1]",
    "measure a = mean(ld(clean))[model: m, model: m]",
)


@pytest.mark.parametrize("body", TWICE)
def test_an_axis_that_is_indexed_twice_is_refused(body, tmp_path):
    _, found = findings(body, tmp_path)
    assert [d.code for d in found] == ["GB210"]
    assert "indexed twice" in found[0].headline


SPELLED = (
    "run p[s in [1, 2]] = forward(clean) { resid_pre[1, last] += noise(scale: s, seed: s) }  measure a = ld(p)",
    "run p[s in [1, 2]] = forward(clean) { resid_pre[1] := resample(corrupt, seed: s) }  measure a = ld(p)",
    "run p[t in [0, 0.5]] = generate(clean, max_new_tokens: 2, temperature: t)  measure a = text(p)",
    "run p[n in 1..3] = generate(clean, max_new_tokens: n)  measure a = text(p)",
    "measure a[r in {true, false}] = correlation(ld(clean), ld(corrupt), rank: r)",
    "fit f[k in [1, 2]] = pca(clean.resid_pre[1, :], dim: k)  measure a[k] = score(f)",
)


@pytest.mark.parametrize("body", SPELLED)
def test_options_take_variables_that_stand_for_numbers(body, tmp_path):
    _, found = findings(body, tmp_path)
    assert [d.code for d in found] == []


def test_the_cells_of_a_fit_hold_out_the_same_items(tmp_path):
    body = "fit f[s in [1, 2]] = logistic(clean.resid_pre[1, last], label: place, seed: s)  measure a = accuracy(f)"
    _, found = findings(body, tmp_path)
    assert found[0].code == "GB207" and "the same items" in str(found[0].label)


def test_a_binder_that_names_a_variable_means_that_of_the_family_that_is_read(tmp_path):
    """Two families have a variable of one name; a family with variables swept together is named by all of them."""
    program, found = findings(
        "run p[s in [1, 2]] = forward(clean) { resid_pre[0] *= s }\n"
        "run q[s in [5, 7, 9]] = forward(clean) { resid_pre[0] *= s }\n"
        "run both[(t, u) in {(2, 3), (4, 5)}] = forward(clean) { resid_pre[0] *= t * u }\n"
        "let by = ld(q)\n"
        "measure a[s] = ld(p)  measure b[s] = by * s  measure c[t, u] = ld(both)",
        tmp_path,
    )
    assert [d.code for d in found] == []
    [e] = program.experiments
    cells = {
        name: [[m.number for m in row] for row in e.value("measure", name).dimensions[0].members]
        for name in "abc"
    }
    assert cells == {"a": [[1], [2]], "b": [[5], [7], [9]], "c": [[2, 3], [4, 5]]}


def test_a_complement_is_a_domain(tmp_path):
    _, found = findings(
        "measure a[h: head in not {0, 2}, layer in not 0] = norm(clean.attn.z[layer, h, last])\n"
        "measure b[pos in not s2.span] = norm(clean.resid_pre[1, pos])",
        tmp_path,
    )
    assert [d.code for d in found] == []


def test_an_unknown_figure_is_shown_what_there_is(tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(
        'gbx 1\nmodel m = tiny("llama", layers: 2)\ndata d { rows [{a: "x"}, {a: "y"}] prompt p = "see {a}" }\n'
        "experiment e { measure n = entropy(p) }\nreport r { pie e.n }\n"
    )
    _, found = read_program(path)
    assert found[0].code == "GB220" and "`histogram`" in found[0].help
