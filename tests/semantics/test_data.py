"""What the items of a data set are, as far as numbers show it: tokens, spans, draws, features, conditions."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.reference import setting
from tests.semantics.tables import PEOPLE, Table, same


def test_spans_and_tokens(fam, gbx):
    """A span is every token that shares a character with the inserted text; fixed text can have a label too."""
    table = Table(
        rows=({"a": "Zebulon", "b": "Bob", "q": "Anna"}, {"a": "Bob", "b": "Ottoline", "q": "dog"}),
        prompts={
            "one": "When {a}s and {who: b} went {tail: \"to the store\"} {q}",
            "two": "{who: a}{q} said {b} a {a}",
        },
    )  # fmt: skip
    found = gbx(table.text.replace('"When', '"""When').replace('{q}"\n', '{q}"""\n') + """experiment e {
  measure ids = token(one, at: pos)
  measure ids_two = token(two, at: pos)
  measure begin = token(one, at: a.first) + 1000 * token(two, at: who.first)
  measure end = token(one, at: a.last) + 1000 * token(two, at: who)
  measure tail = sum(token(one, at: pos) * (norm(one.resid_post[0, tail.span]) > 0), over: pos)
  measure counts = sum(norm(two.resid_post[0, who.span]) > 0, over: pos)
}""", fam)  # fmt: skip
    items, name = table.items(fam), fam.name
    same(found, "ids", {(name, i.number, p): t for i in items for p, t in enumerate(i.one)})
    same(found, "ids_two", {(name, i.number, p): t for i in items for p, t in enumerate(i.two)})
    same(found, "begin", {
        (name, i.number): i.one[i.one.first("a")] + 1000 * i.two[i.two.first("who")] for i in items})  # fmt: skip
    same(found, "end", {
        (name, i.number): i.one[i.one.last("a")] + 1000 * i.two[i.two.last("who")] for i in items})  # fmt: skip
    same(found, "tail", {(name, i.number): sum(i.one[p] for p in i.one.span("tail")) for i in items})
    same(found, "counts", {(name, i.number): len(i.two.span("who")) for i in items})


def test_bos(checkpoints, gbx, tmp_path):
    """`bos:` overrides what the tokenizer does by default; named positions move along."""
    gemma = checkpoints["gemma3_text"]
    text = (
        PEOPLE.text
        + f"""model without = local("{gemma.folder}", bos: false)
model with = local("{gemma.folder}", bos: true)
experiment e {{
  measure first_ = token(clean, at: first)
  measure c_ = token(clean, at: c)
  measure m = logit(clean, yes)
}}"""
    )
    found = gbx(text, gemma)
    bos = gemma.speak.tokenizer.token_to_id("<bos>")
    for i in PEOPLE.items(gemma):
        assert i.clean[0] == bos
        yes = gemma.speak.one(" " + i.row["a"])
        for model, ids in (("gemma3_text", i.clean), ("with", i.clean), ("without", i.clean[1:])):
            key = (model, i.number)
            assert found.values["first_"][key] == ids[0]
            assert found.values["c_"][key] == i.clean[i.clean.last("c")]
            assert found.values["m"][key] == pytest.approx(
                float(gemma.run(ids)["logits", None][-1, yes]), abs=1e-3
            )


def test_template_lists_slots_and_records(llama, gbx):
    """Whatever is drawn, the numbers are those of the drawn texts; an item uses one template of each list."""
    found = gbx("""data d {
  slots {
    q, r from [{country: "red", city: "store"}, {country: "blue", city: "park"}, {country: "green", city: "school"}]
    w from ["Anna", "Zebulon"]
  }
  prompt ask   = ["the {q.country} {w} went to the {q.city} and", "When {w} said {q.country}, the {q.city} gave"]
  prompt other = ["the {r.country} {w} went to the {r.city} and", "When {w} said {r.country}, the {r.city} gave"]
  answer yes = " {q.city}"
  feature same_kind = template
  draw 7, seed: 3
}
experiment e {
  run patched = forward(other) { resid_post[1, {q_country, last}] := 0  mlp.out[0, w.span] := ask }
  measure plain = logit(ask, yes)
  measure at = norm(ask.resid_post[0, q_city])
  measure templates = mean(plain, within: template)
}""".replace("{q_country, last}", "{r_country, last}"), llama)  # fmt: skip
    forms = (
        ("the {q_country} {w} went to the {q_city} and", "the {r_country} {w} went to the {r_city} and"),
        ("When {w} said {q_country}, the {q_city} gave", "When {w} said {r_country}, the {r_city} gave"),
    )
    items = found.tables["d", "llama"].items
    assert len(items) == 7 and len({repr((i.variables, i.template)) for i in items}) == 7
    assert {i.template for i in items} == {0, 1}
    plain, at = {}, {}
    for item in items:
        v = item.variables
        assert v["q"] != v["r"], "slots of one line are distinct"
        row = {"w": v["w"], "q_country": v["q"]["country"], "q_city": v["q"]["city"]}
        ask = llama.speak.prompt(forms[item.template][0], **row)
        assert list(item.prompts["ask"].ids) == list(ask)
        values = llama.run(ask)
        plain["llama", item.number] = values["logits", None][-1, llama.speak.one(" " + row["q_city"])]
        at["llama", item.number] = values["resid_post", 0][ask.last("q_city")].norm()
    same(found, "plain", plain)
    same(found, "at", at)
    groups = {t: [plain["llama", i.number] for i in items if i.template == t] for t in (0, 1)}
    same(found, "templates", {
        ("llama", i.number): torch.stack(groups[i.template]).mean() for i in items})  # fmt: skip


def test_repeated_tokens_and_features(fam, gbx):
    """Parts repeat token by token; a feature with `pos` has a value at each position."""
    found = gbx("""data d {
  prompt seq = repeated_tokens(length: 5, repeats: 3)
  feature before[pos] = token(seq, at: pos - 1)
  draw 4, seed: 2
}
experiment e {
  measure ids = token(seq, at: pos)
  measure size = norm(seq.resid_post[0, repeat_2])
  run edited = forward(seq) { resid_post[0, repeat_2.span] := seq.resid_post[0, repeat_1.first] }
  measure second = loss(edited, at: repeat_3.first)
  measure spread = mean(loss(seq, at: pos))
}""", fam)  # fmt: skip
    name, items = fam.name, found.tables["d", fam.name].items
    start = 1 if name == "gemma3_text" else 0  # after the BOS
    expected = {"ids": {}, "size": {}, "second": {}}
    losses = []
    for item in items:
        ids = list(item.prompts["seq"].ids)
        part = ids[start : start + 5]
        assert ids[start:] == part * 3 and len(set(part)) == 5
        assert list(item.features["before"])[1:] == ids[:-1]
        values = fam.run(ids)
        one, two, three = (start + 5 * k for k in range(3))
        expected["ids"].update({(name, item.number, p): t for p, t in enumerate(ids)})
        expected["size"][name, item.number] = values["resid_post", 0][three - 1].norm()
        got = fam.run(ids, setting("resid_post", 0, slice(two, three), values["resid_post", 0][one]))
        expected["second"][name, item.number] = -got["logits", None][three].log_softmax(-1)[ids[three + 1]]
        losses.append(-values["logits", None][:-1].log_softmax(-1)[range(len(ids) - 1), ids[1:]])
    for measure, cells in expected.items():
        same(found, measure, cells)
    mean = torch.stack(losses).mean(0)
    same(found, "spread", {(name, p): v for p, v in enumerate(mean)})


def test_keep_where_and_numbers(checkpoints, gbx):
    """What one model drops stays for the other; numbers do not change, and items of two models meet by them."""
    llama, gpt2 = checkpoints["llama"], checkpoints["gpt2"]
    gaps = {}
    for fam in (llama, gpt2):
        for i in PEOPLE.items(fam):
            z = fam.run(i.clean)["logits", None][-1]
            gaps[fam.name, i.number] = float(
                z[fam.speak.one(" " + i.row["a"])] - z[fam.speak.one(" " + i.row["b"])]
            )
    lines = {m: sorted(v for (k, _), v in gaps.items() if k == m) for m in ("llama", "gpt2")}
    bound = max(min(lines["llama"]), min(lines["gpt2"])) + 1e-3  # each model keeps what lies above
    kept = {key: v for key, v in gaps.items() if v > bound}
    numbers = {m: {n for k, n in kept if k == m} for m in lines}
    assert all(len(n) >= 2 for n in numbers.values()) and numbers["llama"] != numbers["gpt2"]
    above = f"keep where logit(clean, yes) - logit(clean, no) > {bound:.6f}"
    table = Table(
        PEOPLE.rows, PEOPLE.prompts, PEOPLE.answers, more=f"{above}  keep where token(clean, at: c) >= 0"
    )
    found = gbx(table.text + """experiment e {
  measure m = logit(clean, yes) - logit(clean, no)
  measure n = mean(logit(clean, yes) - logit(clean, no))
  measure there = (logit(clean, yes) - logit(clean, no))[model: gpt2]
}""", llama, gpt2)  # fmt: skip
    same(found, "m", kept)
    same(found, "n", {(m,): sum(v for (k, _), v in kept.items() if k == m) / len(numbers[m]) for m in lines})
    same(found, "there", {
        (m, n): gaps["gpt2", n] for m in lines for n in numbers[m] if n in numbers["gpt2"]})  # fmt: skip


def test_prompts_compared_by_number_must_agree_in_length(llama, gbx):
    with pytest.raises(Findings) as raised:
        gbx(PEOPLE.text + """experiment e {
  run patched[pos] = forward(corrupt) { resid_pre[1, pos] := other }
  measure m = logit(patched, yes) }""", llama)  # fmt: skip
    assert [d.code for d in raised.value.diagnostics] == ["GB342"]
    spans = Table(PEOPLE.rows, {"one": "{a} said {d}", "two": "the {a} gave {d: b}"}, {"yes": '" {a}"'})
    with pytest.raises(Findings) as raised:
        gbx(spans.text + """experiment e {
  run patched = forward(one) { resid_pre[1, d.span] := two }
  measure m = logit(patched, yes) }""", llama)  # fmt: skip
    assert [d.code for d in raised.value.diagnostics] == ["GB536"]
