"""Every side of the benchmarks computes the same numbers: on tiny random models, whatever peers are installed."""

import importlib.util
import json
import re
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks import measure
from benchmarks.bound import LinearLayers, patched_rows
from benchmarks.glassbox_side import FOLDER, WORKLOADS, Glassbox
from benchmarks.measure import Apart, Timed, compare, in_turns, prepared, sampled
from benchmarks.sides import PEERS, sides_of
from benchmarks.task import Task
from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.run.tiny import tiny_model

LAYERS = 3
SHORT = [
    name for name in WORKLOADS if name != "long"
]  # `long` is `resid` on prompts that a test need not run


def tokenizer() -> Tokenizer:
    """Byte-level BPE in which each word of the workloads is one token."""
    words = {
        word
        for path in FOLDER.glob("*.gbx")
        for word in re.findall(r"[A-Za-z]+|[.,:]", path.read_text(encoding="utf-8"))
    }
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator([f" {word}" for word in sorted(words)] * 2, trainer)
    return made


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp(request.param) / "model"
    made.mkdir()
    tokens = tokenizer()
    tokens.save(str(made / "tokenizer.json"))
    (made / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    config = tiny_config(family(request.param), LAYERS, tokens.get_vocab_size())
    tiny_model(config, seed=3).save_pretrained(made)
    return made


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the products are tiny
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def glassbox(folder):
    made = {}

    def of(name: str) -> Glassbox:
        if name not in made:
            instrument = next(iter(made.values())).instrument if made else None
            made[name] = Glassbox(name, f'local("{folder}")', instrument, draw=3 if name == "items" else None)
        return made[name]

    return of


@pytest.fixture(scope="module", params=["hooks", *PEERS])
def peers(request, folder):
    if request.param != "hooks" and importlib.util.find_spec(PEERS[request.param]) is None:
        pytest.skip(f"{PEERS[request.param]} is not installed; `make bench` has an environment with it")
    return sides_of(request.param, folder)


@pytest.mark.parametrize("name", SHORT)
def test_every_side_has_the_values_of_glassbox(name, peers, glassbox):
    ours = glassbox(name)
    values = ours.run()
    assert values.shape == (*ours.task.base.shape[:1], LAYERS, len(ours.task.cells))
    assert values.isfinite().all() and values.std() > 1e-3
    for side in peers:
        if not side.refuses(ours.task):
            theirs = side.run(ours.task, range(LAYERS))
            assert (values - theirs).abs().max() < 1e-4, side.name
            if ours.task.site != "lens":
                assert torch.allclose(side.run(ours.task, [2]), theirs[:, 2:], atol=1e-5), side.name


def test_the_subject_is_spoiled_in_tracing(glassbox):
    task = glassbox("tracing").task
    assert task.subject and (task.base[:, list(task.subject)] != task.spoiled[:, list(task.subject)]).all()
    assert (glassbox("tracing").run()[0, 0] != glassbox("tracing").run()[0, 0, -1]).any()


def test_sampled_layers_are_spread_over_the_model():
    assert list(sampled(range(30), seconds_per_layer=1.0, limit=100)) == list(range(30))
    assert list(sampled(range(30), seconds_per_layer=10.0, limit=30)) == [0, 14, 29]
    assert list(sampled(range(30), seconds_per_layer=1000.0, limit=30)) == [15]
    assert list(sampled([0, 14, 29], seconds_per_layer=10.0, limit=25)) == [0, 29]


def test_sides_take_turns_until_they_have_had_their_time():
    order = []
    fast, slow = (Timed(name, 3, range(3)) for name in ("fast", "slow"))
    slow.seconds = [2.0]
    in_turns([(fast, lambda: order.append("fast")), (slow, lambda: order.append("slow"))], 3, limit=1.0)
    assert order == ["fast", "slow", "fast", "slow", "fast", "slow"]
    slow.seconds = [3.0]
    in_turns([(slow, lambda: order.append("late"))], 3, limit=1.0)
    assert "late" not in order


def test_values_that_differ_stop_the_run():
    ours = torch.zeros(1, 3, 2)
    theirs = ours.clone()
    theirs[0, 1] = 0.01
    timed = Timed("side", 3, range(3))
    compare(timed, theirs, ours, [0, 2])
    assert timed.difference == 0
    with pytest.raises(Apart, match=r"side: values lie 0\.01 from"):
        compare(timed, theirs, ours, range(3))
    theirs[0, 1] = torch.nan
    with pytest.raises(Apart):
        compare(timed, theirs, ours, range(3))


def test_a_sample_of_layers_stands_for_all_of_them():
    timed = Timed("side", n_layers=30, layers=[0, 14, 29], fixed=1.0, seconds=[7.0, 4.0, 5.0])
    timed.fixed_cpu, timed.cpu = 0.5, [2.5, 2.0]
    assert timed.least_cpu == 0.5 + 1.5 * 10
    assert timed.lowest == 1.0 + 3.0 * 10
    assert timed.median == 1.0 + 4.0 * 10
    assert Timed("side", n_layers=3, layers=[0, 1, 2], fixed=1.0, seconds=[7.0]).lowest == 7.0


def test_the_bound_counts_rows_behind_the_first_difference(folder, glassbox):
    task = glassbox("resid").task
    differs = (task.base != task.source)[0]
    first, length = int(differs.nonzero()[0]), len(differs)
    own = sum(length - p for p in range(first, length))
    rows = patched_rows(task)
    assert rows[0] == 2 * length - first + sum(length - p for p in range(length) if differs[p])
    assert [b - a for a, b in zip(rows, rows[1:], strict=False)] == [own] * (LAYERS - 1)
    model = glassbox("resid").instrument.model
    bound = LinearLayers(model, rows, logit_rows=5, vocab_rows=2)
    bound.run()
    assert not LinearLayers(model, [0] * LAYERS, 0, 0).products
    *layers, unembedding = [len(entered) for _, entered in bound.products]
    per_layer = len(layers) // LAYERS
    assert (
        unembedding == 5 and layers == [n for n in rows[:-1] for _ in range(per_layer)] + layers[-per_layer:]
    )
    assert sorted(layers[-per_layer:]) == sorted([rows[-1]] * 2 + [min(rows[-1], 5)] * (per_layer - 2))


def test_a_slow_side_runs_the_first_items_and_is_scaled_to_all(monkeypatch):
    now = [0.0]

    def clock() -> float:
        return now[0]

    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=clock, process_time=clock))

    class Slow:
        name = "slow"

        def run(self, task, layers):
            now[0] += len(task.base) * (0.5 + len(layers))
            return torch.full((len(task.base), len(layers), len(task.cells)), 2.0)

    ids = torch.zeros(8, 3, dtype=torch.long)
    task = Task("t", "resid_pre", ids, ids, ids[:, 0], None, n_layers=6, cells=(0, 1))
    timed, values = prepared(Slow(), task, range(6), limit=4.6)
    assert timed.items == 3 and timed.layers == [3] and timed.share == "1 of 6, 3 of 8 items"
    assert values[:3, 3].eq(2).all() and values[3:].isnan().all()
    in_turns([(timed, lambda: Slow().run(task.first(3), timed.layers))], 2, 4.6)
    assert timed.lowest == pytest.approx(8 * 6.5)
    whole, _ = prepared(Slow(), task, range(6), limit=100)
    assert whole.items == 8 and whole.share == "6 of 6"
    among, _ = prepared(Slow(), task, range(6), limit=100, items=2)
    assert among.items == 2
