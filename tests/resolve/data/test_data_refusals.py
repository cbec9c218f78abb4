"""Every way in which items can be refused: code, place, and the rows and tokens that are named."""

import pytest

from glassbox_dsl.resolve.tokenizer import TextTokenizer


def test_an_answer_of_several_tokens(refused):
    (found,) = refused(
        'rows [{w: "Mary"}, {w: "Xyzzyq"}, {w: "Qwortle"}] prompt p = "Then" answer t = " {w}"',
        one_token={"t"},
        answers_after={("t", "p")},
    )
    assert found.code == "GB340" and found.span.text == 'answer t = " {w}"'
    assert found.notes[0].startswith('row 1: " Xyzzyq" is [" ') and found.notes[1].startswith("row 2: ")
    assert "2 of 3 rows" in found.label and "`bytes`" in found.headline


def test_several_tokens_are_no_fault_where_they_may_stand(resolve):
    table = resolve('prompt p = "Then" answer t = " Xyzzyq"', answers_after={("t", "p")})["bytes"]
    assert len(table.items[0].answers["t"].alternatives[0]) > 1


@pytest.mark.parametrize("kind", ["bytes", "spaces", "trimmed", "prefixed"])
def test_an_answer_that_merges_with_the_prompt(refused, kind):
    (found,) = refused('prompt p = "the sto" answer t = "re"', kind, answers_after={("t", "p")})
    assert found.code == "GB341" and " store" in found.notes[0] and "row 0" in found.notes[0]


def test_a_merge_is_no_fault_where_nothing_reads_the_answer(resolve):
    answer = resolve('prompt p = "the sto" answer t = "re"')["bytes"].items[0].answers["t"]
    assert answer.alternatives == () and answer.texts == ("re",)


def test_prompts_of_different_length(refused):
    (found,) = refused(
        'rows [{w: "Mary"}, {w: "Xyzzyq"}] prompt a = "So {w}" prompt b = "So Mary"', aligned={("a", "b")}
    )
    assert found.code == "GB342" and len(found.notes) == 1
    assert found.notes[0].startswith("row 1: `a` has ") and "`b` has 3" in found.notes[0]


def test_many_rows_are_counted(refused):
    rows = ", ".join('{w: "Xyzzyq"}' for _ in range(9))
    (found,) = refused(f'rows [{rows}] prompt a = "So {{w}}" prompt b = "So Mary"', aligned={("a", "b")})
    assert len(found.notes) == 6 and found.notes[5] == "and 4 more rows: 5, 6, 7, 8"


def test_all_kinds_of_refusal_are_told_at_once(refused):
    found = refused(
        'rows [{w: "Xyzzyq"}] prompt a = "So {w}" prompt b = "So Mary" answer t = " {w}"',
        "bytes", "spaces",
        aligned={("a", "b")}, one_token={"t"}, answers_after={("t", "a")},
    )  # fmt: skip
    assert sorted((f.code, f.headline.split("`")[-2]) for f in found) == [
        ("GB340", "bytes"), ("GB340", "spaces"), ("GB342", "bytes"), ("GB342", "spaces"),
    ]  # fmt: skip


def test_an_answer_with_other_tokens_behind_another_prompt(refused):
    text = """prompt a = "So it" prompt b = "So '" answer t = "'s\""""
    (found,) = refused(text, answers_after={("t", "a"), ("t", "b")})
    assert found.code == "GB343"
    assert """["'s"] behind `a`, ["'", "s"] behind `b`""" in found.notes[0]


def test_a_missing_value(refused, tmp_path):
    (tmp_path / "t.jsonl").write_text('{"a": "x"}\n{"b": 1}\n')
    (found,) = refused('from "t.jsonl" prompt p = "{a}"')
    assert (found.code, found.span.text) == ("GB344", "a") and found.notes == ("row 1: nothing to insert",)


def test_an_empty_answer(refused):
    (found,) = refused('rows [{a: ""}] prompt p = "x" answer t = "{a}"', answers_after={("t", "p")})
    assert found.code == "GB345"


def test_an_empty_prompt(refused, resolve):
    (found,) = refused('rows [{a: ""}] prompt p = "{a}"', "bytes")
    assert found.code == "GB346" and "`bytes`" in found.headline
    assert resolve('rows [{a: ""}] prompt p = "{a}"', "spaces")["spaces"].items[0].prompts["p"].tokens == (
        "<bos>",
    )


def test_more_tokens_than_the_vocabulary_has(refused):
    (found,) = refused("prompt p = repeated_tokens(length: 5000) draw 1")
    assert found.code == "GB347" and "needs 5000 different tokens" in found.headline


def test_an_id_that_the_vocabulary_lacks(refused):
    (found,) = refused("prompt p = tokens([1, 99999])")
    assert found.code == "GB348" and "token 99999" in found.label


def test_a_draw_that_fails_says_why(refused):
    (found,) = refused(
        """slots { w, v from ["Xyzzyq", "Qwortle", "Mary", "John"] }
        prompt p = "Then" answer t = " {w}" draw 7""",
        one_token={"t"},
    )
    assert found.code == "GB350" and found.headline == "only 6 of the 7 items of `d` could be drawn"
    assert "12 combinations tried" in found.label
    assert found.notes[0].startswith("6 times: answer `t` is not one token of `bytes`, as ")


def test_a_draw_gives_up_after_a_hundred_tries_an_item(refused):
    words = ", ".join(f'"Xyzzyq{i}"' for i in range(300))
    (found,) = refused(
        f'slots {{ w from [{words}] }} prompt p = "Then" answer t = " {{w}}" draw 2', one_token={"t"}
    )
    assert found.code == "GB350" and "200 combinations tried" in found.label


def test_a_draw_of_more_items_than_there_are(refused):
    (found,) = refused('slots { a, b from ["x", "y", "z"] } prompt p = "{a}{b}" draw 7')
    assert found.code == "GB351" and "6 different items, not 7" in found.headline
    (found,) = refused('rows [{a: 1}, {a: 1}] prompt p = "{a}" draw 2')
    assert found.code == "GB351" and "1 different items" in found.headline


def test_too_few_items_kept(resolve):
    table = resolve('rows [{a: 1}, {a: 2}, {a: 3}] prompt p = "{a}" keep where a > 2')["bytes"]
    assert table.problem.code == "GB352" and table.problem.notes == ("`keep where a > 2` dropped 2",)
    assert table.n_kept == 1


BAD_FEATURES = [
    "a == 1",
    "a + 1",
    'contains(n, "x")',
    "contains(a, n)",
    "log(n - 1)",
    "not a",
]


@pytest.mark.parametrize("expression", BAD_FEATURES)
def test_a_feature_that_makes_no_sense(refused, expression):
    (found,) = refused(f'rows [{{a: "x", n: 1}}] prompt p = "{{a}}" feature f = {expression}')
    assert found.code == "GB353" and "row 0" in found.headline


def test_a_model_without_a_chat_template(refused):
    (found,) = refused('prompt p = chat("hi")', "trimmed")
    assert found.code == "GB355" and found.label == "it has no chat template"


TEMPLATES = {
    "{{ raise_exception('only one system turn') }}": "only one system turn",
    "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}": "does not hold each turn once",
    "{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}": "does not hold each turn once",
    "{% for m in messages %}{{ m['content'] | replace('hi', 'ho') }}{% endfor %}": "changes the text",
    "{% for m in messages %}{{ m.oops.oops }}{% endfor %}": "refuses",
    "{% if %}": "cannot be read",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}": "refuses",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_chat_template_that_does_not_serve(refused, folders, tmp_path, template):
    for file in folders["bytes"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").write_text(template)
    (found,) = refused('prompt p = chat("hi")', "trimmed", extra={"trimmed": TextTokenizer(tmp_path)})
    assert found.code == "GB355" and TEMPLATES[template] in found.label


def test_a_tokenizer_that_cannot_be_read(refused, tmp_path):
    (found,) = refused('prompt p = "hi"', extra={"gone": TextTokenizer(tmp_path)})
    assert found.code == "GB356" and "`gone`" in found.headline


def test_a_bos_that_does_not_exist(refused, folders, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((folders["bytes"] / "tokenizer.json").read_bytes())
    (found,) = refused('prompt p = "hi"', extra={"m": TextTokenizer(tmp_path, bos=True)})
    assert found.code == "GB356" and "no BOS token" in found.label


def test_a_text_that_is_too_short(refused, tmp_path):
    (tmp_path / "prose.txt").write_text("Mary went")
    (found,) = refused('prompt p = chunks("prose.txt", tokens: 30)')
    assert found.code == "GB357"


def test_a_text_that_is_no_text(refused, tmp_path):
    (tmp_path / "prose.txt").write_bytes(b"\xff\xfe\x00")
    (found,) = refused('prompt p = chunks("prose.txt", tokens: 30)')
    assert found.code == "GB358" and "not UTF-8" in found.label
