"""The checks that a model passes before it is trusted, and what they say of one that is broken."""

import pytest
import torch

from glassbox_dsl.resolve.facts import facts_from_config
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.run.delta import queried
from glassbox_dsl.run.instrument import Instrument
from glassbox_dsl.run.tiny import tiny_model
from glassbox_dsl.run.verify import verify


def instrument(name):
    config = tiny_config(family(name))
    return Instrument(tiny_model(config, 0), facts_from_config(config, name), family(name))


@pytest.mark.parametrize("name", ["gemma3_text", "gpt2", "llama"])
def test_a_tiny_model_passes(name):
    checks = verify(instrument(name))
    assert [c for c in checks if not c.ok] == []
    assert {c.name for c in checks} == {"T1", "T2", "T3", "T4", "T6", "T7", "T4 pack", "T5 pack", "T7 pack"}
    assert {c.site for c in checks} >= {"resid_pre", "attn.z", "attn.pattern", "mlp.post", "logits"}


def test_a_layer_that_looks_ahead_fails_causality():
    broken = instrument("llama")
    layer = broken.modules.layers[0].layer
    layer.register_forward_hook(lambda m, i, o: o + o.mean(1, keepdim=True))
    assert "T3" in {c.name for c in verify(broken) if not c.ok}


def test_a_layer_that_is_skipped_fails_the_order():
    broken = instrument("llama")
    layer = broken.modules.layers[1].layer
    layer.forward = layer.forward  # keeps the module; calling it twice is what is broken
    original = broken.modules.layers[0].layer.forward

    def twice(hidden_states, *args, **kwargs):
        layer(hidden_states, *args, **kwargs)
        return original(hidden_states, *args, **kwargs)

    broken.modules.layers[0].layer.forward = twice
    assert "T2" in {c.name for c in verify(broken) if not c.ok}


def test_another_attention_than_eager_fails_the_comparison():
    broken = instrument("llama")
    norm = broken.modules.final_norm.module
    calls = []

    def drift(module, args, output):
        calls.append(1)
        return output * (1 + 0.01 * (len(calls) > 1))

    norm.register_forward_hook(drift)
    assert "T1" in {c.name for c in verify(broken) if not c.ok}


def test_a_model_that_gives_nan_is_not_trusted():
    broken = instrument("llama")
    broken.modules.final_norm.module.register_forward_hook(lambda m, i, o: o * torch.nan)
    assert not all(c.ok for c in verify(broken) if c.name == "T1")


def test_nan_in_one_site_fails_its_equation():
    broken = instrument("llama")
    attention = broken.modules.layers[1].attention
    attention.register_forward_hook(
        lambda m, i, o: (torch.where(o[0] == o[0].max(), torch.nan, o[0]), *o[1:])
    )
    failed = {c.site for c in verify(broken) if not c.ok and c.name == "T7"}
    assert {"resid_post", "attn.result"} <= failed


def test_a_family_file_that_points_at_the_wrong_module_fails_the_sum():
    whole = instrument("gemma3_text")
    spots = {**whole.family.sites, "attn.out": whole.family.sites["attn.out_raw"]}
    wrong = whole.family.changed(sites=spots)
    checks = verify(Instrument(whole.model, whole.facts, wrong))
    assert {(c.name, c.site) for c in checks if not c.ok} == {("T7", "resid_post")}


def test_a_site_that_reads_but_does_not_write_is_named():
    whole = instrument("gpt2")
    deaf = Instrument(whole.model, whole.facts, whole.family)
    forward = deaf.forward

    def without_queries(ids, *, writes=None, **wanted):
        kept = {key: write for key, write in (writes or {}).items() if key.site != "attn.q"}
        return forward(ids, writes=kept, **wanted)

    deaf.forward = without_queries
    failed = [c for c in verify(deaf) if not c.ok]
    assert {c.name for c in failed} == {"T7", "T7 pack"}  # a pack, which does write, differs from it
    assert {c.site for c in failed if c.name == "T7 pack"} == {"attn.q"}


def test_a_layer_whose_projections_depend_on_what_it_is_called_with_fails_the_queried_rows(monkeypatch):
    split = queried.QueriedAttention.__call__

    def of_the_second_call(self, tap, inputs):
        split(self, tap, inputs)
        return inputs.query

    monkeypatch.setattr(queried.QueriedAttention, "__call__", of_the_second_call)
    failed = [c for c in verify(instrument("llama")) if not c.ok]
    assert [(c.name, c.detail) for c in failed] == [
        ("T4 pack", "the last layer for queried rows against apart")
    ]
