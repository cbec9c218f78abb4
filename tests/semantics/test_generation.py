"""Generated tokens against whole passes over the prompt and all tokens so far, nothing cached, edits by hand."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.conftest import TECHNIQUES
from tests.semantics.tables import EVEN, PEOPLE, same

TRIED_ON = TECHNIQUES
STEPS = 6


def greedy(fam, ids, edits=(), steps=STEPS):
    """The likeliest tokens one after the other, each from a pass of its own."""
    ids, start, first = list(ids), len(ids), None
    for _ in range(steps):
        values = fam.run(tuple(ids), *(edit(start) for edit in edits))
        first = values["logits", None][-1] if first is None else first
        token = int(values["logits", None][-1].argmax())
        if token == fam.plain.config.eos_token_id:
            break
        ids.append(token)
    return tuple(ids[start:]), first


def scaled(site, layer, factor, low=0, high=None):
    """An edit of the positions from `low` (None: of the first generated token) up to `high`."""

    def at(start):
        def edit(name, number, value):
            if (name, number) != (site, layer):
                return None
            factors = torch.ones(len(value), 1)
            factors[start if low is None else low : high] = factor
            return value * factors

        return edit

    return at


def test_greedy_text_equals_whole_passes(fam, gbx):
    """Longer than a sliding window; prompts of several lengths; without edits, and with edits in every phase."""
    found = gbx(PEOPLE.text + f"""experiment e {{
  run plain = generate(clean, max_new_tokens: {STEPS})
  run both = generate(clean, max_new_tokens: {STEPS}) {{ resid_post[0] *= 2.5 }}
  run later = generate(clean, max_new_tokens: {STEPS}) {{ mlp.out[1] *= -2 during generated }}
  run early = generate(clean, max_new_tokens: {STEPS}) {{ resid_pre[1] *= 0.3 during prompt }}
  run one = generate(clean, max_new_tokens: {STEPS}) {{ resid_post[0, c] *= 4 }}
  measure a = text(plain)
  measure b = text(both)
  measure l = text(later)
  measure f = text(early)
  measure o = text(one)
  measure begins = logit(both, yes)
  measure unmoved = logit(later, yes)
}}""", fam)  # fmt: skip
    expected = {n: {} for n in "ablfo"}
    first, unmoved = {}, {}
    for item in PEOPLE.items(fam):
        c, yes = item.clean.last("c"), fam.speak.one(" " + item.row["a"])

        def early(start):
            return scaled("resid_pre", 1, 0.3, 0, start)(start)

        key = (fam.name, item.number)
        expected["a"][key], plain = greedy(fam, item.clean)
        expected["b"][key], logits = greedy(fam, item.clean, [scaled("resid_post", 0, 2.5)])
        expected["l"][key], _ = greedy(fam, item.clean, [scaled("mlp.out", 1, -2, None)])
        expected["f"][key], _ = greedy(fam, item.clean, [early])
        expected["o"][key], _ = greedy(fam, item.clean, [scaled("resid_post", 0, 4, c, c + 1)])
        first[key], unmoved[key] = logits[yes], plain[yes]
    assert found.said == expected
    assert len(set(map(str, expected.values()))) > 3, "the edits change nothing"
    same(found, "begins", first)
    same(found, "unmoved", unmoved)


def test_steering_sweeps_and_directions(fam, gbx):
    """Swept strengths, a direction from means, and projecting a direction out of every layer."""
    found = gbx(EVEN.text + f"""experiment e {{
  let d = mean(clean.resid_post[0, last]) - mean(corrupt.resid_post[0, last]) + 0 * mean(clean.resid_post[0, last])
  let u = mean(clean.resid_post[1, last])
  run steered[alpha in [-3, 0, 3]] = generate(corrupt, max_new_tokens: {STEPS}) {{ resid_post[0] += alpha * u }}
  run without = generate(corrupt, max_new_tokens: {STEPS}) {{ resid_post := reject(self, u) }}
  measure s[alpha in [-3, 0, 3]] = text(steered)
  measure w = text(without)
}}""", fam)  # fmt: skip
    items = EVEN.items(fam)
    u = torch.stack([fam.run(i.clean)["resid_post", 1][-1] for i in items]).mean(0)
    s, w = {}, {}
    for item in items:
        for alpha in (-3.0, 0.0, 3.0):

            def pushed(start, alpha=alpha):
                return lambda name, layer, value: (
                    value + alpha * u if (name, layer) == ("resid_post", 0) else None
                )

            s[fam.name, item.number, alpha] = greedy(fam, item.corrupt, [pushed])[0]

        def rejected(start):
            return lambda name, layer, value: (
                value - (value @ u)[:, None] * u / (u @ u) if name == "resid_post" else None
            )

        w[fam.name, item.number] = greedy(fam, item.corrupt, [rejected])[0]
    assert found.said == {"s": s, "w": w}


def test_draws_depend_on_the_item_and_the_seed_alone(llama, gbx):
    """The same again, whatever the other items are; others with another seed."""
    run = "run r{0} = generate(clean, max_new_tokens: 5, temperature: 1.5, seed: {0})\n  measure m{0} = text(r{0})\n"
    text = "experiment e {\n  " + run.format(1) + "  " + run.format(2) + "}"
    whole = gbx(EVEN.text + text, llama).said
    assert whole["m1"] != whole["m2"]
    assert whole == gbx(EVEN.text + text, llama).said
    cut = EVEN.text.replace('{a: "Carla", b: "Dan", kind: "two"}', '{a: "Eve", b: "Dan", kind: "two"}')
    other = gbx(cut + text, llama).said
    assert {k: v for k, v in other["m1"].items() if k[1] < 4} == {
        k: v for k, v in whole["m1"].items() if k[1] < 4
    }


def test_a_cold_draw_is_the_likeliest_token(llama, gbx):
    found = gbx(EVEN.text + """experiment e {
  run cold = generate(clean, max_new_tokens: 4, temperature: 0.0001)
  run greedy = generate(clean, max_new_tokens: 4)
  measure c = text(cold)
  measure g = text(greedy)
}""", llama)  # fmt: skip
    assert found.said["c"] == found.said["g"]


def test_keeping_heads_sets_all_others(fam, gbx):
    """`keep SET, else RUN`: faithfulness of a set of heads, written or from results."""
    found = gbx(EVEN.text + """experiment e {
  let best = largest(mean(logit(clean, yes)) + 0 * mean(norm(clean.attn.z[layer, head, last])), k: 2)
  run kept = forward(clean) { keep {(0, 1), (1, 2)}, else corrupt }
  run alone = forward(clean) { keep best }
  measure k = logit(kept, yes)
  measure n = logit(alone, yes)
}""", fam)  # fmt: skip
    k, n = {}, {}
    for item in EVEN.items(fam):
        other, yes = fam.run(item.corrupt), fam.speak.one(" " + item.row["a"])

        def exchanged(keep, source):
            def edit(site, layer, value):
                if site != "attn.z":
                    return None
                rest = source["attn.z", layer] if source else torch.zeros_like(value)
                mine = [(layer, h) in keep for h in range(len(value))]
                return torch.where(torch.tensor(mine)[:, None, None], value, rest)

            return edit

        key = (fam.name, item.number)
        k[key] = fam.run(item.clean, exchanged({(0, 1), (1, 2)}, other))["logits", None][-1, yes]  # fmt: skip
        n[key] = fam.run(item.clean, exchanged({(0, 0), (0, 1)}, None))["logits", None][-1, yes]
    same(found, "k", k)
    same(found, "n", n)


@pytest.mark.parametrize(
    ("run", "measure", "said"),
    [
        ("forward(clean) { resid_post[0] *= 2 during prompt }", "logit(r, yes)", "`generate` run"),
        (
            "generate(clean, max_new_tokens: 2) { resid_post[0, last] *= 2 during generated }",
            "text(r)",
            "no positions",
        ),
        (
            "generate(clean, max_new_tokens: 2) { resid_post[0] := corrupt }",
            "text(r)",
            "the value has positions",
        ),
        ("generate(clean, max_new_tokens: 2) { resid_post[0] *= 2 during lunch }", "text(r)", "no phase"),
        ("generate(clean)", "text(r)", "whole number"),
        ("generate(clean, max_new_tokens: 0)", "text(r)", "at least 1"),
        ("generate(clean, max_new_tokens: 2, temperature: -1)", "text(r)", "from 0 on"),
        ("forward(clean)", "text(r)", "made by `generate`"),
        ("generate(clean, max_new_tokens: 2)", "text(r) + 1", "not a number"),
        ("forward(clean, seed: 2)", "logit(r, yes)", "no option"),
    ],
)
def test_what_cannot_be_generated(llama, gbx, run, measure, said):
    with pytest.raises(Findings) as refused:
        gbx(EVEN.text + f"experiment e {{\n  run r = {run}\n  measure m = {measure}\n}}", llama)
    assert any(said in f"{d.headline} {d.label}" for d in refused.value.diagnostics)
