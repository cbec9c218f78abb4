"""Fits against probes made here with torch's own optimisers, from the reference's activations."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.conftest import TECHNIQUES
from tests.semantics.tables import Table, same

TRIED_ON = TECHNIQUES
NAMES = ("Anna", "Bob", "Carla", "Dan", "Eve")
ROWS = tuple(
    {"a": a, "b": b, "kind": "cold" if (i + 2 * j) % 5 < 2 else "warm", "size": str(i * 3 + j)}
    for i, a in enumerate(NAMES)
    for j, b in enumerate(NAMES)
    if a != b
)
PROBED = Table(rows=ROWS, prompts={"clean": "the {a} gave {b} a ball", "other": "{b} and the red {a} went"})


def states(fam, layer, prompt="clean", place=-1):
    """What the stream holds at a position of every item, [item, dim]."""
    found = [fam.run(getattr(i, prompt))["resid_post", layer][place] for i in PROBED.items(fam)]
    return torch.stack(found).double()


def split_of(found, measure, fam):
    """The held-out items, read off a measure that uses the fit."""
    return sorted({key[1] for key in found.values[measure]})


def minimise(loss, *parameters):
    """Newton-like descent by torch, to the end."""
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=2000, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def step():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(5):
        optimiser.step(step)


def scaled(x, train):
    mean, deviation = x[train].mean(0), x[train].std(0, correction=0)
    return (x - mean) / deviation


def logistic(x, y, train, penalty):
    """Probabilities of every item, by the likelihood itself."""
    z = scaled(x, train)
    w = torch.zeros(z.shape[1], dtype=torch.float64, requires_grad=True)
    b = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def loss():
        logits = z[train] @ w + b
        fit = torch.nn.functional.binary_cross_entropy_with_logits(logits, y[train], reduction="sum")
        return fit + penalty / 2 * w.square().sum()

    minimise(loss, w, b)
    return (z @ w + b).sigmoid().detach(), w.detach() / x[train].std(0, correction=0)


def indices(items):
    held = set(items)
    train = torch.tensor([i for i in range(len(ROWS)) if i not in held])
    return train, torch.tensor(sorted(held))


def warm():
    return torch.tensor([float(row["kind"] == "warm") for row in ROWS], dtype=torch.float64)


def test_a_logistic_probe(fam, gbx):
    found = gbx(PROBED.text + """experiment e {
  fit probe[layer] = logistic(clean.resid_post[layer, last], label: kind, test: 0.4, seed: 3, penalty: 0.5)
  measure p[layer] = probe(clean.resid_post[layer, last])
  measure right[layer] = accuracy(probe)
  measure rated = score(probe[1])
  measure area[layer] = auroc(probe(clean.resid_post[layer, last]), kind)
  measure elsewhere[layer] = probe[0](other.resid_post[layer, last])
  measure length[layer] = norm(probe.direction)
  measure along[layer] = dot(clean.resid_post[layer, last], probe.direction)
  measure steady = mean(probe[1](clean.resid_post[1, last]))
}""", fam)  # fmt: skip
    held = split_of(found, "p", fam)
    train, test = indices(held)
    assert 8 <= len(held) <= 9
    expected = {n: {} for n in ("p", "right", "area", "elsewhere", "length", "along")}
    for layer in range(fam.reference.n_layers):
        x, y = states(fam, layer), warm()
        p, direction = logistic(x, y, train, 0.5)
        first, weights = logistic(states(fam, 0), y, train, 0.5)
        for item in held:
            expected["p"][fam.name, item, layer] = p[item]
            expected["along"][fam.name, item, layer] = x[item] @ direction
        right = ((p > 0.5) == (y > 0.5))[test].double().mean()
        expected["right"][fam.name, layer] = right
        low, high = p[[i for i in held if y[i] == 0]], p[[i for i in held if y[i] == 1]]
        pairs = (high[:, None] > low[None]).double() + 0.5 * (high[:, None] == low[None])
        expected["area"][fam.name, layer] = pairs.mean()
        expected["length"][fam.name, layer] = direction.norm()
        base = states(fam, 0)
        offset = torch.logit(first[0]) - base[0] @ weights
        for item in held:
            expected["elsewhere"][fam.name, item, layer] = (
                states(fam, layer, "other")[item] @ weights + offset
            ).sigmoid()
        if layer == 1:
            same(found, "rated", {(fam.name,): right})
            same(found, "steady", {(fam.name,): p[test].mean()})
    for measure, cells in expected.items():
        same(found, measure, cells, 1e-3)


def test_differences_of_means_and_ridge(fam, gbx):
    found = gbx(PROBED.text + """experiment e {
  fit means[layer in {0, 1}] = mean_difference(clean.resid_post[layer, a], label: kind)
  fit sized = ridge(clean.resid_post[1, last], label: size, penalty: 7)
  fit to_logit = ridge(clean.resid_post[1, last], to: logit(clean, " Anna"), penalty: 7)
  measure m[layer in {0, 1}] = means(clean.resid_post[layer, a])
  measure d[layer in {0, 1}] = norm(means.direction)
  measure s = sized(clean.resid_post[1, last])
  measure l = to_logit(clean.resid_post[1, last])
  measure r = score(sized)
}""", fam)  # fmt: skip
    held = split_of(found, "m", fam)
    train, test = indices(held)
    assert held == split_of(found, "s", fam)
    y = warm()
    for layer in (0, 1):
        x = torch.stack(
            [fam.run(i.clean)["resid_post", layer][i.clean.last("a")] for i in PROBED.items(fam)]
        ).double()
        low, high = x[train][y[train] == 0].mean(0), x[train][y[train] == 1].mean(0)
        p = ((x - (low + high) / 2) @ (high - low)).sigmoid()
        cells = {k: v for k, v in found.values["m"].items() if k[2] == layer}
        assert cells == pytest.approx({(fam.name, i, layer): float(p[i]) for i in held}, abs=1e-3)
        assert found.values["d"][fam.name, layer] == pytest.approx(float((high - low).norm()), rel=1e-4)
    x = states(fam, 1)
    anna = fam.speak.one(" Anna")
    sizes = torch.tensor([float(row["size"]) for row in ROWS], dtype=torch.float64)
    logits = torch.tensor([fam.run(i.clean)["logits", None][-1, anna] for i in PROBED.items(fam)]).double()
    for measure, target in (("s", sizes), ("l", logits)):
        z = scaled(x, train)
        a = torch.cat([z[train], torch.ones(len(train), 1)], 1)
        shrink = torch.diag(torch.tensor([7.0] * z.shape[1] + [0.0], dtype=torch.float64))
        w = torch.linalg.solve(a.T @ a + shrink, a.T @ target[train])
        guess = torch.cat([z, torch.ones(len(z), 1)], 1) @ w
        same(found, measure, {(fam.name, i): guess[i] for i in held}, 1e-3)
        if measure == "s":
            left = (guess - sizes)[test].square().sum() / (sizes[test] - sizes[test].mean()).square().sum()
            same(found, "r", {(fam.name,): 1 - left}, 1e-3)


def test_the_penalty_of_ridge_is_chosen_by_leaving_examples_out(llama, gbx):
    """One fit for each example left out, written out, against the closed form."""
    from glassbox_dsl.library.fits.ridge import GRID

    found = gbx(PROBED.text + """experiment e {
  fit sized = ridge(clean.resid_post[1, last], label: size)
  measure s = sized(clean.resid_post[1, last])
}""", llama)  # fmt: skip
    held = split_of(found, "s", llama)
    train, _ = indices(held)
    z, y = scaled(states(llama, 1), train), torch.tensor([float(r["size"]) for r in ROWS]).double()

    def solved(rows, penalty):
        a = torch.cat([z[rows], torch.ones(len(rows), 1)], 1)
        shrink = torch.diag(torch.tensor([penalty] * z.shape[1] + [0.0], dtype=torch.float64))
        return torch.linalg.solve(a.T @ a + shrink, a.T @ y[rows])

    def error(penalty):
        parts = []
        for one in train.tolist():
            w = solved(train[train != one], penalty)
            parts.append(float((z[one] @ w[:-1] + w[-1] - y[one]) ** 2))
        return sum(parts)

    best = min(GRID.tolist(), key=error)
    w = solved(train, best)
    same(found, "s", {(llama.name, i): z[i] @ w[:-1] + w[-1] for i in held}, 1e-3)


def test_a_basis_of_principal_components(fam, gbx):
    found = gbx(PROBED.text + """experiment e {
  fit plane[layer] = pca(clean.resid_post[layer, last], dim: 2)
  measure coordinate[layer] = sum(plane(clean.resid_post[layer, last]), over: component)
  measure inside[layer] = norm(project(other.resid_post[layer, last], plane))
  measure outside[layer] = norm(reject(other.resid_post[layer, last], plane))
  measure share[layer] = score(plane)
  record points = plane[1](clean.resid_post[1, last])
}""", fam)  # fmt: skip
    held = split_of(found, "coordinate", fam)
    train, test = indices(held)
    expected = {n: {} for n in ("coordinate", "inside", "outside", "share")}
    for layer in range(fam.reference.n_layers):
        x = states(fam, layer)
        mean = x[train].mean(0)
        values, vectors = torch.linalg.eigh((x[train] - mean).T @ (x[train] - mean))
        basis = vectors[:, values.argsort(descending=True)[:2]].T
        basis = basis * torch.sign(basis.gather(1, basis.abs().argmax(1, keepdim=True)))
        projector = basis.T @ basis
        rest = (x - mean)[test] @ (torch.eye(len(mean), dtype=torch.float64) - projector)
        expected["share"][fam.name, layer] = 1 - rest.square().sum() / (x - mean)[test].square().sum()
        y = states(fam, layer, "other")
        for item in held:
            expected["coordinate"][fam.name, item, layer] = ((x[item] - mean) @ basis.T).sum()
            expected["inside"][fam.name, item, layer] = (projector @ y[item]).norm()
            expected["outside"][fam.name, item, layer] = (y[item] - projector @ y[item]).norm()
        if layer == 1:
            for item in range(len(ROWS)):
                point = torch.tensor(found.records["points"][fam.name, item].array).double()
                assert torch.allclose(point, (x[item] - mean) @ basis.T, atol=1e-3)
    for measure, cells in expected.items():
        same(found, measure, cells, 2e-3)


def test_groups_stay_on_one_side_and_controls_are_drawn_by_group(llama, gbx):
    found = gbx(PROBED.text + """experiment e {
  fit probe = logistic(clean.resid_post[1, last], label: kind, group: a, seed: 1)
  fit again = logistic(clean.resid_post[0, last], label: kind, group: a, seed: 1)
  fit memory[kinds in {a, b}] = logistic(clean.resid_post[1, last], label: kind, control: kinds, seed: 1)
  measure p = probe(clean.resid_post[1, last])
  measure q = again(clean.resid_post[0, last])
  measure gap[kinds in {a, b}] = accuracy(probe) - accuracy(memory)
}""", llama)  # fmt: skip
    held = split_of(found, "p", llama)
    assert held == split_of(found, "q", llama)
    names = {ROWS[i]["a"] for i in held}
    assert len(held) == sum(row["a"] in names for row in ROWS) and 1 <= len(names) <= 3
    assert set(found.values["gap"]) == {(llama.name, "a"), (llama.name, "b")}


def test_the_table_says_which_items_count(llama, gbx, monkeypatch):
    from tests.semantics import conftest

    columns = {}
    collect = conftest.collect

    def seen(found, results):
        columns.update(
            {m.value.name: {c.name: set(c.values.tolist()) for c in m.columns} for m in results.measured}
        )
        collect(found, results)

    monkeypatch.setattr(conftest, "collect", seen)
    gbx(PROBED.text + """experiment e {
  fit probe = logistic(clean.resid_post[1, last], label: kind)
  measure p = probe(clean.resid_post[1, last])
  measure right = accuracy(probe)
  measure plain = logit(clean, " Anna")
}""", llama)  # fmt: skip
    assert columns == {"p": {"split": {"test"}}, "right": {"split": {"test"}}, "plain": {}}


def test_every_position_is_an_example(llama, gbx):
    found = gbx(PROBED.text + """experiment e {
  fit means = mean_difference(clean.resid_post[1], label: kind)
  measure p = means(clean.resid_post[1, pos])
  measure right = accuracy(means)
}""", llama)  # fmt: skip
    held = split_of(found, "p", llama)
    train, _ = indices(held)
    items, y = PROBED.items(llama), warm()
    x = [llama.run(i.clean)["resid_post", 1].double() for i in items]
    low = torch.cat([x[i] for i in train.tolist() if y[i] == 0]).mean(0)
    high = torch.cat([x[i] for i in train.tolist() if y[i] == 1]).mean(0)
    p = {
        (llama.name, i, k): ((row - (low + high) / 2) @ (high - low)).sigmoid()
        for i in held
        for k, row in enumerate(x[i])
    }
    same(found, "p", p, 1e-3)
    right = [(float(v) > 0.5) == (y[key[1]] > 0.5) for key, v in p.items()]
    same(found, "right", {(llama.name,): sum(right) / len(right)})


def test_a_direction_steers_and_only_held_out_items_count(fam, gbx):
    """Runs that are edited with a fit count it too, and the fit's own runs come first."""
    found = gbx(PROBED.text + """experiment e {
  fit means = mean_difference(clean.resid_post[0, last], label: kind)
  fit plane = pca(clean.resid_post[0, last], dim: 3)
  run steered[alpha in [0, 2]] = forward(clean) { resid_post[0, last] += alpha * means.direction }
  run swapped = forward(other) { resid_post[0, last] += project(clean - self, plane) }
  measure up[alpha in [0, 2]] = logit(steered, " Anna")
  measure average = mean(logit(steered[2], " Anna"))
  measure swap = logit(swapped, " Anna")
}""", fam)  # fmt: skip
    anna, y = fam.speak.one(" Anna"), warm()
    held = split_of(found, "up", fam)
    train, _ = indices(held)
    x, z = states(fam, 0), states(fam, 0, "other")
    direction = x[train][y[train] == 1].mean(0) - x[train][y[train] == 0].mean(0)
    basis = torch.linalg.svd(x[train] - x[train].mean(0))[2][:3]
    up, swap = {}, {}
    for item, row in enumerate(PROBED.items(fam)):
        if item not in held:
            continue

        def at(change):
            def edit(site, layer, value):
                if (site, layer) == ("resid_post", 0):
                    value = value.clone()
                    value[-1] += change.float()
                    return value
                return None

            return edit

        for alpha in (0, 2):
            values = fam.run(row.clean, at(alpha * direction))
            up[fam.name, item, float(alpha)] = values["logits", None][-1, anna]
        values = fam.run(row.other, at((x[item] - z[item]) @ basis.T @ basis))
        swap[fam.name, item] = values["logits", None][-1, anna]
    same(found, "up", up)
    same(found, "average", {(fam.name,): sum(v for k, v in up.items() if k[2] == 2) / len(held)})
    same(found, "swap", swap)


def test_a_probe_of_one_data_set_is_tried_on_another(llama, gbx):
    """Where it was not fitted, every item counts."""
    second = Table(rows=ROWS[:6], prompts={"clean": "When {a} said {b}"}, name="e2")
    found = gbx(PROBED.text + second.text + """experiment e {
  fit means = mean_difference(d.clean.resid_post[1, last], label: kind)
  measure here = means(d.clean.resid_post[1, last])
  measure there = means(e2.clean.resid_post[1, last])
  measure right = auroc(means(e2.clean.resid_post[1, last]), kind)
}""", llama)  # fmt: skip
    assert len(found.datas["there", "e2"]) == 6
    assert 5 <= len(found.datas["here", "d"]) <= 7
    assert ("there", "d") not in found.datas and ("right", "d") not in found.datas


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("logistic(clean.resid_post[1, last], label: a)", "5 values"),
        ("logistic(clean.resid_post[1, last])", "says what it predicts"),
        ("logistic(clean.resid_post[1, last], label: nothing)", "nothing"),
        ("logistic(logit(clean, ' Anna'), label: kind)".replace("'", '"'), "a vector of each item"),
        ("logistics(clean.resid_post[1, last], label: kind)", "logistics"),
        ("ridge(clean.resid_post[1, last], label: kind)", "no numbers"),
        ("pca(clean.resid_post[1, last], dim: 400)", "at most"),
        ("pca(clean.resid_post[1, last])", "whole number"),
        ("logistic(clean.resid_post[1, last], label: kind, test: 1)", "between 0 and 1"),
    ],
)
def test_what_cannot_be_fitted(llama, gbx, fit, said):
    with pytest.raises(Findings) as refused:
        gbx(PROBED.text + f"experiment e {{\n  fit f = {fit}\n  measure m = score(f)\n}}", llama)
    assert any(said in f"{d.headline} {d.label}" for d in refused.value.diagnostics)
