"""A data set with fewer than two items is refused before anything runs, and the place is shown."""

import json

import pytest

from glassbox_dsl.cli.app import answer

MODEL = 'gbx 1\nmodel m = tiny("llama", layers: 2, tokenizer: "smollm2-135m")\n'
ONE = {
    "one row": ('rows [{w: "it"}]  prompt p = "So {w}"', 'data d { rows [{w: "it"}]'),
    "a draw of one": ('slots { w from ["it", "he"] }  prompt p = "So {w}"  draw 1', "draw 1"),
    "one text": ('prompt p = "So it"', "data d {"),
    "literal tokens": ("prompt p = tokens([5, 6, 7])", "data d {"),
}
SOME = {
    "two rows": 'rows [{w: "it"}, {w: "he"}]  prompt p = "So {w}"',
    "two templates": 'prompt p = ["So it", "So he"]',
    "drawn tokens": "prompt p = repeated_tokens(length: 4, repeats: 2)  draw 2",
}
USE = " experiment e { measure m = norm(p.resid_post[0, last]) }"


def check(folder, inside, capsys, use=USE):
    (folder / "page.gbx").write_text(f"{MODEL}data d {{ {inside} }}{use}\n")
    status = answer(["check", "--json", str(folder / "page.gbx")])
    return status, json.loads(capsys.readouterr().out)["diagnostics"]


@pytest.mark.parametrize("what", ONE)
def test_one_item(what, tmp_path, capsys):
    inside, marked = ONE[what]
    status, [found] = check(tmp_path, inside, capsys)
    line = (tmp_path / "page.gbx").read_text().splitlines()[2]
    assert (status, found["code"], found["place"]["line"]) == (1, "GB389", 3)
    assert found["headline"] == "`d` has 1 item"
    assert line[found["place"]["column"] - 1 :].startswith(marked)


@pytest.mark.parametrize("what", SOME)
def test_two_items(what, tmp_path, capsys):
    assert check(tmp_path, SOME[what], capsys) == (0, [])


def test_a_text_of_one_piece(tmp_path, capsys):
    """How many pieces a text has only its tokenizers tell."""
    (tmp_path / "prose.txt").write_text(
        "It was a bright cold day in April, and the clocks were striking thirteen. " * 3
    )
    status, [found] = check(tmp_path, 'prompt p = chunks("prose.txt", tokens: 40)', capsys)
    assert (status, found["code"]) == (1, "GB389")
    assert check(tmp_path, 'prompt p = chunks("prose.txt", tokens: 12)', capsys) == (0, [])


def test_a_data_set_that_nothing_uses_may_have_one(tmp_path, capsys):
    use = ' data e { prompt q = ["So it", "So he"] }  experiment x { data e  measure m = norm(q.resid_post[0, last]) }'
    assert check(tmp_path, 'prompt p = "So it"', capsys, use) == (0, [])
