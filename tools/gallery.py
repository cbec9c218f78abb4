"""Writes docs/gallery.md from the experiments in specs/experiments and from what their claims were seen to measure.

    python tools/gallery.py                       the page from docs/gallery.json, no run
    python tools/gallery.py --run [NAME ...]      runs these experiments (or all) first and notes their claims

Results are kept under --results (results/gallery), one file an experiment, so that nothing is computed twice. The
record docs/gallery.json holds, for each experiment, the two sides of each `expect` on each model and data set, and a
fingerprint of the text that was run. A picture is shown where docs/gallery/NAME.png exists.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "specs" / "experiments"
PAGE = ROOT / "docs" / "gallery.md"
RECORD = ROOT / "docs" / "gallery.json"
HEAD = """# Gallery

Published experiments, each in a file of a screen or less that runs on the bundled models. Under each question stands
what the file says of itself, and then what its claims measured in a run: the left side of every `expect`, on each model
and data set. Where a small model does not show what the paper found on a large one, the file says what it shows
instead.

This page is written by `python tools/gallery.py` (`--run` measures again). Run one experiment and see its pages with
`gbx run specs/experiments/NAME.gbx --report pages`.
"""
Claim = dict[str, Any]


def experiments() -> list[Path]:
    """The files of the gallery, by name."""
    return sorted(EXPERIMENTS.glob("*.gbx"))


def whole(path: Path) -> str:
    """The text of a file, with that of the files that it imports."""
    text = path.read_text(encoding="utf-8")
    return text + "".join(
        whole(path.parent / name) for name in re.findall(r'^import "(.*)"$', text, re.MULTILINE)
    )


def fingerprint(path: Path) -> str:
    """What identifies the text that was run; lines that are comments do not count."""
    code = re.sub(r"^\s*#.*\n", "", whole(path), flags=re.MULTILINE)
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def questions(text: str) -> list[tuple[str, str]]:
    """(name, title) of every experiment of a file."""
    return re.findall(r'^experiment (\w+)(?: "(.*?)")?', text, re.MULTILINE)


def comment(text: str) -> str:
    """The comment at the top of a file as one paragraph, papers as links."""
    lines = []
    for line in text.splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    words = " ".join(lines).replace("<", "&lt;")
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", words)


def measured(path: Path, results: Path) -> list[Claim]:
    """Run a file and give both sides of its claims, per model and data set; what is known is not computed again."""
    import duckdb

    from glassbox_dsl.pipeline import run_file
    from glassbox_dsl.plan.progress import Silent

    results.mkdir(parents=True, exist_ok=True)
    db = results / f"{path.stem}.duckdb"
    done = run_file(path, db, None, Silent())
    columns = ("experiment", "text", "model", "data", "holds", "left", "right", "cells")
    names = ", ".join(f'"{c}"' for c in columns)
    with duckdb.connect(str(db), read_only=True) as connection:
        rows = connection.execute(
            f"SELECT {names} FROM expectations WHERE run_id = ? ORDER BY line, model, data", [done.run_id]
        ).fetchall()
    return [dict(zip(columns, row, strict=True)) for row in rows]


def entry(path: Path, record: dict[str, Any]) -> str:
    """One experiment of the page."""
    text = path.read_text(encoding="utf-8")
    asked = [title or name for name, title in questions(text)]
    parts = [f"## {asked[0]}", comment(text), f"[`{path.stem}.gbx`](../specs/experiments/{path.name})"]
    if len(asked) > 1:
        parts[2] += ", which also asks: " + "; ".join(asked[1:])
    if (PAGE.parent / "gallery" / f"{path.stem}.png").exists():
        parts.append(f"![{asked[0]}](gallery/{path.stem}.png)")
    claims = record.get(path.stem, {}).get("claims", [])
    if claims:
        rows = [f"| `{' '.join(c['text'].split())}` | {_where(c)} | {_sides(c)} |" for c in claims]
        parts.append("\n".join(["| claim | where | measured |", "|---|---|---|", *rows]))
    elif path.stem not in record:
        parts.append("Its claims have not been measured yet.")
    return "\n\n".join(parts) + "\n"


def _where(claim: Claim) -> str:
    return ", ".join(str(claim[name]) for name in ("model", "data") if claim[name])


def _sides(claim: Claim) -> str:
    """Both sides of a claim in three digits, and whether it failed."""
    sides = [_short(claim[side]) for side in ("left", "right")]
    shown = sides[0] if sides[0] == sides[1] or _is_number(claim["text"]) else f"{sides[0]} and {sides[1]}"
    several = f" (the nearest of {claim['cells']} cells)" if claim["cells"] > 1 else ""
    return shown + several + ("" if claim["holds"] else " **does not hold**")


def _is_number(text: str) -> bool:
    """Whether the right side of a claim is written as a number."""
    return re.search(r"[<>=!]=?\s*-?[\d.e-]+$", text) is not None


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.3g}"


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(entry(path, record) for path in experiments())])


def load() -> dict[str, Any]:
    """The record of what was measured."""
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def note(path: Path, claims: list[Claim]) -> None:
    """Keep what the claims of one file measured; entries of files that are gone are dropped."""
    known = {p.stem for p in experiments()}
    record = {name: kept for name, kept in load().items() if name in known}
    record[path.stem] = {"text": fingerprint(path), "claims": claims}
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "gallery")
    arguments = parser.parse_args()
    known = {path.stem for path in experiments()}
    for path in experiments() if arguments.run else ():
        if not arguments.names or path.stem in arguments.names:
            print(path.stem, file=sys.stderr, flush=True)
            note(path, measured(path, arguments.results))
    PAGE.write_text(page({name: kept for name, kept in load().items() if name in known}), encoding="utf-8")


if __name__ == "__main__":
    main()
