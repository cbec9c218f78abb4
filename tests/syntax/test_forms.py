"""Each form of the grammar and the exact tree that it is."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest

from glassbox_dsl.source import Source
from glassbox_dsl.syntax import nodes, parse
from tests.syntax.trees import made


def read(text: str) -> nodes.Statement:
    """The only declaration of a file."""
    parsed = parse(Source("x.gbx", f"gbx 1\n{text}\n"))
    assert parsed.diagnostics == ()
    assert parsed.file is not None
    (declaration,) = parsed.file.declarations
    return declaration


def value(text: str) -> nodes.Expr:
    declaration = read(f"let x = {text}")
    assert isinstance(declaration, nodes.Let)
    return declaration.value


def item(block: str, text: str) -> Any:
    """The only statement of a block."""
    (statement,) = read(f"{block} {{ {text} }}").items  # type: ignore[attr-defined]
    return statement


def edit(text: str) -> Any:
    (only,) = item("experiment e", f"run r = forward(c) {{ {text} }}").edits
    return only


def number(n: float) -> nodes.Number:
    return made(nodes.Number, value=n)  # type: ignore[no-any-return]


def name(word: str) -> nodes.Name:
    return made(nodes.Name, id=word)  # type: ignore[no-any-return]


def binary(left: nodes.Expr, op: str, right: nodes.Expr) -> Any:
    return made(nodes.Binary, op=op, left=left, right=right)


def minus(operand: nodes.Expr) -> Any:
    return made(nodes.Unary, op="-", operand=operand)


def negation(operand: nodes.Expr) -> Any:
    return made(nodes.Unary, op="not", operand=operand)


def compare(left: nodes.Expr, op: str, right: nodes.Expr) -> Any:
    return made(nodes.Compare, op=op, left=left, right=right)


def between(low: nodes.Expr, high: nodes.Expr) -> Any:
    return made(nodes.Range, low=low, high=high)


def attribute(base: nodes.Expr, word: str) -> Any:
    return made(nodes.Attribute, base=base, name=word)


def index(base: nodes.Expr, *items: nodes.IndexItem) -> Any:
    return made(nodes.Index, base=base, items=items)


def at(index_value: Any, axis: str | None = None) -> Any:
    return made(nodes.IndexItem, name=axis, value=index_value)


ALL = made(nodes.IndexItem, name=None, value=made(nodes.All))


def call(function: nodes.Expr, *arguments: nodes.Expr, **named: nodes.Expr) -> Any:
    plain = [made(nodes.Argument, name=None, value=argument) for argument in arguments]
    keyed = [made(nodes.Argument, name=key, value=argument) for key, argument in named.items()]
    return made(nodes.Call, function=function, arguments=(*plain, *keyed))


def collection(kind: type[nodes.Expr], *items: nodes.Expr) -> Any:
    return made(kind, items=items)


def record(**pairs: nodes.Expr) -> Any:
    made_pairs = tuple(made(nodes.Pair, key=key, value=held) for key, held in pairs.items())
    return made(nodes.Record, pairs=made_pairs)


def target(path: str, *indices: nodes.IndexItem) -> Any:
    return made(nodes.Target, path=tuple(path.split(".")), indices=indices)


def axis(word: str, on: str | None = None) -> Any:
    return made(nodes.Axis, name=word, axis=on)


def binder(*axes: nodes.Axis, domain: nodes.Expr | None = None) -> Any:
    return made(nodes.Binder, axes=axes, domain=domain)


A, B, C, D = (name(letter) for letter in "abcd")

EXPRESSIONS = {
    # atoms
    "3": number(3),
    "007": number(7),
    "9223372036854775807": number(2**63 - 1),
    "0.5": number(0.5),
    "1e-3": number(0.001),
    "1.5E+2": number(150.0),
    "inf": number(inf),
    "infinite": name("infinite"),
    "50%": made(nodes.Percent, value=50.0),
    "12.5%": made(nodes.Percent, value=12.5),
    "true": name("true"),
    "last": name("last"),
    "_a1": name("_a1"),
    '""': made(nodes.String, value=""),
    '"{io}"': made(nodes.String, value="{io}"),
    r'"a\n\t\"\\\u{e9}\u{1F600}"': made(nodes.String, value='a\n\t"\\é😀'),
    '"""a "quoted"\nline\\n"""': made(nodes.String, value='a "quoted"\nline\n'),
    '"""a\r\nb"""': made(nodes.String, value="a\nb"),
    '"# no comment"': made(nodes.String, value="# no comment"),
    # collections
    "[]": collection(nodes.List),
    "[a, b]": collection(nodes.List, A, B),
    "[a,]": collection(nodes.List, A),
    "{}": collection(nodes.Set),
    "{a}": collection(nodes.Set, A),
    "{a, b,}": collection(nodes.Set, A, B),
    "{a: 1}": record(a=number(1)),
    "{a: 1, model: b,}": record(a=number(1), model=B),
    "(a, b)": collection(nodes.Tuple, A, B),
    "(a, b, c,)": collection(nodes.Tuple, A, B, C),
    "(a)": A,
    "((a,))": A,
    "{(a, b)}": collection(nodes.Set, collection(nodes.Tuple, A, B)),
    # operators
    "a + b - c": binary(binary(A, "+", B), "-", C),
    "a - (b - c)": binary(A, "-", binary(B, "-", C)),
    "a + b * c": binary(A, "+", binary(B, "*", C)),
    "a / b * c": binary(binary(A, "/", B), "*", C),
    "-a": minus(A),
    "--a": minus(minus(A)),
    "-a * b": binary(minus(A), "*", B),
    "a * -b": binary(A, "*", minus(B)),
    "a - -1": binary(A, "-", minus(number(1))),
    "-a.b": minus(attribute(A, "b")),
    "not a": negation(A),
    "not not a": negation(negation(A)),
    "not a + b": negation(binary(A, "+", B)),
    "not a > b": negation(compare(A, ">", B)),
    "(not a) > b": compare(negation(A), ">", B),
    "nota": name("nota"),
    "a == b": compare(A, "==", B),
    "a != b": compare(A, "!=", B),
    "a < b": compare(A, "<", B),
    "a <= b": compare(A, "<=", B),
    "a > b": compare(A, ">", B),
    "a >= b": compare(A, ">=", B),
    "a<-b": compare(A, "<", minus(B)),
    "(a < b) < c": compare(compare(A, "<", B), "<", C),
    "0..5": between(number(0), number(5)),
    "1..-1": between(number(1), minus(number(1))),
    "0.5..1.5": between(number(0.5), number(1.5)),
    "a - 1..b + 2": between(binary(A, "-", number(1)), binary(B, "+", number(2))),
    "a..b > c..d": compare(between(A, B), ">", between(C, D)),
    # postfix
    "a.b.c": attribute(attribute(A, "b"), "c"),
    "a.model.not": attribute(attribute(A, "model"), "not"),
    "a(b)": call(A, B),
    "a()": call(A),
    "a(b, over: {c}, text: d,)": call(A, B, over=collection(nodes.Set, C), text=D),
    "a(b)(c)": call(call(A, B), C),
    "a[b]": index(A, at(B)),
    "a[b, :, -1]": index(A, at(B), ALL, at(minus(number(1)))),
    "a[:]": index(A, ALL),
    "a[pos: 3, b,]": index(A, at(number(3), "pos"), at(B)),
    "a[model: b]": index(A, at(B, "model")),
    "a[not b]": index(A, at(negation(B))),
    "a[0..5]": index(A, at(between(number(0), number(5)))),
    "a.b[c](d).c": attribute(call(index(attribute(A, "b"), at(C)), D), "c"),
    "(a + b)[c]": index(binary(A, "+", B), at(C)),
    "(a + b)(c)": call(binary(A, "+", B), C),
    "a[{(b, c)}]": index(A, at(collection(nodes.Set, collection(nodes.Tuple, B, C)))),
}


@pytest.mark.parametrize(("text", "tree"), EXPRESSIONS.items(), ids=EXPRESSIONS)
def test_expressions(text: str, tree: nodes.Expr) -> None:
    assert repr(value(text)) == repr(tree)
    assert value(text) == tree


def test_integers_stay_integers() -> None:
    assert type(value("3").value) is int  # type: ignore[attr-defined]
    assert type(value("3.0").value) is float  # type: ignore[attr-defined]


BINDERS = {
    "[layer]": (binder(axis("layer")),),
    "[layer, pos,]": (binder(axis("layer")), binder(axis("pos"))),
    "[src: layer, dst: layer]": (binder(axis("src", "layer")), binder(axis("dst", "layer"))),
    "[layer in 0..5]": (binder(axis("layer"), domain=between(number(0), number(5))),),
    "[l: layer in {50%}]": (
        binder(axis("l", "layer"), domain=collection(nodes.Set, made(nodes.Percent, value=50.0))),
    ),
    "[alpha in [-4, 0]]": (
        binder(axis("alpha"), domain=collection(nodes.List, minus(number(4)), number(0))),
    ),
    "[(layer, head) in movers]": (binder(axis("layer"), axis("head"), domain=name("movers")),),
    "[(l: layer, h: head,) in {}, pos]": (
        binder(axis("l", "layer"), axis("h", "head"), domain=collection(nodes.Set)),
        binder(axis("pos")),
    ),
    "[in in in_]": (binder(axis("in"), domain=name("in_")),),
    "[pos in not {a}]": (binder(axis("pos"), domain=negation(collection(nodes.Set, A))),),
}


@pytest.mark.parametrize(("text", "tree"), BINDERS.items(), ids=BINDERS)
def test_binders(text: str, tree: tuple[nodes.Binder, ...]) -> None:
    assert read(f"let x{text} = a").binders == tree  # type: ignore[attr-defined]


SMOL = call(name("bundled"), made(nodes.String, value="x"))

DECLARATIONS = {
    'import "a.gbx"': made(nodes.Import, path="a.gbx"),
    'model m = bundled("x")': made(nodes.Model, name="m", call=SMOL),
    "model model = local()": made(nodes.Model, name="model", call=call(name("local"))),
    "metric m(r) = a": made(nodes.Metric, name="m", parameters=("r",), value=A),
    "metric m(r, s,) = a": made(nodes.Metric, name="m", parameters=("r", "s"), value=A),
    "let x = a": made(nodes.Let, name="x", binders=(), value=A),
    "let x[layer] = a": made(nodes.Let, name="x", binders=(binder(axis("layer")),), value=A),
    "data d {}": made(nodes.Data, name="d", items=()),
    "experiment e {}": made(nodes.Experiment, name="e", title=None, items=()),
    'experiment e "t" {}': made(nodes.Experiment, name="e", title="t", items=()),
    "report r {}": made(nodes.Report, name="r", title=None, items=()),
    'report r "" {}': made(nodes.Report, name="r", title="", items=()),
    "hypothesis h {}": made(nodes.Hypothesis, name="h", nodes=()),
}


@pytest.mark.parametrize(("text", "tree"), DECLARATIONS.items(), ids=DECLARATIONS)
def test_declarations(text: str, tree: nodes.Statement) -> None:
    assert read(text) == tree


def slots(*lines: tuple[tuple[str, ...], nodes.Expr]) -> Any:
    return made(
        nodes.Slots, lines=tuple(made(nodes.SlotLine, names=names, source=source) for names, source in lines)
    )


STRINGS = collection(nodes.List, made(nodes.String, value="x"))

DATA = {
    'from "a.csv"': made(nodes.From, path="a.csv"),
    "rows [{a: 1}]": made(nodes.Rows, rows=collection(nodes.List, record(a=number(1)))),
    "slots {}": slots(),
    "slots { a, b from names }": slots((("a", "b"), name("names"))),
    'slots { a from ["x"] answer from "f.csv" from, prompt from from c from d }': slots(
        (("a",), STRINGS),
        (("answer",), made(nodes.String, value="f.csv")),
        (("from", "prompt"), name("from")),
        (("c",), D),
    ),
    "draw 32": made(nodes.Draw, count=32, seed=None),
    "draw 32, seed: 7": made(nodes.Draw, count=32, seed=7),
    'prompt p = "x"': made(nodes.Prompt, name="p", value=made(nodes.String, value="x")),
    "answer answer = a": made(nodes.Answer, name="answer", value=A),
    "feature f = a": made(nodes.Feature, name="f", binders=(), value=A),
    "feature f[pos] = a": made(nodes.Feature, name="f", binders=(binder(axis("pos")),), value=A),
    "keep where not a": made(nodes.Keep, condition=negation(A)),
    "keep where where": made(nodes.Keep, condition=name("where")),
}


@pytest.mark.parametrize(("text", "tree"), DATA.items(), ids=DATA)
def test_data_items(text: str, tree: nodes.Statement) -> None:
    assert item("data d", text) == tree


LAYER = (binder(axis("layer")),)
CLEAN = call(name("forward"), name("clean"))

EXPERIMENT = {
    "models a": made(nodes.UseModels, names=(A,)),
    "models a, models": made(nodes.UseModels, names=(A, name("models"))),
    "data a, data": made(nodes.UseData, names=(A, name("data"))),
    "run text = forward(clean)": made(nodes.Run, name="text", binders=(), call=CLEAN, edits=()),
    "run r[layer] = forward(clean) {}": made(nodes.Run, name="r", binders=LAYER, call=CLEAN, edits=()),
    "measure m = a": made(nodes.Measure, name="m", binders=(), value=A),
    "measure m[layer] = a": made(nodes.Measure, name="m", binders=LAYER, value=A),
    "record r = a": made(nodes.RecordTensor, name="r", binders=(), value=A),
    "record r[layer] = a": made(nodes.RecordTensor, name="r", binders=LAYER, value=A),
    "let x[layer] = a": made(nodes.Let, name="x", binders=LAYER, value=A),
    "metric m(r) = a": made(nodes.Metric, name="m", parameters=("r",), value=A),
    "fit f = pca(a, dim: 2)": made(nodes.Fit, name="f", binders=(), call=call(name("pca"), A, dim=number(2))),
    "fit f[layer] = pca(a)": made(nodes.Fit, name="f", binders=LAYER, call=call(name("pca"), A)),
    "circuit c[layer] = eap(a)": made(nodes.Circuit, name="c", binders=LAYER, call=call(name("eap"), A)),
    "expect a > b": made(nodes.Expect, claim=compare(A, ">", B)),
    "expect measure": made(nodes.Expect, claim=name("measure")),
    "hypothesis h {}": made(nodes.Hypothesis, name="h", nodes=()),
}


@pytest.mark.parametrize(("text", "tree"), EXPERIMENT.items(), ids=EXPERIMENT)
def test_experiment_items(text: str, tree: nodes.Statement) -> None:
    assert item("experiment e", text) == tree


def write(where: nodes.Target, op: str, new: nodes.Expr, during: str | None = None) -> Any:
    return made(nodes.Write, target=where, op=op, value=new, during=during)


EDITS = {
    "resid_pre[-1, last] := a": write(target("resid_pre", at(minus(number(1))), at(name("last"))), ":=", A),
    "attn.z[not {(b, c)}] += a": write(
        target("attn.z", at(negation(collection(nodes.Set, collection(nodes.Tuple, B, C))))), "+=", A
    ),
    "logits -= a during prompt": write(target("logits"), "-=", A, "prompt"),
    "logits *= 0.5 during generated": write(target("logits"), "*=", number(0.5), "generated"),
    "attn.scores[:, head: 1] := -inf": write(
        target("attn.scores", ALL, at(number(1), "head")), ":=", minus(number(inf))
    ),
    "path a -> b := c": made(nodes.PathEdit, targets=(target("a"), target("b")), value=C),
    "path a.b[1] -> path -> d := c": made(
        nodes.PathEdit, targets=(target("a.b", at(number(1))), target("path"), target("d")), value=C
    ),
    "keep a": made(nodes.KeepEdit, circuit=A, otherwise=None),
    "keep a, else b": made(nodes.KeepEdit, circuit=A, otherwise=B),
}


@pytest.mark.parametrize(("text", "tree"), EDITS.items(), ids=EDITS)
def test_edits(text: str, tree: nodes.Edit) -> None:
    assert edit(text) == tree


def test_edits_stand_side_by_side_without_signs_between_them() -> None:
    run = item(
        "experiment e", "run r = forward(c) { a := self keep c answer[1] := b node := d path a -> b := c }"
    )
    assert [type(only).__name__ for only in run.edits] == ["Write", "KeepEdit", "Write", "Write", "PathEdit"]
    assert [only.target.path for only in run.edits if isinstance(only, nodes.Write)] == [
        ("a",),
        ("answer",),
        ("node",),
    ]


def hypothesis_node(
    where: nodes.Target, reader: str | None, port: str | None, agree: nodes.Expr | None
) -> Any:
    return made(nodes.HypothesisNode, name="n", target=where, reader=reader, port=port, agree=agree)


NODES = {
    "node n = logits": hypothesis_node(target("logits"), None, None, None),
    "node n = embed -> out": hypothesis_node(target("embed"), "out", None, None),
    "node n = attn.z[5, 1] -> ind.k agree a": hypothesis_node(
        target("attn.z", at(number(5)), at(number(1))), "ind", "k", A
    ),
    "node n = embed agree (a, b)": hypothesis_node(
        target("embed"), None, None, collection(nodes.Tuple, A, B)
    ),
}


@pytest.mark.parametrize(("text", "tree"), NODES.items(), ids=NODES)
def test_hypothesis_nodes(text: str, tree: nodes.HypothesisNode) -> None:
    assert read(f"hypothesis h {{ {text} }}").nodes == (tree,)  # type: ignore[attr-defined]


def shown(kind: str, source: tuple[str, ...] | str, **options: nodes.Expr) -> Any:
    made_options = tuple(made(nodes.Option, key=key, value=held) for key, held in options.items())
    return made(nodes.ReportItem, kind=kind, source=source, options=made_options)


ITEMS = {
    "heatmap e.m": shown("heatmap", ("e", "m")),
    'markdown "# x"': shown("markdown", "# x"),
    "text text {}": shown("text", ("text",)),
    "line e.m { x: pos, model: b }": shown("line", ("e", "m"), x=name("pos"), model=B),
    "line e.m { x: e.x y: {a} data: b, }": shown(
        "line", ("e", "m"), x=attribute(name("e"), "x"), y=collection(nodes.Set, A), data=B
    ),
}


@pytest.mark.parametrize(("text", "tree"), ITEMS.items(), ids=ITEMS)
def test_report_items(text: str, tree: nodes.ReportItem) -> None:
    assert item("report r", text) == tree


def test_white_space_only_separates() -> None:
    spaced = (
        "gbx 1\nexperiment e {\n  models a, b\n  data c\n  run r = forward(c)\n  expect a\n  expect b\n}\n"
    )
    dense = "gbx 1 experiment e{models a,b data c run r=forward(c)expect a expect b}"
    commented = spaced.replace("\n", ' # { ( " comment\r\n')
    files = [parse(Source("x.gbx", text)) for text in (spaced, dense, commented)]
    assert [found.diagnostics for found in files] == [(), (), ()]
    assert files[0].file == files[1].file == files[2].file
    assert files[0].file is not None
    assert [type(s).__name__ for s in files[0].file.declarations[0].items] == [  # type: ignore[attr-defined]
        "UseModels",
        "UseData",
        "Run",
        "Expect",
        "Expect",
    ]


def test_a_word_is_a_keyword_only_as_a_whole() -> None:
    parsed = parse(Source("x.gbx", "gbx 1 let x[layer inner] = 1"))
    assert [d.code for d in parsed.diagnostics] == ["GB115"]
    assert "found `inner`" in parsed.diagnostics[0].headline


def test_places_are_offsets_into_the_text() -> None:
    text = "gbx 1 # é\nexperiment e {\n  measure m = (a + b) * (c)  # x\n}\n"
    file = parse(Source("x.gbx", text)).file
    assert file is not None
    measure = file.declarations[0].items[0]  # type: ignore[attr-defined]
    assert file.span.text == text.strip()
    assert measure.span.text == "measure m = (a + b) * (c)"
    assert measure.value.span.text == "(a + b) * (c)"
    assert measure.value.left.span.text == "a + b"  # brackets belong to no node
    assert measure.value.right.span.text == "c"
    assert measure.span.source.place(measure.span.start) == (3, 3)
