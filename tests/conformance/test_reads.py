"""What a site holds is what plain hooks on the untouched model find there."""

import torch

from glassbox_dsl.vocabulary.keys import SiteKey

CLOSE = 1e-4


def test_a_pass_without_edits_is_the_eager_model_bit_for_bit(subject):
    assert torch.equal(subject.logits(), subject.oracle.logits(subject.ids))


def test_reading_everything_changes_nothing(subject):
    assert torch.equal(
        subject.run(reads=subject.every_key())[SiteKey("logits")], subject.oracle.logits(subject.ids)
    )


def test_every_site_is_read_as_the_oracle_finds_it(subject):
    found = subject.oracle.read(subject.ids)
    keys = [
        key
        for name in subject.sites()
        for key in subject.keys(name, range(subject.instrument.facts.n_layers))
    ]
    assert {(key.site, key.layer) for key in keys} == set(found)
    got = subject.run(reads=keys)
    for key in keys:
        expected, value = found[key.site, key.layer], got[key]
        assert value.shape == expected.shape, key
        hidden = torch.isneginf(expected)
        assert torch.equal(torch.isneginf(value), hidden), key
        error = (value - expected).masked_fill(hidden, 0).abs() / expected.abs().masked_fill(
            hidden, 0
        ).amax().clamp(min=1)
        assert error.max() < 2e-5, (key, error.max())


def test_the_pattern_is_what_transformers_gives_out(subject):
    model = subject.oracle.model
    with torch.no_grad():
        given = model(subject.ids, output_attentions=True, use_cache=False).attentions
    keys = subject.keys("attn.pattern", range(len(given)))
    for key, value in subject.run(reads=keys).items():
        assert torch.equal(value, given[key.layer]), key


def test_logits_only_where_asked(subject):
    some = subject.logits(logit_positions=[3, 9])
    assert some.shape[1] == 2
    assert (some - subject.oracle.logits(subject.ids)[:, [3, 9]]).abs().max() < CLOSE


def test_unread_layers_above_do_not_run(tiny):
    ran = []
    hooks = [
        layer.attention.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, layer in enumerate(tiny.instrument.modules.layers)
    ]
    tiny.run(reads=[SiteKey("resid_post", 1)])
    assert ran == [0, 1]
    tiny.run(reads=[SiteKey("final_norm")])
    assert ran[2:] == list(range(tiny.instrument.facts.n_layers))
    for hook in hooks:
        hook.remove()
