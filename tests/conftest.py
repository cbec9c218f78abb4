"""What every test shares: few threads, no network, no colours, and a stopwatch for cold starts."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

# Set before torch or transformers is imported anywhere; subprocesses inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["NO_COLOR"] = "1"
os.environ.pop("GBX_TRACEBACK", None)

# Imports that mix Python and a large compiled module, as a start of `gbx` does, whatever `gbx` itself imports.
BASELINE = ["-c", "from pydantic import TypeAdapter; import http.client, xml.dom.minidom"]
BASELINE_SECONDS = 0.11  # what the baseline takes on the machine that the time limits were set on, idle


def cpu_seconds(arguments: Sequence[str]) -> float:
    """User and system time of a fresh Python with these arguments, whose modules are compiled already."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.fixture
def cold_seconds() -> Callable[[Sequence[str]], float]:
    """Measures a cold start in processor time, brought to the pace of the machine that the limits are for.

    A slower or busier machine makes the baseline slower too: a limit fails only when the program grew.
    """

    def measure(arguments: Sequence[str]) -> float:
        # Taken in turns, and the least of each: what other work on the machine adds comes and goes.
        rounds = [(cpu_seconds(BASELINE), cpu_seconds(arguments)) for _ in range(7)]
        baseline, spent = (min(taken) for taken in zip(*rounds, strict=True))
        return spent / max(1.0, baseline / BASELINE_SECONDS)

    return measure
