"""Values over several prompts: each cell's positions, labels and answers are those of the prompts that it reads."""

import statistics

import pytest

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics.reference import setting
from tests.semantics.tables import PEOPLE, Table, same

# As many tokens in both prompts of an item, but `c` at another place.
MOVED = Table(
    PEOPLE.rows,
    {
        "clean": "When {a} and {b} went, {c: a} gave {d} a",
        "other": "When {c: b} and {a} went, {b} gave {d} a",
    },
    PEOPLE.answers,
)
PROMPTS = ("clean", "other")


def norms(fam, item, prompt):
    """The norm of the first layer's output at every position."""
    return fam.run(getattr(item, prompt))["resid_post", 0].norm(dim=-1)


def test_a_named_position_is_that_of_the_prompt_that_the_cell_reads(fam, gbx):
    found = gbx(MOVED.text + """experiment e {
  run r[p in {clean, other}] = forward(p)
  let n = norm(r.resid_post[0])
  let two[p in {clean, other}, pos in {c, last}] = norm(r[p].resid_post[0, pos])
  measure swept[p in {clean, other}] = n[p: p, pos: c]
  measure fixed = n[p: other, pos: c]
  measure in_place[p in {clean, other}] = (norm(r[p].resid_post[0]))[pos: c.last]
  measure times[pos in {c, last}] = pos * norm(other.resid_post[0, pos])
  measure best[p in {clean, other}] = argmax(two, over: pos)
}""", fam)  # fmt: skip
    items, name = MOVED.items(fam), fam.name
    at_c = {(name, i.number, p): norms(fam, i, p)[getattr(i, p).last("c")] for i in items for p in PROMPTS}
    assert all(i.clean.last("c") != i.other.last("c") for i in items)
    same(found, "swept", at_c)
    same(found, "in_place", at_c)
    same(found, "fixed", {key[:2]: value for key, value in at_c.items() if key[2] == "other"})
    same(found, "times", {
        (name, i.number, label): at * norms(fam, i, "other")[at]
        for i in items for label, at in (("c", i.other.last("c")), ("last", len(i.other) - 1))})  # fmt: skip
    same(found, "best", {
        (name, i.number, p): max((getattr(i, p).last("c"), len(i.clean) - 1), key=lambda at: norms(fam, i, p)[at])
        for i in items for p in PROMPTS})  # fmt: skip


def test_argmax_gives_indices_and_numbers(llama, gbx):
    """The index on an axis, the number of an item, the number that a variable stands for; the lowest on ties."""
    found = gbx(MOVED.text + """experiment e {
  run scaled[alpha in {0.5, -2, 3}] = forward(clean) { resid_post[-1, last] *= alpha  final_norm_scale := clean }
  measure strongest = argmax(logit(scaled, yes), over: alpha)
  measure item_ = argmax(norm(clean.resid_post[0, last]), over: item)
  measure tie[p in {clean, other}] = argmax(0 * norm(p.resid_post[layer in {2, 1}, last]), over: layer)
}""".replace("resid_post[layer in {2, 1}, last]", "resid_post[{2, 1}, last]"), llama)  # fmt: skip
    items = MOVED.items(llama)
    size = {i.number: norms(llama, i, "clean")[-1] for i in items}
    same(found, "item_", {("llama",): max(size, key=size.get)})
    same(found, "tie", {("llama", i.number, p): 1 for i in items for p in PROMPTS})
    yes = {
        i.number: float(llama.run(i.clean)["logits", None][-1, llama.speak.one(" " + i.row["a"])])
        for i in items
    }
    assert any(v > 0 for v in yes.values()) or any(v < 0 for v in yes.values())
    same(found, "strongest", {("llama", n): 3 if v > 0 else -2 for n, v in yes.items()})


def test_positions_and_labels_beside_a_number_are_those_of_the_cell(fam, gbx):
    """Where a cell reads prompts that differ there, it has no label, and a name no one index."""
    found = gbx(MOVED.text + """experiment e {
  run r[p in {clean, other}] = forward(p)
  measure all[p in {clean, other}, pos] = norm(r[p].resid_post[0, pos])
  measure named[pos in {c, last}, p in {clean, other}] = norm(r[p].resid_post[0, pos])
  measure both[pos] = norm(clean.resid_post[0, pos]) - norm(other.resid_post[0, pos])
  measure both_named[pos in {c, d, last}] = norm(clean.resid_post[0, pos]) - norm(other.resid_post[0, pos])
  measure one[pos] = norm(other.resid_post[0, pos])
}""", fam)  # fmt: skip
    name = fam.name
    for i in MOVED.items(fam):
        labels = {p: labels_of(getattr(i, p)) for p in PROMPTS}
        for at in range(len(i.clean)):
            mine = {p: labels[p][at] for p in PROMPTS}
            for p in PROMPTS:
                assert found.columns["all", "pos"][name, i.number, p, at] == (at, mine[p])
            agreed = mine["clean"] if mine["clean"] == mine["other"] else None
            assert found.columns["both", "pos"][name, i.number, at] == (at, agreed)
            assert found.columns["one", "pos"][name, i.number, at] == (at, mine["other"])
        for p in PROMPTS:
            ids = getattr(i, p)
            assert found.columns["named", "pos"][name, i.number, "c", p] == (ids.last("c"), "c")
            assert found.columns["named", "pos"][name, i.number, "last", p] == (len(ids) - 1, "last")
        assert found.columns["both_named", "pos"][name, i.number, "c"] == (-1, "c")
        assert found.columns["both_named", "pos"][name, i.number, "d"] == (i.clean.last("d"), "d")
        assert found.columns["both_named", "pos"][name, i.number, "last"] == (len(i.clean) - 1, "last")
    assert len({column for column, _ in found.columns["both", "pos"].values()}) > 9


def labels_of(prompt):
    """The label of each position: the span that ends there, else the one it begins, else the one it lies in."""
    found = [None] * len(prompt)
    found[-1] = "last"
    for label, (first, last) in reversed(prompt.spans.items()):
        for at in range(first, last + 1):
            found[at] = f"{label}.first" if at == first else f"{label}.span"
    for label, (_, last) in reversed(prompt.spans.items()):
        found[last] = label
    return found


def test_a_position_that_two_prompts_have_at_different_tokens_is_refused(llama, gbx):
    text = MOVED.text + """experiment e {
  let n[pos] = norm(clean.resid_post[0, pos]) - norm(other.resid_post[0, pos])
  measure m = USE }"""  # fmt: skip
    for use in ("n[c]", "sum(n[{0, 1}], over: pos) + n[pos: c.first]"):
        with pytest.raises(Findings) as raised:
            gbx(text.replace("USE", use), llama)
        assert [d.code for d in raised.value.diagnostics] == ["GB548"]
        assert raised.value.diagnostics[0].span.text.startswith("c")
    found = gbx(text.replace("USE", "n[d] + 2 * n[last]"), llama)
    expected = {}
    for i in MOVED.items(llama):
        gap = norms(llama, i, "clean") - norms(llama, i, "other")
        expected["llama", i.number] = gap[i.clean.last("d")] + 2 * gap[-1]
    same(found, "m", expected)


def test_means_at_labels_are_those_of_the_prompt_of_the_cell(fam, gbx):
    """Items of different length: a mean stands where the first item has the label, in the cell's own prompt."""
    found = gbx(MOVED.text + """experiment e {
  run r[p in {clean, other}] = forward(p)
  measure m[p in {clean, other}, pos] = mean(norm(r[p].resid_post[0, pos]))
  measure gap[pos] = mean(norm(clean.resid_post[0, pos]) - norm(other.resid_post[0, pos]))
}""", fam)  # fmt: skip
    items, expected = MOVED.items(fam), {}
    first = items[0]
    for p in PROMPTS:
        for label in ("a", "b", "c", "d"):
            each = [norms(fam, i, p)[getattr(i, p).first(label)] for i in items]
            expected[fam.name, p, getattr(first, p).first(label)] = statistics.mean(map(float, each))
    same(found, "m", expected)
    assert all(
        found.columns["m", "pos"][key][1] == labels_of(getattr(first, key[1]))[key[2]] for key in expected
    )
    # Only `d` stands at one place in both prompts.
    at = first.clean.first("d")
    gaps = [
        norms(fam, i, "clean")[i.clean.first("d")] - norms(fam, i, "other")[i.other.first("d")] for i in items
    ]
    same(found, "gap", {(fam.name, at): statistics.mean(map(float, gaps))})


def test_tokens_beside_a_tensor_are_those_of_all_prompts_that_it_reads(llama, gbx):
    found = gbx(MOVED.text + """experiment e {
  run r[p in {clean, other}] = forward(p)
  record all = norm(r.resid_post[0])
  record one = norm(other.resid_post[0])
}""", llama)  # fmt: skip
    for i in MOVED.items(llama):
        pieces = {p: [llama.speak.tokenizer.decode([t]) for t in getattr(i, p)] for p in PROMPTS}
        both = [a if a == b else f"{a} /{b}" for a, b in zip(*pieces.values(), strict=True)]
        assert " Anna / Bob" in both or i.row["a"] != "Anna"
        assert list(found.records["all"]["llama", i.number].labels["pos"]) == both
        assert list(found.records["one"]["llama", i.number].labels["pos"]) == pieces["other"]


def test_a_metric_of_two_runs_compares_at_the_position_of_each(fam, gbx, monkeypatch):
    """`kl` at a label against one of a family of runs over several prompts, in both executors."""
    text = MOVED.text + """experiment e {
  run r[p in {clean, other}] = forward(p)
  run edited = forward(clean) { resid_post[0, c] *= 2 }
  measure m[p in {clean, other}] = kl(edited, r[p], at: c)
  measure n = kl(r[p: other], edited, at: c)
}"""  # fmt: skip
    items, m, n = MOVED.items(fam), {}, {}
    for i in items:
        got = fam.run(i.clean, setting("resid_post", 0, i.clean.last("c"), lambda x: 2 * x))
        ours = got["logits", None][i.clean.last("c")].log_softmax(-1)
        for p in PROMPTS:
            theirs = fam.run(getattr(i, p))["logits", None][getattr(i, p).last("c")].log_softmax(-1)
            m[fam.name, i.number, p] = (ours.exp() * (ours - theirs)).sum()
        n[fam.name, i.number] = (theirs.exp() * (theirs - ours)).sum()
    for executor in ("delta", "hooked"):
        monkeypatch.setattr(sessions.Session, "executor", executor)
        found = gbx(text, fam)
        same(found, "m", m)
        same(found, "n", n)


def test_a_metric_of_two_models(checkpoints, gbx, monkeypatch):
    """`kl` of this model's run with another model's: both are read, wherever they are made."""
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    expected, among = {}, {}
    for fam in (llama, gpt2):
        for i, there in zip(PEOPLE.items(fam), PEOPLE.items(gpt2), strict=True):
            own = fam.run(i.clean, setting("resid_post", 0, i.clean.last("c"), lambda x: 2 * x))
            twice = gpt2.run(there.clean, setting("mlp.out", 0, -1, lambda x: 2 * x))
            ours, theirs, other = (
                v["logits", None][-1].log_softmax(-1) for v in (own, gpt2.run(there.clean), twice)
            )
            expected[fam.name, i.number] = (ours.exp() * (ours - theirs)).sum()
            among[fam.name, i.number] = (theirs.exp() * (theirs - other)).sum()
    for executor in ("delta", "hooked"):
        monkeypatch.setattr(sessions.Session, "executor", executor)
        found = gbx(PEOPLE.text + """experiment e {
  run theirs = forward(clean, model: gpt2)
  run twice = forward(clean, model: gpt2) { mlp.out[0, last] *= 2 }
  run edited = forward(clean) { resid_post[0, c] *= 2 }
  measure m = kl(edited, theirs)
  measure n = kl(theirs, twice)
}""", llama, gpt2)  # fmt: skip
        same(found, "m", expected)
        same(found, "n", among)
