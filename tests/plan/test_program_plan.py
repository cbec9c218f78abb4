"""Plans of small files, their counts worked out by hand."""

import json
import time
from types import SimpleNamespace

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.pipeline import check_file, explain_file
from glassbox_dsl.plan.actual import note_speeds
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.program_plan import plan_program
from glassbox_dsl.plan.room import parse_bytes, shown_bytes
from glassbox_dsl.plan.speed import note_speed, speed_of
from glassbox_dsl.plan.tally import Tally
from glassbox_dsl.resolve.bundled import bundled_models
from glassbox_dsl.resolve.facts import facts_from_config
from tests.plan.small import DATA, PATCHING, checkpoint, write

D_MODEL, LAYERS, TOKENS = 24, 3, 4
LAYER_FLOPS = 2 * (D_MODEL * 8 * (6 + 6 + 2 + 2) + 3 * D_MODEL * 40)
PROJECTION_FLOPS = 2 * D_MODEL * 8 * (6 + 2 + 2)
KEY_FLOPS = 4 * 6 * 8


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path / "cache"))
    vocabulary = checkpoint(tmp_path / "llama")

    def plan(text: str, **options):
        found, _ = explain_file(write(tmp_path, text), **options)
        (model,) = found.models
        return model, vocabulary

    return plan


def test_a_patching_sweep_is_counted_as_by_hand(planned):
    model, vocabulary = planned(PATCHING)
    clean, patched = sorted(model.runs, key=lambda r: r.run)
    # 3 layers x 4 positions x 2 items. The prompts share one token: setting position 0 changes nothing.
    assert (clean.cells, patched.cells, patched.shape) == (2, 24, {"layer": 3, "pos": 4})
    assert (clean.noops, patched.noops) == (0, 6)
    assert model.prompts == 4 and model.exact
    # A cell at (layer, pos) owns the rows from pos to the end, from its layer up: 6 rows over pos 1 to 3, in 3 + 2 + 1
    # layers; one prompt owns all of its rows, the other all but the first, which is the same. All of these leave the
    # first two layers; of the last one, the last row of 9 cells and of the prompt that the others are. That of
    # the other prompt is read by nobody, it was copied below.
    prompts = 2 * TOKENS - 1
    per_item = (prompts + 6) + (prompts + 2 * 6) + 10
    assert model.planned.token_layers == 2 * per_item == 84
    assert model.planned.rows == 2 * (prompts + 3 * 6) == 50
    assert (model.planned.packs, model.planned.layer_calls, model.planned.passes) == (2, 6, 26)
    # Attention of both prompts in two layers, of cells from positions 1 to 3, and of the ten rows in the last layer.
    keys = 2 * (2 * (1 + 2 + 3 + 4) - 1) + (9 + 7 + 4) * (1 + 2) + 10 * TOKENS
    projected = PROJECTION_FLOPS * (TOKENS + 3 * 6)
    logits = 2 * D_MODEL * 10
    assert model.planned.flops == LAYER_FLOPS * 84 + 2 * (KEY_FLOPS * keys + projected + logits)


def test_the_naive_count_is_a_full_pass_for_every_cell(planned):
    model, vocabulary = planned(PATCHING)
    assert (model.naive.passes, model.naive.token_layers) == (26, 26 * TOKENS * LAYERS)
    one_pass = LAYERS * (TOKENS * LAYER_FLOPS + KEY_FLOPS * (1 + 2 + 3 + 4))
    assert model.naive.flops == 26 * one_pass + 24 * 2 * D_MODEL * vocabulary


def test_kept_results_are_what_is_allocated(planned):
    record = "experiment keeping { record all = clean.resid_pre[:, :] }"
    model, _ = planned(DATA + record)
    assert model.kept_bytes == 2 * LAYERS * TOKENS * D_MODEL * 4


def test_conditions_that_need_the_model_count_every_item(tmp_path, planned):
    text = PATCHING.replace("answer target  =", "keep where correct(clean, target)\n  answer target  =")
    found, _ = explain_file(write(tmp_path, text))
    assert found.notes == ("all items of `words` are counted: the model decides which are kept",)
    assert {r.experiment for r in found.models[0].runs} == {"keep words", "patching"}


def test_parameters_are_those_of_the_checkpoints():
    gpt2 = facts_from_config({"model_type": "gpt2"}, "gpt2")
    assert ModelCost(gpt2).parameters == pytest.approx(124_439_808, rel=0.01)
    config = bundled_models()["smollm2-135m"].config_file.read_text("utf-8")
    smol = ModelCost(facts_from_config(json.loads(config), "smol"), "bfloat16")
    assert smol.parameters == pytest.approx(134_515_008, rel=0.01)
    assert smol.weight_bytes == 2 * smol.parameters


def test_sets_from_results_are_supposed(tmp_path, planned):
    text = PATCHING.replace(
        "  measure score",
        """  let best = largest(mean(logit(patched, target), over: {item}), k: 3)
  run again[(layer, pos) in best] = forward(corrupt) { resid_mid[layer, pos] := clean }
  measure more = logit(again, target)
  measure score""",
    )
    found, _ = explain_file(write(tmp_path, text))
    again = next(r for r in found.models[0].runs if r.run == "again")
    assert (again.cells, again.stage) == (3 * 2, 1)
    assert len(found.notes) == 1 and found.notes[0].startswith("sets from results")


def test_packs_behind_the_first_are_reckoned(planned, monkeypatch):
    rows = ", ".join(f'{{a: "{a}", b: "{b}"}}' for a in ("red", "green") for b in ("blue", "black", "home"))
    text = PATCHING.replace('{a: "red", b: "blue"}, {a: "green", b: "black"}', rows)
    monkeypatch.setattr("glassbox_dsl.plan.packing.ROWS", 60)
    exact, _ = planned(text)
    monkeypatch.setattr(plan_program, "__defaults__", (None, 2))
    about, _ = planned(text)
    assert exact.exact and not about.exact
    assert about.planned.cells == exact.planned.cells == 6 * 13
    assert sum(r.noops for r in about.runs) == sum(r.noops for r in exact.runs) == 6 * 3
    assert about.planned.token_layers == pytest.approx(exact.planned.token_layers, rel=0.1)


def test_a_budget_makes_packs_smaller_and_names_the_cell_that_does_not_fit(planned):
    free, _ = planned(PATCHING)
    whole = free.cost.weight_bytes + free.kept_bytes
    tight, _ = planned(PATCHING, memory=whole + 400_000)
    assert free.budget_rows is None and 1 < tight.budget_rows < 4096
    assert tight.peak_bytes <= whole + 400_000
    with pytest.raises(Findings) as raised:
        planned(PATCHING, memory=whole + 2000)
    (problem,) = raised.value.diagnostics
    assert problem.code == "GB546" and problem.span is not None
    assert "`patched[layer=0, pos=0]` of item 0" in problem.label or "`clean`" in problem.label


def test_a_sweep_beyond_all_patience_is_refused_at_once(planned, tmp_path):
    names = ", ".join(f"n{i}: neuron" for i in range(6))
    every = ", ".join(f"n{i}" for i in range(6))
    text = DATA + (
        f"experiment huge {{\n  run patched[{names}] = forward(corrupt) {{ mlp.post[0, {{{every}}}, last] := clean }}\n"
        "  measure score = logit(patched, target)\n}\n"
    )
    began = time.process_time()
    found = check_file(write(tmp_path, text))
    assert [d.code for d in found] == ["GB545"]
    assert f"{2 * 40**6:,} cells" in found[0].headline and found[0].span.text.startswith("run patched")
    with pytest.raises(Findings):
        planned(text)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("text", "n"), [("8GiB", 8 * 2**30), ("500MB", 500_000_000), ("1.5 gib", 3 * 2**29), ("1024", 1024)]
)
def test_amounts_of_memory(text, n):
    assert parse_bytes(text) == n


@pytest.mark.parametrize("text", ["", "8 GiB of it", "-1GiB", "8XB", "nan"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(ValueError):
        parse_bytes(text)


def test_bytes_are_shown_in_their_unit():
    assert [shown_bytes(n) for n in (5, 2048, 3 * 2**20, 5 * 2**40)] == [
        "5 B",
        "2.0 KiB",
        "3.0 MiB",
        "5,120.0 GiB",
    ]


def test_one_slow_run_among_others_does_not_set_the_speed(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path))
    for seconds in (10.0, 11.0, 500.0, 10.5, 9.0):
        note_speed("cpu", "float32", 10**12, seconds)
    assert speed_of("cpu", "float32").flops_per_second == pytest.approx(10**12 / 10.5)
    for _ in range(3):  # a machine that has become faster
        note_speed("cpu", "float32", 10**12, 2.0)
    assert speed_of("cpu", "float32").flops_per_second == pytest.approx(5 * 10**11)


def test_the_seconds_of_climbs_alone_tell_the_speed(tmp_path, monkeypatch):
    """A fit or a circuit may take most of a run's time and counts none of these FLOPs."""
    monkeypatch.setenv("GBX_CACHE", str(tmp_path))
    plan = SimpleNamespace(models=[SimpleNamespace(model="m", speed=speed_of("cpu", "float32"))])
    note_speeds(plan, {"m": Tally(flops=10**13, seconds=1000.0, climbed=10**12, climbing=4.0)})
    assert speed_of("cpu", "float32").flops_per_second == pytest.approx(2.5 * 10**11)


def test_the_speed_of_a_run_is_remembered_and_a_broken_file_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("GBX_CACHE", str(tmp_path))
    assert not speed_of("cpu", "float32").measured
    note_speed("cpu", "float32", 10**12, 0.01)  # too short to say anything
    assert not speed_of("cpu", "float32").measured
    note_speed("cpu", "float32", 10**12, 2.0)
    seen = speed_of("cpu", "float32")
    assert seen.measured and seen.flops_per_second == 5e11
    for broken in ("", "[]", '{"flops_per_second": 3}', '{"flops_per_second": {"cpu float32": "x"}}'):
        (tmp_path / "speed.json").write_text(broken)
        assert not speed_of("cpu", "float32").measured
