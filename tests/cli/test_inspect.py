"""`gbx inspect` and `gbx gap`: text, JSON and the page, without torch."""

import json
import re
import subprocess
import sys

import pytest

from glassbox_dsl.cli.app import answer


def test_the_text_says_what_the_model_is(capsys):
    assert answer(["inspect", "smollm2-135m"]) == 0
    out = capsys.readouterr().out
    assert "parameters: 134,515,008" in out and "513.1 MiB in float32" in out
    assert re.search(r"^attention +sharing +grouped-query +3 heads read the same", out, re.M)
    assert re.search(r"^attn\.k +layer 30, kv_head 3, pos; dim 64 +read and write", out, re.M)
    assert re.search(r"^pos_embed +positions are rotary", out.split("absent:")[1], re.M)


def test_the_json_has_everything(capsys):
    assert answer(["inspect", "gemma3-270m", "--json"]) == 0
    (model,) = json.loads(capsys.readouterr().out)["models"]
    features = {f["name"]: f["value"] for f in model["features"]}
    assert features["norm_place"] == "sandwich" and features["sinks"] is False
    assert model["parameters"]["all"] == 268098176 and model["bytes"]["bfloat16"] == 536196352
    assert model["special_tokens"][0]["ids"] == [2]
    assert [s["absent"] is None for s in model["sites"] if s["name"] in ("pos_embed", "mlp.up")] == [
        False,
        True,
    ]


def test_the_gap_marks_differences_and_says_what_breaks(capsys):
    assert answer(["gap", "smollm2-135m", "gemma3-270m"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^≠ +norms +place +pre +sandwich$", out, re.M)
    assert re.search(r"^ +norms +kind +rms +rms$", out, re.M)
    assert "a norm stands between a sub-block and the stream (gemma3-270m)" in out
    assert "RMSNorm subtracts no mean\n" in out


def test_the_gap_as_json(capsys):
    assert answer(["gap", "tiny:llama", "tiny:gpt2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == ["tiny:llama", "tiny:gpt2"]
    assert {
        "name": "norm_kind",
        "group": "norms",
        "title": "kind",
        "values": ["rms", "ln"],
        "differs": True,
    } in found["features"]
    assert [b["models"] for b in found["breaks"] if b["name"] == "rms_norm"] == [["tiny:llama"]]


def test_the_page_stands_alone(tmp_path, capsys):
    page = tmp_path / "gap.html"
    assert answer(["gap", "smollm2-135m", "gemma3-270m", "--report", str(page)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(str(page))
    html = page.read_text(encoding="utf-8")
    assert "Content-Security-Policy" in html and not re.search(r"(?:src|href)=\"(?:https?:)?//", html)
    for said in (
        "sandwich",
        "RMSNorm subtracts no mean",
        "measure lens[layer]",
        "134,515,008",
        "gbx gap smollm2-135m",
    ):
        assert said in html, said


def test_a_page_that_cannot_be_written_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert answer(["gap", "tiny:llama", "--report", str(tmp_path / "file" / "x.html")]) == 1
    assert "GB657" in capsys.readouterr().err


def test_every_model_that_is_wrong_is_named(capsys):
    assert answer(["gap", "nothing", "tiny:nothing", "tiny:llama"]) == 1
    err = capsys.readouterr().err
    assert "GB330" in err and "GB321" in err


@pytest.mark.parametrize("arguments", [["inspect", "tiny:llama"], ["gap", "tiny:llama", "tiny:gpt2"]])
def test_no_torch(arguments):
    program = (
        f"import sys; from glassbox_dsl.cli.app import answer; code = answer({arguments});"
        "print({'torch', 'transformers'} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.strip() == "set()"
