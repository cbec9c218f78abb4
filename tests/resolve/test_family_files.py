"""A wrong family file of a user is told in its place, before any model is read."""

import re

import pytest

from glassbox_dsl.cli import app
from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resolve.families import add_families, families, family, family_files, forget_families
from glassbox_dsl.resolve.family_files import problems_of_files
from glassbox_dsl.resolve.traits import traits_of
from glassbox_dsl.resources import shipped

LLAMA = (shipped("specs") / "families" / "llama.toml").read_text("utf-8")
LIKE = 'extends = "llama"\nmodel_types = ["mine"]\n'
TRAITS = '[traits]\nnorm_weights = "gain"\npositions = "rotary"\nactivation = "silu"\n'


def problems(folder, **files):
    """(code, headline, text of the line, label, help) for each problem of the files."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    try:
        add_families(folder)
    except Findings as findings:
        return [(d.code, d.headline, d.span.text, d.label, d.help) for d in findings.diagnostics]
    forget_families(folder)
    return []


def changed(old, new):
    """The file of Llama with one thing otherwise."""
    text, n = re.subn(old, lambda _: new, LLAMA, count=1, flags=re.MULTILINE)
    assert n == 1
    return text


def test_nothing_is_wrong_with_shipped_files():
    assert len(family_files()) == len(list(families())) > 40
    assert problems_of_files(list(family_files().values())) == []


def test_good_files_are_taken(tmp_path):
    assert problems(tmp_path, mine=LIKE, other='extends = "mine"\nmodel_types = ["other"]\n') == []
    add_families(tmp_path)
    try:
        assert family("other").sites == family("llama").sites and traits_of(family("other")) is None
    finally:
        forget_families(tmp_path)


@pytest.mark.parametrize(
    ("text", "headline", "line", "said"),
    [
        (
            changed('^"attn.in" = .*', '"attn.in" = { module = "m", sied = "in" }'),
            'unknown key `sites."attn.in".sied` in a family file',
            '"attn.in" = { module = "m", sied = "in" }',
            "did you mean `side`?",
        ),
        (
            changed("^model_types", 'exstends = "gpt2"\nmodel_types'),
            "unknown key `exstends` in a family file",
            'exstends = "gpt2"',
            "did you mean `extends`",
        ),
        (
            changed('kind = "rms"', 'kind = "rsm"'),
            "`model.final_norm.kind` of a family file has a wrong value",
            'final_norm = { module = "model.norm", kind = "rsm", eps = "variance_epsilon" }',
            "it has to be 'rms' or 'ln'",
        ),
        (
            changed("^attention = .*", "attention = 3"),
            "`layer.attention` of a family file has a wrong value",
            "attention = 3",
            "it has to be a string",
        ),
        (
            changed("^attention = .*", ""),
            "`layer.attention` is missing from a family file",
            "[layer]",
            "write `layer.attention`",
        ),
        (
            changed(r'^"mlp.norm_scale" = .*', '"mlp.norm_scale" = { module = "m", kind = "ln", eps = [1] }'),
            '`norms."mlp.norm_scale".eps` of a family file has a wrong value',
            '"mlp.norm_scale" = { module = "m", kind = "ln", eps = [1] }',
            "it has to be a string, or it has to be a number",
        ),
        (
            LIKE + '[config]\nhandled = [\n  # one\n  "a",\n]\nharmless = "b"\n',
            "`config.harmless` of a family file has a wrong value",
            'harmless = "b"',
            "it has to be a list",
        ),
        (
            LIKE + "[config]\nharmless = [\n  # one\n  3,\n]\n",
            "`config.harmless` of a family file has a wrong value",
            "harmless = [",
            "in it: it has to be a string",
        ),
        (
            LIKE + "[facts]\nd_modle = { keys = ['a'] }\n",
            "unknown key `facts.d_modle` in a family file",
            "d_modle = { keys = ['a'] }",
            "did you mean `d_model`?",
        ),
        (
            LIKE + "[facts]\nd_head = { quotient = ['d_modle', 'n_heads'] }\n",
            "`facts.d_head.quotient` of a family file has a wrong value",
            "d_head = { quotient = ['d_modle', 'n_heads'] }",
            "there is no fact `d_modle`",
        ),
        (
            LIKE + "[facts]\nd_head = { product = ['n_heads'] }\n",
            "`facts.d_head.product` of a family file has a wrong value",
            "d_head = { product = ['n_heads'] }",
            "it has two parts",
        ),
        (
            LIKE + "[remove]\nfacts = ['vocab_size']\n",
            "`facts.vocab_size` is missing from a family file",
            LIKE.splitlines()[0],
            "no model is read without it",
        ),
        (
            LIKE + "[absent]\n'attn.zz' = 'why'\n",
            'unknown key `absent."attn.zz"` in a family file',
            "'attn.zz' = 'why'",
            "did you mean `attn.z`",
        ),
        (
            LIKE + TRAITS + 'norm_place = "prae"\n',
            "`traits.norm_place` of a family file has a wrong value",
            'norm_place = "prae"',
            "it is one of pre, post, sandwich",
        ),
        (
            LIKE + TRAITS,
            "`traits.norm_place` is missing from a family file",
            "[traits]",
            "a family must state it",
        ),
        (
            LIKE + TRAITS + 'norm_place = "pre"\nnorm_plaice = "pre"\n',
            "unknown key `traits.norm_plaice` in a family file",
            'norm_plaice = "pre"',
            "did you mean `norm_place`",
        ),
        (
            LIKE + TRAITS + 'norm_place = { kyes = ["a"], keys = ["a"], default = "pre" }\n',
            "unknown key `traits.norm_place.kyes` in a family file",
            'norm_place = { kyes = ["a"], keys = ["a"], default = "pre" }',
            "did you mean `keys`",
        ),
        (
            LIKE
            + "[[variants]]\nwhen = { k = [1] }\n"
            + "[[variants]]\n[variants.when]\nk = [2]\n[variants.layer]\nattention = 3\n",
            "`layer.attention` of a family file has a wrong value",
            "attention = 3",
            "it has to be a string",
        ),
        (
            LIKE + "[[variants]]\nlayer = {}\n",
            "`variants.0.when` is missing from a family file",
            "[[variants]]",
            "nothing that could be assumed",
        ),
        (
            LIKE + "remove = 3\n",
            "`remove` of a family file has a wrong value",
            "remove = 3",
            "it has to be a table",
        ),
        (
            LIKE.replace('["mine"]', "[]"),
            "`model_types` of a family file has a wrong value",
            "model_types = []",
            "at least one",
        ),
        (LIKE + "[sites\n", "a family file that cannot be read", "[sites", "Expected ']'"),
        (LIKE + "a = [\n", "a family file that cannot be read", "", "Invalid value (at end of document)"),
    ],
)
def test_a_mistake_is_told_in_its_place(text, headline, line, said, tmp_path):
    (found,) = problems(tmp_path, mine=text)
    assert found[:3] == ("GB307", headline, line)
    assert said in found[3] or said in found[4]


def test_all_mistakes_are_told_at_once(tmp_path):
    text = changed("^attention = .*", "attention = 3").replace("side = ", "sied = ")
    assert len(problems(tmp_path, mine=text)) == 1 + LLAMA.count("side = ")


@pytest.mark.parametrize(
    ("files", "headlines"),
    [
        ({"mine": 'extends = "lama"\n'}, ["`extends` names no family: `lama`"]),
        ({"mine": LIKE + 'traits_from = "quen2"\n'}, ["`traits_from` names no family: `quen2`"]),
        ({"llama": 'extends = "llama"\n'}, ["`extends` leads back to the file itself"]),
        (
            {"a": 'extends = "b"\n', "b": 'extends = "c"\n', "c": 'extends = "b"\n'},
            ["`extends` leads back to the file itself"] * 2,
        ),
        ({"mine": LIKE + 'traits_from = "bare"\n', "bare": LIKE},
            ["`traits_from` names a family without traits: `bare`"]),
    ],
)  # fmt: skip
def test_a_family_that_rests_on_none_is_told(files, headlines, tmp_path):
    assert [found[:2] for found in problems(tmp_path, **files)] == [("GB308", line) for line in headlines]


def test_what_rests_on_a_wrong_file_is_not_blamed(tmp_path):
    found = problems(tmp_path, mine="extends = 3\n", other='extends = "mine"\n')
    assert [line for _, _, line, *_ in found] == ["extends = 3"]


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe")
    assert [found[0] for found in problems(tmp_path)] == ["GB307"]


def test_a_folder_with_a_mistake_leaves_everything_as_it_was(tmp_path):
    names = tuple(family_files())
    assert problems(tmp_path, mine='extends = "lama"\n') and tuple(family_files()) == names


def test_a_folder_is_read_again_when_it_is_named_again(tmp_path):
    assert problems(tmp_path, mine='extends = "lama"\n') and problems(tmp_path, mine=LIKE) == []


def test_the_command_line_says_it_and_asks_for_no_report(tmp_path, capsys):
    (tmp_path / "mine.toml").write_text('extends = "lama"\n')
    (tmp_path / "a.gbx").write_text("gbx 1\n")
    assert app.answer(["check", str(tmp_path / "a.gbx"), "--families", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "GB308" in said and "mine.toml:1" in said and "internal error" not in said
