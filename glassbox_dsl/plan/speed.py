"""How fast this machine is: FLOP/s seen in the last runs, by device and dtype, in a small file in the user's cache."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from glassbox_dsl.resolve.bundled import cache_folder
from glassbox_dsl.vocabulary.models import ModelSource

FILE = "speed.json"
ASSUMED = {"cpu": 1.5e10, "cuda": 2e13}
"""FLOP/s taken before a first run: for each processor core, and for a GPU."""
LEAST_SECONDS, LEAST_FLOPS = 0.5, 10**11
"""A run that climbs for less, or a tiny model, says nothing about the speed of large ones."""
MOST_SEEN = 5
"""Of so many last runs the median counts: one of them may have shared the machine, or been of a tiny model."""
FORMAT = 2
GPU = "/dev/nvidia0"


@dataclass(frozen=True)
class Speed:
    """FLOP/s, and where the number is from."""

    flops_per_second: float
    measured: bool
    device: str
    dtype: str

    @property
    def shown(self) -> str:
        """What a person reads."""
        source = "seen in earlier runs here" if self.measured else "assumed: nothing has run here yet"
        return f"{self.flops_per_second / 1e9:,.1f} GFLOP/s on {self.device} in {self.dtype}, {source}"


def device_of(source: ModelSource) -> str:
    """The kind of device that a model will be put on, as far as it can be told without torch."""
    if source.device in ("auto", "spread"):
        return "cuda" if Path(GPU).exists() else "cpu"
    return source.device.split(":")[0]


def speed_of(device: str, dtype: str) -> Speed:
    """The speed to reckon with."""
    seen = _read().get(f"{device} {dtype}")
    if seen:
        return Speed(median(seen), True, device, dtype)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Speed(
        ASSUMED.get(device, ASSUMED["cuda"]) * (cores if device == "cpu" else 1), False, device, dtype
    )


def note_speed(device: str, dtype: str, flops: int, seconds: float) -> None:
    """Remember the speed of a run's climbs; a cache that cannot be written is no failure."""
    if seconds < LEAST_SECONDS or flops < LEAST_FLOPS:
        return
    before, which = _read(), f"{device} {dtype}"
    rates = [*before.get(which, ()), flops / seconds][-MOST_SEEN:]
    content = {"format": FORMAT, "flops_per_second": {**before, which: rates}}
    path = cache_folder() / FILE
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(content, indent=1), encoding="utf-8")
        beside.replace(path)


def _read() -> dict[str, list[float]]:
    """What the file says; nothing where it is missing, broken or of another format."""
    try:
        content = json.loads((cache_folder() / FILE).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return {}
        seen = content["flops_per_second"]
        return {str(key): [r for r in map(float, rates) if r > 0] for key, rates in seen.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
