"""Data sets as items: the same for all models, with spans, answers and features that fit each tokenizer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glassbox_dsl.language.data.files import read_words, word_lists
from glassbox_dsl.resolve.data.texts import token_span
from glassbox_dsl.resolve.tokenizer import TextTokenizer

KINDS = ("bytes", "spaces", "trimmed", "prefixed")
IOI = """
  slots {
    io, s  from names
    place  from ["store", "park", "school"]
    object from ["drink", "ball", "book"]
  }
  prompt clean      = "When {io} and {s} went to the {place}, {s2: s} gave a {object} to"
  prompt corrupt    = "When {io} and {s} went to the {place}, {s2: io} gave a {object} to"
  answer target     = " {io}"
  answer distractor = " {s}"
  draw 32, seed: 0
"""
IOI_NEEDS = {
    "one_token": {"target", "distractor"},
    "aligned": {("clean", "corrupt")},
    "answers_after": {(a, p) for a in ("target", "distractor") for p in ("clean", "corrupt")},
}


def shown(prompt, label):
    start, end = prompt.spans[label]
    return list(prompt.tokens[start:end])


def check_ioi(tables):
    first, *others = tables.values()
    assert [len(t.items) for t in tables.values()] == [32] * len(tables)
    for table in others:
        assert [i.variables for i in table.items] == [i.variables for i in first.items]
    assert len({tuple(i.variables.values()) for i in first.items}) == 32
    for table in tables.values():
        for item in table.items:
            clean, corrupt = item.prompts["clean"], item.prompts["corrupt"]
            assert len(clean.ids) == len(corrupt.ids) and item.variables["io"] != item.variables["s"]
            assert shown(clean, "s2") == shown(clean, "s") == shown(corrupt, "s")
            assert shown(corrupt, "s2") == shown(clean, "io") == [" " + item.variables["io"]]
            start = clean.spans["io"][0]
            assert item.answers["target"].alternatives == ((clean.ids[start],),)
    assert first.n_tried >= 32 == first.n_drawn == first.n_kept


def test_the_first_example_is_drawn_for_tokenizers_of_every_kind(resolve):
    tables = resolve(IOI, *KINDS, **IOI_NEEDS)
    check_ioi(tables)
    with_bos, without = tables["spaces"].items[0].prompts["clean"], tables["bytes"].items[0].prompts["clean"]
    assert with_bos.tokens[0] == "<bos>" and without.tokens[0] == "When"
    assert with_bos.text == without.text


def test_the_first_example_is_drawn_for_a_bundled_model(resolve, bundled_folder):
    tables = resolve(IOI, "bytes", extra={"bundled": TextTokenizer(bundled_folder)}, **IOI_NEEDS)
    check_ioi(tables)


def test_a_draw_is_the_same_again_and_depends_on_the_seed(resolve):
    first, again, other = (
        [i.variables for i in resolve(text, "bytes")["bytes"].items]
        for text in (IOI, IOI, IOI.replace("seed: 0", "seed: 1"))
    )
    assert first == again != other


def test_items_that_do_not_fit_one_model_are_left_out_for_all(resolve):
    text = """slots { w from ["Mary", "John", "Xyzzyq", "Paul", "Qwortle"] }
      prompt p = "Then" answer t = " {w}" draw 3"""
    tables = resolve(text, "bytes", "spaces", one_token={"t"}, answers_after={("t", "p")})
    words = {i.variables["w"] for i in tables["spaces"].items}
    assert words == {"Mary", "John", "Paul"}
    assert 3 <= tables["bytes"].n_tried <= 5


def test_lengths_may_differ_between_items(resolve):
    table = resolve(
        'rows [{w: "Mary"}, {w: "Xyzzyq"}] prompt a = "So {w} went" prompt b = "And {w} went"',
        aligned={("a", "b")},
    )["bytes"]
    first, second = (item.prompts["a"] for item in table.items)
    assert len(first.ids) < len(second.ids)
    assert shown(first, "w") == [" Mary"] and "".join(shown(second, "w")).strip() == "Xyzzyq"
    assert len(shown(second, "w")) > 1


def test_a_label_wins_over_a_variable_of_its_name(resolve):
    table = resolve('rows [{a: "Mary", b: "John"}] prompt p = "So {b: a} and {x: b}"')["bytes"]
    prompt = table.items[0].prompts["p"]
    assert shown(prompt, "b") == [" Mary"] and shown(prompt, "x") == [" John"] and "a" not in prompt.spans


def test_fields_and_fixed_text_have_spans(resolve):
    table = resolve('slots { q from capitals } prompt p = "In {q.country} {v: \\"they said\\"} so" draw 3')[
        "spaces" if 0 else "bytes"
    ]
    for item in table.items:
        prompt = item.prompts["p"]
        assert "".join(shown(prompt, "q_country")) == " " + item.variables["q"]["country"]
        assert "".join(shown(prompt, "v")) == " they said"


def test_an_empty_insertion_has_an_empty_span(resolve):
    prompt = resolve('rows [{a: ""}] prompt p = "So {a}Mary went"', "spaces")["spaces"].items[0].prompts["p"]
    start, end = prompt.spans["a"]
    assert start == end


def test_numbers_and_truth_values_are_inserted_as_written(resolve, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1.0,007\n-2,x\n")
    table = resolve('from "t.csv" prompt p = "{a}/{b}"')["bytes"]
    assert [i.prompts["p"].text for i in table.items] == ["1.0/007", "-2/x"]
    table = resolve('rows [{a: true}, {a: false}] prompt p = "{a}"')["bytes"]
    assert [i.prompts["p"].text for i in table.items] == ["true", "false"]


def test_one_number_chooses_the_template_of_all_prompts(resolve):
    table = resolve(
        """slots { a from names } prompt p = ["x {a}", "y {a}", "z {a}"] prompt q = ["X", "Y", "Z"]
        prompt same = "- {a}" draw 30"""
    )["bytes"]
    for item in table.items:
        assert item.prompts["p"].text[0].upper() == item.prompts["q"].text == "XYZ"[item.template]
        assert item.features["template"] == item.template
        assert item.prompts["same"].text.startswith("- ")
    assert {item.template for item in table.items} == {0, 1, 2}


def test_templates_alone_are_items(resolve):
    table = resolve('prompt p = ["one", "two", "three"]')["bytes"]
    assert [i.prompts["p"].text for i in table.items] == ["one", "two", "three"]
    assert resolve('prompt p = "one"')["bytes"].n_kept == 1


# ---------------------------------------------------------------- answers


def test_answers_of_every_form(resolve):
    table = resolve(
        """rows [{w: "Mary", both: [" John", " Paul"], q: {n: " Tom"}}] prompt p = "Then"
        answer plain = " {w}"  answer several = [" {w}", both, q.n]  answer held = both
        answer named = [plain, " Sam"]  answer start = first_token(" Mary went")  answer long = " Mary went"
        answer braces = {" {w}", " John"}"""
    )["bytes"]
    answers = table.items[0].answers
    assert {k: v.texts for k, v in answers.items()} == {
        "plain": (" Mary",),
        "several": (" Mary", " John", " Paul", " Tom"),
        "held": (" John", " Paul"),
        "named": (" Mary", " Sam"),
        "start": (" Mary",),
        "long": (" Mary went",),
        "braces": (" Mary", " John"),
    }
    assert [len(ids) for ids in answers["several"].alternatives] == [1, 1, 1, 1]
    assert answers["long"].alternatives[0][:1] == answers["start"].alternatives[0] and (
        len(answers["long"].alternatives[0]) == 2
    )


def test_alternatives_with_the_same_tokens_count_once(resolve):
    table = resolve('prompt p = "Then" answer t = first_token([" Mary went", " Mary gave", " John"])')[
        "bytes"
    ]
    answer = table.items[0].answers["t"]
    assert answer.texts == (" Mary", " John") and len(answer.alternatives) == 2


def test_an_answer_is_what_it_adds_to_the_prompt(resolve, tokenizers):
    """Llama 2's kind puts a space before a text: behind a prompt there is none."""
    for kind in KINDS:
        table = resolve('prompt p = "So:" answer t = "Mary"', kind, answers_after={("t", "p")})[kind]
        item = table.items[0]
        (ids,) = item.answers["t"].alternatives
        assert tokenizers[kind].encode("So:Mary").ids == item.prompts["p"].ids + ids
        assert b"".join(tokenizers[kind].token_bytes(i) for i in ids) == b"Mary"


def test_answers_behind_token_ids_need_no_text(resolve, tokenizers):
    for kind in KINDS:
        table = resolve('prompt p = tokens([300, 301]) answer t = " Mary"', kind, answers_after={("t", "p")})
        (ids,) = table[kind].items[0].answers["t"].alternatives
        assert [tokenizers[kind].token_text(i) for i in ids] == [" Mary"]


def test_answers_written_in_place_come_along(resolve, declare, tokenizers):
    from glassbox_dsl.resolve.data import DataNeeds, resolve_data
    from glassbox_dsl.source import Source
    from glassbox_dsl.syntax import parse

    spec = declare('data d { rows [{w: "Mary"}, {w: "John"}] prompt p = "Then" }')
    (let,) = parse(Source("i.gbx", 'gbx 1\nlet x = [" {w}", " Paul"]')).file.declarations
    needs = DataNeeds(extra_answers=(("#1", let.value),), one_token=frozenset({"#1"}))
    table = resolve_data(spec, {"bytes": tokenizers["bytes"]}, needs)["bytes"]
    assert [i.answers["#1"].texts for i in table.items] == [(" Mary", " Paul"), (" John", " Paul")]


# ---------------------------------------------------------------- other prompts


def test_repeated_tokens(resolve, tokenizers):
    tables = resolve("prompt seq = repeated_tokens(length: 20, repeats: 3) draw 4", "bytes", "spaces")
    for kind, table in tables.items():
        lead = len(tokenizers[kind].lead)
        assert lead == (kind == "spaces")
        parts = set()
        for item in table.items:
            seq = item.prompts["seq"]
            assert seq.spans == {f"repeat_{i + 1}": (lead + 20 * i, lead + 20 * (i + 1)) for i in range(3)}
            part = seq.ids[lead : lead + 20]
            assert seq.ids[lead:] == part * 3 and len(set(part)) == 20
            assert set(part) <= set(tokenizers[kind].ordinary_tokens)
            parts.add(part)
        assert len(parts) == 4
    again = resolve("prompt seq = repeated_tokens(length: 20, repeats: 3) draw 4", "bytes")["bytes"]
    assert [i.prompts["seq"].ids for i in again.items] == [
        i.prompts["seq"].ids for i in tables["bytes"].items
    ]


def test_literal_tokens_stand_as_written(resolve):
    prompt = resolve("prompt p = tokens([300, 5, 300])", "spaces")["spaces"].items[0].prompts["p"]
    assert prompt.ids == (300, 5, 300) and prompt.spans == {}


PROSE = " ".join(
    f"When {a} and Mary went to the store, Mary gave a drink to {a}." for a in ("Tom", "Paul") * 60
)


def test_chunks_start_at_the_same_character(resolve, tokenizers, tmp_path):
    (tmp_path / "prose.txt").write_text(PROSE)
    tables = resolve('prompt text = chunks("prose.txt", tokens: 30)', *KINDS)
    counts = {len(t.items) for t in tables.values()}
    assert len(counts) == 1 and counts.pop() > 20
    starts = []
    for number in range(len(tables["bytes"].items)):
        texts = {k: t.items[number].prompts["text"].text for k, t in tables.items()}
        longest = max(texts.values(), key=len)
        assert all(longest.startswith(text) for text in texts.values())
        starts.append(PROSE.index(longest, starts[-1] + 1 if starts else 0))
        assert starts[-1] == 0 or PROSE[starts[-1] - 1] == " "
        for kind, table in tables.items():
            ids = table.items[number].prompts["text"].ids
            assert len(ids) == 30 + len(tokenizers[kind].lead)
            assert ids == tokenizers[kind].encode(PROSE[starts[-1] :]).ids[: len(ids)]
    assert all(b - a >= 60 for a, b in zip(starts, starts[1:], strict=False))


def test_some_chunks_are_drawn(resolve, tmp_path):
    (tmp_path / "prose.txt").write_text(" ".join(read_words(word_lists()["names"])))
    every = resolve('prompt text = chunks("prose.txt", tokens: 30)')["bytes"]
    some = resolve('prompt text = chunks("prose.txt", tokens: 30) draw 5')["bytes"]
    texts = [i.prompts["text"].text for i in some.items]
    assert len(set(texts)) == 5 and set(texts) <= {i.prompts["text"].text for i in every.items}


def test_chat_ends_where_the_answer_begins(resolve, tokenizers):
    text = """slots { a from names } prompt p = chat("Tell {a} a joke", system: "You are {b: a}.")
      answer t = "Yes" draw 4"""
    for kind in ("bytes", "spaces"):
        for item in resolve(text, kind, answers_after={("t", "p")})[kind].items:
            prompt, name = item.prompts["p"], item.variables["a"]
            assert prompt.text.endswith("assistant\n" if kind == "bytes" else "model\n")
            assert "".join(shown(prompt, "a")).strip() == "".join(shown(prompt, "b")).strip(" .") == name
            assert prompt.spans["b"][1] <= prompt.spans["a"][0]
            assert prompt.ids == tokenizers[kind].encode_plain(prompt.text).ids
            assert prompt.ids.count(tokenizers[kind].bos_id) == (3 if kind == "bytes" else 1)


def test_a_chat_template_that_strips_moves_the_spans_along(resolve):
    prompt = (
        resolve('rows [{a: "Mary"}] prompt p = chat("  {a} went  ")', "spaces")["spaces"]
        .items[0]
        .prompts["p"]
    )
    assert "\nMary went</turn>" in prompt.text
    assert "".join(shown(prompt, "a")) == "Mary"


def test_a_word_of_the_chat_template_is_not_taken_for_the_turn(resolve):
    prompt = resolve('rows [{a: "user"}] prompt p = chat("{a}")', "bytes")["bytes"].items[0].prompts["p"]
    start, _ = prompt.spans["a"]
    assert "".join(prompt.tokens[:start]).endswith("user\n")


# ---------------------------------------------------------------- features and conditions


def test_features(resolve):
    table = resolve(
        """let capitals_i_know = ["Paris", "Rome"]
        data d {
          rows [
            {q: {country: "France", capital: "Paris"}, n: 4}
            , {q: {country: "Peru", capital: "Lima"}, n: 2}
          ]
          prompt p = "So {q.country}"
          answer t = " {q.capital}"
          feature here = q.country == "France"
          feature known = contains(q.capital, capitals_i_know)
          feature long = "{q.country} of {q.capital}"
          feature half = n / 2 + 1
          feature both = here * known
          feature said = contains(p, "Peru")
          feature best = t == " Lima"
          feature none = n / (n - 2)
          feature big = max(n, 3) - abs(0 - 1)
        }"""
    )["bytes"]
    rows = [{k: v for k, v in item.features.items() if k != "template"} for item in table.items]
    assert rows == [
        {"here": True, "known": True, "long": "France of Paris", "half": 3.0, "both": 1, "said": False,
         "best": False, "none": 2.0, "big": 3},
        {"here": False, "known": False, "long": "Peru of Lima", "half": 2.0, "both": 0, "said": True,
         "best": True, "none": None, "big": 2},
    ]  # fmt: skip


def test_features_over_positions(resolve, tokenizers):
    table = resolve(
        """prompt seq = repeated_tokens(length: 4, repeats: 2)
        feature here[pos] = token(seq, at: pos)
        feature before[pos] = token(seq, at: pos - 1)
        feature again[p: pos] = token(seq, at: p) == token(seq, at: p - 4)
        feature shifted[pos] = before
        feature end = token(seq, at: last) == token(seq, at: -1)
        feature start = token(seq, at: repeat_2.first)
        feature over = token(seq, at: 99)
        draw 2""",
        "spaces",
    )["spaces"]
    for item in table.items:
        ids, features = item.prompts["seq"].ids, item.features
        assert features["here"] == ids
        assert features["before"] == features["shifted"] == (None, *ids[:-1])
        assert features["again"] == (None,) * 4 + (False,) + (True,) * 4
        assert features["end"] is True and features["start"] == ids[5] and features["over"] is None


def test_keep_drops_items_but_no_numbers(resolve):
    table = resolve(
        """rows [{a: 1}, {a: 2}, {a: 3}, {a: 4}] prompt p = "{a}" feature even = a == 2 * 2
        keep where a > 1 keep where not even keep where correct(p, t)"""
    )["bytes"]
    assert [(i.number, i.kept, i.dropped_by) for i in table.items] == [
        (0, False, "a > 1"), (1, True, None), (2, True, None), (3, False, "not even"),
    ]  # fmt: skip
    assert (table.n_drawn, table.n_kept, table.problem) == (4, 2, None)


def test_keep_may_differ_between_models(resolve):
    text = 'rows [{w: "Mary"}, {w: "John"}, {w: "Paul"}] prompt p = "{w} went" keep where token(p, at: 0) > 2'
    tables = resolve(text, "bytes", "spaces")
    assert tables["bytes"].n_kept == 3 and tables["bytes"].problem is None
    assert tables["spaces"].n_kept == 0 and tables["spaces"].problem.code == "GB352"
    assert "`spaces`" in tables["spaces"].problem.headline


def test_only_prompts_in_use_are_tokenised(resolve):
    text = 'rows [{a: "Mary"}] prompt p = "{a}" prompt q = "{a} " prompt r = "x" feature f = token(r, at: 0)'
    table = resolve(text, prompts={"p"})["bytes"]
    assert set(table.items[0].prompts) == {"p", "r"} and table.warnings == ()


def test_a_prompt_that_ends_in_a_space_is_warned_of(resolve):
    table = resolve('rows [{a: "x"}, {a: "x "}] prompt p = "so {a}"')["bytes"]
    assert [(w.code, w.severity) for w in table.warnings] == [("GB354", "warning")]
    assert "1 rows, the first is 1" in table.warnings[0].label


# ---------------------------------------------------------------- spans


WORDS = st.text(
    alphabet=st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='{}"\\\u2581'), max_size=12
)


@settings(deadline=None, max_examples=150)
@given(before=WORDS, inserted=WORDS, after=WORDS)
@example(before="", inserted="\xa0", after="")
@example(before="a ", inserted=" ", after="\u3000b")
def test_a_span_is_all_tokens_that_share_a_character(before, inserted, after, tokenizers):
    text, start, end = before + inserted + after, len(before), len(before) + len(inserted)
    for kind, tokenizer in tokenizers.items():
        encoding = tokenizer.encode(text)
        owners = characters(tokenizer, encoding, text)
        expected = {token for i in range(start, end) for token in owners[i]}
        a, b = token_span(encoding, start, end)
        assert set(range(a, b)) == expected, kind


def characters(tokenizer, encoding, text):
    """The tokens of each character, from the bytes of the tokens alone: offsets are what is tested."""
    owners, at = [], 0
    pieces = [(n, byte) for n, i in enumerate(encoding.ids) for byte in tokenizer.token_bytes(i)]
    lead = sum(len(tokenizer.token_bytes(i)) for i in tokenizer.lead)
    pieces = pieces[lead:]
    if bytes(b for _, b in pieces) == b" " + text.encode():  # the space that Llama 2's kind puts in front
        first, pieces = pieces[0], pieces[1:]
        assert first[1] == 32
    assert bytes(b for _, b in pieces) == text.encode()
    for char in text:
        width = len(char.encode())
        owners.append({token for token, _ in pieces[at : at + width]})
        at += width
    return owners


@pytest.mark.parametrize("kind", KINDS)
def test_a_span_of_several_tokens_with_and_without_a_bos(kind, resolve, tokenizers):
    item = resolve('rows [{a: "Xyzzyq"}] prompt p = "When {a}, Mary"', kind)[kind].items[0]
    prompt, lead = item.prompts["p"], len(tokenizers[kind].lead)
    start, end = prompt.spans["a"]
    assert "".join(prompt.tokens[start:end]).strip() == "Xyzzyq" and end - start > 1
    assert "".join(prompt.tokens[lead:start]).strip() == "When" and prompt.tokens[end] == ","
