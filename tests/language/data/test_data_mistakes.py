"""Every static mistake of a data block: its code and the characters it points at."""

import pytest

SLOTS = "slots { a, b from names  q from capitals } draw 2"
PROMPT = 'prompt p = "{a}"'
CHUNKS = 'prompt p = chunks("prose.txt", tokens: 2)'

# (code, what stands in the block, the marked text)
MISTAKES = [
    ("GB230", f'{SLOTS} prompt p = "x {{nmae}}"', "nmae"),
    ("GB230", f"{SLOTS} {PROMPT} answer t = [\" {{a}}\", nmae]", "nmae"),
    ("GB230", f"{SLOTS} {PROMPT} answer t = first_token(\" {{zz}}\")", "zz"),
    ("GB230", f'{SLOTS} prompt p = chat("{{a}}", system: "{{c}}")', "c"),
    ("GB230", f'{SLOTS} prompt p = ["{{a}}", "{{c}}"]', "c"),
    ("GB230", 'slots { x from nmes } draw 2 prompt p = "{y}"', "y"),
    ("GB231", f'{SLOTS} prompt p = "{{q.cuntry}}"', "cuntry"),
    ("GB231", f'{SLOTS} prompt p = "{{q}}"', "q"),
    ("GB231", f'{SLOTS} prompt p = "{{a.x}}"', "a.x"),
    ("GB231", 'rows [{a: [1, 2]}] prompt p = "{a}"', "a"),
    ("GB232", f'{SLOTS} prompt p = "{{a}} {{a}}"', "a"),
    ("GB232", f'{SLOTS} prompt p = chat("{{a}}", system: "{{a: b}}")', "a"),
    ("GB233", f'{SLOTS} prompt p = "{{a"', "{"),
    ("GB234", "slots { x from nmes } draw 2 prompt p = \"{x}\"", "nmes"),
    ("GB235", f"{SLOTS} {PROMPT} {PROMPT}", "p"),
    ("GB235", f"{SLOTS} {PROMPT} answer a = \" x\"", "a"),
    ("GB235", f"{SLOTS} {PROMPT} feature p = 1", "p"),
    ("GB235", 'slots { a from names a from places } draw 2 prompt p = "{a}"', "a"),
    ("GB236", 'slots { layer from names } draw 2 prompt p = "x"', "layer"),
    ("GB236", 'prompt last = "x"', "last"),
    ("GB236", 'prompt p = "x" answer embed = " y"', "embed"),
    ("GB236", 'prompt p = "x" feature template = 1', "template"),
    ("GB236", 'rows [{item: 1}] prompt p = "x"', "item"),
    ("GB237", f"{SLOTS} {PROMPT} rows [{{c: 1}}]", "rows [{c: 1}]"),
    ("GB237", f"{SLOTS} {PROMPT} draw 3", "draw 3"),
    ("GB237", f"rows [{{a: 1}}] {CHUNKS}", CHUNKS),
    ("GB238", 'prompt p = "x" draw 2', "draw 2"),
    ("GB239", 'slots { x from names } prompt p = "{x}"', "slots { x from names }"),
    ("GB239", "prompt p = repeated_tokens(length: 2)", "prompt p = repeated_tokens(length: 2)"),
    ("GB239", 'slots { x from names } prompt p = "{x}" draw 0', "draw 0"),
    ("GB240", 'from "gone.csv" prompt p = "{x}"', 'from "gone.csv"'),
    ("GB240", 'slots { x from "gone.csv" } draw 2 prompt p = "{x}"', '"gone.csv"'),
    ("GB240", 'prompt p = chunks("gone.txt", tokens: 2)', '"gone.txt"'),
    ("GB241", 'slots { x from [a + 1] } draw 2 prompt p = "{x}"', "a + 1"),
    ("GB241", 'rows [f(1)] prompt p = "x"', "f(1)"),
    ("GB242", 'slots { x from [] } draw 2 prompt p = "{x}"', "[]"),
    ("GB242", 'rows [] prompt p = "x"', "rows []"),
    ("GB243", 'slots { x, y from ["a", "a"] } draw 2 prompt p = "{x} {y}"', 'x, y from ["a", "a"]'),
    ("GB244", 'rows [{x: 1}, {y: 1}] prompt p = "{x}"', "{y: 1}"),
    ("GB244", 'rows [1] prompt p = "x"', "1"),
    ("GB244", 'rows [{x: 1, x: 2}] prompt p = "x"', "x: 2"),
    ("GB245", f"{SLOTS} prompt p = a", "a"),
    ("GB245", "prompt p = []", "[]"),
    ("GB245", 'prompt p = chunk("x")', "chunk"),
    ("GB246", "prompt p = repeated_tokens(length: 0) draw 2", "0"),
    ("GB246", "prompt p = repeated_tokens(len: 2) draw 2", "len: 2"),
    ("GB246", "prompt p = tokens([a])", "[a]"),
    ("GB246", "prompt p = tokens([1], [2])", "[2]"),
    ("GB246", 'prompt p = chunks("prose.txt")', 'chunks("prose.txt")'),
    ("GB246", "prompt p = chat(3)", "3"),
    ("GB247", 'prompt p = ["a", "b"] prompt r = ["a", "b", "c"]', 'prompt r = ["a", "b", "c"]'),
    ("GB248", 'prompt p = "x" answer t = 1 + 2', "1 + 2"),
    ("GB248", 'prompt p = "x" answer t = []', "[]"),
    ("GB248", 'prompt p = "x" answer t = last_token("a")', 'last_token("a")'),
    ("GB249", f"{SLOTS} {PROMPT} feature f = aa == \"x\"", "aa"),
    ("GB249", f"{SLOTS} {PROMPT} feature f = p == \"x\"", "p"),
    ("GB249", f"{SLOTS} {PROMPT} feature f = token(r, at: 0)", "r"),
    ("GB249", f"{SLOTS} {PROMPT} keep where aa == \"x\"", "aa"),
    ("GB250", f"{SLOTS} {PROMPT} feature f = logit(p, a)", "logit"),
    ("GB250", f"{SLOTS} {PROMPT} feature f = token(p)", "token(p)"),
    ("GB250", f"{SLOTS} {PROMPT} feature f = contains(p)", "contains(p)"),
    ("GB250", f"{SLOTS} {PROMPT} feature f = exp(1, 2)", "exp(1, 2)"),
    ("GB251", f"{SLOTS} {PROMPT} feature f = a[0]", "a[0]"),
    ("GB252", f"{SLOTS} {PROMPT} feature f[layer] = 1", "layer"),
    ("GB252", f"{SLOTS} {PROMPT} feature f[pos in 0..3] = 1", "pos in 0..3"),
    ("GB252", f"{SLOTS} {PROMPT} prompt r = \"{{b}}\" feature f[pos] = pos", "feature f[pos] = pos"),
    ("GB253", f"{SLOTS} {PROMPT} feature f = token(p, at: bb)", "bb"),
    ("GB253", f"{SLOTS} {PROMPT} feature f = token(p, at: a.span)", "a.span"),
    ("GB254", f"{SLOTS} {PROMPT} feature f = g feature g = f", "f"),
    ("GB254", f"{SLOTS} {PROMPT} answer t = [u] answer u = first_token(t)", "t"),
    ("GB255", "slots { x from names } draw 2", "d"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "inside", "marked"), MISTAKES)
def test_a_mistake_is_found_where_it_stands(declare, tmp_path, code, inside, marked):
    (tmp_path / "prose.txt").write_text("some words of prose")
    _, problems = declare(f"data d {{ {inside} }}")
    found = [(p.code, p.span.text) for p in problems]
    assert (code, marked) in found
    # One mistake, one finding: nothing follows from it but what the text itself repeats.
    assert {c for c, _ in found} <= {code, "GB234"}


def test_a_near_name_is_suggested(declare):
    _, (problem,) = declare(f'data d {{ {SLOTS} prompt p = "{{a}} {{c: q.capitl}}" }}')
    assert "`capital`" in problem.help
    _, (problem,) = declare('data d { slots { x from nmes } prompt p = "{x}" draw 2 }')
    assert "`names`" in problem.help


def test_all_mistakes_come_at_once_in_the_order_of_the_text(declare):
    _, problems = declare(f'data d {{ {SLOTS} prompt p = "{{x}} {{y}}" answer t = " {{z}}" feature f = w }}')
    assert [p.span.text for p in problems] == ["x", "y", "z", "w"]


BROKEN = {
    "twice.csv": (b"a,a\n1,2\n", "stands twice"),
    "ragged.csv": (b"a,b\n1\n", "row 0 has 1 cells"),
    "quote.csv": (b'a,b\n"x,1\n', "not a csv file"),
    "empty.csv": (b"a,b\n", "holds no rows"),
    "latin.csv": ("a\né\n".encode("latin-1"), "not UTF-8"),
    "bad.jsonl": (b'{"a": 1}\n{"a": \n', "line 2 is not JSON"),
    "nan.jsonl": (b'{"a": NaN}\n', "line 1 is not JSON"),
    "deep.jsonl": (b"[" * 100_000, "line 1 is not JSON"),
    "plain.jsonl": (b"1\n2\n", "not all records"),
    "bad.parquet": (b"PAR1 no", "not a parquet file"),
    "rows.txt": (b"a\n", "only .csv, .jsonl and .parquet"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_says_what_is_wrong_with_it(declare, tmp_path, name):
    content, why = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    _, problems = declare(f'data d {{ from "{name}" prompt p = "{{a}}" }}')
    assert [p.code for p in problems] == ["GB240"]
    assert why in problems[0].label


def test_files_outside_the_project_are_not_read(declare, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    inner = tmp_path / "project"
    inner.mkdir()
    (inner / "link.csv").symlink_to(tmp_path / "secret.csv")
    for path in ("../secret.csv", "link.csv", str(tmp_path / "secret.csv")):
        _, problems = declare(f'data d {{ from "{path}" prompt p = "{{a}}" }}', folder=inner)
        assert [(p.code, p.label) for p in problems] == [("GB240", "it lies outside the project's folder")]
    _, problems = declare('data d { from "../secret.csv" prompt p = "{a}" }', folder=inner, root=tmp_path)
    assert problems == ()
