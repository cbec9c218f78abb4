"""Whatever is done to a file, `check` ends soon with findings that lie inside it, and never with an exception."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassbox_dsl.diagnostics import render
from glassbox_dsl.pipeline import check_file
from glassbox_dsl.resources import shipped
from tests.bad_input.conftest import HEAD

EXAMPLES = int(os.environ.get("GBX_FUZZ", "150"))  # more by hand
SLOWEST_SECONDS = 20.0
PIECE = re.compile(r'"[^"\n]*"|\d+(?:\.\d+)?%?|[a-z_]\w*|\.\.|:=|[-+*=!<>]=|->|\s+|#[^\n]*|.', re.DOTALL)
FORMS = (
    HEAD
    + """model g = tiny("gpt2", layers: 3)
let movers = {(0, 1), (1, 0)}
data k { rows [{w: "Mary", n: 1}, {w: "Anna", n: 2}] prompt clean = "So {w}"  answer target = " {w}"  keep where n > 0 }
experiment e "Everything" {
  models m, g
  run p[layer, pos] = forward(clean) { resid_pre[layer, pos] := corrupt }
  run q[alpha in [-4, 0, 4], site in {attn.out, mlp.out}] = forward(d.clean, model: m) {
    site[50%, last] += alpha * mean(corrupt.resid_pre[1, s2], within: place)
    attn.z[not {(0, 1)}] := 0
    attn.scores[layer, head, query, query - 1] := -inf
  }
  run z[(layer, head) in movers] = forward(clean) { attn.z[layer, head] *= noise(seed: 3) }
  let steer[l: layer in {0, -1}] = unit(mean(clean.resid_post[l, last] - corrupt.resid_post[l, last]))
  measure a[layer, pos] = (ld(p) - ld(corrupt)) / (ld(clean) - ld(corrupt))
  measure b = max(abs(ld(q[4])), over: {site}) - ld(z[0, 1])
  measure c[layer] = rank(unembed(clean.resid_post[layer, last], norm: frozen), [" a", " the"])
  measure f[kind in {previous, induction}] = mean(head_score(clean, kind: kind), over: {layer, head})
  record seen = clean.attn.pattern[0]
  expect mean(ld(clean), over: {item})[model: m] > correlation(ld(clean), ld(corrupt))
}
report r "Page" { markdown "# Hi" heatmap e.a { x: pos, y: layer, facet: model, over: {item} }  line e.c { model: m } }
"""
)


def whole(path: Path) -> str:
    """The text of a file with that of the files it imports in their place."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'^import "(.*)"$', text, re.MULTILINE):
        _, _, imported = whole(path.parent / name).partition("\n")
        text = text.replace(f'import "{name}"', imported)
    return text


FILES = [FORMS, *(whole(p) for p in sorted(shipped("specs").glob("experiments/*.gbx")))]
FILES = [re.sub(r'bundled\("[\w.-]+"\)', 'tiny("llama", layers: 30)', text) for text in FILES]
FILES = [re.sub(r"draw \d+", "draw 4", text) for text in FILES]
FILES = [re.sub(r'"\.\./data/(\w+\.txt)"', r'"\1"', text) for text in FILES]
PIECES = [PIECE.findall(text) for text in FILES]
WORDS = sorted(
    {piece for pieces in PIECES for piece in pieces if piece.strip() and not piece.startswith("#")}
)
WORDS += [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "-1",
    "99",
    "0.5",
    "1e9",
    "nan",
    "inf",
    "self",
    "item",
    "dim",
    "vocab",
    "key",
    "é",
    '"',
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A sound file with one to four of its pieces taken out, doubled, swapped or put in the place of others."""
    pieces = list(draw(st.sampled_from(PIECES)))
    places = [i for i, piece in enumerate(pieces) if piece.strip()]
    for _ in range(draw(st.integers(1, 4))):
        at, other = draw(st.sampled_from(places)), draw(st.sampled_from(places))
        how = draw(st.sampled_from(["word", "word", "same kind", "out", "twice", "swap", "text"]))
        if how == "word":
            pieces[at] = draw(st.sampled_from(WORDS))
        elif how == "same kind":
            alike = [w for w in WORDS if w[0].isalpha() == pieces[at][:1].isalpha()]
            pieces[at] = draw(st.sampled_from(alike))
        elif how == "out":
            pieces[at] = ""
        elif how == "twice":
            pieces[at] = f"{pieces[at]} {pieces[at]}"
        elif how == "swap":
            pieces[at], pieces[other] = pieces[other], pieces[at]
        else:
            pieces[at] = draw(st.text(max_size=4))
    return "".join(pieces)


def survives(text: str, folder: Path) -> None:
    """Check a text as a file, and what is said about it."""
    path = folder / "any.gbx"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    before = time.process_time()
    found = check_file(path)
    assert time.process_time() - before < SLOWEST_SECONDS
    for finding in found:
        assert re.fullmatch(r"GB[1236]\d\d|GBW7\d\d", finding.code) and finding.headline
        assert render(finding)
        if finding.span is not None:
            source = finding.span.source
            assert 0 <= finding.span.start <= finding.span.end <= len(source.text)
            line, column = source.place(finding.span.start)
            assert 1 <= line <= source.text.count("\n") + 1 and column >= 1
    assert list(dict.fromkeys(found)) == list(found)


@settings(
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=mutated())
def test_a_file_that_was_tampered_with(text: str, tmp_path: Path) -> None:
    survives(text, tmp_path)


@pytest.mark.parametrize("number", range(len(FILES)))
def test_the_files_themselves_are_sound(number: int, tmp_path: Path) -> None:
    path = tmp_path / "any.gbx"
    path.write_text(FILES[number], encoding="utf-8")
    for text in shipped("specs").glob("data/*.txt"):
        (tmp_path / text.name).write_bytes(text.read_bytes())
    assert [render(d) for d in check_file(path) if d.severity == "error"] == []
