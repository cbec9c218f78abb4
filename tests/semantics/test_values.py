"""Functions of values: vectors, logits of any residual state, directions, tokens, files, noise, resampling."""

import torch
from safetensors.torch import save_file

from tests.semantics.reference import setting
from tests.semantics.tables import EVEN, PEOPLE, same


def runs_of(fam, table, prompt="clean"):
    return [(item, fam.run(getattr(item, prompt))) for item in table.items(fam)]


def test_vectors(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  let x = clean.resid_post[layer, last]
  let y = corrupt.resid_post[layer, c]
  measure length = norm(x)
  measure product = dot(x, y)
  measure angle = cos(x, y)
  measure one = norm(unit(x) - x / norm(x))
  measure along = dot(project(x, y), y)
  measure across = dot(reject(x, y), y)
  measure whole = norm(project(x, y) + reject(x, y) - x)
  measure each = sum(abs(x) + exp(-abs(y)) * log(1 + abs(x)) - sqrt(abs(y)), over: dim)
  measure truth[layer] = (dot(x, y) > 0) + 2 * (norm(x) <= norm(y)) + 4 * (layer == 1) + 8 * (not (dot(x, y) > 0))
  measure places[pos in {c, last}] = 2 * pos + 0 * norm(clean.resid_post[0, pos])
}""", fam)  # fmt: skip
    pairs = [
        (i.number, k, v["resid_post", k][-1], w["resid_post", k][i.corrupt.last("c")])
        for (i, v), (_, w) in zip(runs_of(fam, PEOPLE), runs_of(fam, PEOPLE, "corrupt"), strict=True)
        for k in range(fam.reference.n_layers)
    ]

    def check(measure, function):
        same(found, measure, {(fam.name, n, k): function(x, y, k) for n, k, x, y in pairs})

    check("length", lambda x, y, k: x.square().sum().sqrt())
    check("product", lambda x, y, k: (x * y).sum())
    check("angle", lambda x, y, k: (x * y).sum() / x.norm() / y.norm())
    check("one", lambda x, y, k: 0)
    check("along", lambda x, y, k: (x * y).sum())
    check("across", lambda x, y, k: 0)
    check("whole", lambda x, y, k: 0)
    check("each", lambda x, y, k: (
        x.abs() + (-y.abs()).exp() * (1 + x.abs()).log() - y.abs().sqrt()).sum())  # fmt: skip
    check("truth", lambda x, y, k: (
        (1 if (x * y).sum() > 0 else 8) + 2 * (x.norm() <= y.norm()) + 4 * (k == 1)))  # fmt: skip
    same(found, "places", {
        (fam.name, i.number, name): 2 * at
        for i in PEOPLE.items(fam) for name, at in (("c", i.clean.last("c")), ("last", len(i.clean) - 1))})  # fmt: skip


def test_unembed_and_direction(fam, gbx):
    """Logits of any residual state: its own norm, that of its run frozen, or none; softcap included."""
    found = gbx(PEOPLE.text + """experiment e {
  measure lens = logit(unembed(clean.resid_post[layer, pos]), yes)
  measure frozen = logit(unembed(clean.attn.out[layer, c], norm: frozen), yes)
  measure bare = logit(unembed(clean.resid_pre[layer, last], norm: none), yes)
  measure end = kl(unembed(clean.resid_post[-1, last]), clean)
  measure onto = dot(clean.final_norm[last], direction(yes))
  measure among = dot(clean.final_norm[last], direction([" {a}", " {b}", " store"]))
  run edited = forward(corrupt) { resid_post[0, last] += clean.resid_post[0, c] }
  measure frozen_edited = logit(unembed(edited.mlp.out[1, last], norm: frozen), no)
}""", fam)  # fmt: skip
    ref = fam.reference
    head = fam.plain.get_output_embeddings().weight.detach()

    def final(x, scale=None):
        x = x[None] if x.ndim == 1 else x
        scale = ref.divisor(x) if scale is None else torch.as_tensor(scale).reshape(1)
        return ref.unembed(ref.normed(ref.final, x, scale)).detach()

    runs = runs_of(fam, PEOPLE)
    layers, name = range(ref.n_layers), fam.name
    yes = {i.number: fam.speak.one(" " + i.row["a"]) for i, _ in runs}
    no = {i.number: fam.speak.one(" " + i.row["b"]) for i, _ in runs}
    same(found, "lens", {
        (name, i.number, k, p): final(v["resid_post", k])[p, yes[i.number]]
        for i, v in runs for k in layers for p in range(len(i.clean))})  # fmt: skip
    same(found, "frozen", {
        (name, i.number, k): final(v["attn.out", k][c], v["final_norm_scale", None][c])[0, yes[i.number]]
        for i, v in runs for k in layers for c in [i.clean.last("c")]})  # fmt: skip
    same(found, "bare", {
        (name, i.number, k): ref.unembed(v["resid_pre", k][-1])[yes[i.number]].detach()
        for i, v in runs for k in layers})  # fmt: skip
    same(found, "end", {(name, i.number): 0.0 for i, _ in runs})
    final_norms = {i.number: v["final_norm", None][-1] for i, v in runs}
    same(found, "onto", {(name, n): x @ head[yes[n]] for n, x in final_norms.items()})
    store = fam.speak.one(" store")
    same(
        found, "among", {(name, n): x @ head[[yes[n], no[n], store]].mean(0) for n, x in final_norms.items()}
    )
    expected = {}
    for item, values in runs:
        more = values["resid_post", 0][item.clean.last("c")]
        got = fam.run(item.corrupt, setting("resid_post", 0, -1, lambda x, more=more: x + more))
        logits = final(got["mlp.out", 1][-1], got["final_norm_scale", None][-1])
        expected[name, item.number] = logits[0, no[item.number]]
    same(found, "frozen_edited", expected)


def test_tokens_and_files(fam, gbx, tmp_path):
    width = fam.plain.config.hidden_size
    torch.manual_seed(0)
    tensors = {
        "one": torch.randn(width),
        "each": torch.randn(fam.reference.n_layers, width),
        "n": torch.tensor(2.5),
    }
    save_file(tensors, tmp_path / "made.safetensors")
    found = gbx(PEOPLE.text + """let v = load("made.safetensors", key: "one")
experiment e {
  let m = load("made.safetensors", key: "each")
  measure ids = token(clean, at: pos)
  measure third = token(clean, at: c) - token(corrupt, at: c)
  measure own = logit(clean, token(clean, at: c))
  measure next = logit(clean, argmax(corrupt.logits[last], over: vocab))
  measure best = logit(clean, argmax(clean.logits[last], over: vocab))
  measure copied = logprob(clean.logits[pos], token(clean, at: pos - 1))
  measure fixed = dot(clean.resid_post[0, last], v)
  measure by_layer = dot(clean.resid_post[layer, last], m)
  measure scale = load("made.safetensors", key: "n") * logit(clean, yes)
  run steered[layer] = forward(corrupt) { resid_post[layer, last] += 0.5 * m  mlp.out[0, c] += v }
  measure moved = logit(steered, yes)
}""", fam)  # fmt: skip
    runs, name = runs_of(fam, PEOPLE), fam.name
    others = [v for _, v in runs_of(fam, PEOPLE, "corrupt")]
    layers = range(fam.reference.n_layers)

    def ends(v):
        return v["logits", None][-1]

    same(found, "ids", {(name, i.number, p): t for i, _ in runs for p, t in enumerate(i.clean)})
    same(found, "third", {
        (name, i.number): i.clean[i.clean.last("c")] - i.corrupt[i.corrupt.last("c")] for i, _ in runs})  # fmt: skip
    same(found, "own", {(name, i.number): ends(v)[i.clean[i.clean.last("c")]] for i, v in runs})
    same(found, "next", {
        (name, i.number): ends(v)[ends(w).argmax()] for (i, v), w in zip(runs, others, strict=True)})  # fmt: skip
    same(found, "best", {(name, i.number): ends(v).max() for i, v in runs})
    same(found, "copied", {
        (name, i.number, p): v["logits", None][p].log_softmax(-1)[i.clean[p - 1]]
        for i, v in runs for p in range(1, len(i.clean))})  # fmt: skip
    same(found, "fixed", {(name, i.number): v["resid_post", 0][-1] @ tensors["one"] for i, v in runs})
    same(found, "by_layer", {
        (name, i.number, k): v["resid_post", k][-1] @ tensors["each"][k] for i, v in runs for k in layers})  # fmt: skip
    same(found, "scale", {(name, i.number): 2.5 * ends(v)[fam.speak.one(" " + i.row["a"])] for i, v in runs})
    moved = {}
    for item, _ in runs:
        for k in layers:
            at = setting("resid_post", k, -1, lambda x, k=k: x + 0.5 * tensors["each"][k])
            also = setting("mlp.out", 0, item.corrupt.last("c"), lambda x: x + tensors["one"])
            got = fam.run(item.corrupt, also, at)
            moved[name, item.number, k] = ends(got)[fam.speak.one(" " + item.row["a"])]
    same(found, "moved", moved)


def test_resample(fam, gbx):
    """One permutation-free draw per item: another item, in its group where asked, the same wherever it is read."""
    found = gbx(EVEN.text + """experiment e {
  let own = logit(clean, yes)
  measure here = own
  measure there = resample(own, seed: 1)
  measure again = resample(own, seed: 1)
  measure elsewhere = resample(own, seed: 2)
  measure inside = resample(own, seed: 1, within: kind)
  measure vector = norm(resample(clean.resid_post[layer, last], seed: 1))
  run replaced = forward(corrupt) { resid_post[1, last] := resample(clean, seed: 1) }
  measure moved = logit(replaced, no)
}""", fam)  # fmt: skip
    runs = {i.number: (i, v) for i, v in runs_of(fam, EVEN)}
    here = {k[1]: v for k, v in found.values["here"].items()}
    assert len(set(here.values())) == len(here), "the values tell the items apart"

    def partner(measure):
        drawn = {k[1]: v for k, v in found.values[measure].items()}
        return {n: next(m for m, value in here.items() if value == drawn[n]) for n in here}

    first, inside = partner("there"), partner("inside")
    assert all(n != m for n, m in [*first.items(), *inside.items(), *partner("elsewhere").items()])
    assert all(runs[n][0].row["kind"] == runs[m][0].row["kind"] for n, m in inside.items())
    assert partner("again") == first != partner("elsewhere")
    layers = range(fam.reference.n_layers)
    same(found, "vector", {
        (fam.name, n, k): runs[m][1]["resid_post", k][-1].norm()
        for n, m in first.items() for k in layers})  # fmt: skip
    same(found, "moved", {
        (fam.name, n): fam.run(
            runs[n][0].corrupt, setting("resid_post", 1, -1, runs[m][1]["resid_post", 1][-1])
        )["logits", None][-1, fam.speak.one(" " + runs[n][0].row["b"])]
        for n, m in first.items()})  # fmt: skip


def test_noise(llama, gbx):
    """The same draw in every cell and batch; other sites, seeds and items draw others; it is standard normal."""
    found = gbx(PEOPLE.text + """experiment e {
  run noisy[alpha in [0, 1, 3]] = forward(corrupt) { embed += noise(scale: alpha, seed: 4) }
  run other_seed = forward(corrupt) { embed += noise(scale: 1, seed: 5) }
  run part = forward(corrupt) { embed[last] += noise(scale: 1, seed: 4) }
  run deeper[layer] = forward(corrupt) { resid_post[layer] += noise(scale: 1, seed: 4) }
  run shaken = forward(corrupt) { attn.pattern[0] += noise(scale: 0.1, seed: 4) }
  run again[alpha in [0.1, 5]] = forward(corrupt) { attn.pattern[0] += noise(scale: alpha, seed: 4) }
  measure shift = logit(again[0.1], yes) - logit(shaken, yes)
  measure shaken_by = abs(logit(shaken, yes) - logit(corrupt, yes))
  record plain = corrupt.embed
  record drawn = noisy.embed
  record drawn_other = other_seed.embed
  record drawn_part = part.embed
  record drawn_deeper = deeper.resid_post[:, :]
  record clean_deeper = corrupt.resid_post
  let d = noise(seed: 3, like: direction(yes))
  measure size = norm(d)
  measure onto = dot(d, clean.final_norm[last])
  record random = d
  record like_layers = noise(seed: 3, scale: 2, like: mean(clean.resid_post[:, last]))
}""", llama)  # fmt: skip
    assert not found.codes() or set(found.codes()) <= {"GB531"}
    data = {name: {k[1]: r for k, r in rows.items() if len(k) > 1} for name, rows in found.records.items()}
    draws = {}
    for n in range(len(PEOPLE.rows)):
        alpha = {axis: place for place, axis in enumerate(data["drawn"][n].axes)}["alpha"]
        base = torch.tensor(data["plain"][n].array)
        cells = torch.tensor(data["drawn"][n].array).movedim(alpha, 0)
        assert torch.equal(cells[0], base)
        draws[n] = cells[1] - base
        torch.testing.assert_close((cells[2] - base) / 3, draws[n], atol=1e-5, rtol=1e-4)
        part = torch.tensor(data["drawn_part"][n].array) - base
        assert not part[:-1].any()
        torch.testing.assert_close(part[-1], draws[n][-1], atol=1e-6, rtol=1e-5)
        other = torch.tensor(data["drawn_other"][n].array) - base
        assert (other - draws[n]).abs().max() > 0.5
    assert not torch.equal(draws[0][0], draws[2][0]), "items draw their own"
    assert not torch.equal(draws[0][0], draws[0][1]), "positions draw their own"
    whole = torch.cat([d.flatten() for d in draws.values()])
    assert abs(float(whole.mean())) < 0.1 and abs(float(whole.std()) - 1) < 0.1
    for n, item in enumerate(PEOPLE.items(llama)):
        random = torch.tensor(data["random"][n].array)
        final = llama.run(item.clean)["final_norm", None][-1]
        assert found.values["size"]["llama", n] == float(random.norm())
        assert abs(found.values["onto"]["llama", n] - float(random @ final)) < 1e-3
    same(found, "shift", {("llama", n): 0 for n in range(len(PEOPLE.rows))})
    assert min(found.values["shaken_by"].values()) > 1e-3
    [layers] = [r.array for r in found.records["like_layers"].values()]
    assert layers.shape == (3, 24) and 1 < layers.std() < 3
