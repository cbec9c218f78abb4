"""Sparse dictionaries: codes, errors and their edits, against plain torch with hooks written here."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics.tables import EVEN, same
from tests.semantics.test_trained_fits import TRIED_ON, fam, states  # noqa: F401

LATENTS = 12
KINDS = {
    "standard": {"architecture": "standard", "activation_fn_str": "relu", "apply_b_dec_to_input": True},
    "jumprelu": {"architecture": "jumprelu", "metadata": {"hook_name": "blocks.0.hook_resid_post"}},
    "topk": {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 4},
             "hook_name": "blocks.1.hook_resid_pre", "normalize_activations": "none"},
    "gated": {"architecture": "gated", "activation_fn": "relu", "apply_b_dec_to_input": True},
}  # fmt: skip


def written(folder, kind, width, seed=0, **more_config):
    """A checkpoint in a folder, and its tensors."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    tensors = {
        "W_enc": torch.randn(width, LATENTS) / width**0.5, "b_enc": torch.randn(LATENTS) / 4,
        "W_dec": torch.randn(LATENTS, width) / width**0.5, "b_dec": torch.randn(width) / 4,
    }  # fmt: skip
    if kind == "jumprelu":
        tensors["threshold"] = torch.rand(LATENTS)
    if kind == "gated":
        tensors |= {name: torch.randn(LATENTS) / 4 for name in ("b_gate", "r_mag", "b_mag")}
        del tensors["b_enc"]
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"d_in": width, "d_sae": LATENTS, **KINDS[kind], **more_config}
    (folder / "cfg.json").write_text(json.dumps(config))
    return tensors


def encoded(w, kind, x):
    """The code of every row, written out."""
    if kind == "standard":
        return ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).clamp(min=0)
    if kind == "jumprelu":
        before = x @ w["W_enc"] + w["b_enc"]
        return torch.where((before > w["threshold"]) & (before > 0), before, 0.0)
    if kind == "gated":
        entering = x - w["b_dec"]
        size = entering @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]
        return torch.where((entering @ w["W_enc"] + w["b_gate"] > 0) & (size > 0), size, 0.0)
    before = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
    code = torch.zeros_like(before)
    for row, values in zip(code, before, strict=True):
        for i in values.argsort(descending=True)[:4]:
            row[i] = max(float(values[i]), 0.0)
    return code


def decoded(w, code):
    return code @ w["W_dec"] + w["b_dec"]


def width(fam):  # noqa: F811
    return fam.plain.config.get_text_config().hidden_size


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_errors_are_read(fam, gbx, tmp_path, kind):  # noqa: F811
    w = written(tmp_path / "sae", kind, width(fam))
    found = gbx(EVEN.text + """experiment e {
  fit f = sae("sae", site: resid_post[0])
  measure one[pos] = clean.f.code[0, 5, pos]
  measure named[latent] = corrupt.f.code[latent: latent, pos: e]
  measure some[latent in {2, 7}] = clean.f.code[0, latent, last]
  measure sum_of_two = sum(clean.f.code[0, {2, 7}, last], over: latent)
  measure active = sum(clean.f.code[0, :, last] > 0, over: latent)
  measure left = norm(clean.f.error[0, last])
  measure top[latent] = mean(clean.f.code[latent: latent, pos: last])
  record vector = clean.f.error[pos: c]
}""", fam)  # fmt: skip
    names = ("one", "named", "some", "sum_of_two", "active", "left", "top")
    expected = {n: {} for n in names}
    items = EVEN.items(fam)
    for item in items:
        x, y = (states(fam, ids)[0][0] for ids in (item.clean, item.corrupt))
        code, other = encoded(w, kind, x), encoded(w, kind, y)[item.corrupt.last("e")]
        key = (fam.name, item.number)
        for pos, row in enumerate(code):
            expected["one"][*key, pos] = row[5]
        for latent in range(LATENTS):
            expected["named"][*key, latent] = other[latent]
            top = expected["top"].setdefault((fam.name, latent), 0.0)
            expected["top"][fam.name, latent] = top + float(code[-1, latent]) / len(items)
        for latent in (2, 7):
            expected["some"][*key, latent] = code[-1, latent]
        expected["sum_of_two"][key] = code[-1, [2, 7]].sum()
        expected["active"][key] = (code[-1] > 0).sum()
        expected["left"][key] = (x[-1] - decoded(w, code[-1])).norm()
        at = item.clean.last("c")
        got = torch.tensor(found.records["vector"][key].array)
        assert torch.allclose(got, x[at] - decoded(w, code[at]), atol=1e-4)
    for name, cells in expected.items():
        same(found, name, cells, 1e-3)


def logits(fam, ids, place, change):  # noqa: F811
    def edit(state):
        rows = [change(s) if place is None or k == place else s for k, s in enumerate(state)]
        return torch.stack(rows)

    return states(fam, ids, {0: edit})[1][-1]


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_errors_are_edited(fam, gbx, tmp_path, kind):  # noqa: F811
    w = written(tmp_path / "sae", kind, width(fam))
    found = gbx(EVEN.text + """experiment e {
  fit f = sae("sae", site: resid_post[0])
  run off[latent] = forward(clean) { f.code[0, latent, last] := 0 }
  run up[alpha in [0, 2]] = forward(clean) { f.code[latent: {1, 4}, pos: c] += alpha }
  run taken = forward(clean) { f.code[0, :, last] := corrupt }
  run rebuilt = forward(clean) { f.error := 0 }
  run both = forward(clean) {
    f.code[0, 3, last] := 2
    resid_post[0, last] *= 1.5
    f.code[0, {3, 8}, last] *= -3
    f.error[0, last] := corrupt.f.error[0, last]
  }
  run swapped = forward(clean) { f.code[0, 6, last] := corrupt.f.code[0, 2, c] + self }
  run meant = forward(clean) { f.code[0, :, last] := mean(clean.f.code[0, :, last]) }
  measure a[latent] = logit(off, yes)
  measure b[alpha in [0, 2]] = logit(up, yes)
  measure c1 = logit(taken, yes)
  measure d1 = logit(rebuilt, yes)
  measure e1 = logit(both, yes)
  measure g = logit(swapped, yes)
  measure h = logit(meant, yes)
  measure state = norm(both.resid_post[0, last])
}""", fam)  # fmt: skip
    names = ("a", "b", "c1", "d1", "e1", "g", "h", "state")
    expected = {n: {} for n in names}
    items = EVEN.items(fam)
    first = {i.number: states(fam, i.clean)[0][0] for i in items}
    average = torch.stack([encoded(w, kind, first[i.number])[-1] for i in items]).mean(0)
    for item in items:
        key, yes = (fam.name, item.number), fam.speak.one(" " + item.row["a"])
        end, at = len(item.clean) - 1, item.clean.last("c")
        y = states(fam, item.corrupt)[0][0]
        other = encoded(w, kind, y)

        def said(place, change, item=item, yes=yes):
            return logits(fam, item.clean, place, change)[yes]

        def changed(code_change, error_change=lambda e: e):
            def change(x):
                code = encoded(w, kind, x[None])[0]
                return (
                    code_change(code.clone()) @ w["W_dec"] + w["b_dec"] + error_change(x - decoded(w, code))
                )

            return change

        def put(latents, value):
            def change(code):
                for latent in latents:
                    code[latent] = value(code[latent])
                return code

            return change

        for latent in range(LATENTS):
            expected["a"][*key, latent] = said(end, changed(put([latent], lambda c: 0.0)))
        for alpha in (0, 2):
            expected["b"][*key, float(alpha)] = said(
                at, changed(put([1, 4], lambda c, alpha=alpha: c + alpha))
            )
        expected["c1"][key] = said(end, changed(lambda code, other=other: other[-1]))
        expected["d1"][key] = said(None, changed(lambda code: code, lambda e: 0 * e))
        error = y[-1] - decoded(w, other[-1])

        def twice(x, error=error):
            code = put([3], lambda c: 2.0)(encoded(w, kind, 1.5 * x[None])[0])
            return decoded(w, put([3, 8], lambda c: -3 * c)(code)) + error

        expected["e1"][key] = said(end, twice)
        expected["state"][key] = twice(first[item.number][-1]).norm()
        there = other[item.corrupt.last("c"), 2]
        expected["g"][key] = said(end, changed(put([6], lambda c, there=there: c + there)))
        expected["h"][key] = said(end, changed(lambda code: average))
    for name, cells in expected.items():
        same(found, name, cells, 1e-3)


@pytest.mark.parametrize("executor", ["hooked", "delta"])
def test_an_edit_that_changes_no_code_changes_nothing_at_all(llama, gbx, tmp_path, monkeypatch, executor):
    """To the last bit where passes are alone: what is added is exactly 0, and no row is counted as moved."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    written(tmp_path / "sae", "standard", width(llama))
    found = gbx(EVEN.text + """experiment e {
  fit f = sae("sae", site: resid_post[0])
  run same = forward(clean) { f.code[0, :, last] *= 1 }
  run moved = forward(clean) { f.code[0, 0, last] += 1 }
  measure gap = max(abs(same.logits[last] - clean.logits[last]))
  measure state = max(abs(same.resid_post[0, last] - clean.resid_post[0, last]))
  measure read = sum(clean.f.code[0, :, last], over: latent)
  measure other = max(abs(moved.logits[last] - clean.logits[last]))
}""", llama)  # fmt: skip
    most = 0 if executor == "hooked" else 1e-5  # rows of a pack are rounded with their neighbours
    assert max(found.values["gap"].values()) <= most and max(found.values["state"].values()) <= most
    assert min(found.values["other"].values()) > 1e-4
    assert [r.moved for r, _ in found.receipts["same"]] == [False]


@pytest.mark.parametrize(
    ("config", "site", "body", "code"),
    [
        ({}, "resid_post[1]", "norm(clean.f.error[pos: last])", "GB256"),  # trained at layer 0
        ({"hook_name": "blocks.0.mlp.hook_post"}, "resid_post[0]", "norm(clean.f.error[pos: last])", "GB256"),
        ({"architecture": "gated"}, "resid_post[0]", "norm(clean.f.error[pos: last])", "GB256"),  # lacks its tensors
        ({"architecture": "transcoder"}, "resid_post[0]", "norm(clean.f.error[pos: last])", "GB256"),
        ({"normalize_activations": "layer_norm"}, "resid_post[0]", "norm(clean.f.error[pos: last])", "GB256"),
        ({"d_in": 25}, "resid_post[0]", "norm(clean.f.error[pos: last])", "GB256"),
        ({"d_sae": None}, "resid_post[0]", "norm(clean.f.error[pos: last])", "GB256"),
        ({}, "attn.z[0]", "norm(clean.f.error[pos: last])", "GB207"),
        ({}, "resid_post", "norm(clean.f.error[pos: last])", "GB207"),
        ({}, "resid_post[0]", "norm(clean.f.error[1, last])", "GB257"),
        ({}, "resid_post[0]", "clean.f.codes[latent: 1, pos: last]", "GB219"),
        ({}, "resid_post[0]", "clean.f.code[latent: 12, pos: last]", "GB381"),
        ({}, "resid_post[0]", "logit(beyond, yes)", "GB381"),
        ({}, "resid_post[0]", "edited.f.code[latent: 1, pos: last]", "GB258"),
        ({}, "resid_post[0]", "logit(twice, yes)", "GB258"),
        ({}, "resid_post[0]", "f(clean.resid_post[0, last])", "GB208"),
        ({"hook_name": "blocks.9.hook_resid_post"}, "resid_post[9]", "norm(clean.f.error[pos: last])", "GB383"),
    ],
)  # fmt: skip
def test_what_is_refused(llama, gbx, tmp_path, config, site, body, code):
    written(tmp_path / "sae", "standard", width(llama), **{"hook_name": "blocks.0.hook_resid_post", **config})
    text = (
        EVEN.text
        + f"""experiment e {{
  fit f = sae("sae", site: {site})
  run edited = forward(clean) {{ f.code[latent: 1, pos: last] := 0 }}
  run beyond = forward(clean) {{ f.code[latent: 12, pos: last] := 0 }}
  run twice = forward(clean) {{ f.code[latent: 1, pos: c] := 0  f.code[latent: 2, pos: last] := 0 }}
  measure m = {body}
}}"""
    )
    unused = [f"run {name}" for name in ("beyond", "twice") if f"({name}, " not in body]
    text = "\n".join(line for line in text.splitlines() if not any(u in line for u in unused))
    with pytest.raises(Findings) as refused:
        gbx(text, llama)
    assert code in {d.code for d in refused.value.diagnostics}, refused.value.diagnostics


@pytest.mark.parametrize("broken", ["no folder", "no weights", "no json", "another width"])
def test_files_that_do_not_fit(llama, gbx, tmp_path, broken):
    folder = tmp_path / "sae"
    code = "GB204"
    if broken != "no folder":
        written(folder, "standard", width(llama) + (broken == "another width"))
    if broken == "no weights":
        (folder / "sae_weights.safetensors").unlink()
    if broken == "no json":
        (folder / "cfg.json").write_text("{")
    if broken == "another width":
        code = "GB384"
    with pytest.raises(Findings) as refused:
        gbx(EVEN.text + """experiment e {
  fit f = sae("sae", site: resid_post[0])
  measure m = norm(clean.f.error[pos: last])
}""", llama)  # fmt: skip
    assert {d.code for d in refused.value.diagnostics} == {code}


def test_a_metric_of_the_file_may_read_a_dictionary(llama, gbx, tmp_path):
    """One that is called, and one that nothing calls."""
    w = written(tmp_path / "sae", "standard", width(llama))
    found = gbx(EVEN.text + """metric third(r) = r.f.code[latent: 3, pos: last]
metric fourth(r) = r.f.code[latent: 4, pos: last]
experiment e {
  fit f = sae("sae", site: resid_post[0])
  measure m = third(clean)
}""", llama)  # fmt: skip
    expected = {
        (llama.name, i.number): encoded(w, "standard", states(llama, i.clean)[0][0])[-1, 3]
        for i in EVEN.items(llama)
    }
    same(found, "m", expected, 1e-3)
