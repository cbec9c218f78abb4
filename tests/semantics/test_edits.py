"""What edits write: order, `self`, sources with other prompts and other edits, attention, frozen norms."""

import torch

from tests.semantics.reference import INF, setting
from tests.semantics.tables import EVEN, PEOPLE, same


def target(fam, item, values):
    return values["logits", None][-1, fam.speak.one(" " + item.row["a"])]


def compare(fam, found, measure, table, expected):
    """`expected(item)`: {variables: the run's sites}; the measure is the logit of `yes`."""
    items = table.items(fam)
    same(found, measure, {
        (fam.name, item.number, *key): target(fam, item, values)
        for item in items for key, values in expected(item).items()
    })  # fmt: skip


def measured(*runs):
    return "\n".join(f"  measure m_{name} = logit({name}, yes)" for name in runs) + "\n}\n"


def test_order_and_self(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run ordered = forward(corrupt) {
    mlp.out[1, last] *= 2
    mlp.out[1, last] += self * self
    mlp.out[1, {c, last}] -= 0.5
    mlp.out[1, last] := 2 * self + clean.mlp.out[1, c]
    mlp.out[0, last] := self - 1
  }
  run scaled[alpha in [-2, 0, 0.5]] = forward(corrupt) { resid_post[0, c..last] += alpha * direction(no) }
  run negated = forward(corrupt) { attn.z[1, 0] := -self  attn.z[1, 0, first] *= -1 }
""" + measured("ordered", "scaled", "negated"), fam)  # fmt: skip

    def ordered(item):
        def edit(site, layer, x):
            if (site, layer) == ("mlp.out", 0):
                x = x.clone()
                x[-1] -= 1
            if (site, layer) == ("mlp.out", 1):
                x, c = x.clone(), item.corrupt.last("c")
                last = 2 * x[-1]
                last = last + last * last - 0.5
                x[c] -= 0.5
                x[-1] = 2 * last + fam.run(item.clean)["mlp.out", 1][item.clean.last("c")]
            return x

        return {(): fam.run(item.corrupt, edit)}

    def scaled(item):
        column = fam.plain.get_output_embeddings().weight[fam.speak.one(" " + item.row["b"])].detach()
        place = slice(item.corrupt.last("c"), None)
        return {
            (alpha,): fam.run(
                item.corrupt, setting("resid_post", 0, place, lambda x, a=alpha: x + a * column)
            )
            for alpha in (-2.0, 0.0, 0.5)
        }

    def negated(item):
        return {(): fam.run(item.corrupt, setting("attn.z", 1, (0, slice(1, None)), lambda x: -x))}

    for run in (ordered, scaled, negated):
        compare(fam, found, f"m_{run.__name__}", PEOPLE, run)


def test_sources_with_other_prompts_and_edits(fam, gbx):
    """Named positions are found in both prompts; a source may be an edited run, over several stages."""
    found = gbx(PEOPLE.text + """experiment e {
  run named = forward(corrupt) { resid_post[0, {c, d.span}] := other }
  run ends = forward(corrupt) { attn.out[1, {first, last}] := other  mlp.out[1, d.first..d.last] := other }
  run early = forward(corrupt) { mlp.out[1] := clean  resid_post[0, first] *= 0.5 }
  run edge = forward(corrupt) { mlp.out[1, not d.span] := clean  attn.out[1, last - 1] := other }
  run inner = forward(clean) { attn.z[0, 1, last] := corrupt }
  run middle = forward(corrupt) { resid_mid[1, {c, last}] := inner  attn.z[1, 0, c] += inner }
  run outer = forward(corrupt) { resid_post[0, c] := middle  mlp.out[1, last] := middle - self }
""" + measured("named", "ends", "early", "edge", "middle", "outer"), fam)  # fmt: skip

    def named(item):
        here = [item.corrupt.last("c"), *item.corrupt.span("d")]
        there = [item.other.last("c"), *item.other.span("d")]
        return {
            (): fam.run(
                item.corrupt, setting("resid_post", 0, here, fam.run(item.other)["resid_post", 0][there])
            )
        }

    def ends(item):
        other = fam.run(item.other)
        attn = setting("attn.out", 1, [0, -1], other["attn.out", 1][[0, -1]])
        mlp = setting("mlp.out", 1, item.corrupt.span("d"), other["mlp.out", 1][item.other.span("d")])
        return {(): fam.run(item.corrupt, attn, mlp)}

    def early(item):
        """What was written one layer up equals what stood there before the other edit, and does not afterwards."""
        mlp = setting("mlp.out", 1, slice(None), fam.run(item.clean)["mlp.out", 1])
        return {(): fam.run(item.corrupt, setting("resid_post", 0, 0, lambda x: x / 2), mlp)}

    def edge(item):
        outside = [i for i in range(len(item.corrupt)) if i not in item.corrupt.span("d")]
        mlp = setting("mlp.out", 1, outside, fam.run(item.clean)["mlp.out", 1][outside])
        attn = setting("attn.out", 1, -2, fam.run(item.other)["attn.out", 1][-2])
        return {(): fam.run(item.corrupt, mlp, attn)}

    def made_middle(item):
        z = fam.run(item.corrupt)["attn.z", 0][1, -1]
        inner = fam.run(item.clean, setting("attn.z", 0, (1, -1), z))
        at = [item.corrupt.last("c"), -1]
        mid = setting("resid_mid", 1, at, inner["resid_mid", 1][at])
        more = setting("attn.z", 1, (0, at[0]), lambda x: x + inner["attn.z", 1][0, at[0]])
        return fam.run(item.corrupt, mid, more)

    def middle(item):
        return {(): made_middle(item)}

    def outer(item):
        source, c = made_middle(item), item.corrupt.last("c")
        first = setting("resid_post", 0, c, source["resid_post", 0][c])
        second = setting("mlp.out", 1, -1, lambda x: source["mlp.out", 1][-1] - x)
        return {(): fam.run(item.corrupt, first, second)}

    for run in (named, ends, early, edge, middle, outer):
        compare(fam, found, f"m_{run.__name__}", PEOPLE, run)


def test_across_layers_and_positions(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run scope[src: layer, dst: layer] = forward(corrupt) { resid_post[dst, c] := other.resid_post[src, d.first] }
  run swept[l: layer, pos in {c, last}] = forward(corrupt) { resid_pre[l, last] := other.resid_pre[l, pos] }
  run later[layer] = forward(corrupt) { resid_pre[layer + 1, last] := clean.resid_pre[layer, c] }
  run before[pos] = forward(corrupt) { resid_pre[1, pos] := clean.resid_pre[1, pos - 1] }
""" + measured("scope", "swept", "later", "before"), fam)  # fmt: skip
    layers = range(fam.reference.n_layers)

    def patched(item, site, layer, at, value):
        return fam.run(item.corrupt, setting(site, layer, at, value))

    def scope(item):
        other, c, d = fam.run(item.other), item.corrupt.last("c"), item.other.first("d")
        return {
            (src, dst): patched(item, "resid_post", dst, c, other["resid_post", src][d])
            for src in layers
            for dst in layers
        }

    def swept(item):
        other = fam.run(item.other)
        places = {"c": item.other.last("c"), "last": -1}
        return {
            (layer, name): patched(item, "resid_pre", layer, -1, other["resid_pre", layer][at])
            for layer in layers
            for name, at in places.items()
        }

    def later(item):
        clean, c, n = fam.run(item.clean), item.clean.last("c"), fam.reference.n_layers
        there = {
            (layer,): patched(item, "resid_pre", layer + 1, -1, clean["resid_pre", layer][c])
            for layer in layers[:-1]
        }
        return {**there, (n - 1,): fam.run(item.corrupt)}  # past the last layer there is nothing to write

    def before(item):
        clean = fam.run(item.clean)
        there = {
            (pos,): patched(item, "resid_pre", 1, pos, clean["resid_pre", 1][pos - 1])
            for pos in range(1, len(item.corrupt))
        }
        return {**there, (0,): fam.run(item.corrupt)}  # before the first position there is nothing to read

    for run in (scope, swept, later, before):
        compare(fam, found, f"m_{run.__name__}", PEOPLE, run)


def test_spans_and_sets_used_whole(fam, gbx):
    """A span, range or set that is a member of a domain is one cell: all of it is written, from all of it."""
    found = gbx(PEOPLE.text + """experiment e {
  run whole[pos in {d.span, last, c..last, {a, 1}}] = forward(corrupt) { resid_post[0, pos] := clean }
  run theirs[pos in {d.span, c, not d.span}] = forward(corrupt) { mlp.out[1, pos] += 0.5 * clean.mlp.out[1, pos] }
  run named[pos in {c, d.span}] = forward(corrupt) { resid_post[0, pos] := other }
  run layers[l: layer in {0, 0..1, {0, -1}}] = forward(corrupt) { attn.out[l, {c, last}] := clean }
""" + measured("whole", "theirs", "named", "layers"), fam)  # fmt: skip

    def whole(item):
        clean, p = fam.run(item.clean)["resid_post", 0], item.corrupt
        cells = {
            "d.span": p.span("d"), "last": [len(p) - 1],
            "c..last": list(range(p.last("c"), len(p))), "{a, 1}": [p.last("a"), 1],
        }  # fmt: skip
        return {(name,): fam.run(p, setting("resid_post", 0, at, clean[at])) for name, at in cells.items()}

    def theirs(item):
        clean, p = fam.run(item.clean)["mlp.out", 1], item.corrupt
        outside = [i for i in range(len(p)) if i not in p.span("d")]
        cells = {"d.span": p.span("d"), "c": [p.last("c")], "not d.span": outside}
        return {
            (name,): fam.run(p, setting("mlp.out", 1, at, lambda x, at=at: x + 0.5 * clean[at]))
            for name, at in cells.items()
        }

    def named(item):
        other, here, there = fam.run(item.other)["resid_post", 0], item.corrupt, item.other
        cells = {"c": ([here.last("c")], [there.last("c")]), "d.span": (here.span("d"), there.span("d"))}
        return {
            (name,): fam.run(here, setting("resid_post", 0, to, other[of]))
            for name, (to, of) in cells.items()
        }

    def layers(item):
        clean, last = fam.run(item.clean), fam.reference.n_layers - 1
        at = [item.corrupt.last("c"), -1]
        cells = {"0": [0], "0..1": [0, 1], "{0, -1}": [0, last]}
        return {
            (name,): fam.run(
                item.corrupt, *(setting("attn.out", k, at, clean["attn.out", k][at]) for k in chosen)
            )
            for name, chosen in cells.items()
        }

    for run in (whole, theirs, named, layers):
        compare(fam, found, f"m_{run.__name__}", PEOPLE, run)


def test_attention(fam, gbx):
    """Scores before the softmax; patterns as they are; an axis name that nothing binds is a diagonal."""
    found = gbx(PEOPLE.text + """experiment e {
  run previous[layer, head] = forward(corrupt) { attn.scores[layer, head, query, query - 1] := -inf }
  run knocked = forward(corrupt) { attn.scores[1, :, last, {c, d.span}] := -inf  attn.scores[0, 1, last, c] += 2 }
  run dropped = forward(corrupt) { attn.pattern[1, {0, 2}, query, query] := 0  attn.pattern[0, :, key + 1, key] *= 0.5 }
  run copied = forward(corrupt) { attn.pattern[1, 0] := clean  attn.pattern[0, 1, last, c] := other }
""" + measured("previous", "knocked", "dropped", "copied"), fam)  # fmt: skip

    def previous(item):
        n = len(item.corrupt)
        rows, keys = list(range(1, n)), list(range(n - 1))
        return {
            (layer, head): fam.run(item.corrupt, setting("attn.scores", layer, (head, rows, keys), -INF))
            for layer in range(fam.reference.n_layers)
            for head in range(fam.reference.n_heads)
        }

    def knocked(item):
        keys = [item.corrupt.last("c"), *item.corrupt.span("d")]
        out = setting("attn.scores", 1, (slice(None), -1, keys), -INF)
        return {(): fam.run(item.corrupt, setting("attn.scores", 0, (1, -1, keys[0]), lambda x: x + 2), out)}

    def dropped(item):
        n = len(item.corrupt)
        zero = [setting("attn.pattern", 1, (head, range(n), range(n)), 0.0) for head in (0, 2)]
        half = setting("attn.pattern", 0, (slice(None), range(1, n), range(n - 1)), lambda x: x / 2)
        return {(): fam.run(item.corrupt, *zero, half)}

    def copied(item):
        clean, other = fam.run(item.clean), fam.run(item.other)
        whole = setting("attn.pattern", 1, 0, clean["attn.pattern", 1][0])
        one = other["attn.pattern", 0][1, -1, item.other.last("c")]
        return {
            (): fam.run(item.corrupt, whole, setting("attn.pattern", 0, (1, -1, item.corrupt.last("c")), one))
        }

    for run in (previous, knocked, dropped, copied):
        compare(fam, found, f"m_{run.__name__}", PEOPLE, run)


def test_frozen_norms(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  run moved = forward(corrupt) { resid_pre[0, c] := clean }
  run frozen = forward(corrupt) {
    resid_pre[0, c] := clean
    attn.norm_scale := corrupt
    mlp.norm_scale[:, c..last] := corrupt
    final_norm_scale := corrupt
  }
""" + measured("moved", "frozen"), fam)  # fmt: skip

    def moved(item):
        c = item.corrupt.last("c")
        return {(): fam.run(item.corrupt, setting("resid_pre", 0, c, fam.run(item.clean)["resid_pre", 0][c]))}

    def frozen(item):
        c, own = item.corrupt.last("c"), fam.run(item.corrupt)
        edits = [setting("resid_pre", 0, c, fam.run(item.clean)["resid_pre", 0][c])]
        for layer in range(fam.reference.n_layers):
            edits.append(setting("attn.norm_scale", layer, slice(None), own["attn.norm_scale", layer]))
            edits.append(setting("mlp.norm_scale", layer, slice(c, None), own["mlp.norm_scale", layer][c:]))
        edits.append(setting("final_norm_scale", None, slice(None), own["final_norm_scale", None]))
        return {(): fam.run(item.corrupt, *edits)}

    for run in (moved, frozen):
        compare(fam, found, f"m_{run.__name__}", PEOPLE, run)
    assert found.values["m_moved"] != found.values["m_frozen"]


def test_matched_by_name(fam, gbx):
    """A value with axes gives each written cell its own; a mean over items is one value for all of them."""
    found = gbx(EVEN.text + """experiment e {
  let zbar = mean(clean.attn.z[:, :, last])
  run heads = forward(corrupt) { attn.z[{(0, 1), (1, 0)}, last] := zbar }
  run rest = forward(corrupt) { attn.z[not {(0, 1), (1, 0)}, last] := zbar }
  run each[layer, head] = forward(corrupt) { attn.z[layer, head, last] := zbar }
  run spread = forward(corrupt) { resid_post[0] := mean(clean.resid_post[0])  resid_pre[0, c] += clean.resid_pre[1, e] }
  run shrunk[layer] = forward(corrupt) { mlp.out[layer] *= mean(clean.mlp.norm_scale[layer, last]) }
""" + measured("heads", "rest", "each", "spread", "shrunk"), fam)  # fmt: skip
    cleans = [fam.run(item.clean) for item in EVEN.items(fam)]

    def mean(site, layer, place):
        return torch.stack([v[site, layer][place] for v in cleans]).mean(0)

    def z(layer, head):
        return setting("attn.z", layer, (head, -1), mean("attn.z", layer, (head, -1)))

    every = [
        (layer, head) for layer in range(fam.reference.n_layers) for head in range(fam.reference.n_heads)
    ]

    def heads(item):
        return {(): fam.run(item.corrupt, z(0, 1), z(1, 0))}

    def rest(item):
        return {(): fam.run(item.corrupt, *(z(*h) for h in every if h not in {(0, 1), (1, 0)}))}

    def each(item):
        return {h: fam.run(item.corrupt, z(*h)) for h in every}

    def spread(item):
        c, e = item.corrupt.last("c"), item.clean.last("e")
        more = fam.run(item.clean)["resid_pre", 1][e]
        everywhere = setting("resid_post", 0, slice(None), mean("resid_post", 0, slice(None)))
        return {(): fam.run(item.corrupt, setting("resid_pre", 0, c, lambda x: x + more), everywhere)}

    def shrunk(item):
        return {
            (layer,): fam.run(
                item.corrupt,
                setting("mlp.out", layer, slice(None), lambda x, n=layer: x * mean("mlp.norm_scale", n, -1)),
            )
            for layer in range(fam.reference.n_layers)
        }

    for run in (heads, rest, each, spread, shrunk):
        compare(fam, found, f"m_{run.__name__}", EVEN, run)
