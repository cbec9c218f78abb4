"""What an edit does is what the same edit by plain hooks does to the untouched model."""

from itertools import product

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.vocabulary.keys import SiteKey
from glassbox_dsl.vocabulary.sites import sites
from tests.conformance.conftest import TINY

CLOSE = 1e-4
WRITABLE = [name for name, site in sites().items() if site.write]


def stretched(value):
    """Some cells times a random factor, the others left alone; where masked cells are -inf they stay."""
    random = torch.Generator().manual_seed(value.numel())
    factor = 1 + 0.6 * torch.rand(value.shape, generator=random)
    chosen = torch.rand(value.shape, generator=random) < 0.4
    return torch.where(chosen, value * factor, value)


def exchanged(value):
    """Some cells from the other prompt of the batch."""
    chosen = torch.rand(value.shape, generator=torch.Generator().manual_seed(value.numel())) < 0.5
    return torch.where(chosen, value.flip(0), value)


@pytest.mark.parametrize("site", WRITABLE)
def test_every_edit_does_what_the_oracle_does(subject, site):
    if site in subject.instrument.facts.absent:
        pytest.skip(subject.instrument.facts.absent[site])
    edits = (stretched, exchanged) if subject.name in TINY else (exchanged,)
    if site == "pos_embed":  # all prompts have the same
        edits = (stretched,)
    for key, edit in product(subject.keys(site), edits):
        expected = subject.oracle.logits(
            subject.ids, key.site, key.layer, edit, at=slice(-subject.last, None)
        )
        got = subject.logits(writes={key: edit}, logit_positions=subject.ends())
        assert (expected - subject.plain).abs().max() > 1e-3, (
            f"{key}: an edit that moves nothing tests nothing"
        )
        assert (got - expected).abs().max() < CLOSE, (key, (got - expected).abs().max())


@pytest.mark.parametrize("site", WRITABLE)
def test_writing_back_what_was_read_is_nothing_at_all(subject, site):
    if site in subject.instrument.facts.absent:
        pytest.skip(subject.instrument.facts.absent[site])
    values = subject.own
    own = {key: lambda _, key=key: values[key] for key in subject.keys(site)}
    assert torch.equal(subject.logits(writes=own, logit_positions=subject.ends()), subject.plain)


def test_writing_back_everything_at_once_is_nothing_at_all(subject):
    values = subject.own
    own = {key: lambda _, key=key: values[key] for key in subject.every_key() if sites()[key.site].write}
    assert torch.equal(subject.logits(writes=own, logit_positions=subject.ends()), subject.plain)


def test_a_read_is_after_the_writes_of_its_site(tiny):
    for key in tiny.every_key():
        if not sites()[key.site].write:
            continue
        seen = {}

        def write(value, seen=seen):
            seen["was"] = value.clone()
            seen["is"] = stretched(value)
            return seen["is"]

        got = tiny.run(reads=[key], writes={key: write})[key]
        assert torch.equal(got, seen["is"]), key
        assert not torch.equal(got, seen["was"]), key


def test_a_write_is_called_once_and_in_forward_order(tiny):
    called = []

    def write(key):
        return lambda value: called.append(key) or value

    keys = [key for key in tiny.every_key() if sites()[key.site].write]
    tiny.run(reads=[SiteKey("logits")], writes={key: write(key) for key in reversed(keys)})
    assert len(called) == len(keys) == len(set(called))
    expected = ["resid_pre", "attn.in", "attn.q_in", "attn.k_in", "attn.v_in", "attn.norm_scale", "attn.norm"]
    expected += ["attn.q", "attn.k", "attn.v", "attn.scores", "attn.pattern", "attn.z", "attn.result"]
    expected += ["attn.out_raw", "attn.out", "resid_mid", "mlp.in", "mlp.norm_scale", "mlp.norm", "mlp.pre"]
    expected += [*(["mlp.up"] if SiteKey("mlp.up", 0) in keys else []), "mlp.post", "mlp.out_raw", "mlp.out"]
    expected += ["resid_post"]
    assert [key.site for key in called if key.layer == 1] == expected
    first = [key.site for key in called if key.layer is None][:-3]
    assert first == [name for name in ("pos_embed", "embed") if name in tiny.sites()] and [
        key.site for key in called[-3:]
    ] == [
        "final_norm_scale",
        "final_norm",
        "logits",
    ]


def test_the_stream_between_layers_is_one_tensor(tiny):
    first, second = SiteKey("resid_post", 0), SiteKey("resid_pre", 1)
    got = tiny.run(reads=[first, second], writes={second: lambda x: x * 2, first: lambda x: x + 1})
    before = tiny.run(reads=[first])[first]
    assert torch.equal(got[first], (before + 1) * 2) and torch.equal(got[second], got[first])
    embed, bottom = SiteKey("embed"), SiteKey("resid_pre", 0)
    got = tiny.run(reads=[embed, bottom], writes={bottom: lambda x: x * 2, embed: lambda x: x + 1})
    assert torch.equal(got[embed], got[bottom])


def test_writing_the_input_of_a_sub_block_leaves_the_stream_alone(tiny):
    for block in ("attn", "mlp"):
        source, stream = SiteKey(f"{block}.in", 1), SiteKey("resid_pre", 1)
        mid = SiteKey("resid_mid", 1)
        reads = [stream, *([mid] if block == "mlp" else [])]
        plain = tiny.run(reads=reads)
        got = tiny.run(reads=reads, writes={source: stretched})
        assert all(torch.equal(got[key], plain[key]) for key in reads)


def test_resid_mid_is_set_exactly_and_attn_out_is_read_as_it_was(tiny):
    mid, out, after = SiteKey("resid_mid", 1), SiteKey("attn.out", 1), SiteKey("mlp.in", 1)
    wanted = torch.full_like(tiny.run(reads=[mid])[mid], 0.25)
    got = tiny.run(reads=[mid, out, after], writes={mid: lambda _: wanted})
    assert torch.equal(got[mid], wanted) and torch.equal(got[after], wanted)
    assert torch.equal(got[out], tiny.run(reads=[out])[out])


def test_a_masked_score_can_be_cut_but_a_row_needs_one_key(tiny):
    scores, pattern = SiteKey("attn.scores", 1), SiteKey("attn.pattern", 1)

    def cut(value):
        value = value.clone()
        value[:, 0, -1, -2] = -torch.inf
        return value

    got = tiny.run(reads=[pattern, scores], writes={scores: cut})
    assert got[pattern][:, 0, -1, -2].abs().max() == 0 and torch.isneginf(got[scores][:, 0, -1, -2]).all()
    assert torch.allclose(got[pattern].sum(-1), torch.ones(()))

    def blind(value):
        value = value.clone()
        value[1, 2, 4] = -torch.inf
        return value

    with pytest.raises(Findings) as found:
        tiny.run(reads=[pattern], writes={scores: blind})
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "GB520"
    assert "layer 1, head 2, query position 4, row 1" in diagnostic.label


def test_a_written_pattern_is_not_renormalised(tiny):
    pattern, z = SiteKey("attn.pattern", 0), SiteKey("attn.z", 0)
    plain = tiny.run(reads=[z])[z]
    halved = tiny.run(reads=[z], writes={pattern: lambda x: x / 2})[z]
    assert torch.allclose(halved, plain / 2, atol=1e-6)


def test_hooks_are_gone_after_a_failure(tiny):
    def fail(value):
        raise RuntimeError("from a write")

    for site in ("mlp.pre", "attn.scores", "resid_mid", "final_norm_scale"):
        key = tiny.keys(site)[0]
        with pytest.raises(RuntimeError, match="from a write"):
            tiny.run(reads=[SiteKey("logits")], writes={key: fail})
    modules = list(tiny.instrument.model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    assert not any("forward" in module.__dict__ for module in modules)
    assert torch.equal(tiny.logits(), tiny.oracle.logits(tiny.ids))


def test_what_does_not_exist_is_refused(tiny):
    layers = tiny.instrument.facts.n_layers
    for key in (
        SiteKey("resid_pre", layers),
        SiteKey("resid_pre"),
        SiteKey("logits", 0),
        SiteKey("nowhere", 0),
    ):
        with pytest.raises(ValueError, match="layer|site"):
            tiny.run(reads=[key])
    for absent in tiny.instrument.facts.absent:
        with pytest.raises(ValueError, match="no site"):
            tiny.run(reads=tiny.keys(absent, [0]))
