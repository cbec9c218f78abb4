"""What families state about themselves: in known words, for every key that changes the computation."""

import pytest
from pydantic import ValidationError

from glassbox_dsl.resolve.families import families, family
from glassbox_dsl.resolve.traits import Traits, trait_words, traits_of

# What a norm adds before its root, and how a router turns its logits into weights, is not described.
UNDESCRIBED = {
    *(
        "rms_norm_eps",
        "layer_norm_epsilon",
        "layer_norm_eps",
        "norm_epsilon",
        "norm_eps",
        "layernorm_epsilon",
    ),
    *("norm_topk_prob", "scoring_func", "topk_method", "n_group", "topk_group", "routed_scaling_factor"),
}
STATED = [f.name for f in families() if f.traits]


def test_the_first_families_state_their_traits():
    assert {"llama", "gemma3_text", "gpt2"} <= set(STATED)


@pytest.mark.parametrize("name", STATED)
def test_every_key_that_a_family_handles_is_a_trait_or_changes_no_description(name):
    known = family(name)
    spoken = traits_of(known).keys
    assert {k for k in known.config.handled if k not in spoken and k not in UNDESCRIBED} == set()


def test_words_have_meanings_and_defaults_are_among_the_values():
    for name, word in trait_words().items():
        assert len(word.meaning.split()) > 3, name
        if isinstance(word.default, str) and word.values:
            assert word.default in word.values, name


def test_a_trait_is_read_from_the_first_key_that_is_there():
    traits = traits_of(family("llama"))
    assert traits.of({"rope_theta": 7.0})["rope_theta"] == 7.0
    both = {"rope_theta": 7.0, "rope_parameters": {"rope_theta": 9.0}}
    assert traits.of(both)["rope_theta"] == 9.0
    assert traits.of({"rope_parameters": None})["rope_theta"] == 10000.0
    gpt2 = traits_of(family("gpt2"))
    assert (
        gpt2.of({})["score_scale"] is False and gpt2.of({"scale_attn_weights": False})["score_scale"] == 1.0
    )


REST = {"norm_weights": "gain", "positions": "rotary", "activation": "silu"}


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({**REST, "norm_place": "before"}, "pre, post, sandwich"),
        ({**REST, "norm_place": "pre", "norm_plaice": "pre"}, "no trait `norm_plaice`"),
        (REST, "must state: norm_place"),
    ],
)
def test_words_that_there_are_not_are_refused(traits, said):
    with pytest.raises(ValidationError, match=said):
        Traits(traits)
