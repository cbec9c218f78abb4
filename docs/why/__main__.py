"""Measure the habits, and the same right in `.gbx`: `python -m docs.why [--write]` (into why.md).

Takes some minutes on two cores; the two bundled models are fetched on first use (`gbx models`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from docs.why import habits

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "why.md"
EXPERIMENT = ROOT / "specs" / "experiments" / "habits.gbx"
MODELS = {"smol": "smollm2-135m", "gemma": "gemma3-270m"}
TITLES = {"smol": "SmolLM2-135M", "gemma": "Gemma 3 270M"}
TABLES = ("norm_again", "values_per_head", "folded", "raw_contributions")
Row = tuple[str, dict[str, float]]


def measure() -> dict[str, list[Row]]:
    """For each habit the rows of its table: a title and a number per model."""
    with tempfile.TemporaryDirectory() as folder:
        db = str(Path(folder) / "habits.duckdb")
        gbx("run", str(EXPERIMENT), "--db", db, "--quiet")
        items = ask(db, "SELECT model, clean, corrupt, target, distractor FROM data.ioi ORDER BY model, item")
        right = _right(db)
    found: dict[str, list[Row]] = {}
    for model, id in MODELS.items():
        rows = [tuple(row[1:]) for row in items if row[0] == model]
        subject = habits.load(gbx("models", "fetch", id).strip(), rows)
        numbers = {name: getattr(habits, name)(subject) for name in TABLES}
        _agree(habits.group_effects(subject), right[model].pop("groups"))
        for name in TABLES:
            table = {**numbers[name], **right[model][name]}
            found.setdefault(name, [(title, {}) for title in table])
            for title, per_model in found[name]:
                per_model[model] = table[title]
    return found


def _right(db: str) -> dict[str, dict[str, Any]]:
    """What the `.gbx` file gives for each table."""
    found: dict[str, dict[str, Any]] = {model: {name: {} for name in TABLES} for model in MODELS}
    for table, title, view in (
        ("norm_again", "in `.gbx`: `unembed(clean.resid_post[-1, last])`", "last_state.lens"),
        ("folded", "in `.gbx`: `logit_diff(clean)`", "untouched.difference"),
        ("raw_contributions", "in `.gbx`: the sum over `attn.out` and `mlp.out`", "shares.summed"),
    ):
        for model, value in ask(db, f"SELECT model, avg(value) FROM {view} GROUP BY model"):
            found[model][table][title] = value
    effects: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    for model, layer, group, value in ask(
        db, "SELECT model, layer, kv_head, avg(value) FROM values.effect GROUP BY model, layer, kv_head"
    ):
        effects[model][layer, group] = value
    for model, by_group in effects.items():
        title = "in `.gbx`: largest effect of a `kv_head`"
        found[model]["values_per_head"][title] = max(map(abs, by_group.values()))
        found[model]["groups"] = by_group
    return found


def _agree(plain: dict[tuple[int, int], float], gbx: dict[tuple[int, int], float]) -> None:
    """The effect of every group in `.gbx` is the one that plain hooks give."""
    assert plain.keys() == gbx.keys(), (plain, gbx)
    worst = max(abs(plain[key] - gbx[key]) for key in plain)
    assert worst < 1e-4, f"a group's effect differs by {worst}"


def gbx(*arguments: str) -> str:
    """What a `gbx` command prints."""
    command = [sys.executable, "-m", "glassbox_dsl", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def ask(db: str, sql: str) -> list[list[Any]]:
    """The rows of a query."""
    rows: list[list[Any]] = json.loads(gbx("query", db, sql, "--format", "json"))["rows"]
    return rows


def tables(found: dict[str, list[Row]]) -> dict[str, str]:
    """Each table as Markdown."""
    head = f"| | {' | '.join(TITLES.values())} |\n|---|{'---:|' * len(MODELS)}\n"
    return {
        name: head
        + "".join(f"| {title} | {' | '.join(shown(n[m]) for m in MODELS)} |\n" for title, n in rows)
        for name, rows in found.items()
    }


def shown(number: float) -> str:
    """A number with three digits; noise of float32 as 0."""
    return "0" if abs(number) < 1e-4 else f"{number:.3g}"


def written(page: str, found: dict[str, str]) -> str:
    """The page with each table between its marks."""
    for name, table in found.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = page.partition(begin)
        page = before + begin + table + end + rest.partition(end)[2]
    return page


if __name__ == "__main__":
    made = tables(measure())
    for name, table in made.items():
        print(f"{name}\n{table}")
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
