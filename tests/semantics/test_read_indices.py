"""Which cells a read has, and where families meet: every form of an index, and every form of a binder."""

import pytest

from glassbox_dsl.diagnostics import Findings
from tests.semantics.reference import setting
from tests.semantics.tables import PEOPLE, same


def each(fam, table, cells):
    """{(family, item, *key): value} from `cells(item)`: {key: value}."""
    return {(fam.name, item.number, *key): v for item in table.items(fam) for key, v in cells(item).items()}


def test_selections_keep_the_cells_that_they_name(fam, gbx):
    found = gbx(PEOPLE.text + """let some = {0, -1}
experiment e {
  measure range = norm(clean.resid_post[1..-1, last])
  measure cut = norm(clean.resid_post[-9..0, d.first - 1..d.last])
  measure sets = norm(clean.attn.z[some, {0, 2}, {c, d.span, first}])
  measure others = norm(clean.attn.z[not 0, not {0, 2}, not 2..last])
  measure joint = norm(clean.attn.z[{(0, 1), (1, 0)}, last])
  measure outside = norm(clean.attn.z[not {(0, 1), (1, 0)}, {last}])
  measure triples = norm(clean.attn.z[{(0, 1, last), (1, 0, c)}])
  measure named = norm(clean.attn.z[head: 3, pos: last])
  measure keys = clean.attn.pattern[50%, 1, last, d.span]
  measure steps = norm(clean.resid_pre[layer + 1, last] - clean.resid_pre[layer, last])
  measure one = clean.resid_post[-1, 2, dim: 5] + clean.resid_post[-1, 2, dim: -1]
  measure diagonal = clean.attn.pattern[0, 1, query, query - 1]
}""", fam)  # fmt: skip
    n, heads = fam.reference.n_layers, fam.reference.n_heads
    runs = {item.number: fam.run(item.clean) for item in PEOPLE.items(fam)}

    def resid(item, site, layer, pos):
        return runs[item.number][site, layer][pos].norm()

    def z(item, layer, head, pos):
        return runs[item.number]["attn.z", layer][head, pos].norm()

    def check(measure, cells):
        same(found, measure, each(fam, PEOPLE, cells))

    check("range", lambda i: {(k,): resid(i, "resid_post", k, -1) for k in range(1, n)})
    check("cut", lambda i: {
        (0, p): resid(i, "resid_post", 0, p)
        for p in range(i.clean.first("d") - 1, i.clean.last("d") + 1)})  # fmt: skip
    check("sets", lambda i: {
        (k, h, p): z(i, k, h, p)
        for k in (0, n - 1) for h in (0, 2) for p in {0, i.clean.last("c"), *i.clean.span("d")}})  # fmt: skip
    check("others", lambda i: {
        (k, h, p): z(i, k, h, p)
        for k in range(1, n) for h in range(heads) if h not in (0, 2) for p in (0, 1)})  # fmt: skip
    check("joint", lambda i: {(0, 1): z(i, 0, 1, -1), (1, 0): z(i, 1, 0, -1)})
    check("outside", lambda i: {
        (k, h, len(i.clean) - 1): z(i, k, h, -1)
        for k in range(n) for h in range(heads) if (k, h) not in {(0, 1), (1, 0)}})  # fmt: skip
    check("triples", lambda i: {
        (0, 1, len(i.clean) - 1): z(i, 0, 1, -1),
        (1, 0, i.clean.last("c")): z(i, 1, 0, i.clean.last("c"))})  # fmt: skip
    check("named", lambda i: {(k,): z(i, k, 3, -1) for k in range(n)})
    middle = (n - 1 + 1) // 2
    check("keys", lambda i: {
        (k,): runs[i.number]["attn.pattern", middle][1, -1, k] for k in i.clean.span("d")})  # fmt: skip
    check("steps", lambda i: {
        (k,): (runs[i.number]["resid_pre", k + 1][-1] - runs[i.number]["resid_pre", k][-1]).norm()
        for k in range(n - 1)})  # fmt: skip
    check("one", lambda i: {(): runs[i.number]["resid_post", n - 1][2, [5, -1]].sum()})
    check("diagonal", lambda i: {
        (q,): runs[i.number]["attn.pattern", 0][1, q, q - 1] for q in range(1, len(i.clean))})  # fmt: skip


def test_a_position_that_is_no_cell_has_no_value(llama, gbx):
    """`first - 1` is not the last position, `last + 1` is not the first: there is nothing there."""
    found = gbx(PEOPLE.text + """experiment e {
  measure here = norm(clean.resid_post[0, pos])
  measure left = norm(clean.resid_post[0, first - 1])
  measure right = norm(clean.resid_post[0, last + 1])
  measure most = norm(clean.resid_post[layer + 2, last])
  measure counted = sum(norm(clean.resid_post[0, c + 1..d.first - 1]), over: pos)
}""", llama)  # fmt: skip
    assert found.values["left"] == found.values["right"] == {}
    assert {k[2] for k in found.values["most"]} == {0}
    lengths = {i.number: len(i.clean) for i in PEOPLE.items(llama)}
    assert {n: sum(k[1] == n for k in found.values["here"]) for n in lengths} == lengths
    same(found, "counted", {
        ("llama", i.number): llama.run(i.clean)["resid_post", 0].norm(dim=-1)[
            i.clean.last("c") + 1 : i.clean.first("d")].sum()
        for i in PEOPLE.items(llama)})  # fmt: skip


def test_binders(fam, gbx):
    """Zipped, renamed, by value, spans one by one and whole, depths that meet; families under other variables."""
    found = gbx(PEOPLE.text + """experiment e {
  run zipped[(layer, head) in {(0, 1), (1, 0), (1, 2)}] = forward(corrupt) { attn.z[layer, head, last] *= 2 }
  run spans[p: pos in d.span] = forward(corrupt) { mlp.out[0, p] *= 2 }
  run whole[pos in {d.span, last, c..last}] = forward(corrupt) { mlp.out[0, pos] *= 2 }
  run steered[alpha in [-4, 0.5, 2]] = forward(corrupt) { mlp.out[0, last] *= alpha }
  run deep[l: layer in {0, 50%, -1}] = forward(corrupt) { mlp.out[l, last] *= 2 }
  measure zip = logit(zipped, yes)
  measure zip_one = logit(zipped[1, 2], yes) + logit(zipped[head: 1, layer: 0], no)
  measure each = logit(spans, yes)
  measure all_of = logit(whole, yes)
  measure neg = logit(steered[-4], yes) + logit(steered[alpha: 0.5], no)
  measure by_alpha[alpha] = alpha * logit(steered, yes)
  measure depths = logit(deep, yes)
  measure last_deep = logit(deep[-1], yes)
  measure grid[src: layer in {1}, dst: layer] = logit(deep[src], yes) * norm(clean.resid_post[dst, last])
  measure numbers[n in 2..4] = n * logit(corrupt, yes)
}""", fam)  # fmt: skip
    n = fam.reference.n_layers

    def logit(item, word="a", *edits):
        return fam.run(item.corrupt, *edits)["logits", None][-1, fam.speak.one(" " + item.row[word])]

    def scaled(site, layer, place, by=2.0):
        return setting(site, layer, place, lambda x: x * by)

    def z(item, layer, head, word="a"):
        return logit(item, word, scaled("attn.z", layer, (head, -1)))

    def mlp(item, layer, at, by=2.0, word="a"):
        return logit(item, word, scaled("mlp.out", layer, at, by))

    def check(measure, cells):
        same(found, measure, each(fam, PEOPLE, cells))

    check("zip", lambda i: {h: z(i, *h) for h in [(0, 1), (1, 0), (1, 2)]})
    check("zip_one", lambda i: {(): z(i, 1, 2) + z(i, 0, 1, "b")})
    check("each", lambda i: {(f"d.span+{k}",): mlp(i, 0, p) for k, p in enumerate(i.corrupt.span("d"))})
    check("all_of", lambda i: {
        ("d.span",): mlp(i, 0, i.corrupt.span("d")), ("last",): mlp(i, 0, -1),
        ("c..last",): mlp(i, 0, slice(i.corrupt.last("c"), None))})  # fmt: skip
    check("neg", lambda i: {(): mlp(i, 0, -1, -4) + mlp(i, 0, -1, 0.5, "b")})
    check("by_alpha", lambda i: {(a,): a * mlp(i, 0, -1, a) for a in (-4.0, 0.5, 2.0)})
    check("depths", lambda i: {(k,): mlp(i, k, -1) for k in {0, n // 2, n - 1}})
    check("last_deep", lambda i: {(): mlp(i, n - 1, -1)})
    check("grid", lambda i: {
        (1, k): mlp(i, 1, -1) * fam.run(i.clean)["resid_post", k][-1].norm() for k in range(n)})  # fmt: skip
    check("numbers", lambda i: {(float(k),): k * logit(i) for k in (2, 3, 4)})


def test_variables_that_stand_for_names(fam, gbx):
    found = gbx(PEOPLE.text + """metric gap(r) = logit(r, yes) - logit(r, no)
metric sharp(r) = -entropy(r)
experiment e {
  run halved[site in {resid_post, mlp.out, attn.out}, c in {clean, other}] = forward(c) { site[0, last] *= 0.5 }
  run base = forward(corrupt)
  measure size[site in {resid_pre, mlp.out}, r in {clean, base}] = norm(r.site[1, last])
  measure scores[m in {gap, sharp}, r in {base, clean}] = m(r)
  measure answers[x in {yes, no}] = logit(base, x)
  measure edited = gap(halved)
  measure edited_at[c in {clean, other}, pos in {c, last}] = logit(halved[mlp.out, c], yes, at: pos)
  measure edited_c[site in {mlp.out}, c in {clean, other}] = entropy(halved, at: d) + norm(halved.resid_pre[1, d])
  run both[c in {clean, other}, pos] = forward(c) { mlp.out[0, pos] *= 0.5 }
  measure both_last = entropy(both[other, last]) - entropy(both[other, d]) + entropy(both[clean, last])
  measure picked = gap(halved[mlp.out, other]) + gap(halved[c: clean, site: resid_post])
  measure heads[kind in {previous, self}] = sum(head_score(base, kind: kind), over: {layer, head})
  measure which[v in {picked, twice}] = v
  let twice = 2 * gap(base)
}""", fam)  # fmt: skip
    runs = {(i.number, p): fam.run(getattr(i, p)) for i in PEOPLE.items(fam) for p in PEOPLE.prompts}

    def gap(item, values):
        yes, no = (fam.speak.one(" " + item.row[w]) for w in "ab")
        return values["logits", None][-1, yes] - values["logits", None][-1, no]

    def halved(item, site, prompt):
        return gap(item, fam.run(getattr(item, prompt), setting(site, 0, -1, lambda x: x / 2)))

    def sharp(values, at=-1):
        log_p = values["logits", None][at].log_softmax(-1)
        return (log_p.exp() * log_p).sum()

    def head_scores(item, kind):
        n, total = len(item.corrupt), 0.0
        for layer in range(fam.reference.n_layers):
            pattern = runs[item.number, "corrupt"]["attn.pattern", layer]
            back = 1 if kind == "previous" else 0
            total += pattern[:, range(back, n), range(n - back)].mean(1).sum()
        return total

    def check(measure, cells):
        same(found, measure, each(fam, PEOPLE, cells))

    base = {"base": "corrupt", "clean": "clean"}
    check("size", lambda i: {
        (site, r): runs[i.number, p][site, 1][-1].norm()
        for site in ("resid_pre", "mlp.out") for r, p in base.items()})  # fmt: skip
    check("scores", lambda i: {
        **{("gap", r): gap(i, runs[i.number, p]) for r, p in base.items()},
        **{("sharp", r): sharp(runs[i.number, p]) for r, p in base.items()}})  # fmt: skip
    check("answers", lambda i: {
        (x,): runs[i.number, "corrupt"]["logits", None][-1, fam.speak.one(" " + i.row[w])]
        for x, w in (("yes", "a"), ("no", "b"))})  # fmt: skip
    check("edited", lambda i: {
        (s, c): halved(i, s, c)
        for s in ("resid_post", "mlp.out", "attn.out") for c in ("clean", "other")})  # fmt: skip

    def at_mlp(i, prompt):
        return fam.run(getattr(i, prompt), setting("mlp.out", 0, -1, lambda x: x / 2))

    check("edited_at", lambda i: {  # positions are those of each cell's own prompt
        (c, place): at_mlp(i, c)["logits", None][at, fam.speak.one(" " + i.row["a"])]
        for c in ("clean", "other") for place, at in (("c", getattr(i, c).last("c")), ("last", -1))})  # fmt: skip
    check("edited_c", lambda i: {
        ("mlp.out", c): at_mlp(i, c)["resid_pre", 1][getattr(i, c).last("d")].norm()
        - sharp(at_mlp(i, c), getattr(i, c).last("d"))
        for c in ("clean", "other")})  # fmt: skip

    def at_d(i):
        return fam.run(i.other, setting("mlp.out", 0, i.other.last("d"), lambda x: x / 2))

    check("both_last", lambda i: {
        (): sharp(at_d(i)) - sharp(at_mlp(i, "other")) - sharp(at_mlp(i, "clean"))})  # fmt: skip
    picked = lambda i: halved(i, "mlp.out", "other") + halved(i, "resid_post", "clean")  # noqa: E731
    check("picked", lambda i: {(): picked(i)})
    check("heads", lambda i: {(k,): head_scores(i, k) for k in ("previous", "self")})
    check("which", lambda i: {("picked",): picked(i), ("twice",): 2 * gap(i, runs[i.number, "corrupt"])})


def test_families_meet_where_both_have_a_cell(llama, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run low[layer in 0..1] = forward(corrupt) { mlp.out[layer, last] *= 2 }
  run high[layer in 1..2] = forward(corrupt) { attn.out[layer, last] *= 2 }
  run at[layer, pos] = forward(corrupt) { mlp.out[layer, pos] *= 2 }
  let size = norm(clean.resid_post[:, last])
  measure both = logit(low, yes) - logit(high, yes)
  measure part = logit(low, yes) * size
  measure one = size[2] + size[layer: -1]
  measure named = logit(at[1, d.first], yes) + logit(at[pos: last, layer: 0], yes)
  measure over_c[layer] = logit(at[layer, c], yes)
  measure shifted[layer] = size[layer + 1]
}""", llama)  # fmt: skip

    def logit(i, site, layer, at=-1):
        values = llama.run(i.corrupt, setting(site, layer, at, lambda x: 2 * x))
        return values["logits", None][-1, llama.speak.one(" " + i.row["a"])]

    def size(i, layer):
        return llama.run(i.clean)["resid_post", layer][-1].norm()

    def check(measure, cells):
        same(found, measure, each(llama, PEOPLE, cells))

    check("both", lambda i: {(1,): logit(i, "mlp.out", 1) - logit(i, "attn.out", 1)})
    check("part", lambda i: {(k,): logit(i, "mlp.out", k) * size(i, k) for k in (0, 1)})
    check("one", lambda i: {(): 2 * size(i, 2)})
    check("named", lambda i: {(): logit(i, "mlp.out", 1, i.corrupt.first("d")) + logit(i, "mlp.out", 0)})
    check("over_c", lambda i: {(k,): logit(i, "mlp.out", k, i.corrupt.last("c")) for k in range(3)})
    check("shifted", lambda i: {(k,): size(i, k + 1) for k in (0, 1)})


@pytest.mark.parametrize(
    "use",
    [
        "logit(steered[7], yes)",
        "norm(steered[7].resid_post[0, last])",
        "size[7]",
        "norm(clean.mlp.out[0, last]) * by_site[attn.out]",
        "(size + 1)[alpha: 7]",
    ],
)
def test_a_value_outside_a_written_domain_is_an_error(llama, gbx, use):
    """`steered[7]` can only be a slip: no row would say so."""
    with pytest.raises(Findings) as raised:
        gbx(PEOPLE.text + f"""experiment e {{
  run steered[alpha in [-4, 0.5, 2]] = forward(corrupt) {{ mlp.out[0, last] *= alpha }}
  let size[alpha in [1, 2]] = alpha * norm(clean.resid_post[0, last])
  let by_site[site in {{resid_post, mlp.out}}] = norm(clean.site[0, last])
  measure m = {use}
}}""", llama)  # fmt: skip
    assert {d.code for d in raised.value.diagnostics} == {"GB387"}
