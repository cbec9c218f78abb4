"""Equal cells of different runs and experiments are made once; unequal ones that look alike are not."""

import pytest

from glassbox_dsl.pipeline import explain_file
from tests.plan.small import DATA, checkpoint, write

SWEEP = """
experiment one {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure score = logit(patched, target)
}
"""
OTHER = """
experiment two {
  run moved[l: layer, at: pos in {1, last}] = forward(corrupt) { resid_pre[l, at] := clean }
  measure chance = prob(moved, target)
}
"""


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    checkpoint(tmp_path / "llama")

    def plan(text):
        found, _ = explain_file(write(tmp_path, DATA + text))
        return found.models[0].planned

    return plan


def test_cells_that_another_experiment_has_under_other_names_cost_nothing(planned):
    alone, both = planned(SWEEP), planned(SWEEP + OTHER)
    assert both.cells == alone.cells + 2 * 3 * 2 + 2  # and its own pass of `clean` on each item
    assert (both.rows, both.token_layers) == (alone.rows, alone.token_layers)


def test_what_a_second_run_reads_further_right_is_computed_for_both(planned):
    run = "run r[layer] = forward(corrupt) { resid_pre[layer, 1] := clean }"
    read = f"experiment two {{ {run}  record all = r.resid_post[-1, :] }}\n"
    early = f"experiment one {{ {run}  record some = r.resid_post[-1, 1] }}"
    alone, both = planned(read), planned(read + early)
    assert (both.rows, both.token_layers) == (alone.rows, alone.token_layers)


@pytest.mark.parametrize(
    ("value", "equal"),
    [
        ("mlp.out[layer, pos] := 0", True),
        ("mlp.out[layer, pos] := 1", False),
        ("mlp.out[layer, pos] *= 0", False),
        ("attn.out[layer, pos] := 0", False),
    ],
)
def test_computed_edits_are_equal_when_what_they_say_is(planned, value, equal):
    run = "run r[layer, pos] = forward(clean) {{ {} }}  measure score = logit(r, target)"
    first = f"experiment one {{ {run.format('mlp.out[layer, pos] := 0')} }}\n"
    alone, both = planned(first), planned(first + f"experiment two {{ {run.format(value)} }}")
    assert (both.rows == alone.rows) == equal


def test_a_swept_number_tells_cells_apart(planned):
    run = (
        "run r[a in [1, 2, 2.0]] = forward(clean) { mlp.out[1, last] *= a }  measure score = logit(r, target)"
    )
    # Two prompts of four tokens, and the last row of the two cells of each that differ.
    assert planned(f"experiment one {{ {run} }}").rows == 2 * (4 + 2)


def test_sources_that_differ_by_an_edit_make_other_cells(planned):
    text = """
    experiment one {
      run base[a in [0, 1]] = forward(clean) { mlp.out[0, 1] := a }
      run patched[a in [0, 1]] = forward(corrupt) { resid_pre[2, 1] := base[a] }
      measure score = logit(patched, target)
    }
    """
    alone, both = planned(text), planned(text + text.replace("one", "two"))
    assert both.cells == 2 * alone.cells and both.rows == alone.rows
    assert alone.rows == 2 * (2 * 4 - 1 + 2 * 3 + 2 * 3)  # the prompts begin with one token alike


def test_samples_of_a_scrubbed_stream_are_cells_of_their_own(planned):
    text = """
    experiment e {
      hypothesis h {
        node out = logits
        node late = mlp.out[2] -> out agree a
      }
      run s = scrub(clean, h, samples: 6, seed: 0)
      measure m = loss(s)
    }
    """
    # The prompts of both items, and all positions of each of six samples.
    assert planned(text).rows == 2 * 4 + 6 * 4
