"""Causal scrubbing: against the recursion written down one instance at a time, with whole passes; null controls."""

import numpy as np
import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import scrub
from tests.semantics.conftest import TECHNIQUES
from tests.semantics.tables import EVEN, PEOPLE, Table, same
from tests.semantics.test_paths import added

TRIED_ON = TECHNIQUES
DATA = Table(
    EVEN.rows, EVEN.prompts, EVEN.answers,
    more="feature before[pos] = token(clean, at: pos - 1)\n  feature here[pos] = token(clean, at: pos)\n"
    "  feature every = 1\n",
)  # fmt: skip
TREE = """hypothesis h {
  node out  = logits
  node ind  = attn.result[1, 1] -> out agree kind
  node prev = attn.result[0, {0, 1}] -> ind.k agree before
  node tok  = embed -> ind.v agree here
  node mid  = mlp.out[0] -> ind.q agree here
  node deep = attn.z[0, 1] -> mid agree before
  node late = mlp.out[1] -> out agree (kind, every)
  node whole = attn.out[0] -> late
  node own  = embed -> whole
}
"""


def known_draws(seed, node, keys, places):
    """In the place of random numbers: something anyone can compute."""
    return np.array([[known(node, key, place) for place in range(places)] for key in keys])


def known(node, key, place):
    return (
        sum(map(ord, node)) * 0.377 + sum((i + 2) * k for i, k in enumerate(key)) * 0.1234 + place * 0.0917
    ) % 1


class Slowly:
    """The recursion of Chan et al., one instance at a time: every value comes from a whole pass of the reference."""

    def __init__(self, fam, items):
        self.fam, self.items, self.n = fam, items, fam.reference.n_layers
        self.ids = [list(item.clean) for item in items]
        self.plain = [fam.run(item.clean) for item in items]

    def draw(self, node, key, datum, agrees, place=0):
        members = [i for i in range(len(self.items)) if agrees(i) == agrees(datum)]
        return members[int(known(node, key, place) * len(members))]

    def rest(self, node, key):
        return int(known(f"{node}, rest", key, 0) * len(self.items))

    def kind(self, i):
        return self.items[i].row["kind"]

    def before(self, position):
        return lambda i: self.ids[i][position - 1] if position else None

    def here(self, position):
        return lambda i: self.ids[i][position]

    def heads(self, item, results):
        """`attn.out[0]` of an item with some heads' results exchanged."""
        raw = self.plain[item]["attn.out_raw", 0].clone()
        for head, result in results.items():
            raw += result - self.plain[item]["attn.result", 0][head]
        return added(self.fam, 0, "attn", raw)

    def by_position(self, node, key, datum, feature, site):
        """A leaf, each position from an item of its own."""
        length = len(self.ids[0])
        drawn = [self.draw(node, key, datum, feature(p), p) for p in range(length)]
        return torch.stack([self.plain[item][site][..., p, :] for p, item in enumerate(drawn)], -2)

    def edited(self, item, edits):
        def edit(site, layer, value):
            if (site, layer) not in edits:
                return None
            head, new = edits[site, layer]
            value = value.clone()
            value[head] = new
            return value

        return self.fam.run(self.ids[item], edit)

    def mid(self, key, datum):
        """mlp.out[0] with head 0.1 of items that agree on `before` with the datum; the rest of one random item."""
        rest = self.rest("mid", key)
        if self.fam.reference.parallel:
            stream = self.by_position("deep", key, datum, self.before, ("embed", None))
            return self.edited(rest, {("mlp.in", 0): (..., stream)})["mlp.out", 0]
        deep = self.by_position("deep", key, datum, self.before, ("attn.result", 0))[1]
        stream = (
            self.plain[rest]["resid_mid", 0] - self.plain[rest]["attn.out", 0] + self.heads(rest, {1: deep})
        )
        return self.edited(rest, {("mlp.in", 0): (..., stream)})["mlp.out", 0]

    def ind(self, key, datum):
        rest = self.rest("ind", key)
        pre = self.plain[rest]["resid_pre", 1]
        prev = self.by_position("prev", key, datum, self.before, ("attn.result", 0))
        keys = pre - self.plain[rest]["attn.out", 0] + self.heads(rest, {0: prev[0], 1: prev[1]})
        tok = self.by_position("tok", key, datum, self.here, ("embed", None))
        values = pre - self.plain[rest]["embed", None] + tok
        mid = []
        for p in range(len(self.ids[0])):
            drawn = self.draw("mid", key, datum, self.here(p), p)
            mid.append(self.mid((*key, p), drawn)[p])
        queries = pre - self.plain[rest]["mlp.out", 0] + torch.stack(mid)
        ports = {"q": queries, "k": keys, "v": values}
        return self.edited(rest, {(f"attn.{p}_in", 1): (1, x) for p, x in ports.items()})["attn.result", 1][1]

    def late(self, key, datum):
        rest, inner = self.rest("late", key), self.rest("whole", key)
        whole = self.edited(inner, {
            ("attn.in", 0): (..., self.plain[inner]["resid_pre", 0] - self.plain[inner]["embed", None]
                             + self.plain[datum]["embed", None])
        })["attn.out", 0]  # fmt: skip
        stream = self.plain[rest]["mlp.in", 1] - self.plain[rest]["attn.out", 0] + whole
        return self.edited(rest, {("mlp.in", 1): (..., stream)})["mlp.out", 1]

    def logits(self, reference, sample):
        key = (self.items[reference].number, sample)
        rest = self.rest("out", key)
        plain = self.plain[rest]
        ind = self.ind(key, self.draw("ind", key, reference, self.kind))
        late = self.late(key, self.draw("late", key, reference, self.kind))
        raw = plain["attn.out_raw", 1] - plain["attn.result", 1][1] + ind
        stream = plain["resid_post", self.n - 1] - plain["attn.out", 1] + added(self.fam, 1, "attn", raw)
        stream = stream - plain["mlp.out", 1] + late
        return self.edited(reference, {("resid_post", self.n - 1): (..., stream)})["logits", None]


def test_the_recursion_one_instance_at_a_time(fam, gbx, monkeypatch):
    monkeypatch.setattr(scrub, "uniform", known_draws)
    tree = TREE
    if fam.reference.parallel:  # the MLP of a layer does not read its heads, only what came before
        tree = tree.replace("node deep = attn.z[0, 1]", "node deep = embed")
    found = gbx(DATA.text + tree + """experiment e {
  run s = scrub(clean, h, samples: 8, seed: 5)
  measure m = logit(s, yes)
  measure mid[pos in {3, 6}] = mean(logit(s, yes, at: pos), over: {sample})
}
""", fam)  # fmt: skip
    items = DATA.items(fam)
    slowly = Slowly(fam, items)
    # 8 samples of 5 items: all of them once, the first three twice.
    cells = [(item, 0) for item in range(5)] + [(item, 1) for item in range(3)]
    logits = {cell: slowly.logits(*cell) for cell in cells}
    tokens = [fam.speak.one(" " + item.row["a"]) for item in items]
    same(found, "m", {(fam.name, i, k): logits[i, k][-1, tokens[i]] for i, k in cells})
    same(found, "mid", {
        (fam.name, i, p): np.mean([float(logits[cell][p, tokens[i]]) for cell in cells if cell[0] == i])
        for i in range(5) for p in (3, 6)
    })  # fmt: skip


def test_what_is_drawn_depends_on_neither_batches_nor_executor(llama, gbx, monkeypatch):
    from glassbox_dsl.plan import packing
    from glassbox_dsl.run import session as sessions

    text = (
        DATA.text
        + TREE
        + """experiment e {
  run s = scrub(clean, h, samples: 8, seed: SEED)
  measure m = loss(s)
}
"""
    )
    first = gbx(text.replace("SEED", "1"), llama).values["m"]
    monkeypatch.setattr(packing, "ROWS", 20)
    monkeypatch.setattr(scrub, "TOKENS_AT_ONCE", 12)
    assert gbx(text.replace("SEED", "1"), llama).values["m"] == pytest.approx(first, abs=1e-4)
    monkeypatch.setattr(sessions.Session, "executor", "hooked")
    assert gbx(text.replace("SEED", "1"), llama).values["m"] == pytest.approx(first, abs=1e-4)
    other = gbx(text.replace("SEED", "2"), llama).values["m"]
    assert max(abs(other[k] - first[k]) for k in first) > 1e-3


def test_null_controls(fam, gbx):
    """Conformance C14: an exact sampler everywhere is the model; an unconditional root shuffles its outputs."""
    found = gbx(DATA.text + """hypothesis trivial { node out = logits }
hypothesis all {
  node out = logits
  node tokens = embed -> out
  node heads = attn.result -> out
  node mlps = mlp.out -> out
}
hypothesis nothing { node out = logits agree every }
experiment e {
  run a = scrub(clean, trivial, samples: 5)
  run b = scrub(clean, all, samples: 5)
  run c = scrub(clean, nothing, samples: 500)
  measure plain = loss(clean)
  measure m_a = loss(a)  measure m_b = loss(b)  measure m_c = mean(loss(c), over: {sample})
  measure r_a = loss_recovered(a, clean, metric: loss)
  measure r_b = loss_recovered(b, clean)
  measure r_c = loss_recovered(c, clean, metric: loss)
  measure r_total = mean(loss_recovered(c, clean, metric: loss))
}
""", fam)  # fmt: skip
    plain = found.values["plain"]
    for name in ("m_a", "m_b"):
        assert {key[:2]: value for key, value in found.values[name].items()} == pytest.approx(plain, abs=1e-4)
    # The loss of item i when every item's outputs stand in its place equally often.
    items = DATA.items(fam)
    logits = [fam.run(item.clean)["logits", None].log_softmax(-1) for item in items]
    for item in items:
        ids = torch.tensor(list(item.clean))
        losses = [-out[torch.arange(len(ids) - 1), ids[1:]].mean() for out in logits]
        want, spread = float(sum(losses) / 5), float(torch.stack(losses).std()) / 10
        assert found.values["m_c"][fam.name, item.number] == pytest.approx(want, abs=4 * spread + 1e-3)
        share = found.parts["r_a"][fam.name, item.number]
        assert share[0] == pytest.approx(share[1], abs=1e-4)  # recovered everything
    assert found.values["r_c"] == pytest.approx(dict.fromkeys(found.values["r_c"], 0.0), abs=1e-5)
    assert found.codes() == ["GBW705"]  # of the mean written in place: quotients of single items


def test_a_swept_hypothesis_and_its_own_shuffled_run(llama, gbx):
    found = gbx(DATA.text + TREE + """hypothesis trivial { node out = logits }
experiment e {
  run s[claim in {h, trivial}] = scrub(clean, claim, samples: 20, seed: 3)
  run alone = scrub(clean, h, samples: 20, seed: 3)
  measure r[claim in {h, trivial}] = mean(loss_recovered(s, clean))
  measure one = mean(loss_recovered(alone, clean))
}
""", llama)  # fmt: skip
    r = found.values["r"]
    assert r["llama", "trivial"] == pytest.approx(1, abs=1e-3)
    assert r["llama", "h"] == pytest.approx(found.values["one"]["llama",], abs=1e-4)
    assert abs(r["llama", "h"] - 1) > 1e-2


def test_small_classes_are_reported(llama, gbx):
    found = gbx(DATA.text + """hypothesis h {
  node out = logits
  node tok = embed -> out agree here
  node all = attn.out[0] -> out agree a
}
experiment e {
  run s = scrub(clean, h, samples: 5)
  measure m = loss(s)
}
""", llama)  # fmt: skip
    notes = [d for d in found.diagnostics if d.code == "GB563"]
    assert [n.severity for n in notes] == ["warning", "warning"]
    items = DATA.items(llama)
    columns = list(zip(*(list(item.clean) for item in items), strict=True))
    alone = sum(column.count(token) == 1 for column in columns for token in column) / (5 * len(columns))
    assert 0 < alone < 1 and f"{alone:.0%} of what `tok`" in notes[0].headline
    assert "100% of what `all`" in notes[1].headline


HEAD = "node out = logits"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("node a = attn.result[0, 0] -> out", "GB272"),
        (f"{HEAD}  node a = attn.out[0] -> end", "GB200"),
        (f"{HEAD}  node b = logits", "GB272"),
        ("node out = attn.out[1]", "GB272"),
        (f"{HEAD}  node a = attn.out[0] -> b  node b = attn.out[1] -> a", "GB272"),
        (f"{HEAD}  node a = resid_post[0] -> out", "GB273"),
        (f"{HEAD}  node a = attn.out[0, last] -> out", "GB273"),
        (f"{HEAD}  node a = attn.out[0] -> out.q", "GB274"),
        (f"{HEAD}  node a = attn.z[1, 0] -> out  node b = embed -> a", "GB274"),
        (f"{HEAD}  node a = attn.z[1, 0] -> out  node b = embed -> a.w", "GB274"),
        (f"{HEAD}  node a = embed -> out agree 3", "GB275"),
        (f"{HEAD}  node a = embed -> out agree nonsense", "GB223"),
        (f"{HEAD}  node a = attn.z[9, 0] -> out", "GB561"),
        (f"{HEAD}  node a = mlp.out[1] -> out  node b = mlp.out[1] -> a", "GB562"),
        (f"{HEAD}  {HEAD}", "GB201"),
    ],
)
def test_what_is_no_hypothesis_is_refused(body, code, llama, gbx):
    with pytest.raises(Findings) as found:
        gbx(DATA.text + f"hypothesis h {{ {body} }}\n" + """experiment e {
  run s = scrub(clean, h, samples: 5)
  measure m = loss(s)
}
""", llama)  # fmt: skip
    assert [d.code for d in found.value.diagnostics][0] == code


@pytest.mark.parametrize(
    ("table", "line", "code"),
    [
        (DATA, "run s = scrub(clean, g)  measure m = loss(s)", "GB200"),
        (DATA, "run s = scrub(clean, h, samples: 0)  measure m = loss(s)", "GB207"),
        (DATA, "run s = scrub(clean, h) { mlp.out[0] *= 2 }  measure m = loss(s)", "GB276"),
        (DATA, "measure m = loss_recovered(corrupt, clean)", "GB276"),
        (PEOPLE, "run s = scrub(clean, h)  measure m = loss(s)", "GB560"),
    ],
)
def test_what_is_no_scrubbed_run_is_refused(table, line, code, llama, gbx):
    with pytest.raises(Findings) as found:
        gbx(table.text + f"hypothesis h {{ {HEAD} }}\nexperiment e {{\n  {line}\n}}\n", llama)
    assert [d.code for d in found.value.diagnostics][0] == code


@pytest.mark.parametrize("name", ["gpt_neox", "cohere"])
def test_in_a_parallel_block_the_mlp_does_not_read_its_attention(name, tmp_path, gbx, monkeypatch):
    """Attention of a layer is not upstream of its MLP; a claim of everything is still the model."""
    from tests.semantics import conftest as checkpoints

    monkeypatch.setitem(checkpoints.LAYERS, name, 2)
    monkeypatch.setattr(checkpoints.Family, "written_out", False, raising=False)
    fam = checkpoints.Family(name, tmp_path / "model")
    head = (
        DATA.text
        + """hypothesis h {
  node out = logits
  node mlp = mlp.out[1] -> out
  node attention = attn.out[LAYER] -> mlp
}
hypothesis all {
  node out = logits
  node tokens = embed -> out
  node heads = attn.result -> out
  node mlps = mlp.out -> out
}
experiment e {
  run s = scrub(clean, CLAIM, samples: 5)
  measure m = loss(s)
  measure plain = loss(clean)
}
"""
    )
    with pytest.raises(Findings) as found:
        gbx(head.replace("LAYER", "1").replace("CLAIM", "h"), fam)
    assert [d.code for d in found.value.diagnostics] == ["GB562"]
    assert len(gbx(head.replace("LAYER", "0").replace("CLAIM", "h"), fam).values["m"]) == 5
    whole = gbx(head.replace("LAYER", "0").replace("CLAIM", "all"), fam).values
    assert {key[:2]: value for key, value in whole["m"].items()} == pytest.approx(whole["plain"], abs=1e-4)
