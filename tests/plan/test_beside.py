"""What is made beside the packs, counted by hand: gradients, estimates, generated text, scrubbed streams."""

import pytest

from glassbox_dsl.pipeline import explain_file
from tests.plan.small import DATA, checkpoint, write
from tests.plan.test_program_plan import D_MODEL, KEY_FLOPS, LAYER_FLOPS, LAYERS, TOKENS

KEYS = 1 + 2 + 3 + 4
FORWARD = LAYERS * (TOKENS * LAYER_FLOPS + KEY_FLOPS * KEYS)
BACK = LAYERS * (TOKENS * LAYER_FLOPS + 2 * KEY_FLOPS * KEYS)
ITEMS = 2


@pytest.fixture
def beside(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    vocabulary = checkpoint(tmp_path / "llama")

    def plan(text, data=DATA):
        found, _ = explain_file(write(tmp_path, f"{data}experiment e {{\n{text}\n}}"))
        assert found.models[0].seconds_beside > 0
        return found.models[0].beside, 2 * D_MODEL * vocabulary

    return plan


def test_a_gradient_is_a_pass_forward_and_a_pass_back(beside):
    (one,), logits = beside("measure m = norm(grad(logit(clean, target), clean.resid_pre[1, last]))")
    assert (one.executor, one.passes, one.back) == ("hooked", ITEMS, ITEMS)
    assert one.token_layers == 2 * ITEMS * TOKENS * LAYERS
    assert one.flops == ITEMS * (FORWARD + BACK + 2 * logits)


@pytest.mark.parametrize(
    ("method", "gradients"),
    [("gradient", 1), ("integrated_gradients, steps: 5, along: cells", 1 + 5 * 2)],
)
def test_an_estimate_costs_its_gradients_however_many_cells_it_has(beside, method, gradients):
    text = f"""run r[l: layer in {{0, 2}}, pos] = forward(corrupt) {{ resid_pre[l, pos] := clean }}
    measure m = estimate(logit(r, target), method: {method})"""
    (one,), logits = beside(text)
    assert (one.passes, one.back) == (gradients * ITEMS, gradients * ITEMS)
    assert one.flops == gradients * ITEMS * (FORWARD + BACK + 2 * logits)


def test_generated_text_costs_each_new_token_but_the_last(beside):
    text = "run g = generate(clean, max_new_tokens: 3)\nmeasure t = text(g)"
    (one,), logits = beside(text)
    keys = sum(range(1, TOKENS + 3))
    assert (one.passes, one.token_layers) == (ITEMS * 3, ITEMS * (TOKENS + 2) * LAYERS)
    assert one.flops == ITEMS * (LAYERS * ((TOKENS + 2) * LAYER_FLOPS + KEY_FLOPS * keys) + 3 * logits)


def test_scrubbing_costs_the_items_and_a_layer_for_each_instance(beside):
    text = """
    hypothesis h {
      node out = logits
      node late = mlp.out[2] -> out
      node early = mlp.out[0] -> late
    }
    run s = scrub(clean, h, samples: 6, seed: 0)
    measure m = loss(s)"""
    (one,), _ = beside(text)
    # Each sample: `late` runs its layer once on what `early` puts out; the root only adds up, `early` is looked up.
    assert one.passes == ITEMS + 6
    assert one.token_layers == ITEMS * TOKENS * LAYERS + 6 * TOKENS
    assert one.flops == ITEMS * FORWARD + 6 * FORWARD // LAYERS


def test_plain_sweeps_have_nothing_beside_the_packs(beside, tmp_path):
    found, _ = explain_file(write(tmp_path, DATA + "experiment e { measure m = logit(clean, target) }"))
    assert found.models[0].beside == []
