"""Circuits against edges worked out one by one: scores, choices, and passes in which only some carry their own."""

from __future__ import annotations

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics import conftest as checkpoints_of
from tests.semantics import edge_oracle as oracle
from tests.semantics.tables import EVEN, PEOPLE, same

METRICS = """metric ld(r) = logit(r, yes) - logit(r, no)
metric bent(r) = exp(0.3 * logit(r, yes)) + logprob(r, no, at: c)
"""


@pytest.fixture(params=["delta", "hooked"])
def executor(request, monkeypatch):
    monkeypatch.setattr(sessions.Session, "executor", request.param)
    return request.param


def difference(fam, item):
    yes, no = fam.speak.one(f" {item.row['a']}"), fam.speak.one(f" {item.row['b']}")
    return lambda values: values["logits", None][-1, yes] - values["logits", None][-1, no]


def bent(fam, item):
    yes, no = fam.speak.one(f" {item.row['a']}"), fam.speak.one(f" {item.row['b']}")
    at = item.clean.last("c")

    def number(values):
        logits = values["logits", None]
        return (0.3 * logits[-1, yes]).exp() + logits[at].log_softmax(-1)[no]

    return number


def rows(found, circuit, n=None):
    """{(sender, receiver): (score, kept)} of a circuit, in one of its cells."""
    columns = {c: found.columns[circuit, c] for c in ("sender", "receiver", "kept")}
    cells = {k: v for k, v in found.values[circuit].items() if n is None or k[1] == n}
    return {
        (columns["sender"][k][0], columns["receiver"][k][0]): (v, columns["kept"][k][0])
        for k, v in cells.items()
    }


def compared(got, wanted):
    assert got.keys() == wanted.keys()
    largest = max(map(abs, wanted.values()))
    assert largest > 1e-3
    for edge, score in wanted.items():
        assert got[edge][0] == pytest.approx(score, abs=2e-4 * largest, rel=1e-3), edge


@pytest.mark.parametrize(("metric", "number"), [("ld", difference), ("bent", bent)])
def test_eap_scores_are_slopes_times_changes(fam, gbx, metric, number):
    """Every edge, its sender exchanged alone, in runs that have edits of their own."""
    found = gbx(METRICS + PEOPLE.text + f"""experiment e {{
  run from_clean = forward(clean) {{ mlp.out[0, c] *= 2 }}
  run from_corrupt = forward(corrupt) {{ attn.z[1, 0, last] := clean }}
  circuit c = eap({metric}, clean: from_clean, corrupt: from_corrupt, edges: 40)
}}""", fam)  # fmt: skip
    wanted = {}
    for item in PEOPLE.items(fam):
        at = item.clean.last("c")

        def doubled(site, layer, value, at=at):
            if (site, layer) == ("mlp.out", 0):
                factor = torch.ones(len(value), 1)
                factor[at] = 2
                return value * factor
            return None

        clean = fam.run(item.clean)

        def copied(site, layer, value, clean=clean):
            if (site, layer) == ("attn.z", 1):
                value = value.clone()
                value[0, -1] = clean["attn.z", 1][0, -1]
                return value
            return None

        own, slope = oracle.slopes(fam, item.clean, number(fam, item), [doubled])
        for edge, score in oracle.scores(fam, own, fam.run(item.corrupt, copied), slope).items():
            wanted[edge] = wanted.get(edge, 0.0) + score / len(PEOPLE.rows)
    compared(rows(found, "c"), wanted)
    best = sorted(wanted, key=lambda e: -abs(wanted[e]))[:40]
    assert {e for e, (_, kept) in rows(found, "c").items() if kept} == oracle.connected(set(best))


def test_edges_outside_carry_what_the_other_run_sends(fam, gbx, executor):
    """Logits of passes that keep a circuit, its complement, and what two share; zeros where no run is named."""
    found = gbx(METRICS + PEOPLE.text + """experiment e {
  circuit c[k in [0, 30, 90]] = eap(ld, clean: clean, corrupt: corrupt, edges: k)
  circuit d = eap(bent, clean: clean, corrupt: corrupt, edges: 60)
  let both[k in [0, 30, 90]] = c * d
  run kept[k in [0, 30, 90]] = forward(clean) { keep c, else corrupt }
  run knocked[k in [0, 30, 90]] = forward(clean) { keep not c, else corrupt }
  run joint[k in [0, 30, 90]] = forward(clean) { mlp.out[0, c] *= 2  keep both, else corrupt }
  run silent = forward(clean) { keep d }
  measure m_kept = logit(kept, yes)  measure m_knocked = logit(knocked, yes)  measure m_joint = logit(joint, yes)
  measure m_silent = logit(silent, yes)  measure inner = norm(kept.attn.z[1, 0, last])
  measure n_kept = size(c)  measure n_joint = size(both)
}""", fam)  # fmt: skip
    every = {(oracle.name(s), oracle.name(r)): (r, s) for r, s in oracle.edges_of(fam)}
    kept = {k: {e for e, (_, held) in rows(found, "c", k).items() if held} for k in (0, 30, 90)}
    held = {e for e, (_, there) in rows(found, "d").items() if there}
    assert [found.values["n_kept"][fam.name, k] for k in kept] == [len(kept[k]) for k in kept]
    assert kept[0] == set() and 0 < len(kept[30]) < len(kept[90]) and kept[90] & held
    wanted = {m: {} for m in ("m_kept", "m_knocked", "m_joint", "m_silent", "inner")}
    for item in PEOPLE.items(fam):
        token, corrupt = fam.speak.one(f" {item.row['a']}"), fam.run(item.corrupt)
        at = item.clean.last("c")

        def doubled(site, layer, value, at=at):
            if (site, layer) != ("mlp.out", 0):
                return None
            value = value.clone()
            value[at] *= 2
            return value

        def passed(names, *edits, other=corrupt, item=item):
            outside = [every[e] for e in every if e not in names]
            return fam.run(item.clean, *edits, oracle.sending(fam, outside, other))

        for k, names in kept.items():
            values = passed(names)
            wanted["m_kept"][fam.name, item.number, k] = values["logits", None][-1, token]
            wanted["inner"][fam.name, item.number, k] = values["attn.z", 1][0, -1].norm()
            wanted["m_knocked"][fam.name, item.number, k] = passed(set(every) - names)["logits", None][
                -1, token
            ]
            wanted["m_joint"][fam.name, item.number, k] = passed(names & held, doubled)["logits", None][
                -1, token
            ]
        wanted["m_silent"][fam.name, item.number] = passed(held, other=None)["logits", None][-1, token]
    for measure, cells in wanted.items():
        same(found, measure, cells)


def taken_away(fam, items, number, threshold, signed=False):
    """Edges left by hand: (sender, receiver) names, and what each that was tried did to the metric."""
    receivers = list(oracle.receivers(fam))
    by_receiver = {r: [s for s in oracle.senders(fam) if oracle.hears(r, s)] for r in receivers}
    out, tried = set(), {}

    def metric():
        total = 0.0
        for item in items:
            values = fam.run(item.clean, oracle.sending(fam, list(out), fam.run(item.corrupt)))
            total += float(number(fam, item)(values))
        return total / len(items)

    current = metric()
    for receiver in reversed(receivers):
        site, layer, head = receiver
        own = (
            None if site == "resid_post" else ("mlp.out" if site == "mlp.in" else "attn.result", layer, head)
        )
        heard = own is None or any((r, own) not in out for r in receivers if own in by_receiver[r])
        for sender in reversed(by_receiver[receiver]):
            out.add((receiver, sender))
            if not heard:
                continue
            new = metric()
            change = new - current
            tried[oracle.name(sender), oracle.name(receiver)] = change
            if (change if signed else abs(change)) < threshold:
                current = new
            else:
                out.discard((receiver, sender))
    every = {(r, s) for r in receivers for s in by_receiver[r]}
    return {(oracle.name(s), oracle.name(r)) for r, s in every - out}, tried


@pytest.mark.parametrize("name", ["gemma3_text", "gpt2"])
def test_acdc_takes_edges_away_from_the_end(name, checkpoints, gbx):
    """The edges that stay, and the change of the metric at each that was tried, against the search done by hand."""
    fam = checkpoints[name]  # two families: the search by hand takes a pass for every edge
    few, many = (
        (0.005, 0.001) if fam.name == "gpt2" else (0.08, 0.03)
    )  # logits of the tiny gpt2 hardly differ
    found = gbx(METRICS + PEOPLE.text + f"""experiment e {{
  metric worse(r) = -ld(r)
  circuit c[t in [{few}, {many}]] = acdc(ld, clean: clean, corrupt: corrupt, threshold: t)
  circuit d = acdc(worse, clean: clean, corrupt: corrupt, threshold: {few}, signed: true)
}}""", fam)  # fmt: skip
    items = PEOPLE.items(fam)
    for circuit, t, signed in (("c", few, False), ("c", many, False), ("d", few, True)):
        number = (lambda f, i: lambda v: -difference(f, i)(v)) if signed else difference
        kept, tried = taken_away(fam, items, number, t, signed)
        got = rows(found, circuit, t if circuit == "c" else None)
        assert 0 < len(kept) < len(got)
        assert {e for e, (_, k) in got.items() if k} == kept
        assert {e for e, (score, _) in got.items() if score == score} == set(tried)
        for edge, change in tried.items():
            assert got[edge][0] == pytest.approx(change, abs=2e-4)


class Hooked(checkpoints_of.Family):
    """A tiny checkpoint of another family; its passes are those of the untouched model, split into edges by hooks."""

    written_out = False

    def __init__(self, name, folder):
        checkpoints_of.LAYERS.setdefault(name, 2)
        super().__init__(name, folder)
        self.reference = oracle.Split(self.plain)


@pytest.fixture(scope="module", params=["gpt_neox", "mixtral"])
def other(request, tmp_path_factory):
    return Hooked(request.param, tmp_path_factory.mktemp("other") / request.param)


def test_the_split_model_is_the_model(other):
    ids = EVEN.items(other)[0].clean
    plain = other.plain(torch.tensor([list(ids)]), use_cache=False).logits[0]
    assert torch.allclose(other.run(ids)["logits", None], plain, atol=1e-5)
    assert (other.name == "mixtral") == (other.plain is not other.reference.model)


def test_edges_of_parallel_blocks_and_of_mixtures_of_experts(other, gbx, executor):
    """Scores and kept circuits against the untouched model with hooks; heads of a group have keys of their own."""
    found = gbx(METRICS + EVEN.text + """experiment e {
  circuit c = eap(ld, clean: clean, corrupt: corrupt, edges: 30)
  run kept = forward(clean) { keep c, else corrupt }
  run knocked = forward(clean) { keep not c, else corrupt }
  measure m_kept = logit(kept, yes)  measure m_knocked = logit(knocked, yes)
}""", other)  # fmt: skip
    scores, wanted = {}, {"m_kept": {}, "m_knocked": {}}
    every = {(oracle.name(s), oracle.name(r)): (r, s) for r, s in oracle.edges_of(other)}
    kept = {e for e, (_, held) in rows(found, "c").items() if held}
    assert kept
    for item in EVEN.items(other):
        corrupt = other.run(item.corrupt)
        own, slope = oracle.slopes(other, item.clean, difference(other, item))
        for edge, score in oracle.scores(other, own, corrupt, slope).items():
            scores[edge] = scores.get(edge, 0.0) + score / len(EVEN.rows)
        token = other.speak.one(f" {item.row['a']}")
        for measure, names in (("m_kept", kept), ("m_knocked", set(every) - kept)):
            outside = [ends for edge, ends in every.items() if edge not in names]
            values = other.run(item.clean, oracle.sending(other, outside, corrupt))
            wanted[measure][other.name, item.number] = values["logits", None][-1, token]
    compared(rows(found, "c"), scores)
    for measure, cells in wanted.items():
        same(found, measure, cells)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2", "other"])
def test_all_edges_are_the_run_itself_and_none_the_other_one(name, checkpoints, other, gbx, executor):
    """Conformance C12. Nothing is touched where every edge is kept, so the numbers are the same to the bit."""
    fam = other if name == "other" else checkpoints[name]
    n = len(oracle.edges_of(fam))
    found = gbx(METRICS + PEOPLE.text + f"""experiment e {{
  circuit all = eap(ld, clean: clean, corrupt: corrupt, edges: {n})
  circuit none = eap(ld, clean: clean, corrupt: corrupt, edges: 0)
  run every = forward(clean) {{ keep all, else corrupt }}
  run nothing = forward(clean) {{ keep none, else corrupt }}
  run also = forward(clean) {{ keep not none, else corrupt }}
  measure whole = size(all)
  measure a = ld(every)  measure b = ld(nothing)  measure c = ld(also)
  measure from = ld(clean)  measure to = ld(corrupt)
}}""", fam)  # fmt: skip
    values = found.values
    assert values["whole"] == {(fam.name,): n}
    assert values["a"] == values["c"] == pytest.approx(values["from"], abs=1e-5)
    assert values["b"] == pytest.approx(values["to"], abs=1e-4)
    assert max(abs(values["from"][k] - values["to"][k]) for k in values["to"]) > 1e-3


def test_scores_add_up_to_the_attribution_of_the_last_stream(llama, gbx):
    """Conformance C11: what is sent to the end is summed there, so its scores are the slope times the whole change."""
    found = gbx(METRICS + PEOPLE.text + """experiment e {
  circuit c = eap(ld, clean: clean, corrupt: corrupt, edges: 10)
  let slope = grad(ld(clean), clean.resid_post[-1, pos])
  measure whole = sum(dot(slope, corrupt.resid_post[-1, pos] - clean.resid_post[-1, pos]), over: {pos})
}""", llama)  # fmt: skip
    at_end = [score for (_, receiver), (score, _) in rows(found, "c").items() if receiver == "resid_post[-1]"]
    whole = sum(found.values["whole"].values()) / len(PEOPLE.rows)
    assert sum(at_end) == pytest.approx(whole, abs=1e-4) and abs(whole) > 1e-2


def test_scores_come_near_single_edges_patched_one_by_one(llama, gbx):
    """Where the other run is near, a score is what the metric changes by when the edge alone carries that run."""
    found = gbx(METRICS + PEOPLE.text + """experiment e {
  run near = forward(clean) { embed[c] *= 1.05 }
  circuit c = eap(ld, clean: clean, corrupt: near, edges: 10)
}""", llama)  # fmt: skip
    exact, items = {}, PEOPLE.items(llama)
    some = [(r, s) for r, s in oracle.edges_of(llama) if r[1] == 1 or r[0] == "resid_post"]
    for item in items:
        at, number = item.clean.last("c"), difference(llama, item)

        def nearer(site, layer, value, at=at):
            if site == "embed":
                value = value.clone()
                value[at] *= 1.05
                return value
            return None

        near, own = llama.run(item.clean, nearer), float(number(llama.run(item.clean)))
        for receiver, sender in some:
            values = llama.run(item.clean, oracle.sending(llama, [(receiver, sender)], near))
            edge = oracle.name(sender), oracle.name(receiver)
            exact[edge] = exact.get(edge, 0.0) + (float(number(values)) - own) / len(items)
    got, largest = rows(found, "c"), max(map(abs, exact.values()))
    assert largest > 3e-4
    for edge, change in exact.items():
        assert got[edge][0] == pytest.approx(change, abs=0.05 * largest), edge


def test_integrated_gradients_average_the_slopes_on_the_way(fam, gbx):
    found = gbx(METRICS + PEOPLE.text + """experiment e {
  circuit c = eap_ig(bent, clean: clean, corrupt: corrupt, edges: 20, steps: 3)
}""", fam)  # fmt: skip
    wanted = {}
    for item in PEOPLE.items(fam):
        own, corrupt = fam.run(item.clean), fam.run(item.corrupt)
        for step in range(3):
            way = (step + 0.5) / 3 * (corrupt["embed", None] - own["embed", None])

            def moved(site, layer, value, way=way):
                return value + way if site == "embed" else None

            _, slope = oracle.slopes(fam, item.clean, bent(fam, item), [moved])
            for edge, score in oracle.scores(fam, own, corrupt, slope).items():
                wanted[edge] = wanted.get(edge, 0.0) + score / 3 / len(PEOPLE.rows)
    compared(rows(found, "c"), wanted)


def test_a_divergence_has_no_slope_where_nothing_is_exchanged(llama, gbx):
    with pytest.raises(Findings) as found:
        gbx(PEOPLE.text + """experiment e {
  circuit c = eap(kl, clean: clean, corrupt: corrupt, edges: 10)
}""", llama)  # fmt: skip
    [problem] = found.value.diagnostics
    assert problem.code == "GB549" and "eap_ig" in problem.label


def test_a_divergence_on_the_way_to_the_other_run(llama, gbx):
    """`kl` stands for KL(clean || run), and the edges that are left out are said."""
    found = gbx(PEOPLE.text + """metric away(r) = kl(clean, r)
experiment e {
  circuit c = eap_ig(kl, clean: clean, corrupt: corrupt, edges: 12, steps: 2)
  circuit d = eap_ig(away, clean: clean, corrupt: corrupt, edges: 12, steps: 2)
  measure n = size(c)
}""", llama)  # fmt: skip
    one, same_again = rows(found, "c"), rows(found, "d")
    assert {e: s for e, (s, _) in one.items()} == pytest.approx({e: s for e, (s, _) in same_again.items()})
    assert max(abs(s) for s, _ in one.values()) > 1e-4
    assert ("GB551" in found.codes()) == (found.values["n"]["llama",] < 12)


def test_runs_of_other_lengths_are_refused(llama, gbx):
    for what in ("circuit c = eap(ld, clean: clean, corrupt: other, edges: 10)",
                 "circuit c = eap(ld, clean: clean, corrupt: corrupt, edges: 10)\n"
                 "run r = forward(clean) { keep c, else other }  measure m = ld(r)"):  # fmt: skip
        with pytest.raises(Findings) as found:
            gbx(METRICS + PEOPLE.text + f"experiment e {{ {what} }}", llama)
        assert {d.code for d in found.value.diagnostics} == {"GB342"}


@pytest.mark.parametrize(
    "search",
    [
        "eap(score, clean: clean, corrupt: loud, edges: 12)",
        "acdc(score, clean: clean, corrupt: loud, threshold: 0.001)",
    ],
)
def test_a_run_that_only_a_circuit_reads_may_be_edited(llama, gbx, search):
    """No pack makes such a run: that its edits moved something is not for packs to say."""
    found = gbx(EVEN.text + f"""metric score(r) = logit(r, yes)
experiment e {{
  run loud = forward(clean) {{ embed[a] *= 2 }}
  circuit c = {search}
  measure edges = size(c)
}}""", llama)  # fmt: skip
    assert "GB535" not in found.codes()
    assert min(found.values["edges"].values()) > 0
