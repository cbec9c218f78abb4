"""`gbx check` answers at once: it is what an editor runs at every pause in typing."""

import subprocess
import sys

import pytest

from glassbox_dsl.resources import shipped

LIMIT_SECONDS = 0.5


@pytest.fixture
def long_file(tmp_path):
    """A correct file of 200 lines: the worked IOI data set and fourteen experiments on it."""
    lines = HEAD.splitlines()
    number = 0
    while len(lines) + EXPERIMENT.count("\n") <= 200:
        lines += EXPERIMENT.replace("NUMBER", str(number)).splitlines()
        number += 1
    lines += ["# the end"] * (200 - len(lines))
    path = tmp_path / "long.gbx"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert number >= 10 and len(path.read_text().splitlines()) == 200
    return path


def test_the_long_file_is_correct(long_file):
    from glassbox_dsl.pipeline import check_file

    assert [(d.code, d.headline) for d in check_file(long_file) if d.severity == "error"] == []


def test_check_answers_in_half_a_second_cold(long_file, cold_seconds):
    assert cold_seconds(["-m", "glassbox_dsl", "check", str(long_file)]) < LIMIT_SECONDS


@pytest.mark.parametrize("name", ["ioi_patching.gbx"])
def test_check_imports_no_torch(name, long_file):
    program = (
        "import sys\nfrom glassbox_dsl.cli.app import answer\n"
        "code = answer(['check', *sys.argv[1:]])\n"
        "heavy = ('torch', 'transformers', 'safetensors', 'pydantic', 'regex', 'interegular')\n"
        "print(code, [m for m in heavy if m in sys.modules])"
    )
    worked = shipped("specs") / "experiments" / name
    done = subprocess.run(
        [sys.executable, "-c", program, str(long_file), str(worked)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_checking_a_file_imports_no_pydantic(long_file):
    program = (
        "import sys\nfrom pathlib import Path\nfrom glassbox_dsl.pipeline import check_file\n"
        "found = [d for d in check_file(Path(sys.argv[1])) if d.severity == 'error']\n"
        "print(found, [m for m in ('pydantic', 'pydantic_core', 'importlib.metadata') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(long_file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] []", done.stderr


HEAD = """gbx 1

model smol  = bundled("smollm2-135m")
model gemma = bundled("gemma3-270m")

data ioi {
  slots {
    io, s  from names
    place  from ["store", "park", "school"]
    object from ["drink", "ball", "book"]
  }
  prompt clean      = "When {io} and {s} went to the {place}, {s2: s} gave a {object} to"
  prompt corrupt    = "When {io} and {s} went to the {place}, {s2: io} gave a {object} to"
  answer target     = " {io}"
  answer distractor = " {s}"
  draw 32, seed: 0
}

metric logit_diff(r) = logit(r, target) - logit(r, distractor)
"""

EXPERIMENT = """
experiment patch_NUMBER "Which residual states carry the indirect object?" {
  models smol, gemma
  data ioi
  run clean   = forward(clean)
  run corrupt = forward(corrupt)
  run patched[layer, pos] = forward(corrupt) {
    resid_pre[layer, pos] := clean
  }
  run heads[layer, head] = forward(corrupt) { attn.z[layer, head, last] := clean }
  measure recovered = (logit_diff(patched) - logit_diff(corrupt)) / (logit_diff(clean) - logit_diff(corrupt))
  measure by_head = logit_diff(heads) - logit_diff(corrupt)
  expect mean(logit_diff(clean)) > 1
}
"""
