"""Reductions over the models and data sets of an experiment: values meet by the names and indices of their axes."""

import json
import shutil
import statistics

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics.reference import setting
from tests.semantics.tables import EVEN, PEOPLE, Table, same

EXECUTORS = ("delta", "hooked")


def logit(fam, item, values, word="a"):
    return float(values["logits", None][-1, fam.speak.one(" " + item.row[word])])


@pytest.mark.parametrize("executor", EXECUTORS)
def test_over_models(executor, checkpoints, gbx, monkeypatch):
    """llama has a layer more than gpt2; its mean there is its own. Items meet by number, also where one is dropped."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    found = gbx(PEOPLE.text + """experiment e {
  let size = norm(clean.resid_post[layer, last])
  run half[layer] = forward(corrupt) { resid_post[layer, last] := clean }
  measure share = (logit(half, yes) - logit(corrupt, yes)) / (logit(clean, yes) - logit(corrupt, yes))
  measure each = mean(size, over: {model})
  measure most = max(size, over: {model, layer})
  measure spread = std(logit(clean, yes), over: {model, item})
  measure gap = logit(clean, yes) - mean(logit(clean, yes), over: model)
  measure summed = sum(size, over: {model, item})
  measure there = min(size, over: model)[model: gpt2]
  measure ratio = mean(share, over: {model, item})
  expect mean(size, over: {model, item, layer}) > 0
}""", llama, gpt2)  # fmt: skip
    fams = {f.name: f for f in (llama, gpt2)}
    items = {name: PEOPLE.items(f) for name, f in fams.items()}
    size = {
        (name, i.number, k): float(f.run(i.clean)["resid_post", k][-1].norm())
        for name, f in fams.items() for i in items[name] for k in range(f.reference.n_layers)
    }  # fmt: skip
    yes = {(name, i.number): logit(f, i, f.run(i.clean)) for name, f in fams.items() for i in items[name]}
    numbers = range(len(PEOPLE.rows))
    depths = {"llama": range(3), "gpt2": range(2)}

    def both(n, k):
        return [size[m, n, k] for m in fams if k in depths[m]]

    same(
        found,
        "each",
        {(m, n, k): statistics.mean(both(n, k)) for m in fams for n in numbers for k in depths[m]},
    )
    same(
        found,
        "most",
        {(m, n): max(v for (_, i, _), v in size.items() if i == n) for m in fams for n in numbers},
    )
    same(found, "spread", {(m,): statistics.stdev(yes.values()) for m in fams})
    same(found, "gap", {(m, n): v - (yes["llama", n] + yes["gpt2", n]) / 2 for (m, n), v in yes.items()})
    same(
        found,
        "summed",
        {(m, k): sum(sum(both(n, k)) for n in numbers) for m in fams for k in depths[m]},
        1e-3,
    )
    same(found, "there", {(m, n, k): min(both(n, k)) for m in fams for n in numbers for k in depths[m]})
    above, below = {}, {}
    for name, f in fams.items():
        for i in items[name]:
            clean, corrupt = f.run(i.clean), f.run(i.corrupt)
            below[name, i.number] = logit(f, i, clean) - logit(f, i, corrupt)
            for k in depths[name]:
                got = f.run(i.corrupt, setting("resid_post", k, -1, clean["resid_post", k][-1]))
                above[name, i.number, k] = logit(f, i, got) - logit(f, i, corrupt)
    ratios = {
        k: sum(v for (_, _, at), v in above.items() if at == k)
        / sum(v for (m, _), v in below.items() if k in depths[m])
        for k in range(3)
    }
    same(found, "ratio", {(m, k): ratios[k] for m in fams for k in depths[m]}, 1e-3)
    assert all(claim.holds for claim in found.claims) and len(found.claims) == 2


def test_items_that_one_model_dropped_do_not_count_there(checkpoints, gbx):
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    yes = {f.name: {i.number: logit(f, i, f.run(i.clean)) for i in PEOPLE.items(f)} for f in (llama, gpt2)}
    bound = statistics.mean(sorted(yes["gpt2"].values())[1:3])
    kept = {m: {n: v for n, v in values.items() if v > bound} for m, values in yes.items()}
    if len(kept["llama"]) < 2:
        bound = sorted(yes["llama"].values())[1] - 1e-3
        kept = {m: {n: v for n, v in values.items() if v > bound} for m, values in yes.items()}
    assert all(len(v) >= 2 for v in kept.values()) and set(kept["llama"]) != set(kept["gpt2"])
    table = Table(
        PEOPLE.rows, PEOPLE.prompts, PEOPLE.answers, more=f"keep where logit(clean, yes) > {bound:.7f}"
    )
    found = gbx(table.text + """experiment e {
  measure m = mean(logit(clean, yes), over: {model})
  measure n = mean(logit(clean, yes), over: {model, item})
}""", llama, gpt2)  # fmt: skip
    same(found, "m", {
        (m, n): statistics.mean(v[n] for v in kept.values() if n in v) for m in kept for n in kept[m]})  # fmt: skip
    every = [v for values in kept.values() for v in values.values()]
    same(found, "n", {(m,): statistics.mean(every) for m in kept})


def test_positions_of_two_tokenizers_meet_by_label(checkpoints, gbx):
    """One tokenizer puts a BOS first, so that the same number is another word: only labels have a mean over items."""
    llama, gemma = checkpoints["llama"], checkpoints["gemma3_text"]
    found = gbx(EVEN.text + """experiment e {
  measure m[pos] = mean(norm(clean.resid_post[0, pos]), over: {model, item})
  measure named[pos in {b, last}] = mean(norm(clean.resid_post[0, pos]), over: {model, item})
}""", llama, gemma)  # fmt: skip
    sizes = {
        (f.name, i.number): (i.clean, f.run(i.clean)["resid_post", 0].norm(dim=-1))
        for f in (llama, gemma) for i in EVEN.items(f)
    }  # fmt: skip
    means = {
        label: statistics.mean(float(x[ids.last(label)]) for ids, x in sizes.values()) for label in "abce"
    }
    m = {}
    for f in (llama, gemma):
        first = EVEN.items(f)[0].clean
        m.update({(f.name, first.last(label)): means[label] for label in "abce"})
    same(found, "m", m)
    ends = statistics.mean(float(x[-1]) for _, x in sizes.values())
    same(
        found,
        "named",
        {(f.name, at): v for f in (llama, gemma) for at, v in (("b", means["b"]), ("last", ends))},
    )


@pytest.mark.parametrize("executor", EXECUTORS)
def test_over_data_sets(executor, checkpoints, gbx, monkeypatch):
    """All items count once; a data set without the prompt of the value has no part in it."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    more = Table(EVEN.rows[:3], EVEN.prompts, EVEN.answers, name="f")
    third = Table(EVEN.rows[:2], {"plain": EVEN.prompts["clean"]}, EVEN.answers, name="g")
    found = gbx(PEOPLE.text + more.text + third.text + """experiment e {
  measure n = mean(norm(clean.resid_post[layer, last]), over: {data, item})
  measure top_ = max(logit(clean, yes), over: {data, model, item})
  measure means = mean(mean(logit(clean, yes)), over: data)
}""", llama, gpt2)  # fmt: skip
    n, best, means = {}, [], {}
    for f in (llama, gpt2):
        groups = [[f.run(i.clean) for i in t.items(f)] for t in (PEOPLE, more)]
        for k in range(f.reference.n_layers):
            n[f.name, k] = statistics.mean(float(v["resid_post", k][-1].norm()) for g in groups for v in g)
        scores = [[logit(f, i, f.run(i.clean)) for i in t.items(f)] for t in (PEOPLE, more)]
        best += scores[0] + scores[1]
        means[f.name,] = statistics.mean(map(statistics.mean, scores))
    for data in ("d", "f"):
        for measure, expected in (("n", n), ("top_", {(m,): max(best) for (m,) in means}), ("means", means)):
            got = found.datas[measure, data]
            assert got == {
                key: pytest.approx(float(value), abs=2e-4, rel=2e-4) for key, value in expected.items()
            }
    assert not any(data == "g" for _, data in found.datas)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_softmax_and_correlation_over_models_and_data_sets(executor, checkpoints, gbx, monkeypatch):
    """A softmax gives each model its own share; a correlation pairs the items of every model, or of every data set."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    more = Table(EVEN.rows[:3], EVEN.prompts, EVEN.answers, name="f")
    found = gbx(PEOPLE.text + more.text + """experiment e {
  data d
  measure share = softmax(norm(clean.resid_post[layer, last]), over: model)
  measure shares = softmax(norm(clean.resid_post[layer, last]), over: {model, layer})
  measure r = correlation(logit(clean, yes), logit(corrupt, yes), over: {model, item})
  measure rho = correlation(norm(clean.resid_post[layer, last]), logit(clean, yes), over: {model, item}, rank: true)
}
experiment g {
  measure both = correlation(logit(clean, yes), norm(clean.resid_post[1, last]), over: {data, item})
}""", llama, gpt2)  # fmt: skip
    fams = {f.name: f for f in (llama, gpt2)}
    size, yes, no = {}, {}, {}
    for name, f in fams.items():
        for i in PEOPLE.items(f):
            values = f.run(i.clean)
            yes[name, i.number], no[name, i.number] = logit(f, i, values), logit(f, i, f.run(i.corrupt))
            for k in range(f.reference.n_layers):
                size[name, i.number, k] = float(values["resid_post", k][-1].norm())
    total = {(n, k): sum(torch.tensor(v).exp() for (_, i, j), v in size.items() if (i, j) == (n, k))
             for _, n, k in size}  # fmt: skip
    same(found, "share", {at: float(torch.tensor(v).exp() / total[at[1:]]) for at, v in size.items()})
    every = {n: sum(v for (i, _), v in total.items() if i == n) for _, n, _ in size}
    same(found, "shares", {at: float(torch.tensor(v).exp() / every[at[1]]) for at, v in size.items()})
    r = statistics.correlation(list(yes.values()), [no[at] for at in yes])
    same(found, "r", {(m,): r for m in fams})
    rho = {}
    for k in range(3):
        pairs = [(v, yes[m, n]) for (m, n, j), v in size.items() if j == k]
        ranked = [torch.tensor(x).argsort().argsort().tolist() for x in zip(*pairs, strict=True)]
        rho[k] = statistics.correlation(*ranked)
    same(found, "rho", {(m, k): rho[k] for m, f in fams.items() for k in range(f.reference.n_layers)})
    for name, f in fams.items():
        pairs = []
        for i in [*PEOPLE.items(f), *more.items(f)]:
            values = f.run(i.clean)
            pairs.append((logit(f, i, values), float(values["resid_post", 1][-1].norm())))
        for data in ("d", "f"):
            got = found.datas["both", data]
            assert got[(name,)] == pytest.approx(statistics.correlation(*zip(*pairs, strict=True)), abs=2e-4)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_heads_chosen_by_the_mean_over_models_are_edited_in_each(executor, checkpoints, gbx, monkeypatch):
    """A set from a value of all models, and a mean over them as a source: what is read of each is made first."""
    monkeypatch.setattr(sessions.Session, "executor", executor)
    llama, gemma = checkpoints["llama"], checkpoints["gemma3_text"]
    found = gbx(PEOPLE.text + """experiment e {
  let heads = largest(mean(norm(clean.attn.z[layer, head, last]), over: {model, item}), k: 4)
  let centre = mean(clean.resid_post[1, last], over: {model, item})
  run cut = forward(corrupt) { attn.z[heads] := 0 }
  run moved = forward(corrupt) { resid_post[1, last] := centre }
  measure m = logit(cut, yes)
  measure n = logit(moved, yes)
}""", llama, gemma)  # fmt: skip
    fams = (llama, gemma)
    assert len({f.plain.config.hidden_size for f in fams}) == 1
    sizes = {}
    for f in fams:
        for i in PEOPLE.items(f):
            values = f.run(i.clean)
            for k in range(3):
                for h, z in enumerate(values["attn.z", k][:, -1]):
                    sizes.setdefault((k, h), []).append(float(z.norm()))
    n_heads = {f.name: f.reference.n_heads for f in fams}
    assert len(set(n_heads.values())) == 2, "a head that one model lacks is a cell of the other"
    order = sorted(sizes, key=lambda at: -statistics.mean(sizes[at]))
    heads = {name: [at for at in order if at[1] < n][:4] for name, n in n_heads.items()}
    own = sorted(order, key=lambda at: -statistics.mean(sizes[at][: len(PEOPLE.rows)]))
    assert set(own[:4]) != set(heads["llama"]), "the other model has a say"
    centre = torch.stack([f.run(i.clean)["resid_post", 1][-1] for f in fams for i in PEOPLE.items(f)]).mean(0)
    m, n = {}, {}
    for f in fams:
        for i in PEOPLE.items(f):
            got = f.run(i.corrupt, *(setting("attn.z", k, h, 0) for k, h in heads[f.name]))
            m[f.name, i.number] = logit(f, i, got)
            n[f.name, i.number] = logit(f, i, f.run(i.corrupt, setting("resid_post", 1, -1, centre)))
    same(found, "m", m)
    same(found, "n", n)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("GB207", "argmax(logit(clean, yes), over: model)"),
        ("GB207", "mean(logit(clean, yes), over: {model, item}, within: kind)"),
        ("GB207", "mean(logit(clean, yes), over: data)"),
        ("GB207", "softmax(logit(clean, yes), over: data)"),
    ],
)
def test_what_makes_no_sense_over_models_is_refused(code, value, checkpoints, gbx):
    with pytest.raises(Findings) as raised:
        gbx(
            PEOPLE.text + f"experiment e {{ measure m = {value} }}", checkpoints["llama"], checkpoints["gpt2"]
        )
    assert [d.code for d in raised.value.diagnostics] == [code]


def test_vectors_of_different_width_have_no_mean(checkpoints, gbx, tmp_path):
    """Said before any weight is read."""
    wide = tmp_path / "wide"
    shutil.copytree(checkpoints["llama"].folder, wide)
    config = json.loads((wide / "config.json").read_text())
    (wide / "config.json").write_text(json.dumps(config | {"hidden_size": 2 * config["hidden_size"]}))
    text = f"""{PEOPLE.text}model wide = local("{wide}")
experiment e {{ measure m = norm(mean(clean.resid_post[0, last], over: {{model, item}})) }}"""
    with pytest.raises(Findings) as raised:
        gbx(text, checkpoints["llama"])
    assert [d.code for d in raised.value.diagnostics] == ["GB390"]
