"""Sets from results against loops over the reference: choosing, operators, edits, sweeps, stages, refusals."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import session as sessions
from tests.semantics.reference import setting
from tests.semantics.tables import EVEN, PEOPLE
from tests.semantics.test_patching import DATA, pairs

HEAD = """
metric ld(r) = logit(r, yes) - logit(r, no)
experiment e {
  let score = mean(norm(clean.attn.z[:, :, last]))
  let movers = largest(score, k: 3)
"""


def scores(fam):
    """norm of z at the last position, mean over items: {(layer, head): number}."""
    runs = [fam.run(clean) for _, clean, _, _ in pairs(fam)]
    reference = fam.reference
    return {
        (layer, head): float(sum(r["attn.z", layer][head, -1].norm() for r in runs)) / len(runs)
        for layer in range(reference.n_layers)
        for head in range(reference.n_heads)
    }


def top(values, k):
    return set(sorted(values, key=lambda cell: (-values[cell], cell))[:k])


def middle(values):
    """A threshold with about half of the values above it, well away from any of them."""
    ordered = sorted(values.values())
    gaps = [(b - a, (a + b) / 2) for a, b in zip(ordered, ordered[1:], strict=False)]
    return max(gaps[len(gaps) // 4 : -len(gaps) // 4])[1]


def zeroed(cells):
    """Edits that set z to 0 in some heads."""
    return [setting("attn.z", layer, head, 0.0) for layer, head in cells]


def cells(found, name):
    """The cells of a measure without items, model apart."""
    return {key[1:] for key in found.values[name]}


def effects(fam, edits):
    """ld of the corrupted prompt under edits, by item."""
    return {(fam.name, i): ld(fam.run(corrupt, *edits)) for i, _, corrupt, ld in pairs(fam)}


def test_operators_and_choices(fam, gbx):
    values = scores(fam)
    t, everything = middle(values), set(values)
    movers, hot = top(values, 3), {c for c in values if values[c] > t}
    cold, given = {c for c in values if values[c] < t}, {(0, 1), (1, 0)}
    body = f"""{HEAD}
      let hot = score > {t}
      measure a = score[movers]  measure b = score[hot]  measure c = score[not movers]
      measure d = score[movers + {{(0, 1), (1, 0)}}]  measure f = score[hot - movers]
      measure g = score[hot * (not movers)]  measure h = score[(score < {t}) + movers]
      measure i = score[{{(0, 1), (1, 0)}} - movers]  measure j = score[largest(0 - score, k: 2)]
      measure n = size(hot)  measure m = size(not movers)  measure o = (score > {t}) + hot
      let both = (score > {t}) - (score < 1000)  measure p = size(both + (score > {t}) * hot)
      measure q = sum(score[movers])  expect size(movers) == 3
    }}"""
    found = gbx(DATA + body, fam)
    wanted = {"a": movers, "b": hot, "c": everything - movers, "d": movers | given, "f": hot - movers,
              "g": hot - movers, "h": cold | movers, "i": given - movers,
              "j": top({c: -v for c, v in values.items()}, 2)}  # fmt: skip
    assert {name: cells(found, name) for name in wanted} == wanted
    for name in wanted:
        for key, number in found.values[name].items():
            assert number == pytest.approx(values[key[1:]], abs=1e-4)
    assert found.values["n"] == {(fam.name,): len(hot)} and found.values["p"] == {(fam.name,): len(hot)}
    assert found.values["m"] == {(fam.name,): len(values) - 3}
    assert {key[1:] for key, v in found.values["o"].items() if v == 2} == hot
    assert found.values["q"][(fam.name,)] == pytest.approx(sum(values[c] for c in movers), abs=1e-3)
    assert [c.holds for c in found.claims] == [True] and found.codes() == []


def test_edits_of_sets(fam, gbx):
    values = scores(fam)
    movers = top(values, 3)
    body = f"""{HEAD}
      let zbar = mean(clean.attn.z[:, :, last])
      run cut = forward(corrupt) {{ attn.z[movers] := 0 }}
      run kept = forward(corrupt) {{ attn.z[not movers] := 0 }}
      run meant = forward(corrupt) {{ attn.z[movers, last] := zbar }}
      run patched = forward(corrupt) {{ attn.z[movers, last] := clean }}
      measure a = ld(cut)  measure b = ld(kept)  measure c = ld(meant)  measure d = ld(patched)
    }}"""
    found = gbx(DATA + body, fam)
    everything = set(values)
    assert found.values["a"] == pytest.approx(effects(fam, zeroed(movers)), abs=1e-4)
    assert found.values["b"] == pytest.approx(effects(fam, zeroed(everything - movers)), abs=1e-4)
    sources = [fam.run(clean) for _, clean, _, _ in pairs(fam)]
    mean = [
        sum(r["attn.z", la][:, -1] for r in sources) / len(sources) for la in range(fam.reference.n_layers)
    ]
    edits = [setting("attn.z", la, (h, -1), mean[la][h]) for la, h in movers]
    assert found.values["c"] == pytest.approx(effects(fam, edits), abs=1e-4)
    for item, _, corrupt, ld in pairs(fam):
        edits = [setting("attn.z", la, (h, -1), sources[item]["attn.z", la][h, -1]) for la, h in movers]
        assert found.values["d"][fam.name, item] == pytest.approx(ld(fam.run(corrupt, *edits)), abs=1e-4)


def test_sweeps_over_sets(llama, gbx):
    values = scores(llama)
    movers = top(values, 3)
    body = f"""{HEAD}
      run cut[(layer, head) in movers] = forward(corrupt) {{ attn.z[layer, head] := 0 }}
      run rest[(l, h) in movers] = forward(corrupt) {{ attn.z[movers - {{(l, h)}}] := 0 }}
      run named[s in {{movers, others}}] = forward(corrupt) {{ attn.z[s] := 0 }}
      let others = sample(not movers, k: size(movers), seed: 4)
      let fewer = sample(not movers, k: 2, seed: 4)
      measure a = ld(cut)  measure b = ld(rest)  measure c[s] = ld(named)
      measure d = score[others]  measure f = score[fewer]
      measure g[s in {{movers, others}}] = size(s)
      measure i[(l, h) in movers] = score[l, h]
    }}"""
    found = gbx(DATA + body, llama)
    others = cells(found, "d")
    assert len(others) == 3 and not others & movers and cells(found, "f") < others
    for got, chosen in (("a", lambda c: {c}), ("b", lambda c: movers - {c})):
        wanted = {
            (*key, *cell): v for cell in movers for key, v in effects(llama, zeroed(chosen(cell))).items()
        }
        assert found.values[got] == pytest.approx(wanted, abs=1e-4)
    wanted = {
        (*key, name): v
        for name, chosen in (("movers", movers), ("others", others))
        for key, v in effects(llama, zeroed(chosen)).items()
    }
    assert found.values["c"] == pytest.approx(wanted, abs=1e-4)
    assert found.values["g"] == {("llama", "movers"): 3, ("llama", "others"): 3}
    assert cells(found, "i") == movers


def test_sets_that_depend_on_variables(llama, gbx):
    values = scores(llama)
    per = {la: top({c: v for c, v in values.items() if c[0] == la}, 2) for la in range(3)}
    body = f"""{HEAD}
      let top[n in [1, 4]] = largest(score, k: n)
      let per[layer] = largest(score, k: 2)
      run cut[n in [1, 4]] = forward(corrupt) {{ attn.z[top] := 0 }}
      run written[n in [1, 4]] = forward(corrupt) {{ attn.z[largest(score, k: n)] := 0 }}
      run inside[layer] = forward(corrupt) {{ attn.z[layer, per] := 0 }}
      run all = forward(corrupt) {{ attn.z[layer, per] := 0 }}
      measure a = ld(cut)  measure b = ld(written)  measure c = ld(inside)  measure d = ld(all)
      measure f[n in [1, 4]] = size(top)  measure g = size(top[4])  measure h = size(not top[1])
      measure i[t in [0, 1000]] = size(score > t)
    }}"""
    found = gbx(DATA + body, llama)
    wanted = {(*k, n): v for n in (1, 4) for k, v in effects(llama, zeroed(top(values, n))).items()}
    assert found.values["a"] == pytest.approx(wanted, abs=1e-4)
    assert found.values["b"] == pytest.approx(wanted, abs=1e-4)
    wanted = {(*k, la): v for la in range(3) for k, v in effects(llama, zeroed(per[la])).items()}
    assert found.values["c"] == pytest.approx(wanted, abs=1e-4)
    assert found.values["d"] == pytest.approx(effects(llama, zeroed(set().union(*per.values()))), abs=1e-4)
    assert found.values["f"] == {("llama", 1): 1, ("llama", 4): 4} and found.values["g"] == {("llama",): 4}
    assert found.values["h"] == {("llama",): len(values) - 1}
    assert found.values["i"] == {("llama", 0): len(values), ("llama", 1000): 0}


def test_a_named_position_of_a_family_lies_in_the_prompt_that_its_sets_read(llama, gbx):
    """`b` is another token in `corrupt` than in `clean`, the first prompt."""
    found = gbx(EVEN.text + """experiment e {
      let big[pos] = largest(mean(norm(corrupt.attn.z[layer, head, pos])), k: 3)
      run cut = forward(clean) { attn.z[big[a]] := 0 }
      measure m = logit(cut, yes)
    }""", llama)  # fmt: skip
    items = EVEN.items(llama)
    assert {i.clean.last("a") for i in items}.isdisjoint(i.corrupt.last("a") for i in items)
    runs = [(llama.run(i.corrupt), i.corrupt.last("a")) for i in items]
    size = {(la, h): sum(float(r["attn.z", la][h, at].norm()) for r, at in runs) for la, h in scores(llama)}
    m = {}
    for i in items:
        got = llama.run(i.clean, *zeroed(top(size, 3)))
        m["llama", i.number] = float(got["logits", None][-1, llama.speak.one(" " + i.row["a"])])
    assert found.values["m"] == pytest.approx(m, abs=1e-4)


def test_a_named_position_that_would_pick_a_set_for_each_item_is_refused(llama, gbx):
    text = """experiment e {
      let big[pos] = largest(max(norm(other.attn.z[layer, head, pos]), over: item), k: 3)
      run cut = forward(clean) { attn.z[big[c]] := 0 }
      measure m = logit(cut, yes)
    }"""
    with pytest.raises(Findings) as raised:
        gbx(PEOPLE.text + text, llama)
    [finding] = raised.value.diagnostics
    assert (finding.code, finding.span.text) == ("GB559", "c")


def test_what_a_set_reads_is_run_first(llama, gbx):
    """A set chosen by an edited run, from another experiment too, whatever the order of declaration."""
    body = """
    metric ld(r) = logit(r, yes) - logit(r, no)
    experiment late {
      run again[(layer, head) in strong] = forward(corrupt) { attn.z[layer, head] := 0  attn.z[e.best] *= 2 }
      measure a = ld(again)
      let strong = largest(mean(ld(corrupt) - ld(cut)), k: 2)
      run cut[layer, head] = forward(corrupt) { attn.z[layer, head] := 0 }
    }
    experiment e {
      run cut[layer] = forward(corrupt) { mlp.out[layer] := 0 }
      let best = largest(mean(norm(clean.attn.z[:, :, last])), k: 2)
      measure drop = mean(ld(corrupt) - ld(cut))
    }
    experiment other {
      run lost[layer in largest(e.drop, k: 1)] = forward(corrupt) { mlp.out[layer] := 0 }
      measure b = ld(lost)
    }"""
    found = gbx(DATA + body, llama)
    base = effects(llama, [])
    values = scores(llama)
    drops = {c: sum(base[k] - v for k, v in effects(llama, zeroed({c})).items()) / 3 for c in values}
    doubled = [setting("attn.z", la, h, lambda z: 2 * z) for la, h in top(values, 2)]
    wanted = {(*k, *c): v for c in top(drops, 2) for k, v in effects(llama, zeroed({c}) + doubled).items()}
    assert found.values["a"] == pytest.approx(wanted, abs=1e-4)
    layers = [effects(llama, [setting("mlp.out", la, slice(None), 0.0)]) for la in range(3)]
    drops = [sum(base[k] - v for k, v in one.items()) for one in layers]
    best = max(range(3), key=lambda la: drops[la])
    assert found.values["b"] == pytest.approx({(*k, best): v for k, v in layers[best].items()}, abs=1e-4)


@pytest.mark.parametrize(("name", "other"), [("clean", "found.clean"), ("alone", "alone")])
def test_a_set_found_on_another_data_set(name, other, llama, gbx):
    """The run it reads is fixed to that data set, or has a prompt that only this one has."""
    more = DATA.replace("data d", "data found").replace("corrupt", "unused").replace("went", "said")
    more = more.replace("prompt clean", f"prompt {name}")
    body = f"""
    metric ld(r) = logit(r, yes) - logit(r, no)
    experiment e {{
      let movers = largest(mean(norm({other}.attn.z[:, :, last])), k: 3)
      run cut = forward(d.corrupt) {{ attn.z[movers] := 0 }}
      measure a = ld(cut)
    }}"""
    found = gbx(DATA + more + body, llama)
    runs = []
    for _, clean, _, _ in pairs(llama):
        ids = list(clean)
        word = llama.speak.one(" went")
        runs.append(llama.run([llama.speak.one(" said") if i == word else i for i in ids]))
    values = {
        (la, h): sum(float(r["attn.z", la][h, -1].norm()) for r in runs) for la in range(3) for h in range(6)
    }
    wanted = effects(llama, zeroed(top(values, 3)))
    assert found.values["a"] == pytest.approx(wanted, abs=1e-4)


def test_a_set_of_an_imported_experiment(llama, gbx, tmp_path):
    (tmp_path / "scan.gbx").write_text(f"gbx 1\n{DATA}{HEAD} measure unread = ld(clean) }}")
    body = """import "scan.gbx"
    experiment here { run cut = forward(corrupt) { attn.z[e.movers] := 0 }  measure a = ld(cut) }"""
    found = gbx(body, llama)
    assert found.values["a"] == pytest.approx(effects(llama, zeroed(top(scores(llama), 3))), abs=1e-4)
    assert set(found.values) == {"a"}


def test_a_set_of_layers_as_one_member(llama, gbx):
    body = f"""{HEAD}
      let late = mean(norm(clean.resid_post[:, last])) > 0 - 1
      let two = largest(max(score, over: {{head}}), k: 2)
      run cut[layer in {{two, 0, late}}] = forward(corrupt) {{ mlp.out[layer] := 0 }}
      run each[layer in two] = forward(corrupt) {{ mlp.out[layer] := 0 }}
      measure a = ld(cut)  measure b = ld(each)
    }}"""
    found = gbx(DATA + body, llama)
    best = {la: max(v for c, v in scores(llama).items() if c[0] == la) for la in range(3)}
    two = sorted(best, key=lambda la: -best[la])[:2]

    def without(layers):
        return effects(llama, [setting("mlp.out", la, slice(None), 0.0) for la in layers])

    for name, layers in (("two", two), ("0", [0]), ("late", range(3))):
        wanted = {(*k, name): v for k, v in without(layers).items()}
        assert {k: v for k, v in found.values["a"].items() if k[-1] == name} == pytest.approx(
            wanted, abs=1e-4
        )
    wanted = {(*k, la): v for la in two for k, v in without([la]).items()}
    assert found.values["b"] == pytest.approx(wanted, abs=1e-4)


def test_positions_and_neurons(fam, gbx):
    body = """
    metric ld(r) = logit(r, yes) - logit(r, no)
    experiment e {
      run patched[layer, pos in {c, last}] = forward(corrupt) { resid_pre[layer, pos] := clean }
      let effect = mean(ld(patched) - ld(corrupt))
      let hot = largest(effect, k: 2)
      run again = forward(corrupt) { resid_pre[hot] += 1 }
      run each[(layer, pos) in hot] = forward(corrupt) { resid_pre[layer, pos] += 1 }
      let active = largest(mean(clean.mlp.post[:, :, last]), k: 4)
      run quiet = forward(corrupt) { mlp.post[active] := 0 }
      measure a = ld(again)  measure b = ld(each)  measure c = ld(quiet)  measure d = effect[hot]
    }"""
    found = gbx(DATA + body, fam)
    n, base = fam.reference.n_layers, effects(fam, [])
    at = {"c": lambda p: p.last("c"), "last": lambda p: len(p) - 1}
    effect = {}
    for layer in range(n):
        for name in at:
            got = []
            for item, clean, corrupt, ld in pairs(fam):
                place = at[name](corrupt)
                source = fam.run(clean)["resid_pre", layer][place]
                got.append(
                    ld(fam.run(corrupt, setting("resid_pre", layer, place, source))) - base[fam.name, item]
                )
            effect[layer, name] = sum(got) / len(got)
    hot = sorted(effect, key=lambda c: -effect[c])[:2]
    assert cells(found, "d") == set(hot)
    wanted, each = {}, {}
    for item, _, corrupt, ld in pairs(fam):
        edits = [setting("resid_pre", la, at[p](corrupt), lambda x: x + 1) for la, p in hot]
        wanted[fam.name, item] = ld(fam.run(corrupt, *edits))
        for cell, edit in zip(hot, edits, strict=True):
            each[fam.name, item, *cell] = ld(fam.run(corrupt, edit))
    assert found.values["a"] == pytest.approx(wanted, abs=1e-4)
    assert found.values["b"] == pytest.approx(each, abs=1e-4)
    runs = [fam.run(clean) for _, clean, _, _ in pairs(fam)]
    post = torch.stack([sum(r["mlp.post", la][:, -1] for r in runs) for la in range(n)])
    best = [divmod(i, post.shape[1]) for i in post.flatten().topk(4).indices.tolist()]
    edits = [setting("mlp.post", la, neuron, 0.0) for la, neuron in best]
    assert found.values["c"] == pytest.approx(effects(fam, edits), abs=1e-4)


def test_a_tensor_indexed_by_a_set_keeps_its_axes(llama, gbx):
    body = f"""{HEAD}
      measure a = norm(clean.attn.z[movers, last])
      measure b = mean(norm(clean.attn.z[movers, last]), over: {{item, layer, head}})
      record z = clean.attn.z[movers, last]
    }}"""
    found = gbx(DATA + body, llama)
    movers = top(scores(llama), 3)
    wanted = {
        ("llama", item, la, h): float(llama.run(clean)["attn.z", la][h, -1].norm())
        for item, clean, _, _ in pairs(llama)
        for la, h in movers
    }
    assert found.values["a"] == pytest.approx(wanted, abs=1e-4)
    assert found.values["b"][("llama",)] == pytest.approx(sum(wanted.values()) / len(wanted), abs=1e-4)
    array = found.records["z"]["llama", 0].array
    assert {tuple(c) for c in (~torch.isnan(torch.tensor(array[..., 0]))).nonzero().tolist()} == movers


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("GB541", "run r[(layer, head) in none] = forward(clean) { attn.z[layer, head] := 0 }"),
        ("GB542", "run r = forward(clean) { attn.z[none] := 0 }"),
        ("GB542", "run r[s in {none, movers}] = forward(clean) { attn.z[s] := 0 }"),
        ("GB542", "run r = forward(clean) { attn.z[not (score > 0)] := 0 }"),
    ],
)
def test_sets_without_members_are_refused(code, body, llama, gbx):
    with pytest.raises(Findings) as caught:
        gbx(f"{DATA}{HEAD} let none = score > 1000  {body}  measure a = ld(r) }}", llama)
    [found] = caught.value.diagnostics
    assert found.code == code and "llama" in found.headline and found.span is not None


def test_too_few_cells_are_all_taken_with_a_warning(llama, gbx):
    found = gbx(f"{DATA}{HEAD} measure a = size(largest(score, k: 99)) }}", llama)
    assert found.values["a"] == {("llama",): 18} and found.codes() == ["GB543"]


def test_heads_do_not_index_groups(llama, checkpoints, gbx):
    body = f"{DATA}{HEAD} run r = forward(clean) {{ attn.k[movers] := 0 }}  measure a = ld(r) }}"
    with pytest.raises(Findings) as caught:
        gbx(body, llama)
    assert [d.code for d in caught.value.diagnostics] == ["GB388"]
    assert "kv_head 0 serves heads 0 to 2" in caught.value.diagnostics[0].label


def test_both_executors_make_the_same_sets(llama, gbx, monkeypatch):
    """Copies into sets, swept sets, answers of several tokens that a set reads, and sets of another data set."""
    more = (
        DATA.replace("data d", "data found")
        .replace("prompt clean", "prompt alone")
        .replace("corrupt", "unused")
    )
    body = """
    experiment e {
      let movers = largest(mean(norm(alone.attn.z[:, :, last])), k: 3)
      run ablated[layer, head] = forward(corrupt) { attn.z[layer, head] := 0 }
      let strong = largest(mean(logprob(ablated, " Zebulon")), k: 2)
      run cut[s in {movers, strong}] = forward(corrupt) { attn.z[s, last] := clean }
      let big = largest(mean(norm(cut[movers].resid_post[:, last])), k: 1)
      run rest[(layer, head) in movers + strong] = forward(corrupt) {
        attn.z[movers - {(layer, head)}] := clean
        mlp.out[big] *= 0.5
      }
      measure a = logit(cut, yes)  measure b = logprob(rest, " Zebulon")  measure c = logit(cut, no)[strong]
      measure n = size(movers + strong)
    }"""
    values = []
    for executor in ("hooked", "delta"):
        monkeypatch.setattr(sessions.Session, "executor", executor)
        values.append(gbx(DATA + more + body, llama).values)
    assert values[0].keys() == values[1].keys() and len(values[0]["b"]) >= 9
    for name, expected in values[0].items():
        assert values[1][name] == pytest.approx(expected, abs=1e-3), name
