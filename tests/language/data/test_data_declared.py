"""What a data block declares, as later stages see it."""

import json
import subprocess
import sys

import duckdb
import pytest

from glassbox_dsl.language.data import inline_answer
from glassbox_dsl.language.data.files import read_words, word_lists
from glassbox_dsl.language.data.spec import (
    Chunks,
    LiteralTokens,
    RepeatedTokens,
    RowSource,
    SlotSource,
)
from glassbox_dsl.source import Source
from glassbox_dsl.syntax import nodes, parse


def clean(result):
    spec, problems = result
    assert [(p.code, p.headline) for p in problems] == []
    return spec


def test_the_first_example(declare, ioi):
    spec = clean(declare(ioi))
    assert spec.variables == ("io", "s", "place", "object")
    assert spec.prompts["clean"].labels == ("io", "s", "place", "s2", "object")
    assert list(spec.answers) == ["target", "distractor"]
    assert (spec.draw.count, spec.draw.seed, spec.templates) == (32, 0, 1)
    assert isinstance(spec.source, SlotSource)
    assert spec.source.slots[0].names == ("io", "s") and "Mary" in spec.source.slots[0].values


def test_shipped_lists_hold_words_and_no_word_twice():
    lists = {name: read_words(path) for name, path in word_lists().items()}
    assert {"animals", "capitals", "colours", "fruits", "names", "objects", "places", "verbs"} < set(lists)
    assert len(lists["names"]) >= 100 and len(lists["capitals"]) >= 40
    for name, words in lists.items():
        texts = [w if isinstance(w, str) else next(iter(w.values())) for w in words]
        assert len(set(texts)) == len(texts), name
        assert all(t == t.strip() and t for t in texts)
        assert all(w.isascii() for w in words if isinstance(w, str)), name
        cells = [cell for w in words if isinstance(w, dict) for cell in w.values()]
        assert all(cell == cell.strip() and cell for cell in cells if isinstance(cell, str)), name
    assert {"country": "France", "capital": "Paris"} in lists["capitals"]


def test_a_let_serves_as_a_list_before_a_shipped_one(declare):
    spec = clean(
        declare('let names = ["Ann", "Bo"]\ndata d { slots { a from names } prompt p = "{a}" draw 2 }')
    )
    assert spec.source.slots[0].values == ("Ann", "Bo")


def test_a_value_that_stands_twice_counts_once(declare):
    spec = clean(declare('data d { slots { a from ["x", "y", "x"] } prompt p = "{a}" draw 2 }'))
    assert spec.source.slots[0].values == ("x", "y")


def test_records_have_fields(declare):
    spec = clean(
        declare('data d { slots { a, q from capitals } prompt p = "{a.country} {q.capital}" draw 2 }')
    )
    assert spec.fields == {"a": ("country", "capital"), "q": ("country", "capital")}
    assert spec.prompts["p"].labels == ("a_country", "q_capital")


FILES = {
    "t.csv": 'word,n,code,price\n"a, b",1,007,1.5\nc,-2,8,2.0\n',
    "t.jsonl": "\n".join(
        json.dumps(r)
        for r in (
            {"word": "a, b", "n": 1, "code": "007", "price": 1.5},
            {"word": "c", "n": -2, "code": "8", "price": 2.0},
        )
    ),
}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_rows_come_from_files(declare, tmp_path, name):
    if name == "t.parquet":
        values = "('a, b', 1, '007', 1.5::DOUBLE), ('c', -2, '8', 2.0)"
        rows = f"SELECT * FROM (VALUES {values}) t(word, n, code, price)"
        duckdb.sql(f"COPY ({rows}) TO '{tmp_path / name}' (FORMAT parquet)")
    else:
        (tmp_path / name).write_text(FILES[name])
    spec = clean(declare(f'data d {{ from "{name}" prompt p = "{{word}} {{code}}" }}'))
    assert isinstance(spec.source, RowSource)
    assert spec.source.rows == (
        {"word": "a, b", "n": 1, "code": "007", "price": 1.5},
        {"word": "c", "n": -2, "code": "8", "price": 2.0},
    )
    assert spec.variables == ("word", "n", "code", "price")
    assert spec.kinds["code"] == ("text",) and spec.kinds["n"] == ("number",)


def test_numbers_of_a_csv_stay_text_where_a_number_would_be_written_otherwise(declare, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c,d\n1.50,1e3,1_000,nan\n2,2,2,2\n")
    spec = clean(declare('data d { from "t.csv" prompt p = "{a}" }'))
    assert spec.source.rows[0] == {"a": "1.50", "b": "1e3", "c": "1_000", "d": "nan"}


def test_a_column_that_cannot_be_named_is_left_alone(declare, tmp_path):
    (tmp_path / "t.csv").write_text("word,Full Name,layer\na,b,c\n")
    assert clean(declare('data d { from "t.csv" prompt p = "{word}" }')).variables == ("word",)


def test_a_byte_order_mark_is_no_part_of_the_first_column(declare, tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffword\nx\n".encode())
    assert clean(declare('data d { from "t.csv" prompt p = "{word}" }')).variables == ("word",)


def test_prompts_of_every_kind(declare, tmp_path):
    (tmp_path / "prose.txt").write_text("some words")
    spec = clean(
        declare(
            """data d {
              prompt seq = repeated_tokens(length: 5, repeats: 3)
              prompt ids = tokens([1, 2])
              prompt say = [chat("{{}} {x: \\"hi\\"}", system: "{y: \\"be\\"}"), chat("b {z: \\"q\\"}")]
              draw 2
            }"""
        )
    )
    assert isinstance(spec.prompts["seq"], RepeatedTokens) and spec.prompts["seq"].length == 5
    assert spec.prompts["seq"].labels == ("repeat_1", "repeat_2", "repeat_3")
    assert isinstance(spec.prompts["ids"], LiteralTokens) and spec.prompts["ids"].ids == (1, 2)
    assert spec.prompts["say"].labels == ("y", "x", "z") and spec.templates == 2
    spec = clean(declare('data d { prompt t = chunks("prose.txt", tokens: 2) }'))
    assert isinstance(spec.prompts["t"], Chunks) and spec.prompts["t"].tokens == 2


def test_features_say_which_positions_they_are_about(declare):
    spec = clean(
        declare(
            """data d {
              prompt seq = repeated_tokens(length: 5)
              feature before[pos] = token(seq, at: pos - 1)
              feature here[p: pos] = token(seq, at: p)
              feature odd = token(seq, at: repeat_2.first) > 3
              draw 2
            }"""
        )
    )
    assert [(f.axes, f.binders, f.about) for f in spec.features.values()] == [
        (("pos",), ("pos",), ("seq",)),
        (("pos",), ("p",), ("seq",)),
        ((), (), ("seq",)),
    ]


KEEPS = [
    ('q.capital == "Paris"', False),
    ('contains(clean, ["a"]) * (1 > 0)', False),
    ("token(clean, at: last) > 5", False),
    ("correct(clean, target)", True),
    ("logit(r, target) > 0", True),
    ("clean.resid_post > 1", True),
    ("mean(f) > 0", True),
]


@pytest.mark.parametrize(("condition", "expected"), KEEPS)
def test_conditions_know_whether_they_need_a_model(declare, condition, expected):
    spec = clean(
        declare(
            f"""data d {{ slots {{ q from capitals }} prompt clean = "{{q.country}}"
            answer target = " {{q.capital}}"
            feature f = q.capital == "Rome" keep where {condition} draw 2 }}"""
        )
    )
    assert [(k.needs_model, k.text) for k in spec.keeps] == [(expected, condition)]


def test_answers_written_in_place_are_checked_too(declare):
    spec = clean(declare('data d { slots { a from names } prompt p = "{a}" answer t = " {a}" draw 2 }'))

    def inline(text):
        (let,) = parse(Source("i.gbx", f"gbx 1\nlet x = {text}")).file.declarations
        assert isinstance(let, nodes.Let)
        return inline_answer("#1", let.value, spec)

    answer, problems = inline('[" {a}", first_token(t)]')
    assert problems == () and answer.is_set and len(answer.parts) == 2
    _, problems = inline('" {b}"')
    assert [(p.code, p.span.text) for p in problems] == [("GB230", "b")]


def test_nothing_heavy_is_imported():
    code = (
        "import sys, glassbox_dsl.language.data, glassbox_dsl.resolve.data\n"
        "print([m for m in ('duckdb', 'tokenizers', 'jinja2', 'numpy', 'lark', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
