"""Several mistakes in one file are all reported, once each, and everything sound around them is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glassbox_dsl.source import Source
from glassbox_dsl.syntax import Parsed, nodes, parse
from glassbox_dsl.syntax.scan import scan

EXAMPLES = {
    path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "examples").glob("*.gbx")
}

BROKEN = """\
gbx 1

model smol  = bundled("smollm2-135m"
modle gemma = bundled("gemma3-270m")

data ioi {
  slots {
    io, s  from names
    place  form ["store", "park"]
    object from ["drink" "ball"]
    verb   from verbs
  }
  prompt clean   = 'When {io}'
  prompt corrupt := "When"
  answer target  = " {io}
  answer other   = " {s}"
  draw 3.5, seed: 0
}

metric LogitDiff(r) = logit(r, target)
metric fine(r) = logit(r, target)

experiment patch "Which" {
  models smol, gemma
  data ioi
  run patched[layer, pos] = forward(corrupt) {
    resid_pre[layer, pos] = clean
    mlp.out[3] += 1
    keep
    attn.z[layer] := 1
  }
  measur recovered = 3
  measure = 3
  measure x = (1 + 2
  measure y = 3 4
  measure z = 5
  prompt clean = "x"
  expect mean(x) = 1
  expect
}

hypothesis h {
  node a = logits
  nod b = embed
  node c -> a
  node d = embed -> a
}

report page {
  heatmap patch.z { x pos }
  line
  bar patch.z { x: pos }
}
"""


def read(text: str) -> Parsed:
    return parse(Source("x.gbx", text))


def places(parsed: Parsed) -> list[tuple[str, int]]:
    """Code and line of each finding."""
    found = []
    for diagnostic in parsed.diagnostics:
        assert diagnostic.span is not None
        found.append((diagnostic.code, diagnostic.span.source.place(diagnostic.span.start)[0]))
    return found


def test_each_broken_statement_has_one_finding() -> None:
    assert places(read(BROKEN)) == [
        ("GB113", 3),
        ("GB116", 4),
        ("GB115", 9),
        ("GB115", 10),
        ("GB108", 13),
        ("GB117", 14),
        ("GB110", 15),
        ("GB115", 17),
        ("GB109", 20),
        ("GB117", 27),
        ("GB115", 29),
        ("GB116", 32),
        ("GB115", 33),
        ("GB113", 34),
        ("GB115", 35),
        ("GB116", 37),
        ("GB117", 38),
        ("GB115", 39),
        ("GB116", 44),
        ("GB115", 45),
        ("GB115", 50),
        ("GB115", 51),
    ]


def test_sound_statements_are_read_around_broken_ones() -> None:
    file = read(BROKEN).file
    assert file is not None
    data, metric, experiment, hypothesis, report = file.declarations
    assert isinstance(data, nodes.Data) and isinstance(metric, nodes.Metric)
    assert isinstance(experiment, nodes.Experiment) and isinstance(hypothesis, nodes.Hypothesis)
    assert isinstance(report, nodes.Report)
    slots, answer = data.items
    assert isinstance(slots, nodes.Slots) and isinstance(answer, nodes.Answer)
    assert [line.names for line in slots.lines] == [("io", "s"), ("verb",)]
    assert (answer.name, metric.name, experiment.title) == ("other", "fine", "Which")
    models, used, run, measure = experiment.items
    assert isinstance(models, nodes.UseModels) and isinstance(used, nodes.UseData)
    assert isinstance(run, nodes.Run) and isinstance(measure, nodes.Measure)
    assert [edit.target.path for edit in run.edits if isinstance(edit, nodes.Write)] == [
        ("mlp", "out"),
        ("attn", "z"),
    ]
    assert measure.name == "z"
    assert [node.name for node in hypothesis.nodes] == ["a", "d"]
    assert [item.kind for item in report.items] == ["bar"]


def test_places_inside_recovered_pieces_are_those_of_the_file() -> None:
    parsed = read(BROKEN)
    assert parsed.file is not None
    data, metric, experiment, *_ = parsed.file.declarations
    assert metric.span.text == "metric fine(r) = logit(r, target)"
    assert data.span.text.startswith("data ioi {") and data.span.text.endswith("seed: 0\n}")
    run, measure = experiment.items[2:]  # type: ignore[attr-defined]
    assert run.span.text.startswith("run patched") and run.span.text.endswith(":= 1\n  }")
    assert run.edits[1].target.indices[0].span.text == "layer"
    assert measure.value.span.text == "5"
    assert parsed.file.span.text == BROKEN.strip()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_sound_is_read_as_in_a_sound_file(name: str) -> None:
    """With one broken declaration at the end, everything else is read piece by piece, to the same tree."""
    whole = read(EXAMPLES[name])
    pieces = read(EXAMPLES[name] + "\nlet broken = = 1\n")
    assert [d.code for d in pieces.diagnostics] == ["GB115"]
    assert whole.file is not None and pieces.file is not None
    assert pieces.file.declarations == whole.file.declarations
    assert [d.span.start for d in pieces.file.declarations] == [d.span.start for d in whole.file.declarations]


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_broken_statement_takes_no_other_with_it(name: str) -> None:
    """A mistake in any one line leaves the finding on that line, or where the statement that it breaks stands."""
    lines = EXAMPLES[name].splitlines()
    whole = read(EXAMPLES[name]).file
    assert whole is not None
    tried = 0
    for number, line in enumerate(lines, start=1):
        if line.strip().startswith(
            ("measure", "let", "metric", "prompt", "expect", "record", "feature", "answer")
        ):
            spoilt = [*lines[: number - 1], f"{line.split('#')[0]} + * 3", *lines[number:]]
            parsed = read("\n".join(spoilt))
            if '"""' in line or '"\\' in line:
                continue
            tried += 1
            assert places(parsed) == [("GB115", number)], line
            assert parsed.file is not None
            assert len(statements(parsed.file)) == len(statements(whole)) - 1, line
    assert tried > 0 or name == "scrubbing"


def statements(node: nodes.Node) -> list[nodes.Node]:
    found: list[nodes.Node] = [node] if isinstance(node, nodes.Statement) else []
    return [*found, *(deeper for child in nodes.children(node) for deeper in statements(child))]


@pytest.mark.parametrize(
    ("text", "expected", "read_names"),
    [
        # an unclosed bracket ends at the next statement
        ("let a = f(1\nlet b = 2", [("GB113", 2)], ["b"]),
        ("let a = {x: [1\nlet b = 2", [("GB113", 2)], ["b"]),
        # an unclosed block keeps its statements and ends at the next declaration
        ("experiment e {\n  measure m = 1\n\nlet b = 2", [("GB113", 2)], ["e", "b"]),
        ("data d {\n  slots {\n    a from b\n  prompt p = c\n}\nlet b = 2", [("GB113", 3)], ["d", "b"]),
        ("experiment e {\n  run r = f(c) {\n    a := b\n  measure m = 1\n}", [("GB113", 3)], ["e"]),
        ("experiment e {\n  run r = f(c) {\n    a := b\n", [("GB113", 2), ("GB113", 3)], ["e"]),
        # a closing bracket too many
        ("experiment e {\n}\n}\nlet b = 2", [("GB114", 4)], ["e", "b"]),
        ("let a = f(1))\nlet b = 2", [("GB114", 2)], ["b"]),
        # the wrong closing bracket on the same line does not end the block around it
        ("experiment e {\n  measure m = f(1}\n  measure n = 2\n}\nlet b = 1", [("GB114", 3)], ["e", "b"]),
        # a block without its brace, or without its name
        ("experiment e\nlet b = 2", [("GB115", 2)], ["b"]),
        ("experiment {\n  measure m = = 1\n}\nlet b = 2", [("GB115", 2), ("GB115", 3)], ["b"]),
        # something behind a block
        ("experiment e { } 3\nlet b = 2", [("GB116", 2)], ["e", "b"]),
        # a string that swallows the rest of its line
        ('let a = "x\nlet b = 2', [("GB110", 2)], ["b"]),
        ('experiment e {\n  measure m = f("x)\n}\nlet b = ["x, y]', [("GB110", 3), ("GB110", 5)], ["e"]),
        ('data d {\n  prompt p = "x\n  draw 3\n}', [("GB110", 3)], ["d"]),
        # two mistakes in one statement are one finding, the first
        ("let a = 'x' + 'y' + (\nlet b = 2", [("GB108", 2)], ["b"]),
    ],
)
def test_where_a_broken_piece_ends(text: str, expected: list[tuple[str, int]], read_names: list[str]) -> None:
    parsed = read(f"gbx 1\n{text}\n")
    assert places(parsed) == expected
    assert parsed.file is not None
    declarations: Any = parsed.file.declarations
    assert [declaration.name for declaration in declarations] == read_names


def test_a_file_of_mistakes_shows_the_first_hundred() -> None:
    parsed = read("gbx 1\n" + "let x = =\n" * 5000)
    assert len(parsed.diagnostics) == 100
    assert parsed.diagnostics[-1].notes == ("only the first 100 problems of the file are shown",)
    assert parsed.diagnostics[0].notes == ()


def test_findings_come_in_the_order_of_the_file() -> None:
    starts = [d.span.start for d in read(BROKEN).diagnostics if d.span is not None]
    assert starts == sorted(starts) and len(starts) == 22


def test_the_scan_knows_no_keywords_and_refuses_nothing() -> None:
    kinds = [lexeme.kind for lexeme in scan(Source("x.gbx", 'data 3 "a" := @ Foo 50% "')).lexemes]
    assert kinds == ["name", "number", "string", "mark", "bad", "bad", "number", "bad"]
