"""Random syntax trees: every kind of node, with only such names as could have been written in their place."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from hypothesis import strategies as st

from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax import nodes

NOWHERE = Span(Source("nowhere", ""), 0, 0)


def made(kind: type[nodes.Node], /, **fields: Any) -> Any:
    """A node whose place does not matter."""
    return kind(span=NOWHERE, **fields)


KEYWORDS = [
    "agree", "answer", "circuit", "data", "draw", "during", "else", "expect", "experiment", "feature", "fit", "from",
    "gbx", "hypothesis", "import", "in", "keep", "let", "measure", "metric", "model", "models", "node", "path",
    "prompt", "record", "report", "rows", "run", "seed", "slots", "text", "where", "true", "last", "inner", "nota",
]  # fmt: skip
# Any name may be declared or follow a dot, `not` and `inf` too: no expression can stand there.
words = st.sampled_from([*KEYWORDS, "not", "inf", "x", "_", "layer_2"]) | st.from_regex(
    r"[a-z_][a-z0-9_]{0,6}", fullmatch=True
)
keys = words.filter(lambda word: word != "not")  # where an expression can stand, `not` starts one
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


Draw = Callable[[st.SearchStrategy[Any]], Any]


def several(
    strategy: st.SearchStrategy[Any], least: int = 0, most: int = 3
) -> st.SearchStrategy[tuple[Any, ...]]:
    @st.composite
    def some(draw: Draw) -> tuple[Any, ...]:
        return tuple(draw(strategy) for _ in range(draw(st.integers(least, most))))

    return some()


def of(kind: type[nodes.Node], /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    @st.composite
    def one(draw: Draw) -> Any:
        return made(kind, **{name: draw(strategy) for name, strategy in fields.items()})

    return one()


numbers = of(
    nodes.Number,
    value=st.integers(0, 2**63 - 1) | st.floats(0, allow_infinity=False) | st.just(inf),
)
names = of(nodes.Name, id=words.filter(lambda word: word not in {"not", "inf"}))
strings = of(nodes.String, value=texts)
percents = of(nodes.Percent, value=st.floats(0, allow_infinity=False))


def _index_items(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        of(nodes.IndexItem, name=st.none(), value=st.just(made(nodes.All)))
        | of(nodes.IndexItem, name=st.none(), value=inner)
        | of(nodes.IndexItem, name=keys, value=inner)
    )


def _arguments(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return of(nodes.Argument, name=st.none() | keys, value=inner)


def _compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        of(nodes.List, items=several(inner)),
        of(nodes.Set, items=several(inner)),
        of(nodes.Tuple, items=several(inner, least=2)),
        of(nodes.Record, pairs=several(of(nodes.Pair, key=keys, value=inner), least=1)),
        of(nodes.Unary, op=st.sampled_from(["-", "not"]), operand=inner),
        of(nodes.Binary, op=st.sampled_from(["+", "-", "*", "/"]), left=inner, right=inner),
        of(nodes.Compare, op=st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), left=inner, right=inner),
        of(nodes.Range, low=inner, high=inner),
        of(nodes.Attribute, base=inner, name=words),
        of(nodes.Index, base=inner, items=several(_index_items(inner), least=1)),
        of(nodes.Call, function=inner, arguments=several(_arguments(inner))),
    )


expressions: st.SearchStrategy[Any] = st.recursive(
    numbers | names | strings | percents, _compound, max_leaves=8
)
calls = of(nodes.Call, function=names, arguments=several(_arguments(expressions)))
axes = of(nodes.Axis, name=words, axis=st.none() | words)
binders = several(
    of(nodes.Binder, axes=several(axes, 1, 1), domain=st.none() | expressions)
    | of(nodes.Binder, axes=several(axes, 2), domain=expressions)
)


def _targets(first: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    path = st.tuples(first, several(words)).map(lambda parts: (parts[0], *parts[1]))
    return of(nodes.Target, path=path, indices=several(_index_items(expressions)))


targets = _targets(words)
# Behind the value of another edit these words go on with it.
edited = _targets(words.filter(lambda word: word not in {"path", "keep", "during"}))

edits = st.one_of(
    of(
        nodes.Write,
        target=edited,
        op=st.sampled_from([":=", "+=", "-=", "*="]),
        value=expressions,
        during=st.none() | words,
    ),
    of(nodes.PathEdit, targets=several(targets, least=2), value=expressions),
    of(nodes.KeepEdit, circuit=expressions, otherwise=st.none() | expressions),
)

lets = of(nodes.Let, name=words, binders=binders, value=expressions)
metrics = of(nodes.Metric, name=words, parameters=several(words, least=1), value=expressions)


@st.composite
def hypothesis_nodes(draw: Draw) -> Any:
    reader = draw(st.none() | words)
    port = None if reader is None else draw(st.none() | words)
    agree = draw(st.none() | expressions)
    return made(
        nodes.HypothesisNode, name=draw(words), target=draw(targets), reader=reader, port=port, agree=agree
    )


hypotheses = of(nodes.Hypothesis, name=words, nodes=several(hypothesis_nodes()))

slot_lines = of(
    nodes.SlotLine,
    names=several(words, least=1),
    source=of(nodes.List, items=several(expressions)) | of(nodes.Name, id=words) | strings,
)
data_items = st.one_of(
    of(nodes.From, path=texts),
    of(nodes.Rows, rows=of(nodes.List, items=several(expressions))),
    of(nodes.Slots, lines=several(slot_lines)),
    of(nodes.Draw, count=st.integers(0, 10**6), seed=st.none() | st.integers(0, 2**63 - 1)),
    of(nodes.Prompt, name=words, value=expressions),
    of(nodes.Answer, name=words, value=expressions),
    of(nodes.Feature, name=words, binders=binders, value=expressions),
    of(nodes.Keep, condition=expressions),
)

runs = of(nodes.Run, name=words, binders=binders, call=calls, edits=several(edits))
used = several(of(nodes.Name, id=words), least=1)
experiment_items = st.one_of(
    of(nodes.UseModels, names=used),
    of(nodes.UseData, names=used),
    runs,
    of(nodes.Measure, name=words, binders=binders, value=expressions),
    of(nodes.RecordTensor, name=words, binders=binders, value=expressions),
    of(nodes.Fit, name=words, binders=binders, call=calls),
    of(nodes.Circuit, name=words, binders=binders, call=calls),
    of(nodes.Expect, claim=expressions),
    lets,
    metrics,
    hypotheses,
)

report_items = of(
    nodes.ReportItem,
    kind=words,
    source=several(words, least=1) | texts,
    options=several(of(nodes.Option, key=words, value=expressions)),
)

titles = st.none() | texts
declarations = st.one_of(
    of(nodes.Import, path=texts),
    of(nodes.Model, name=words, call=calls),
    of(nodes.Data, name=words, items=several(data_items)),
    of(nodes.Experiment, name=words, title=titles, items=several(experiment_items)),
    of(nodes.Experiment, name=words, title=titles, items=several(runs, 1, 1)),  # else edits would be rare
    of(nodes.Report, name=words, title=titles, items=several(report_items)),
    lets,
    metrics,
    hypotheses,
)


@st.composite
def files(draw: Draw) -> nodes.File:
    """A whole file."""
    file: nodes.File = made(nodes.File, version=1, declarations=draw(several(declarations)))
    return file
