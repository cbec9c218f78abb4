"""The table of gaps: every entry can be met, is sourced, and its `.gbx` passes `gbx check` on the models it is for."""

import pytest

from glassbox_dsl.pipeline import check_file
from glassbox_dsl.resolve.anatomy import anatomy
from glassbox_dsl.resolve.families import families, family
from glassbox_dsl.resolve.gap import compare, gaps
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.resolve.traits import trait_words

STATED = [f.name for f in families() if f.traits]
DERIVED = {
    "norm_kind",
    "heads",
    "heads_fill_width",
    "windows",
    "gated",
    "tied_embeddings",
    "score_scale_fits",
    "adds_bos",
    "n_experts",
    "experts_everywhere",
}
FILE = """gbx 1
model m = tiny("{family}")
data d {{
  slots {{ io, s from names }}
  prompt clean   = "When {{io}} and {{s}} met, {{s2: s}} spoke to"
  prompt corrupt = "When {{io}} and {{s}} met, {{s2: io}} spoke to"
  answer target     = " {{io}}"
  answer distractor = " {{s}}"
  draw 4, seed: 0
}}
metric logit_diff(r) = logit(r, target) - logit(r, distractor)
experiment e {{
{body}
}}
"""


def described(name, **changes):
    return anatomy({**tiny_config(family(name)), **changes}, name)


@pytest.mark.parametrize("gap", gaps(), ids=lambda gap: gap.name)
def test_conditions_speak_of_features_and_values_that_there_are(gap):
    words = trait_words()
    for name, wanted in gap.when.items():
        assert name in words or name in DERIVED, name
        if wanted is not True and name in words and words[name].values:
            assert set(wanted) <= set(words[name].values), gap.name
    assert gap.source and gap.technique[-1] != "." and gap.breaks.endswith(".") and gap.instead.endswith(".")


@pytest.mark.parametrize("gap", gaps(), ids=lambda gap: gap.name)
def test_what_to_write_instead_is_right_where_the_gap_is(gap, tmp_path):
    hit = [name for name in STATED if gap.applies(described(name))] or ["llama"]
    for name in hit:
        (tmp_path / "gap.gbx").write_text(FILE.format(family=name, body=gap.gbx))
        found = {d.code: d.headline for d in check_file(tmp_path / "gap.gbx") if d.severity == "error"}
        assert not set(found) - {*(["GB303"] if hit == ["llama"] else [])}, found


def names(found):
    return {entry.gap.name: entry.models for entry in found.breaks}


def test_the_gaps_of_three_families():
    found = names(compare([described("llama"), described("gemma3_text"), described("gpt2")]))
    assert found["rms_norm"] == ("llama", "gemma3_text")
    assert (
        found["post_norm"]
        == found["qk_norm"]
        == found["windows"]
        == found["final_softcap"]
        == ("gemma3_text",)
    )
    assert found["untied"] == ("llama",)
    assert found["score_scale_by_layer"] == ("gpt2",)
    assert not {"experts", "parallel", "sinks", "alibi", "residual_scale"} & set(found)


def test_gpt2_as_it_was_has_no_gap():
    assert names(compare([described("gpt2", scale_attn_by_inverse_layer_idx=False)])) == {}


def test_what_is_the_same_is_not_marked():
    found = compare([described("llama"), described("llama")])
    assert not any(line.differs for line in found.lines) and not any(line.differs for line in found.sites)
    found = compare([described("llama"), described("llama", num_hidden_layers=2)])
    assert {line.name for line in found.lines if line.differs} == {"n_layers", "parameters"}
    found = compare([described("llama"), described("gpt2")])
    assert {line.name for line in found.sites if line.differs} == {"pos_embed", "mlp.up"}


def test_what_means_nothing_for_a_model_is_not_said_to_be_unknown():
    lines = {line.name: line for line in compare([described("gpt2"), described("smollm3")]).lines}
    assert lines["rope_theta"].values == ("-", 2e6) and lines["rope_theta"].worth_showing
    assert lines["rotary_dims"].values == ("-", False) and not lines["rotary_dims"].worth_showing
    assert names(compare([described("gpt2"), described("smollm3")]))["unturned_layers"] == ("smollm3",)


def test_a_score_multiplier_of_one_is_a_gap():
    assert names(compare([described("gpt_neo")]))["score_scale"] == ("gpt_neo",)
    assert "residual_scale" not in names(compare([described("granite", residual_multiplier=1.0)]))
    assert "shifted_gain" in names(compare([described("nemotron")]))
