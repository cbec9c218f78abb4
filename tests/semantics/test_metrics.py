"""Metrics of runs and of logits, sets as answers, and answers of several tokens under edits."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.reference import setting
from tests.semantics.tables import PEOPLE, Table, same


def logits_of(values, at=-1):
    return values["logits", None][at]


def test_metrics_of_runs(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run half = forward(corrupt) { resid_post[0] *= 0.5 }
  measure logit_ = logit(half, yes)
  measure logprob_ = logprob(half, yes, at: d.first)
  measure prob_ = prob(half, no, at: pos)
  measure rank_ = rank(half, yes)
  measure rank_at = rank(half, no, at: pos)
  measure entropy_ = entropy(half)
  measure entropy_at = entropy(half, at: pos)
  measure kl_ = kl(half, corrupt)
  measure kl_back = kl(corrupt, half)
  measure kl_prompts = kl(clean, half, at: c)
  measure kl_at = kl(half, clean, at: pos)
  run patched = forward(clean) { resid_post[0] := half }
  run steered[alpha in [-1, 0.5, 2]] = forward(corrupt) { resid_post[0] *= alpha }
  measure kl_patched = kl(half, patched) + 2 * kl(patched, half)
  measure kl_steered = kl(steered[0.5], steered[-1])
  measure kl_swept = kl(steered, steered[2])
  measure kl_source = kl(steered, patched)
  measure kl_values = kl(unembed(half.resid_mid[1, last]), corrupt.logits[last])
  measure right = correct(half, " {a}") + 2 * correct(half, token(corrupt, at: c))
  measure loss_ = loss(half)
  measure loss_at = loss(half, at: pos)
  measure loss_c = loss(half, at: c)
  measure loss_end = loss(half, at: last)
  measure inner = logprob(unembed(half.resid_mid[layer, pos]), yes)
  measure wide = rank(half.logits[c], no) + entropy(half.logits[c])
  measure tops = top(half, k: 3)
  measure tops_at = top(unembed(half.resid_mid[layer, c]), k: 2)
}""", fam)  # fmt: skip
    ref, name = fam.reference, fam.name
    runs = [
        (i, fam.run(i.corrupt, setting("resid_post", 0, slice(None), lambda x: x / 2)),
         fam.run(i.corrupt), fam.run(i.clean))
        for i in PEOPLE.items(fam)
    ]  # fmt: skip

    def yes(i):
        return fam.speak.one(" " + i.row["a"])

    def no(i):
        return fam.speak.one(" " + i.row["b"])

    def kl(p, q):
        p, q = p.log_softmax(-1), q.log_softmax(-1)
        return (p.exp() * (p - q)).sum()

    def entropy(z):
        p = z.log_softmax(-1)
        return -(p.exp() * p).sum()

    def rank(z, token):
        return 1 + int((z > z[token]).sum())

    def losses(i, half):
        return [-logits_of(half, p).log_softmax(-1)[i.corrupt[p + 1]] for p in range(len(i.corrupt) - 1)]

    def lens(x):
        return ref.unembed(ref.normed(ref.final, x[None], ref.divisor(x[None])))[0].detach()

    def check(measure, function):
        same(found, measure, {(name, r[0].number): function(*r) for r in runs})

    def check_at(measure, function):
        same(found, measure, {
            (name, r[0].number, p): function(*r, p) for r in runs for p in range(len(r[0].corrupt))})  # fmt: skip

    check("logit_", lambda i, h, o, c: logits_of(h)[yes(i)])
    check("logprob_", lambda i, h, o, c: logits_of(h, i.corrupt.first("d")).log_softmax(-1)[yes(i)])
    check_at("prob_", lambda i, h, o, c, p: logits_of(h, p).softmax(-1)[no(i)])
    check("rank_", lambda i, h, o, c: rank(logits_of(h), yes(i)))
    check_at("rank_at", lambda i, h, o, c, p: rank(logits_of(h, p), no(i)))
    check("entropy_", lambda i, h, o, c: entropy(logits_of(h)))
    check_at("entropy_at", lambda i, h, o, c, p: entropy(logits_of(h, p)))
    check("kl_", lambda i, h, o, c: kl(logits_of(h), logits_of(o)))
    check("kl_back", lambda i, h, o, c: kl(logits_of(o), logits_of(h)))
    check("kl_prompts", lambda i, h, o, c: kl(
        logits_of(c, i.clean.last("c")), logits_of(h, i.corrupt.last("c"))))  # fmt: skip
    check_at("kl_at", lambda i, h, o, c, p: kl(logits_of(h, p), logits_of(c, p)))
    check("kl_values", lambda i, h, o, c: kl(lens(h["resid_mid", 1][-1]), logits_of(o)))
    same(found, "kl_patched", {(name, i.number): 0 for i, *_ in runs})  # all that is read later was set
    steered = {
        (i.number, a): logits_of(fam.run(i.corrupt, setting("resid_post", 0, slice(None), lambda x, a=a: a * x)))
        for i, *_ in runs for a in (-1.0, 0.5, 2.0)}  # fmt: skip
    check("kl_steered", lambda i, h, o, c: kl(steered[i.number, 0.5], steered[i.number, -1.0]))
    same(found, "kl_swept", {(name, *k): kl(z, steered[k[0], 2.0]) for k, z in steered.items()})
    same(found, "kl_source", {(name, *k): kl(z, steered[k[0], 0.5]) for k, z in steered.items()})
    check("right", lambda i, h, o, c: (
        (logits_of(h).argmax() == yes(i)) + 2 * (logits_of(h).argmax() == i.corrupt[i.corrupt.last("c")])))  # fmt: skip
    check("loss_", lambda i, h, o, c: torch.stack(losses(i, h)).mean())
    same(found, "loss_at", {
        (name, r[0].number, p): v for r in runs for p, v in enumerate(losses(r[0], r[1]))})  # fmt: skip
    check("loss_c", lambda i, h, o, c: losses(i, h)[i.corrupt.last("c")])
    assert found.values["loss_end"] == {}, "behind the last token there is no next one"
    same(found, "inner", {
        (name, i.number, k, p): lens(h["resid_mid", k][p]).log_softmax(-1)[yes(i)]
        for i, h, _, _ in runs for k in range(ref.n_layers) for p in range(len(i.corrupt))})  # fmt: skip
    check("wide", lambda i, h, o, c: (
        rank(logits_of(h, i.corrupt.last("c")), no(i)) + entropy(logits_of(h, i.corrupt.last("c")))))  # fmt: skip

    def tops(cells):
        return {
            (*key, r + 1): (int(t), float(z[t]), float(z.softmax(-1)[t]))
            for key, z, k in cells
            for r, t in enumerate(z.argsort(descending=True)[:k])
        }

    ends = tops([((name, i.number), logits_of(h), 3) for i, h, _, _ in runs])
    deep = tops([
        ((name, i.number, k), lens(h["resid_mid", k][i.corrupt.last("c")]), 2)
        for i, h, _, _ in runs for k in range(ref.n_layers)])  # fmt: skip
    for measure, expected in (("tops", ends), ("tops_at", deep)):
        assert {k: v[0] for k, v in found.tops[measure].items()} == {k: v[0] for k, v in expected.items()}
        for key, (_, logit, prob) in expected.items():
            assert abs(found.tops[measure][key][1] - logit) < 1e-3
            assert abs(found.tops[measure][key][2] - prob) < 1e-4


def test_sets_and_inline_answers(fam, gbx):
    """Of a set: mean logit, summed probability, log of that sum, best rank, any correct."""
    answers = Table(PEOPLE.rows, PEOPLE.prompts, {
        "several": '[" {a}", " {b}", " store"]', "one": '" {a}"', "whoever": "first_token(d)"})  # fmt: skip
    found = gbx(answers.text + """experiment e {
  measure logit_ = logit(clean, several)
  measure prob_ = prob(clean, several)
  measure logprob_ = logprob(clean, several, at: pos)
  measure rank_ = rank(clean, several, at: pos)
  measure correct_ = correct(clean, several, at: pos)
  measure inline = logit(clean, " {b}") - logit(clean, [" {a}", " {b}"]) + logprob(clean, " park")
  measure values = prob(unembed(clean.resid_post[0, last]), several)
  measure begun = logit(clean, whoever)
}""", fam)  # fmt: skip
    ref, name = fam.reference, fam.name
    runs = [(i, fam.run(i.clean)) for i in answers.items(fam)]
    ids = {i.number: [fam.speak.one(" " + w) for w in (i.row["a"], i.row["b"], "store")] for i, _ in runs}
    park = fam.speak.one(" park")

    def check(measure, function):
        same(found, measure, {(name, i.number): function(logits_of(v), ids[i.number]) for i, v in runs})

    def check_at(measure, function):
        same(found, measure, {
            (name, i.number, p): function(logits_of(v, p), ids[i.number])
            for i, v in runs for p in range(len(i.clean))})  # fmt: skip

    check("logit_", lambda z, t: z[t].mean())
    check("prob_", lambda z, t: z.softmax(-1)[t].sum())
    check_at("logprob_", lambda z, t: z.softmax(-1)[t].sum().log())
    check_at("rank_", lambda z, t: 1 + (z > z[t].max()).sum())
    check_at("correct_", lambda z, t: z.argmax() in t)
    check("inline", lambda z, t: z[t[1]] - z[t[:2]].mean() + z.log_softmax(-1)[park])
    same(found, "begun", {
        (name, i.number): logits_of(v)[fam.speak.ids(i.row["d"])[0]] for i, v in runs})  # fmt: skip
    resid = {i.number: v["resid_post", 0][-1:] for i, v in runs}
    same(found, "values", {
        (name, n): ref.unembed(ref.normed(ref.final, x, ref.divisor(x)))[0].detach().softmax(-1)[ids[n]].sum()
        for n, x in resid.items()})  # fmt: skip


def test_answers_of_several_tokens(fam, gbx):
    """Teacher-forced behind the prompt under the same edits; their sources see the same answer."""
    long = Table(PEOPLE.rows, PEOPLE.prompts, {"long": '" {d} store"', "either": '[" {d}", " {a}"]'})
    found = gbx(long.text + """experiment e {
  measure plain = logprob(clean, long)
  run patched[layer] = forward(corrupt) { resid_pre[layer, c] := clean }
  measure moved = logprob(patched, long)
  measure sum_of = prob(patched, either)
  measure right = correct(patched, long) + correct(clean, either)
  run named = forward(corrupt) { mlp.out[0, last] *= 2  attn.out[1, {c, d.span}] := other }
  measure at_end = logprob(named, long)
  run everywhere = forward(corrupt) { mlp.out[1] := clean  resid_post[0, not d.span] *= 0.9 }
  measure all_tokens = logprob(everywhere, long)
  run stages = forward(clean) { resid_mid[1, {c, last}] := patched[0] }
  measure later = prob(stages, either)
}""", fam)  # fmt: skip
    name, layers = fam.name, range(fam.reference.n_layers)

    def scored(prompt, answer, run):
        """(log-probability, whether each token is the best) of an answer; `run(ids)` makes the pass."""
        z = run([*prompt, *answer[:-1]])["logits", None][len(prompt) - 1 :]
        return float(z.log_softmax(-1)[range(len(answer)), answer].sum()), bool(
            (z.argmax(-1) == torch.tensor(answer)).all()
        )

    def patched(i, layer, ids):
        """The source has the same tokens behind its own prompt."""
        behind, c = ids[len(i.corrupt) :], i.corrupt.last("c")
        clean = fam.run([*i.clean, *behind])["resid_pre", layer][c]
        return fam.run(ids, setting("resid_pre", layer, c, clean))

    def named(i, ids):
        behind, n = ids[len(i.corrupt) :], len(i.corrupt)
        here = [i.corrupt.last("c"), *i.corrupt.span("d")]
        there = [i.other.last("c"), *i.other.span("d")]
        out = fam.run([*i.other, *behind])["attn.out", 1][there]
        return fam.run(ids, setting("mlp.out", 0, n - 1, lambda x: 2 * x), setting("attn.out", 1, here, out))

    def everywhere(i, ids):
        clean = fam.run([*i.clean, *ids[len(i.corrupt) :]])["mlp.out", 1]
        outside = [p for p in range(len(ids)) if p not in i.corrupt.span("d")]
        return fam.run(
            ids,
            setting("resid_post", 0, outside, lambda x: 0.9 * x),
            setting("mlp.out", 1, slice(None), clean),
        )

    def stages(i, ids):
        at = [i.clean.last("c"), len(i.clean) - 1]
        source = patched(i, 0, [*i.corrupt, *ids[len(i.clean) :]])["resid_mid", 1][at]
        return fam.run(ids, setting("resid_mid", 1, at, source))

    items = long.items(fam)
    texts = {i.number: fam.speak.ids(f" {i.row['d']} store") for i in items}
    either = {i.number: [fam.speak.ids(f" {i.row[w]}") for w in "da"] for i in items}
    assert max(map(len, texts.values())) > 3

    def both(i, prompt, run):
        return sum(torch.tensor(scored(prompt, a, run)[0]).exp() for a in either[i.number])

    same(found, "plain", {(name, i.number): scored(i.clean, texts[i.number], fam.run)[0] for i in items})
    moved = {
        (name, i.number, k): scored(i.corrupt, texts[i.number], lambda ids, i=i, k=k: patched(i, k, ids))
        for i in items for k in layers
    }  # fmt: skip
    same(found, "moved", {key: value for key, (value, _) in moved.items()})
    same(found, "sum_of", {
        (name, i.number, k): both(i, i.corrupt, lambda ids, i=i, k=k: patched(i, k, ids))
        for i in items for k in layers})  # fmt: skip
    same(found, "right", {
        key: greedy + any(scored(items[key[1]].clean, a, fam.run)[1] for a in either[key[1]])
        for key, (_, greedy) in moved.items()})  # fmt: skip
    for measure, prompt, run in (("at_end", "corrupt", named), ("all_tokens", "corrupt", everywhere)):
        same(found, measure, {
            (name, i.number): scored(getattr(i, prompt), texts[i.number], lambda ids, i=i, run=run: run(i, ids))[0]
            for i in items})  # fmt: skip
    same(found, "later", {
        (name, i.number): both(i, i.clean, lambda ids, i=i: stages(i, ids)) for i in items})  # fmt: skip


@pytest.mark.parametrize("at", ["last + 1", "first - 1", "d.first + 40", "-40", "30"])
def test_a_metric_at_a_position_that_is_no_cell_has_no_value(llama, gbx, at):
    found = gbx(PEOPLE.text + f"""experiment e {{
  measure one = logit(clean, yes, at: {at})
  measure two = kl(clean, corrupt, at: {at})
  measure three = loss(clean, at: {at})
  measure four = entropy(clean.logits[{at}])
  measure five = token(clean, at: {at})
  measure six = norm(clean.resid_post[layer, {at}])
  measure some = logit(clean, yes, at: d.first + 4)
  measure fine = logit(clean, yes)
}}""", llama)  # fmt: skip
    assert {m for m, cells in found.values.items() if cells} == {"some", "fine"}
    items = PEOPLE.items(llama)
    same(found, "some", {
        ("llama", i.number): llama.run(i.clean)["logits", None][p, llama.speak.one(" " + i.row["a"])]
        for i in items if (p := i.clean.first("d") + 4) < len(i.clean)})  # fmt: skip
    assert 0 < len(found.values["some"]) < len(items)


@pytest.mark.parametrize("use", ["prob(clean, long, at: pos)", "prob(clean, long, at: c)", "rank(clean, long)",
                                 "logprob(unembed(clean.resid_post[0, last]), long)"])  # fmt: skip
def test_several_tokens_only_behind_the_prompt(llama, gbx, use):
    """Elsewhere there is no next token to force: an error that names the rows, never a score of the first token."""
    table = Table(PEOPLE.rows, PEOPLE.prompts, {"long": '" {d} store"'})
    with pytest.raises(Findings) as raised:
        gbx(table.text + f"experiment e {{ measure m = {use} }}", llama)
    assert "GB340" in {d.code for d in raised.value.diagnostics}


def test_head_scores(fam, gbx):
    """The definitions written out key by key; heads that see a window count what lies in it."""
    found = gbx("""data d {
  prompt twice = repeated_tokens(length: 6, repeats: 2)
  draw 3, seed: 1
}
experiment e {
  run edited = forward(twice) { attn.pattern[0, 1] *= 0.5 }
  measure previous_ = head_score(twice, kind: previous)
  measure duplicate_ = head_score(twice, kind: duplicate)
  measure induction_ = head_score(edited, kind: induction)
  measure self_ = head_score(twice, kind: self)
  measure first_ = head_score(twice, kind: first)
}""", fam)  # fmt: skip
    table = found.tables["d", fam.name]
    ref = fam.reference

    def keys(kind, ids, query, reach):
        near = [k for k in range(query + 1) if k > query - (reach or len(ids))]
        return {
            "previous": [k for k in near if k == query - 1],
            "self": [query],
            "first": [k for k in near if k == 0],
            "duplicate": [k for k in near if k < query and ids[k] == ids[query]],
            "induction": [k for k in near if 1 <= k < query and ids[k - 1] == ids[query]],
        }[kind]

    for kind in ("previous", "duplicate", "induction", "self", "first"):
        expected = {}
        for item in table.items:
            ids = list(item.prompts["twice"].ids)
            edits = [setting("attn.pattern", 0, 1, lambda x: x / 2)] if kind == "induction" else []
            values = fam.run(ids, *edits)
            for k in range(ref.n_layers):
                chosen = {q: found_ for q in range(len(ids)) if (found_ := keys(kind, ids, q, ref.window(k)))}
                for head in range(ref.n_heads):
                    pattern = values["attn.pattern", k][head]
                    if chosen:
                        expected[fam.name, item.number, k, head] = torch.stack(
                            [pattern[q, ks].sum() for q, ks in chosen.items()]
                        ).mean()
        same(found, f"{kind}_", expected)
    if fam.name == "gemma3_text":
        assert {key[2] for key in found.values["duplicate_"]} == {1}, (
            "a window of 5 never reaches 6 tokens back"
        )
