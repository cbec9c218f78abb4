"""Near-identical files: what may change a number changes its key, what cannot leaves it."""

import json
import shutil

import pytest

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.language.file import read_program
from glassbox_dsl.plan.canonical import written
from glassbox_dsl.plan.content import Contents, model_key
from glassbox_dsl.plan.contexts import contexts
from glassbox_dsl.plan.data_arrays import DataArrays
from glassbox_dsl.plan.demand import demand
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.resolve.cells import Sizes
from glassbox_dsl.resolve.program import resolve_facts, resolve_items
from glassbox_dsl.run.fetch import prepare

TEXT = """data d {
  rows [{a: "Anna", b: "Bob"}, {a: "Eve", b: "Carla"}, {a: "Bob", b: "Eve"}]
  prompt clean = "When {a} and {b} went, {c: a} gave a"
  prompt corrupt = "When {a} and {b} went, {c: b} gave a"
  answer yes = " {a}"
  answer no = " {b}"
}
experiment e {
  let centre[layer] = mean(clean.mlp.out[layer, last], over: item)
  run inner = forward(clean) { mlp.out[1, last] *= 2 }
  run patched[layer in {0, 1}, pos in {c, last}] = forward(corrupt) { resid_pre[layer, pos] := inner }
  run meant[layer in {0, 1}] = forward(corrupt) { mlp.out[layer, last] := centre[layer] }
  run shaken[layer in {0, 1}] = forward(corrupt) { resid_pre[layer, last] += noise(scale: 0.5, seed: 1) }
  run other[layer in {0, 1}] = forward(corrupt) { resid_pre[layer, last] := resample(clean.embed[last], seed: 2) }
  measure p = logit(patched, yes)
  measure m = logit(meant, yes)
  measure s = logit(shaken, yes)
  measure o = logit(other, yes)
}
"""
SWEPT = ("patched", "meant", "shaken", "other")


@pytest.fixture
def keys(tmp_path, checkpoint):
    """The keys of a text: those of every reading of a run, and those of contexts."""

    def found(text: str, folder=checkpoint, dtype="float32", run="patched"):
        path = tmp_path / "test.gbx"
        path.write_text(f'gbx 1\nmodel m = local("{folder}", dtype: {dtype})\n{text}')
        program, problems = read_program(path)
        assert program is not None, problems
        resolved = resolve_facts(program)
        files = {m.name: prepare(m, print) for m in program.models}
        tables = resolve_items(resolved, files=files).tables
        models = {m.name: model_key(m, files[m.name], resolved.facts[m.name]) for m in program.models}
        contents = Contents(program, models, dict(tables))
        experiment = program.experiments[0]
        arrays = DataArrays(tables["d", "m"])
        setting = Setting(
            experiment, "m", "d", arrays, Sizes(resolved.facts["m"], arrays.n_items, arrays.longest, "m")
        )
        wanted = demand(experiment, [v for v in experiment.values if v.kind != "let"], setting).steps[run]
        job = Job(setting, wanted, None, 0)
        own = contents.of_job(job)
        cells, items = job.made.nonzero()
        readings = {
            (name, what_key.tobytes())
            for (number, what), name in own.names.items()
            for what_key in own.of(number, what, cells, items)
        }
        assert len(readings) == len(cells) * len(own.names), "no two cells share a key"
        return readings, {contents.of_context(experiment, m, d) for _, m, d in contexts(program)}

    return found


CHANGES = {
    "source's edit": ("*= 2", "*= 3", ("patched",)),
    "site": ("resid_pre[layer, pos] := inner", "resid_post[layer, pos] := inner", ("patched",)),
    "operator": ("resid_pre[layer, last] += noise", "resid_pre[layer, last] -= noise", ("shaken",)),
    "source": (":= inner }", ":= clean }", ("patched",)),
    "prompt": ("run patched[layer in {0, 1}, pos in {c, last}] = forward(corrupt)",
               "run patched[layer in {0, 1}, pos in {c, last}] = forward(clean)", ("patched",)),
    "text": ("{c: b} gave a", "{c: b} gave the", SWEPT),
    "source's text": ("{c: a} gave a", "{c: a} gave the", SWEPT[:2] + ("other",)),
    "span": ("{b} went, {c: b} gave", "{c: b} went, {b} gave", ("patched",)),
    "let's position": ("mlp.out[layer, last], over", "mlp.out[layer, c], over", ("meant",)),
    "noise's seed": ("seed: 1", "seed: 3", ("shaken",)),
    "noise's scale": ("scale: 0.5", "scale: 0.25", ("shaken",)),
    "resampling's seed": ("seed: 2", "seed: 4", ("other",)),
    "another item":
        ('{a: "Bob", b: "Eve"}]', '{a: "Bob", b: "Eve"}, {a: "Dan", b: "Eve"}]', ("meant", "shaken", "other")),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_a_number_changes_its_key(keys, name):
    old, new, runs = CHANGES[name]
    assert old in TEXT
    for run in runs:
        before, contexts_before = keys(TEXT, run=run)
        after, contexts_after = keys(TEXT.replace(old, new), run=run)
        assert not before & after, run
        assert not contexts_before & contexts_after


def test_another_answer_is_another_reading_of_its_items(keys):
    before, _ = keys(TEXT)
    after, _ = keys(TEXT.replace('answer yes = " {a}"', 'answer yes = " {b}"'))
    receipts = before & after  # what the edits did stays known
    assert 0 < len(receipts) == len(before) // 2


@pytest.mark.parametrize(
    ("old", "new", "new_cells"),
    [
        ("  measure s", "\n  # a remark\n  measure s", 0),
        ("measure o", "measure renamed", 0),
        ("pos in {c, last}", "pos in {c, last, 0}", 6),
        ("patched[layer in {0, 1}", "patched[layer in {0, 1, 2}", 6),
        ('{a: "Bob", b: "Eve"}]', '{a: "Bob", b: "Eve"}, {a: "Dan", b: "Eve"}]', 4),
    ],
)
def test_what_is_the_same_keeps_its_key(keys, old, new, new_cells):
    before, _ = keys(TEXT)
    after, _ = keys(TEXT.replace(old, new))
    assert before <= after and len(after - before) == 2 * new_cells  # one metric and one receipt


def test_weights_config_and_dtype_count(keys, checkpoint, tmp_path):
    before, contexts_before = keys(TEXT)
    for change in ("weights", "config"):
        folder = tmp_path / change
        shutil.copytree(checkpoint, folder)
        if change == "weights":
            file = folder / "model.safetensors"
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        else:
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-4}))
        after, contexts_after = keys(TEXT, folder=folder)
        assert not before & after and not contexts_before & contexts_after
    after, contexts_after = keys(TEXT, dtype="bfloat16")
    assert not before & after and not contexts_before & contexts_after
    shutil.copytree(checkpoint, tmp_path / "moved")
    assert keys(TEXT, folder=tmp_path / "moved") == (before, contexts_before), "a path is no content"


def test_what_has_no_canonical_form_is_refused():
    with pytest.raises(InternalError):
        written(object())
