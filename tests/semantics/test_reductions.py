"""Means and their kin over items, axes and groups; softmax and correlation along an axis."""

import statistics

import numpy
import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.reference import setting
from tests.semantics.tables import EVEN, PEOPLE, same


def runs_of(fam, table, prompt="clean"):
    return [(item, fam.run(getattr(item, prompt))) for item in table.items(fam)]


def sizes_of(fam, table, site="resid_post"):
    """[item, layer, pos] norms of a site, items of one length."""
    n = fam.reference.n_layers
    return torch.stack(
        [torch.stack([v[site, k].norm(dim=-1) for k in range(n)]) for _, v in runs_of(fam, table)]
    )


def test_over_items_and_axes(fam, gbx):
    """Default axes, several at once, and vectors averaged before their norm is taken."""
    found = gbx(EVEN.text + """experiment e {
  let size = norm(clean.resid_post)
  measure mean_items = mean(size)
  measure mean_two = mean(size, over: {item, pos})
  measure mean_all = mean(size, over: {item, layer, pos})
  measure mean_pos = mean(size, over: pos)
  measure std_items = std(size)
  measure std_pos = std(size, over: {pos, layer})
  measure total = sum(size)
  measure total_pos = sum(size, over: {pos})
  measure most = max(size)
  measure least = min(size, over: {layer, item})
  measure where = argmax(size[1, :], over: pos)
  measure where_layer = argmax(size[:, last], over: layer)
  measure of_some = argmax(norm(clean.resid_post[layer, {c, e, 2}]), over: pos)
  measure centre = norm(mean(clean.resid_post[layer, last]))
  measure features = sum(clean.resid_post[0, last], over: dim)
  measure peak = argmax(clean.resid_post[0, last], over: dim)
  measure clipped = max(size[0, :], size[1, :], 2) - min(size[0, :], 9)
}""", fam)  # fmt: skip
    x = sizes_of(fam, EVEN)
    items, layers, positions = x.shape
    name = fam.name

    def check(measure, expected):
        same(found, measure, expected)

    cells = [(k, p) for k in range(layers) for p in range(positions)]
    check("mean_items", {(name, *c): x.mean(0)[c] for c in cells})
    check("mean_two", {(name, k): x.mean((0, 2))[k] for k in range(layers)})
    check("mean_all", {(name,): x.mean()})
    check("mean_pos", {(name, i, k): x.mean(2)[i, k] for i in range(items) for k in range(layers)})
    check("std_items", {(name, *c): statistics.stdev(x[:, *c].tolist()) for c in cells})
    check("std_pos", {(name, i): statistics.stdev(x[i].flatten().tolist()) for i in range(items)})
    check("total", {(name,): x.sum()})
    check("total_pos", {(name, i, k): x.sum(2)[i, k] for i in range(items) for k in range(layers)})
    check("most", {(name,): x.max()})
    check("least", {(name, p): x.amin((0, 1))[p] for p in range(positions)})
    check("where", {(name, i): x[i, 1].argmax() for i in range(items)})
    check("where_layer", {(name, i): x[i, :, -1].argmax() for i in range(items)})
    item = EVEN.items(fam)[0]
    some = sorted([item.clean.last("c"), item.clean.last("e"), 2])
    check("of_some", {
        (name, i, k): some[int(x[i, k, some].argmax())] for i in range(items) for k in range(layers)})  # fmt: skip
    vectors = torch.stack(
        [torch.stack([v["resid_post", k][-1] for k in range(layers)]) for _, v in runs_of(fam, EVEN)]
    )
    check("centre", {(name, k): vectors.mean(0)[k].norm() for k in range(layers)})
    check("features", {(name, i): vectors[i, 0].sum() for i in range(items)})
    check("peak", {(name, i): vectors[i, 0].argmax() for i in range(items)})
    clipped = torch.maximum(x[:, 0], x[:, 1]).clamp(min=2) - x[:, 0].clamp(max=9)
    check("clipped", {(name, i, p): clipped[i, p] for i in range(items) for p in range(positions)})


def test_prompts_of_different_length(fam, gbx):
    """Over items only labelled positions have a mean, token by token of their spans."""
    found = gbx(PEOPLE.text + """experiment e {
  let size = norm(clean.resid_post[1, :])
  measure at_label = mean(norm(clean.resid_post[1, c]))
  measure at_end = mean(norm(clean.resid_post[1, last]))
  measure swept = mean(size)
  measure read = mean(norm(clean.resid_post[1, :]))
  measure at_names[pos in {c, last}] = size
  measure spread = std(norm(clean.resid_post[1, {c, last}]))
  measure cells = mean(size, over: {item, pos})
  measure own = mean(size, over: pos)
  measure best = argmax(size, over: pos)
  run ablated[pos] = forward(corrupt) { resid_post[1, pos] := mean(clean.resid_post[1, pos]) }
  measure moved = logit(ablated, yes)
  measure moved_mean = mean(logit(ablated, yes))
  measure moved_at[pos in {last, c}] = logit(ablated, yes)
}""", fam)  # fmt: skip
    x = {item.number: (item, v["resid_post", 1].norm(dim=-1)) for item, v in runs_of(fam, PEOPLE)}
    mean_at = {}
    for label in PEOPLE.items(fam)[0].clean.spans:
        for k in range(max(len(item.clean.span(label)) for item, _ in x.values())):
            there = [
                s[item.clean.span(label)[k]] for item, s in x.values() if k < len(item.clean.span(label))
            ]
            mean_at[label, k] = torch.stack(there).mean()
    first = x[0][0].clean
    expected = {
        (fam.name, p): mean_at[label, k] for label in first.spans for k, p in enumerate(first.span(label))
    }
    same(found, "swept", expected)
    same(found, "read", expected)
    same(found, "at_names", {
        (fam.name, n, name): s[at]
        for n, (i, s) in x.items() for name, at in (("c", i.clean.last("c")), ("last", -1))})  # fmt: skip
    same(found, "at_label", {(fam.name,): mean_at["c", 0]})
    same(found, "at_end", {(fam.name,): torch.stack([s[-1] for _, s in x.values()]).mean()})
    same(found, "cells", {(fam.name,): torch.cat([s for _, s in x.values()]).mean()})
    same(found, "own", {(fam.name, n): s.mean() for n, (_, s) in x.items()})
    same(found, "best", {(fam.name, n): s.argmax() for n, (_, s) in x.items()})
    moved = {}
    for item, values in runs_of(fam, PEOPLE, "corrupt"):
        yes = fam.speak.one(" " + item.row["a"])
        vectors = labelled_vectors(fam)
        for pos in range(len(item.corrupt)):
            here = [(label, pos - lo) for label, (lo, hi) in item.corrupt.spans.items() if lo <= pos <= hi]
            edits = [setting("resid_post", 1, pos, vectors[here[0]])] if here else []
            got = fam.run(item.corrupt, *edits) if edits else values
            moved[fam.name, item.number, pos] = got["logits", None][-1, yes]
    same(found, "moved", moved)
    items = PEOPLE.items(fam)
    same(found, "moved_at", {
        (fam.name, i.number, name): moved[fam.name, i.number, at]
        for i in items for name, at in (("c", i.corrupt.last("c")), ("last", len(i.corrupt) - 1))})  # fmt: skip
    same(found, "moved_mean", {
        (fam.name, pos): statistics.mean(
            float(moved[fam.name, i.number, i.corrupt.span(label)[k]])
            for i in items if k < len(i.corrupt.span(label)))
        for label in items[0].corrupt.spans for k, pos in enumerate(items[0].corrupt.span(label))})  # fmt: skip


def labelled_vectors(fam):
    """The mean of resid_post[1] at every token of every span of `clean`."""
    found = {}
    for item, values in runs_of(fam, PEOPLE):
        for label in item.clean.spans:
            for k, pos in enumerate(item.clean.span(label)):
                found.setdefault((label, k), []).append(values["resid_post", 1][pos])
    return {key: torch.stack(vectors).mean(0) for key, vectors in found.items()}


def test_a_mean_over_pairs_of_positions_of_different_prompts_is_refused(llama, gbx):
    with pytest.raises(Findings):
        gbx(PEOPLE.text + "experiment e { measure m = mean(clean.attn.pattern[0, 1]) }", llama)


def test_within_groups(fam, gbx):
    found = gbx(EVEN.text + """experiment e {
  measure grouped = mean(logit(clean, yes), within: kind)
  measure apart = std(logit(clean, yes), within: kind)
  measure vectors = norm(mean(clean.resid_post[1, last], within: kind))
  run replaced = forward(corrupt) { resid_post[1, last] := mean(clean.resid_post[1, last], within: kind) }
  measure moved = logit(replaced, no)
}""", fam)  # fmt: skip
    runs = runs_of(fam, EVEN)
    logits = [float(v["logits", None][-1, fam.speak.one(" " + i.row["a"])]) for i, v in runs]
    groups = {i.number: [j.number for j, _ in runs if j.row["kind"] == i.row["kind"]] for i, _ in runs}
    centre = {n: torch.stack([runs[m][1]["resid_post", 1][-1] for m in g]).mean(0) for n, g in groups.items()}
    name = fam.name
    same(found, "grouped", {(name, n): statistics.mean(logits[m] for m in g) for n, g in groups.items()})
    same(found, "apart", {(name, n): statistics.stdev(logits[m] for m in g) for n, g in groups.items()})
    same(found, "vectors", {(name, n): centre[n].norm() for n in groups})
    same(found, "moved", {
        (name, i.number): fam.run(i.corrupt, setting("resid_post", 1, -1, centre[i.number]))["logits", None][
            -1, fam.speak.one(" " + i.row["b"])]
        for i, _ in runs})  # fmt: skip


def test_missing_cells_do_not_count(llama, gbx):
    """A selection leaves cells out; what nothing selects has no value rather than 0."""
    found = gbx(PEOPLE.text + """experiment e {
  measure some = mean(norm(clean.attn.z[{(0, 1), (2, 0), (2, 3)}, last]), over: {layer, head})
  measure by_layer = sum(norm(clean.attn.z[{(0, 1), (2, 0), (2, 3)}, last]), over: head)
  measure cut = sum(norm(clean.resid_pre[layer + 1, last]), over: layer)
  measure span = max(norm(clean.resid_post[0, d.span]), over: pos)
}""", llama)  # fmt: skip

    def z(v, layer, head):
        return v["attn.z", layer][head, -1].norm()

    runs = runs_of(llama, PEOPLE)
    three = [(0, 1), (2, 0), (2, 3)]
    same(found, "some", {("llama", i.number): sum(z(v, *h) for h in three) / 3 for i, v in runs})
    same(found, "by_layer", {
        key: value for i, v in runs
        for key, value in {("llama", i.number, 0): z(v, 0, 1), ("llama", i.number, 2): z(v, 2, 0) + z(v, 2, 3)}.items()
    })  # fmt: skip
    same(found, "cut", {
        ("llama", i.number): v["resid_pre", 1][-1].norm() + v["resid_pre", 2][-1].norm() for i, v in runs})  # fmt: skip
    same(found, "span", {
        ("llama", i.number): v["resid_post", 0][i.clean.span("d")].norm(dim=-1).max() for i, v in runs})  # fmt: skip


def test_softmax_and_correlation(fam, gbx):
    runs, others = runs_of(fam, EVEN), runs_of(fam, EVEN, "corrupt")
    x = sizes_of(fam, EVEN).double()
    n = fam.reference.n_layers
    y = torch.stack(
        [torch.stack([v["mlp.out", k].norm(dim=-1) for k in range(n)]) for _, v in others]
    ).double()
    middle_x, middle_y = (round(float(t[:, 0].mean()), 3) for t in (x, y))  # ties on both sides
    found = gbx(EVEN.text + """experiment e {
  let size = norm(clean.resid_post)
  let other = norm(corrupt.mlp.out)
  measure shares = softmax(size[:, last], over: layer)
  measure joint = softmax(0.1 * size, over: {layer, pos})
  measure spoken = sum(softmax(clean.logits[last], over: vocab) * clean.logits[last], over: vocab)
  measure of_items = softmax(logit(clean, yes), over: item)
  measure r = correlation(size[:, last], other[:, last])
  measure r_all = correlation(size, other, over: {item, layer, pos})
  measure r_pos = correlation(size, other, over: pos)
  measure rho = correlation(size, other, over: {item, layer, pos}, rank: true)
  measure alike = correlation(clean.resid_post[1, last], corrupt.resid_post[1, last], over: dim)
  measure tied = correlation(size[0, :] > X, other[0, :] > Y, over: {item, pos}, rank: true)
}""".replace("X", f"{middle_x:.3f}").replace("Y", f"{middle_y:.3f}"), fam)  # fmt: skip
    items, layers, positions = x.shape
    name = fam.name

    def pearson(a, b):
        return numpy.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1]

    def ranks(a):
        flat = a.flatten()
        return torch.stack([((flat < v).sum() + ((flat == v).sum() + 1) / 2).double() for v in flat])

    same(found, "shares", {
        (name, i, k): x[i, :, -1].softmax(0)[k] for i in range(items) for k in range(layers)})  # fmt: skip
    joint = (0.1 * x).flatten(1).softmax(1).view_as(x)
    same(found, "joint", {
        (name, i, k, p): joint[i, k, p]
        for i in range(items) for k in range(layers) for p in range(positions)})  # fmt: skip
    logits = [v["logits", None][-1] for _, v in runs]
    same(found, "spoken", {(name, i): (z.softmax(0) * z).sum() for i, z in enumerate(logits)})
    right = torch.stack([z[fam.speak.one(" " + i.row["a"])] for z, (i, _) in zip(logits, runs, strict=True)])
    same(found, "of_items", {(name, i): right.softmax(0)[i] for i in range(items)})
    same(found, "r", {(name, k): pearson(x[:, k, -1], y[:, k, -1]) for k in range(layers)})
    same(found, "r_all", {(name,): pearson(x, y)})
    same(found, "r_pos", {
        (name, i, k): pearson(x[i, k], y[i, k]) for i in range(items) for k in range(layers)})  # fmt: skip
    same(found, "rho", {(name,): pearson(ranks(x), ranks(y))})
    same(found, "alike", {
        (name, i): pearson(v["resid_post", 1][-1], w["resid_post", 1][-1])
        for i, ((_, v), (_, w)) in enumerate(zip(runs, others, strict=True))})  # fmt: skip
    a, b = (x[:, 0] > middle_x).double(), (y[:, 0] > middle_y).double()
    same(found, "tied", {(name,): pearson(ranks(a), ranks(b))})
