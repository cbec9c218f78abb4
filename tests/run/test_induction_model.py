"""The script that trains a small attention-only model: the same weights each time, a checkpoint that files can name."""

import importlib.util
from pathlib import Path

import pytest
import torch

from glassbox_dsl.pipeline import check_file

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_induction", TOOLS / "train_induction.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_training_is_the_same_each_time_and_mlps_stay_out_of_it(script):
    one, other = (script.train(3)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(
        float(p.detach().abs().max()) == 0 for block in one.transformer.h for p in block.mlp.parameters()
    )
    fresh = script.model()
    assert not torch.equal(one.transformer.wte.weight, fresh.transformer.wte.weight)


def test_what_comes_before_gives_away_what_is_counted_and_nothing_else(script):
    ids, given = script.batch(50, torch.Generator().manual_seed(1))
    assert ids.shape == (50, script.LENGTH) and given.shape == (50, script.LENGTH - 1)
    for row, told in zip(ids.tolist(), given.tolist(), strict=True):
        for place, is_given in enumerate(told):
            pair = (row[place], row[place + 1])
            earlier = [(row[i], row[i + 1]) for i in range(1, place)]
            assert is_given == (place > 0 and pair in earlier)
    assert 0.2 < float(given.float().mean()) < 0.9


def test_the_checkpoint_is_one_that_a_file_can_name(script, tmp_path):
    script.keep(script.train(2)[0], tmp_path / "induction-2l")
    text = (TOOLS / "induction_small.gbx").read_text(encoding="utf-8")
    (tmp_path / "small.gbx").write_text(text, encoding="utf-8")
    assert [d.code for d in check_file(tmp_path / "small.gbx")] == []
