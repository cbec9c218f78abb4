"""Equations that hold in every model: they need no oracle."""

import pytest
import torch

from glassbox_dsl.vocabulary.keys import SiteKey

CLOSE = 1e-4


def values(subject, *names):
    layers = range(subject.instrument.facts.n_layers)
    keys = [key for name in names for key in subject.keys(name, layers)]
    got = subject.run(reads=keys, logit_positions=subject.ends())
    return lambda name, layer=None: got[SiteKey(name, layer)]


def test_the_stream_is_the_sum_of_what_is_added(subject):
    at = values(subject, "resid_pre", "resid_mid", "attn.out", "mlp.out", "resid_post")
    for layer in range(subject.instrument.facts.n_layers):
        mid = at("resid_pre", layer) + at("attn.out", layer)
        assert torch.equal(at("resid_mid", layer), mid)
        assert torch.equal(at("resid_post", layer), mid + at("mlp.out", layer))


def test_results_sum_to_the_output_of_attention_less_its_bias(subject):
    at = values(subject, "attn.result", "attn.out_raw")
    for layer, attention in enumerate(subject.oracle.paths.layers):
        _, bias = subject.oracle.paths.project(
            subject.oracle.paths.attention(attention), subject.instrument.facts.n_heads
        )
        raw = at("attn.out_raw", layer)
        assert (at("attn.result", layer).sum(1) + bias - raw).abs().max() < 2e-6 * raw.abs().max().clamp(
            min=1
        )


def test_patterns_sum_to_one_and_see_nothing_ahead(subject):
    at = values(subject, "attn.pattern")
    length = subject.ids.shape[1]
    ahead = torch.ones(length, length, dtype=torch.bool).triu(1)
    for layer, window in enumerate(subject.instrument.facts.windows):
        pattern = at("attn.pattern", layer)
        assert (pattern.sum(-1) - 1).abs().max() < 1e-5
        assert pattern[..., ahead].max() == 0
        if window is not None and window < length:
            assert pattern[..., torch.ones(length, length, dtype=torch.bool).tril(-window)].max() == 0


def test_z_is_the_pattern_times_the_values_of_the_heads_group(subject):
    at = values(subject, "attn.pattern", "attn.v", "attn.z")
    facts = subject.instrument.facts
    for layer in range(facts.n_layers):
        for head in range(facts.n_heads):
            v = at("attn.v", layer)[:, head // (facts.n_heads // facts.n_kv_heads)]
            z = at("attn.pattern", layer)[:, head] @ v
            assert (z - at("attn.z", layer)[:, head]).abs().max() < 1e-5 * v.abs().max().clamp(min=1)


def test_logits_are_the_unembedded_end_of_the_stream(subject):
    last = subject.instrument.facts.n_layers - 1
    at = values(subject, "resid_post", "final_norm", "final_norm_scale", "logits")
    unembed, ends, logits = subject.instrument.unembed, subject.ends(), at("logits")
    end = at("resid_post", last)[:, ends]
    assert (unembed(end) - logits).abs().max() < CLOSE
    assert (unembed(end, scale=at("final_norm_scale")[:, ends]) - logits).abs().max() < CLOSE
    assert (unembed(at("final_norm")[:, ends], norm="none") - logits).abs().max() < CLOSE
    assert (unembed(end[0, 1]) - logits[0, 1]).abs().max() < CLOSE


def test_a_frozen_scale_divides_instead_of_the_streams_own(subject):
    """Twice the stream over twice the divisor is the same; over the same divisor it is not."""
    at = values(subject, "resid_post", "final_norm_scale", "logits")
    end = at("resid_post", subject.instrument.facts.n_layers - 1)[:, -1:]
    scale = at("final_norm_scale")[:, -1:]
    doubled = subject.instrument.unembed(2 * end, scale=2 * scale)
    assert (doubled - at("logits")[:, -1:]).abs().max() < CLOSE
    assert (subject.instrument.unembed(2 * end, scale=scale) - at("logits")[:, -1:]).abs().max() > 0.1


def test_unembedding_columns_are_the_directions_that_logits_read(tiny):
    at = values(tiny, "final_norm", "logits")
    tokens = torch.tensor([5, 0, 71])
    raw = at("final_norm")[:, tiny.ends()] @ tiny.instrument.unembedding_columns(tokens).T
    cap = getattr(tiny.oracle.model.config, "final_logit_softcapping", None)
    raw = raw if cap is None else cap * torch.tanh(raw / cap)
    assert (raw - at("logits")[..., tokens]).abs().max() < 1e-5


def test_the_last_token_changes_nothing_before_it(subject):
    other = subject.ids.clone()
    other[:, -1] = (other[:, -1] + 17) % 90
    a, b = subject.logits(), subject.logits(other)
    assert (a[:, :-1] - b[:, :-1]).abs().max() < CLOSE
    assert (a[:, -1] - b[:, -1]).abs().max() > 1e-2


def test_swapping_the_embedding_swaps_the_run(subject):
    embed, other = SiteKey("embed"), subject.ids.flip(0)
    source = subject.run(other, reads=[embed])[embed]
    swapped = subject.logits(writes={embed: lambda _: source})
    assert (swapped - subject.oracle.logits(other)).abs().max() < CLOSE


def test_a_group_of_heads_is_patched_by_z_or_by_values_and_patterns(subject):
    facts = subject.instrument.facts
    layer, group = facts.n_layers - 1, facts.n_heads // facts.n_kv_heads
    names = ("attn.z", "attn.v", "attn.pattern")
    source = {key.site: value for key, value in subject.run(
        subject.ids.flip(0), reads=[SiteKey(name, layer) for name in names]
    ).items()}  # fmt: skip
    kv = facts.n_kv_heads - 1
    heads = range(kv * group, (kv + 1) * group)

    def put(name, which):
        def write(value):
            value = value.clone()
            value[:, which] = source[name][:, which]
            return value

        return write

    by_z = subject.logits(writes={SiteKey("attn.z", layer): put("attn.z", list(heads))})
    by_parts = subject.logits(
        writes={
            SiteKey("attn.v", layer): put("attn.v", [kv]),
            SiteKey("attn.pattern", layer): put("attn.pattern", list(heads)),
        }
    )
    assert (by_z - by_parts).abs().max() < CLOSE
    assert (by_z - subject.logits()).abs().max() > 1e-3


def test_a_run_can_start_in_the_middle(subject):
    facts, plain = subject.instrument.facts, subject.logits()
    layers = sorted({*subject.layers, facts.n_layers})
    for layer in layers:
        key = SiteKey("resid_pre", layer) if layer < facts.n_layers else SiteKey("resid_post", layer - 1)
        hidden = subject.run(reads=[key])[key]
        assert torch.equal(subject.logits(start=(layer, hidden)), plain), layer
        assert not torch.equal(subject.logits(start=(layer, hidden + hidden.roll(1, 1))), plain)
    with pytest.raises(ValueError, match="below the start"):
        subject.run(reads=[SiteKey("attn.z", 0)], start=(1, hidden))
    with pytest.raises(ValueError, match="below the start"):
        subject.run(reads=[SiteKey("embed")], start=(1, hidden))


def test_a_prompt_run_again_after_a_longer_one_gives_the_same_bits(subject):
    short = subject.ids[:, :6]
    before = subject.logits(short)
    subject.logits(subject.ids.repeat(1, 3))
    assert torch.equal(subject.logits(short), before)
