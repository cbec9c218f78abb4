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


HEADS = 6
REACHES = [
    (layer, 1 + layer * (HEADS + 1) + (HEADS if port == "mlp" else 0))
    for layer in range(LAYERS) for port in ("q", "k", "v", "mlp") for _ in range(1 if port == "mlp" else HEADS)
] + [(LAYERS, 1 + LAYERS * (HEADS + 1))]  # fmt: skip
"""Of everything that reads the stream: its layer, and how many senders come before it."""
EDGES = sum(reach for _, reach in REACHES)


def test_edges_are_scored_once_however_many_circuits_are_kept(beside):
    text = """circuit c[k in [3, 5]] = eap_ig(ld, clean: clean, corrupt: corrupt, edges: k, steps: 4)
    run kept[k in [3, 5]] = forward(clean) { keep c, else corrupt }
    measure m = logit(kept, target)"""
    (scored, kept), _ = beside(text, DATA + "metric ld(r) = logit(r, target)")
    assert scored.name == "circuit `c`" and f"{EDGES:,} edges" in scored.reason
    assert (scored.passes, scored.back) == ((2 + 4) * ITEMS, 4 * ITEMS)
    assert scored.token_layers == (2 + 2 * 4) * ITEMS * TOKENS * LAYERS
    assert scored.flops > ITEMS * (2 * FORWARD + 4 * (FORWARD + BACK))
    # The other run is made once for both circuits.
    assert (kept.name, kept.passes, kept.token_layers) == ("edges of `kept`", ITEMS, ITEMS * TOKENS * LAYERS)


def test_edges_tried_one_by_one_take_a_pass_from_their_layer_on_for_every_item(beside):
    text = """circuit c[t in [0.1, 0.2]] = acdc(ld, clean: clean, corrupt: corrupt, threshold: t)
    measure n = size(c)"""
    (one,), _ = beside(text, DATA + "metric ld(r) = logit(r, target)")
    assert (one.passes, one.back) == (2 * EDGES * ITEMS, 0)
    climbed = sum(reach * (LAYERS - layer) for layer, reach in REACHES)
    assert one.token_layers == 2 * climbed * ITEMS * TOKENS


def test_a_lens_is_trained_on_the_models_end_alone(beside):
    text = """fit lens[layer] = tuned_lens(clean.resid_post[layer], steps: 7)
    measure m = score(lens)"""
    (one,), logits = beside(text)
    states, train = ITEMS * TOKENS, round(0.7 * ITEMS * TOKENS)
    assert (one.passes, one.back, one.token_layers) == (0, 0, 0)
    assert one.flops == LAYERS * logits * (2 * 7 * train + 5 * states)


def test_a_subspace_is_trained_from_its_layer_and_position_on(beside):
    text = """fit axis[layer in {0, 2}] = das(base: clean.resid_post[layer, a], source: corrupt.resid_post[layer, b],
      answer: target, dim: 1, steps: 9, test: 0.5)
    measure m = score(axis)"""
    (one,), _ = beside(text)
    train = 1
    assert one.back == 2 * 9 * train and one.passes == 2 * (9 * train + 3 * ITEMS - train)
    assert one.token_layers == 2 * 9 * train * (LAYERS + (LAYERS - 2)) * (TOKENS - 1)


def test_a_jacobian_goes_back_from_every_coordinate(beside):
    text = """fit map = jacobian(from: clean.resid_post[1, last], to: clean.resid_post[-1, last], test: 0.5)
    measure m = score(map)"""
    (one,), _ = beside(text)
    assert (one.passes, one.back) == (2, D_MODEL)
    assert one.token_layers == TOKENS * (2 * LAYERS + D_MODEL * (LAYERS - 1))


def test_plain_sweeps_have_nothing_beside_the_packs(beside, tmp_path):
    found, _ = explain_file(write(tmp_path, DATA + "experiment e { measure m = logit(clean, target) }"))
    assert found.models[0].beside == []
