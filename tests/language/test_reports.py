"""What the figures of a report may show, and which options they take: mistakes are said with their place."""

import pytest

from glassbox_dsl.language.file import read_program

HEAD = """gbx 1
model m = tiny("llama", layers: 2)
data d {
  slots { io, s from ["Mary", "John", "Anna"]  place from ["store", "school"] }
  prompt clean   = "When {io} and {s} went to the {place}, {s2: s} gave a drink to"
  answer target  = " {io}"
  feature early = io == "Anna"
  draw 2, seed: 0
}
experiment e {
  run p[layer, pos] = forward(clean) { resid_pre[layer, pos] *= 0 }
  measure a = logit(p, target)
  measure other = prob(p, target)
  measure one = logit(clean, target)
  measure b[alpha in {0, 1}, kind in {previous, induction}, layer, head] = head_score(clean, kind: kind) * alpha
  measure words[layer] = top(unembed(clean.resid_post[layer, last]), k: 3)
  measure near[layer] = entropy(unembed(clean.resid_post[layer, last]))
  record seen = clean.attn.pattern
  record less = clean.attn.scores
  record long = norm(clean.attn.v)
}
experiment g { measure one = prob(clean, target) }
report r {
"""
GOOD = [
    "heatmap e.a", "heatmap e.a { x: pos, y: layer, facet: model, title: \"A\" }",
    "heatmap e.a { layer: -1, x: pos }",
    "table e.a { layer: 50%, pos: s2 }", "heatmap e.a { pos: io.last }", "heatmap e.a { over: {item, layer}, x: pos }",
    "heatmap e.a { value: other }", "line e.a { x: layer, color: place, row: early }", "bar e.one { x: io, model: m }",
    "bar e.one { place: \"store\", item: 0 }", "bar e.one { over: item }", "heatmap e.b { alpha: 1, kind: previous }",
    "lens e.words { color: near }", "attention e.seen { minus: less, value: long, item: 0 }",
    "heatmap e.a { x: pos, y: depth }", "line e.a { x: depth, pos: last }",
    "lens e.words", "attention e.seen { layer: 0 }", "table e.one", "markdown \"# Title\"",
    "sql \"SELECT 1\" { title: \"q\" }", "scatter e.a { x: other }",
    "scatter e.a { x: e.other, color: place, facet: early }",
    "scatter e.one { x: g.one, over: {} }", "histogram e.a", "histogram e.one { color: place, over: {} }",
    "histogram e.a { layer: 0, facet: model, row: place, title: \"How they spread\" }",
]  # fmt: skip
# the figure, its code, the text pointed at, a part of the help
BAD = [
    ("heetmap e.a", "GB220", "heetmap e.a", "`heatmap`"),
    ("heatmap e.a { x: pos, y: layr }", "GB228", "layr", "`layer`"),
    ("heatmap e.a { colour: model }", "GB228", "colour: model", "`color`"),
    ("heatmap e.a { xlabel: \"x\" }", "GB228", "xlabel: \"x\"", "options:"),
    ("heatmap e.a { x: 3 }", "GB228", "3", "`x: layer`"),
    ("heatmap e.a { x: head }", "GB228", "head", "`pos`"),
    ("heatmap e.a { over: {item, head} }", "GB228", "head", "`layer`"),
    ("heatmap e.a { over: \"item\" }", "GB228", "\"item\"", "`over: layer`"),
    ("heatmap e.a { title: title }", "GB228", "title", "`title: \"...\"`"),
    ("heatmap e.a { model: mm }", "GB228", "mm", "`m`"),
    ("heatmap e.a { data: 3 }", "GB228", "3", "`data: d`"),
    ("heatmap e.a { layer: \"x\" }", "GB228", "\"x\"", "`layer: 0`"),
    ("heatmap e.a { pos: 0.5 }", "GB228", "0.5", "`pos: 0`"),
    ("heatmap e.a { x: pos, x: layer }", "GB228", "x: layer", "take one"),
    ("heatmap e.a { x: pos, pos: 3 }", "GB228", "pos: 3", "take out `x:`"),
    ("heatmap e.a { x: pos, y: pos }", "GB228", "y: pos", "another axis"),
    ("heatmap e.a { x: e.other }", "GB228", "e.other", "`value:`"),
    ("heatmap e.a { value: pos }", "GB228", "pos", "`other`"),
    ("heatmap e.a { value: one }", "GB228", "one", "figure of its own"),
    ("heatmap e.b { alpha: 7 }", "GB228", "7", "`0`, `1`"),
    ("heatmap e.b { kind: prev }", "GB228", "prev", "`previous`"),
    ("bar e.one { item: \"a\" }", "GB228", "\"a\"", "`item: 0`"),
    ("bar e.one { plac: \"store\" }", "GB228", "plac: \"store\"", "`place`"),
    ("markdown \"x\" { title: \"a\" }", "GB228", "title: \"a\"", "take the option out"),
    ("sql \"SELECT 1\" { x: layer }", "GB228", "x: layer", "`title:` only"),
    ("heatmap e.one", "GB220", "heatmap e.one", "`table`"),
    ("heatmap e.seen", "GB220", "heatmap e.seen", "`attention e.seen`"),
    ("attention e.a", "GB220", "attention e.a", "`record"),
    ("lens e.a", "GB220", "lens e.a", "top("),
    ("heatmap e", "GB220", "heatmap e", "dot"),
    ("heatmap \"x\"", "GB220", "heatmap \"x\"", "`heatmap experiment.measure`"),
    ("markdown e.a", "GB220", "markdown e.a", "`markdown \"...\"`"),
    ("heatmap f.a", "GB200", "heatmap f.a", "`e`"),
    ("heatmap e.othr", "GB200", "heatmap e.othr", "`other`"),
    ("scatter e.a", "GB220", "scatter e.a", "scatter e.a { x: MEASURE }"),
    ("scatter e.a { x: layer }", "GB200", "layer", ""),
    ("scatter e.a { x: othr }", "GB200", "othr", "`other`"),
    ("scatter e.a { x: f.other }", "GB200", "f.other", "`e`"),
    ("scatter e.a { x: one }", "GB228", "one", "figure of its own"),
    ("scatter e.a { x: words }", "GB228", "words", "another measure"),
    ("scatter e.a { x: seen }", "GB228", "seen", "another measure"),
    ("scatter e.a { x: 3 }", "GB228", "3", "`x: heads.looks`"),
    ("scatter e.a { x: other, y: pos }", "GB228", "y: pos", "`x:` names the measure"),
    ("scatter e.words { x: a }", "GB220", "scatter e.words { x: a }", "`table e.words`"),
    ("histogram e.words", "GB220", "histogram e.words", "`table e.words`"),
    ("histogram e.a { x: pos }", "GB228", "x: pos", "`color:`"),
    ("histogram e.seen", "GB220", "histogram e.seen", "`attention e.seen`"),
    ("attention e.seen { minus: a }", "GB228", "a", "`less`"),
    ("attention e.seen { minus: long }", "GB228", "long", "attn.pattern"),
    ("attention e.seen { value: less }", "GB228", "less", "norm(RUN.attn.v)"),
    ("attention e.seen { minus: 3 }", "GB228", "3", "`minus: NAME`"),
    ("attention e.seen { x: key }", "GB228", "x: key", "`minus:` subtracts"),
    ("attention e.seen { query: 3 }", "GB228", "query: 3", "`layer: 0`"),
    ("heatmap e.a { minus: other }", "GB228", "minus: other", "options:"),
    ("lens e.words { color: a }", "GB228", "a", "figure of its own"),
    ("lens e.words { color: nears }", "GB228", "nears", "`near`"),
    ("lens e.words { color: 1 }", "GB228", "1", "`color: place`"),
    ("line e.one { x: depth }", "GB228", "depth", "`early`"),
    ("heatmap e.a { facet: depth }", "GB228", "depth", "there are:"),
    ("heatmap e.a { x: model, y: depth, pos: 0 }", "GB228", "y: depth", "facet: model"),
    ("histogram e.a { color: depth }", "GB228", "depth", "there are:"),
    ("text e.a", "GB220", "text e.a", "text(...)"),
    ("graph e.a", "GB220", "graph e.a", "graph EXPERIMENT.CIRCUIT"),
]  # fmt: skip


def findings(body, tmp_path):
    path = tmp_path / "x.gbx"
    path.write_text(f"{HEAD}  {body}\n}}\n", encoding="utf-8")
    return read_program(path)[1]


@pytest.mark.parametrize("body", GOOD)
def test_a_figure_that_can_be_drawn(body, tmp_path):
    assert [(d.code, d.headline) for d in findings(body, tmp_path)] == []


@pytest.mark.parametrize(("body", "code", "place", "help_"), BAD)
def test_a_figure_that_cannot(body, code, place, help_, tmp_path):
    [found] = findings(body, tmp_path)
    assert (found.code, found.span.text) == (code, place) and help_ in found.help
    assert found.span.source.place(found.span.start)[0] == 24


def test_nothing_is_said_of_columns_of_data_that_is_broken(tmp_path):
    path = tmp_path / "x.gbx"
    head = HEAD.replace('"school"]', '"school"] q from nowhere').split("report r")[0]
    path.write_text(head + "report r { bar e.one { x: q, color: plaec } }", encoding="utf-8")
    assert [d.code for d in read_program(path)[1] if d.code in ("GB220", "GB228")] == []
