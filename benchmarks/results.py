"""Tables of what was measured, and the machine and versions that it holds for."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Timed

PACKAGES = ("torch", "transformers", "transformer-lens", "nnsight", "pyvene", "glassbox-dsl")


@dataclass
class Block:
    """One workload on one model. The first of `timed` is Glassbox."""

    model: str
    title: str
    items: int
    cells: int
    layers: int
    tokens: int
    timed: list[Timed] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def table(self) -> str:
        """Markdown."""
        ours = self.timed[0]
        size = f"{self.items} x {self.layers} x {self.cells} cells (items, layers, per layer)"
        lines = [
            f"### {self.title}: {self.model}",
            "",
            f"{size}; {self.tokens} tokens.",
            "",
            "| | median s | fastest s | CPU s | median / Glassbox | fastest / Glassbox | CPU / Glassbox "
            "| layers run | difference |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for t in self.timed:
            figures = [t.median, t.lowest, t.least_cpu]
            figures += [t.median / ours.median, t.lowest / ours.lowest, t.least_cpu / ours.least_cpu]
            row = [t.name, *map(_figure, figures), t.share, f"{t.difference:.0e}"]
            lines.append(f"| {' | '.join(row)} |")
        per_item = f"{_figure(ours.median / self.items)} s"
        told = {"Glassbox per item (median)": per_item, **self.notes}
        lines += ["", *(f"- {key}: {text}" for key, text in told.items())]
        lines += [f"- left out: {name}: {reason}" for name, reason in self.refused.items()]
        return "\n".join([*lines, ""])

    def plain(self) -> dict[str, Any]:
        """The same for JSON, with every repeat."""
        timed = [
            {
                **vars(t),
                "layers": list(t.layers),
                "median": t.median,
                "lowest": t.lowest,
                "least_cpu": t.least_cpu,
            }
            for t in self.timed
        ]
        return {**vars(self), "timed": timed}


def _figure(number: float) -> str:
    """Three significant figures without an exponent."""
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def environment() -> dict[str, str]:
    """Date, machine and versions."""
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads",
        "load": ", ".join(f"{n:.1f}" for n in os.getloadavg()) + " (1, 5, 15 minutes, at the start)",
        "python": platform.python_version(),
        "commit": _commit(),
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def write(folder: Path, before: dict[str, str], blocks: list[Block], path: Path | None = None) -> Path:
    """One Markdown and one JSON file named by the date, or over the ones at `path` that had fewer blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    path = path or folder / f"{datetime.now(UTC):%Y-%m-%d-%H%M}.md"
    after = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    told = {**before, "load at the end": after}
    head = ["# Benchmark results", "", *(f"- {key}: {text}" for key, text in told.items()), ""]
    path.write_text("\n".join([*head, *(b.table() for b in blocks)]), encoding="utf-8")
    data = {"environment": told, "workloads": [b.plain() for b in blocks]}
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path
