"""Prompts that are no plain template, and items from files: tokens made here with the tokenizers library alone."""

import json
import shutil

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tests.semantics.reference import setting
from tests.semantics.tables import same
from tests.semantics.texts import Prompt, Speaker

CHAT = (
    "{{ bos_token }}{% for m in messages %}{{ m['role'] + ':\n' + (m['content'] | trim) + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)
COUNTRIES = (("red", "store"), ("blue", "park"), ("green", "school"), ("the", "drink"), ("a", "ball"))


def losses(values, ids):
    """The cross-entropy of each next token."""
    return -values["logits", None][:-1].log_softmax(-1)[range(len(ids) - 1), list(ids)[1:]]


@pytest.mark.parametrize("bos", [True, False])
def test_a_chat_is_the_template_of_the_model(bos, checkpoints, gbx, tmp_path):
    """The text is what transformers renders; spans lie in it, and the answer begins where it ends."""
    fam = checkpoints["gemma3_text" if bos else "llama"]
    folder = tmp_path / "chatty"
    shutil.copytree(fam.folder, folder)
    (folder / "chat_template.jinja").write_text(CHAT if bos else CHAT.replace("{{ bos_token }}", ""))
    found = gbx(f"""model chatty = local("{folder}")
data d {{
  rows [{{a: "Anna", b: "Bob"}}, {{a: "Zebulon", b: "Eve"}}]
  prompt p = chat("  When {{a}} went, {{b}} said", system: "the {{c: b}} gave")
  answer yes = " {{a}}"
}}
""" + """experiment e {
  models chatty
  measure ids = token(p, at: pos)
  measure m = prob(p, yes)
  run edited = forward(p) { resid_post[0, {a.first, c}] *= 2 }
  measure moved = logit(edited, " store")
}""", fam)  # fmt: skip
    theirs = AutoTokenizer.from_pretrained(folder)
    ids, m, moved = {}, {}, {}
    for number, (a, b) in enumerate((("Anna", "Bob"), ("Zebulon", "Eve"))):
        turns = [("system", f"the {b} gave"), ("user", f"  When {a} went, {b} said")]
        text = theirs.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns], tokenize=False,
            add_generation_prompt=True,
        )  # fmt: skip
        assert (
            text.endswith(f"user:\nWhen {a} went, {b} said\nassistant:\n") and text.startswith("<bos>") == bos
        )
        encoding = fam.speak.tokenizer.encode(text, add_special_tokens=False)
        prompt = Prompt(encoding.ids, {})
        assert prompt.count(fam.speak.tokenizer.token_to_id("<bos>")) == bos
        ids.update({("chatty", number, at): token for at, token in enumerate(prompt)})

        def tokens_of(start, end, encoding=encoding):
            return [k for k, (low, high) in enumerate(encoding.offsets) if low < end and high > start]

        in_user, in_system = text.index(f"When {a}") + 5, text.index(f"the {b}") + 4
        both = [tokens_of(in_user, in_user + len(a))[0], tokens_of(in_system, in_system + len(b))[-1]]
        got = fam.run(prompt, setting("resid_post", 0, both, lambda x: 2 * x))
        moved["chatty", number] = got["logits", None][-1, fam.speak.one(" store")]
        answer = fam.speak.ids(f" {a}")
        z = fam.run([*prompt, *answer[:-1]])["logits", None][len(prompt) - 1 :].log_softmax(-1)
        m["chatty", number] = z[range(len(answer)), answer].sum().exp()
    same(found, "ids", ids)
    same(found, "m", m)
    same(found, "moved", moved)


def test_pieces_of_text_begin_at_the_same_character_for_every_model(checkpoints, gbx, tmp_path):
    """Two tokenizers, one with a BOS, one that cuts finer: each piece begins where no model has read yet."""
    gemma, llama = checkpoints["gemma3_text"], checkpoints["llama"]
    fine = tmp_path / "fine"
    shutil.copytree(llama.folder, fine)
    state = json.loads((fine / "tokenizer.json").read_text())
    state["model"]["merges"] = state["model"]["merges"][: len(state["model"]["merges"]) // 3]
    (fine / "tokenizer.json").write_text(json.dumps(state))
    prose = "When Anna went to the store, Bob gave Carla a  ball.\n\nThe dog said\ta red book and " * 4
    (tmp_path / "prose.txt").write_text(prose)
    found = gbx(f"""model fine = local("{fine}")
data d {{ prompt p = chunks("prose.txt", tokens: 12) }}
""" + """experiment e {
  measure ids = token(p, at: pos)
  measure m = loss(p)
  measure each = loss(p, at: pos)
}""", gemma)  # fmt: skip
    speakers = {
        "gemma3_text": gemma.speak,
        "fine": Speaker(Tokenizer.from_file(str(fine / "tokenizer.json"))),
    }
    models = {"gemma3_text": gemma, "fine": llama}
    ids, m, each, start, number = {}, {}, {}, 0, 0
    while True:
        pieces = {name: s.tokenizer.encode(prose[start:]) for name, s in speakers.items()}
        taken = {name: 12 + (name == "gemma3_text") for name in pieces}
        if any(len(e.ids) < taken[name] for name, e in pieces.items()):
            break
        for name, encoding in pieces.items():
            mine = encoding.ids[: taken[name]]
            ids.update({(name, number, at): token for at, token in enumerate(mine)})
            nll = losses(models[name].run(mine), mine)
            m[name, number] = nll.mean()
            each.update({(name, number, at): value for at, value in enumerate(nll)})
        read = start + max(e.offsets[taken[name] - 1][1] for name, e in pieces.items())
        behind = [at for at in range(read, len(prose)) if not prose[at].isspace() and prose[at - 1].isspace()]
        start, number = behind[0] if behind else len(prose), number + 1
    whole = [len(s.ids(prose)) for s in speakers.values()]
    assert number > 4 and whole[1] > 1.5 * whole[0]
    same(found, "ids", ids)
    same(found, "m", m)
    same(found, "each", each)


def test_literal_tokens_are_the_ids_as_they_stand(fam, gbx):
    """No BOS is put before them; they are patched like any prompt."""
    found = gbx("""data d {
  rows [{a: "Anna"}, {a: "Bob"}]
  prompt p = tokens([7, 301, 12, 12, 260])
  prompt q = tokens([9, 300, 12, 40, 260])
  prompt said = "the {a} said"
  answer yes = " {a}"
}
experiment e {
  measure ids = token(p, at: pos)
  measure m = loss(p)
  run patched[layer, pos] = forward(p) { resid_pre[layer, pos] := q }
  measure moved = logit(patched, yes)
  measure beside = logit(said, yes)
}""", fam)  # fmt: skip
    p, q, name = [7, 301, 12, 12, 260], [9, 300, 12, 40, 260], fam.name
    same(found, "ids", {(name, n, at): token for n in (0, 1) for at, token in enumerate(p)})
    same(found, "m", {(name, n): losses(fam.run(p), p).mean() for n in (0, 1)})
    source, moved = fam.run(q), {}
    for n, word in enumerate(("Anna", "Bob")):
        for layer in range(fam.reference.n_layers):
            for at in range(5):
                got = fam.run(p, setting("resid_pre", layer, at, source["resid_pre", layer][at]))
                moved[name, n, layer, at] = got["logits", None][-1, fam.speak.one(f" {word}")]
    same(found, "moved", moved)
    same(found, "beside", {
        (name, n): fam.run(fam.speak.prompt("the {a} said", a=word))["logits", None][-1, fam.speak.one(f" {word}")]
        for n, word in enumerate(("Anna", "Bob"))})  # fmt: skip


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_slots_draw_different_rows_of_a_file(ending, llama, gbx, tmp_path):
    """Few-shot prompts: fields of three distinct rows; `contains` looks into texts, `within` and `keep` use it."""
    if ending == "csv":
        rows = "".join(f"{country},{city}\n" for country, city in COUNTRIES)
        (tmp_path / "places.csv").write_text("country,city\n" + rows)
    else:
        lines = [json.dumps({"country": country, "city": city}) for country, city in COUNTRIES]
        (tmp_path / "places.jsonl").write_text("\n".join(lines))
    found = gbx("""data d {
  slots { a, b, q from "places.ENDING" }
  prompt ask  = "{a.country} to {a.city}, {b.country} to {b.city}, {q.country} to"
  prompt bare = "Anna said {q.country} to"
  answer yes  = " {q.city}"
  answer shown = [" {a.city}", " {b.city}"]
  feature park_shown = contains(ask, ["park", "school"])
  feature ends_in_l  = contains("{q.city}.", ["l."])
  keep where not contains("{a.country} {b.country}", "red")
  draw 14, seed: 5
}
experiment e {
  measure m = logit(ask, yes)
  measure others = prob(ask, shown)
  measure at = norm(ask.resid_post[0, q_country])
  run patched = forward(ask) { resid_post[0, q_country] := bare.resid_post[0, q_country] }
  measure moved = logit(patched, yes)
  measure grouped = mean(m, within: park_shown)
  measure by_end = mean(m, within: ends_in_l)
}""".replace("ENDING", ending), llama)  # fmt: skip
    all_items = found.tables["d", "llama"].items
    rows = [tuple((i.variables[v]["country"], i.variables[v]["city"]) for v in "abq") for i in all_items]
    assert len(set(rows)) == 14 and all(len(set(row)) == 3 and set(row) <= set(COUNTRIES) for row in rows)
    kept = [n for n, (a, b, _) in enumerate(rows) if "red" not in (a[0], b[0])]
    assert [i.number for i in all_items if i.kept] == kept and 2 <= len(kept) < 14
    m, others, at, moved, park, end = {}, {}, {}, {}, {}, {}
    for number in kept:
        (ac, at_city), (bc, b_city), (qc, q_city) = rows[number]
        given = {"a_country": ac, "a_city": at_city, "b_country": bc, "b_city": b_city, "q_country": qc}
        text = "{a_country} to {a_city}, {b_country} to {b_city}, {q_country} to"
        ask, bare = (llama.speak.prompt(t, **given) for t in (text, "Anna said {q_country} to"))
        values, one = llama.run(ask), llama.speak.one
        logits = values["logits", None][-1]
        m["llama", number] = logits[one(f" {q_city}")]
        others["llama", number] = logits.softmax(-1)[[one(f" {at_city}"), one(f" {b_city}")]].sum()
        at["llama", number] = values["resid_post", 0][ask.last("q_country")].norm()
        source = llama.run(bare)["resid_post", 0][bare.last("q_country")]
        got = llama.run(ask, setting("resid_post", 0, ask.last("q_country"), source))
        moved["llama", number] = got["logits", None][-1, one(f" {q_city}")]
        park[number], end[number] = bool({"park", "school"} & {at_city, b_city}), q_city[-1] == "l"
    assert len(set(park.values())) == len(set(end.values())) == 2
    for measure, expected in (("m", m), ("others", others), ("at", at), ("moved", moved)):
        same(found, measure, expected)
    for measure, of in (("grouped", park), ("by_end", end)):
        groups = {g: [float(m["llama", n]) for n in kept if of[n] == g] for g in (True, False)}
        same(found, measure, {("llama", n): sum(groups[of[n]]) / len(groups[of[n]]) for n in kept})
