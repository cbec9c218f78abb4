"""How much memory a side needs beside its loaded model: `python -m benchmarks.memory glassbox|hooks MODEL`, alone.

Linux only: the peak of the process is reset once the model is loaded and warm.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.glassbox_side import Glassbox
from benchmarks.peers.hooks import Hooks

MB = 1024


def status(key: str) -> int:
    """A figure of /proc/self/status in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise KeyError(key)


def peak_of(side: str, model: str) -> dict[str, float]:
    """In a fresh process: MB with the model loaded and warm, and the most that workload `resid` adds to it."""
    command = [sys.executable, "-m", "benchmarks.memory", side, model]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def measured(side: str, model: str) -> dict[str, float]:
    """The same, in this process."""
    glassbox = Glassbox("resid", f'bundled("{model}")')
    task = glassbox.task
    if side == "hooks":
        hooks = Hooks(glassbox.files["m"].weights)
        glassbox.instrument.model.to("meta")
        hooks.model(task.base)
    else:
        glassbox.instrument.model(task.base)
    Path("/proc/self/clear_refs").write_text("5")
    loaded = status("VmRSS")
    if side == "hooks":
        hooks.run(task, range(task.n_layers))
    else:
        glassbox.results()
    return {"loaded": loaded / MB, "added": (status("VmHWM") - loaded) / MB}


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:])))
