"""What a model does not have, and what its tokens do not allow: said before any weight is loaded."""

import json

import pytest

from tests.bad_input.conftest import HEAD

TWO = HEAD.replace("data d {", 'model big = tiny("llama", layers: 6)\ndata d {')
GPT2 = HEAD.replace('tiny("llama", layers: 2)', 'tiny("gpt2")')
NO_TENSORS = (2).to_bytes(8, "little") + b"{}"
ROWS = """gbx 1
model m = tiny("llama", layers: 2)
data d {{
  rows [{{w: "Mary", v: "John"}}, {{w: "Xyzzyq", v: "Mary"}}]
  prompt clean   = "Then {{w}} said"
  prompt corrupt = "Then {{v}} said"
  answer target  = " {{w}}"{more}
}}
experiment e {{ {body} }}
"""
# a text, its code, parts of what is said, a part of the help
REFUSED = {
    "position on a layer": (
        HEAD + "experiment e { measure a = norm(clean.attn.z[0, @@last]) }",
        "GB211",
        "a position, not a head",
        "`attn.z[layer, :, last]`",
    ),
    "depth on a head": (
        HEAD + "experiment e { measure a = norm(clean.attn.z[0, @@50%, last]) }",
        "GB221",
        "layers",
        "",
    ),
    "one index too many": (
        HEAD + "experiment e { measure a = norm(clean.resid_post[0, last, @@3]) }",
        "GB210",
        "takes 2 indices, not 3",
        "drop",
    ),
    "axes that do not meet": (
        HEAD + "experiment e { measure a = norm(@@clean.resid_post[0, last] + clean.logits[last]) }",
        "GB214",
        "`dim` and `vocab`",
        "reduce",
    ),
    "axis left over": (
        HEAD
        + "experiment e { run p = forward(clean) { mlp.out[0, last] := @@clean.mlp.out[:, last] } measure a = ld(p) }",
        "GB226",
        "`layer`",
        "mean(",
    ),
    "vector as measure": (
        HEAD + "experiment e { measure a = @@clean.resid_post[0, last] }",
        "GB217",
        "vector",
        "record a",
    ),
    "read layer": (
        HEAD + "experiment e { measure a = norm(clean.resid_post[@@5, last]) }",
        "GB381",
        "`m` has no layer 5",
        "depths",
    ),
    "layer of one model of two": (
        TWO + "experiment e { measure a = norm(clean.resid_post[@@5, last]) }",
        "GB381",
        "`m` has no layer 5",
        "depths",
    ),
    "written layer of one model of two": (
        TWO
        + "experiment e { run p = forward(clean) { @@resid_post[5, last] := corrupt } measure a = ld(p) }",
        "GB383",
        "no cell of `m`",
        "layer",
    ),
    "swept layer": (
        HEAD + "experiment e { measure a[@@layer in 5..7] = norm(clean.resid_post[layer, last]) }",
        "GB386",
        "no cell on `m`",
        "leave",
    ),
    "named cell": (
        HEAD + "experiment e { let x[alpha in {0, 1}] = ld(clean) * alpha  measure a = x[@@7] }",
        "GB387",
        "alpha = 7",
        "name one",
    ),
    "absent site": (
        GPT2 + "experiment e { measure a = sum(clean.@@mlp.up[0, :, last], over: {neuron}) }",
        "GB303",
        "not gated",
        "`mlp.pre`",
    ),
    "absent site, written": (
        GPT2 + "experiment e { run p = forward(clean) { @@mlp.up[0] := 0 } measure a = ld(p) }",
        "GB303",
        "not gated",
        "`mlp.pre`",
    ),
    "width of an edit": (
        HEAD
        + "experiment e { run p = forward(clean) { @@attn.z[0, 0, last] := clean.embed[last] } measure a = ld(p) }",
        "GB384",
        "width",
        "same width",
    ),
    "width of unembed": (
        HEAD + "experiment e { measure a = logit(@@unembed(clean.attn.z[0, 0, last]), target) }",
        "GB385",
        "`unembed` needs",
        "attn.result",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit(what, folder):
    text, code, part, help_ = REFUSED[what]
    found = folder.refused(text)
    assert found.code == code and part in " ".join((found.headline, found.label))
    assert help_ in found.help and found.help


def test_lengths_that_differ_name_the_rows(folder):
    body = "run p[pos] = forward(corrupt) { resid_pre[0, pos] := clean }  measure a = prob(p, target)"
    found = folder.refused(ROWS.format(body=body, more="").replace("prompt clean", "@@prompt clean"))
    assert found.code == "GB342" and found.help
    assert "row 1: `corrupt` has 3 tokens, `clean` has 6" in found.notes[0]


def test_an_answer_of_several_tokens_names_the_rows(folder):
    text = ROWS.format(body="measure a = logit(clean, target)", more="").replace(
        "answer target", "@@answer target"
    )
    found = folder.refused(text)
    assert (
        found.code == "GB340"
        and found.notes[0].startswith('row 1: " Xyzzyq" is [')
        and "first_token" in found.help
    )


def test_an_answer_that_merges_with_the_end_of_the_prompt(folder):
    more = '\n  prompt cut = "Then {w} went to the sto"\n  @@answer re = "re"'
    found = folder.refused(ROWS.format(body="measure a = logit(cut, re)", more=more))
    assert found.code == "GB341" and "row 0" in found.notes[0] and found.help


def test_a_draw_that_cannot_be_met(folder):
    found = folder.refused(HEAD.replace("draw 2", "@@draw 50") + "experiment e { measure a = ld(clean) }")
    assert (
        found.code == "GB351" and "12 different items, not 50" in found.headline and "draw 12" in found.help
    )


def test_a_draw_of_which_too_few_rows_pass(folder):
    text = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { w from ["Mary", "Xyzzyq", "Qwortle", "Blorptang"] }
  prompt clean  = "Then {w} said"
  answer target = " {w}"
  @@draw 3, seed: 0
}
experiment e { measure a = logit(clean, target) }
"""
    found = folder.refused(text)
    assert found.code == "GB350" and "only 1 of the 3" in found.headline and "Blorptang" in found.notes[0]
    assert found.help


def test_a_checkpoint_of_a_family_that_no_file_describes(folder):
    folder.write(json.dumps({"model_type": "mamba", "vocab_size": 8}), "ckpt/config.json")
    folder.write("{}", "ckpt/tokenizer.json")
    (folder.path / "ckpt/model.safetensors").write_bytes(NO_TENSORS)
    found = folder.refused('gbx 1\nmodel m = @@local("ckpt")\n')
    assert found.code == "GB300" and "`mamba`" in found.label and "`llama`" in found.help


def test_a_key_of_a_config_that_no_file_knows(folder):
    from glassbox_dsl.resolve.families import family
    from glassbox_dsl.resolve.sources import tiny_config

    folder.write(json.dumps({**tiny_config(family("llama")), "attention_sink": 4}), "ckpt/config.json")
    folder.write("{}", "ckpt/tokenizer.json")
    (folder.path / "ckpt/model.safetensors").write_bytes(NO_TENSORS)
    found = folder.refused('gbx 1\nmodel m = @@local("ckpt")\n')
    assert "attention_sink" in found.headline and found.help
