"""Runs in bfloat16 against the untouched model in bfloat16 with plain hooks: no further off than its own rounding."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from glassbox_dsl.run import session as sessions
from tests.semantics.conftest import TECHNIQUES, outcome
from tests.semantics.tables import EVEN

TRIED_ON = TECHNIQUES
TEXT = """experiment e {
  run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
  measure plain = logit(clean, yes)
  measure m = logit(patched, yes)
}
"""


def layers_of(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))


@torch.no_grad()
def logits(model, ids, *hooks):
    """The last logits under hooks (module, change of its arguments)."""
    handles = [module.register_forward_pre_hook(change) for module, change in hooks]
    try:
        return model(torch.tensor([list(ids)]), use_cache=False).logits[0, -1].float()
    finally:
        for handle in handles:
            handle.remove()


def expected(fam, model):
    """Every cell of both measures, by hooks on an untouched model."""
    found = {}
    layers = layers_of(model)
    for item in EVEN.items(fam):
        yes = fam.speak.one(" " + item.row["a"])
        states = {}

        def keep(n, states=states):
            return lambda _, args: states.__setitem__(n, args[0].clone())

        base = logits(model, item.clean, *((layer, keep(n)) for n, layer in enumerate(layers)))
        found["plain", item.number] = float(base[yes])
        for n, layer in enumerate(layers):
            for pos in range(len(item.clean)):

                def put(_, args, n=n, pos=pos, states=states):
                    x = args[0].clone()
                    x[:, pos] = states[n][:, pos]
                    return (x, *args[1:])

                found["m", item.number, n, pos] = float(logits(model, item.corrupt, (layer, put))[yes])
    return found


@pytest.mark.parametrize("executor", ["delta", "hooked"])
def test_no_further_off_than_the_model_itself(fam, executor, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "verified", lambda *_: ())
    monkeypatch.setattr(sessions.Session, "executor", executor)
    path = tmp_path / "test.gbx"
    path.write_text(f'gbx 1\nmodel {fam.name} = local("{fam.folder}", dtype: bfloat16)\n{EVEN.text}{TEXT}')
    found = outcome(path)
    halves = AutoModelForCausalLM.from_pretrained(
        fam.folder, attn_implementation="eager", dtype=torch.bfloat16
    ).eval()
    right, rounded = expected(fam, fam.plain), expected(fam, halves)
    got = {(m, *key[1:]): v for m in ("plain", "m") for key, v in found.values[m].items()}
    assert got.keys() == right.keys()

    def apart(a, b):
        return torch.tensor([a[k] - b[k] for k in right]).abs()

    own = apart(rounded, right)
    assert own.max() > 1e-4, "the model really ran in bfloat16"
    assert apart(got, right).mean() < 2 * own.mean() and apart(got, right).max() < 2 * own.max()
    moved = torch.tensor([right[k] - right["plain", k[1]] for k in right if k[0] == "m"]).abs().max()
    assert moved > 20 * own.mean(), "what is measured is far larger than rounding"
