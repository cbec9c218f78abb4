"""Every family keeps every contract, the record says so, and a family file with a mistake in it breaks one."""

import pytest

from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family, family_names
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.resolve.verified import Record, changes, layout_name, page, record
from glassbox_dsl.resources import shipped
from glassbox_dsl.run.contracts import contracts
from glassbox_dsl.run.family_checks import SEED, checked, layouts
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.tiny import tiny_model

WANTED = [
    "gpt2",
    "gpt_neo",
    "gptj",
    "gpt_neox",
    "gpt_bigcode",
    "codegen",
    "opt",
    "bloom",
    "falcon",
    "mpt",
    "xglm",
    "biogpt",
    "llama",
    "mistral",
    "ministral",
    "mixtral",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "phi",
    "phi3",
    "phimoe",
    "stablelm",
    "starcoder2",
    "olmo",
    "olmo2",
    "olmo3",
    "olmoe",
    "cohere",
    "cohere2",
    "granite",
    "granitemoe",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "glm",
    "glm4",
    "smollm3",
    "nemotron",
    "exaone4",
    "seed_oss",
    "apertus",
    "helium",
    "persimmon",
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), list(layouts(family_names())))
def test_every_contract_is_kept_as_the_record_says(name, more):
    found = checked(name, more)
    assert found.failed == ()
    assert found.checks > 60 and found.largest < 1e-5
    assert list(changes(record(), Record(transformers="", layouts=(found,)))) == []


def test_the_families_that_have_to_stand_do():
    assert set(WANTED) <= {kind for name in family_names() for kind in family(name).model_types}
    assert {one.name for one in record().layouts} == {layout_name(n, m) for n, m in layouts(family_names())}


def test_the_page_of_the_documentation_is_made_of_the_record():
    written = (shipped("specs").parent / "docs" / "families.md").read_text("utf-8")
    assert written == page(record())


def broken(name, change):
    """The names and sites of the checks that fail when a family file has a mistake in it."""
    config = tiny_config(family(name))
    facts = facts_from_config(config, name)
    wrong = change(family(name, facts.variants))
    instrument = Instrument(tiny_model(config, SEED).requires_grad_(False), facts, wrong)
    return {(c.name, c.site) for c in contracts(instrument, tiny_model(config, SEED, plain=True)) if not c.ok}


def with_site(site, **fields):
    def change(known):
        spot = known.sites[site].changed(**fields)
        return known.changed(sites={**known.sites, site: spot})

    return change


def test_branches_of_an_mlp_that_are_exchanged_are_found():
    change = with_site("mlp.pre", module="mlp.up_proj")
    other = with_site("mlp.up", module="mlp.gate_proj")
    assert ("C1", "mlp.pre") in broken("llama", lambda known: other(change(known)))
    assert ("C1", "mlp.pre") in broken("phi3", with_site("mlp.pre", chunk=(1, 2)))


def test_a_multiplier_that_is_left_out_is_found():
    assert {("T7", "resid_post"), ("I6", "mlp.out")} <= broken("granite", with_site("mlp.out", times=None))


def test_raw_attention_under_a_post_norm_is_found():
    assert ("I1", "resid_mid") in broken("glm4", with_site("attn.out", module="self_attn"))


def test_a_norm_of_the_wrong_kind_is_found():
    def change(known):
        norms = {
            **known.norms,
            "attn.norm_scale": known.norms["attn.norm_scale"].changed(kind="ln"),
        }
        return known.changed(norms=norms)

    assert ("C1", "attn.norm_scale") in broken("llama", change)


def test_a_gate_that_is_left_out_is_found():
    assert ("I9", "expert.out") in broken("qwen2_moe", with_site("shared.out", gate=None))


def test_a_shared_norm_taken_for_its_own_is_found():
    wrong = with_site("mlp.in", norm=None, module="input_layernorm")
    assert any(site in ("mlp.in", "resid_mid") for _, site in broken("cohere", wrong))


def test_what_changed_since_the_record_is_said():
    old = record()
    one = old.layouts[0]
    lost = one.model_copy(update={"executor": "hooked", "sites": {**one.sites, "attn.z": "wrong"}})
    said = list(
        changes(old, Record(transformers="9", layouts=(lost, lost.model_copy(update={"layout": "new"}))))
    )
    assert len(said) == 3
    assert "hooked" in said[0] and "attn.z is `wrong`" in said[1] and "not in the record" in said[2]
