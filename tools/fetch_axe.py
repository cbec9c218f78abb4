"""Fetch axe-core for the accessibility test: `python tools/fetch_axe.py`. It needs npm and the network, once.

The package (MPL-2.0, axe-core's own) goes to the user's cache and is never part of this repository or of a page; the
test that uses it is skipped where it is not there. `GBX_AXE=FILE` names another copy.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.report.axe import SCRIPT, VERSION  # noqa: E402


def main() -> int:
    """Fetch the script and its licence; 0 when they are there."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"axe-core@{VERSION}", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=300)
        except (OSError, subprocess.SubprocessError) as problem:
            print(f"axe-core {VERSION} cannot be fetched: {problem}", file=sys.stderr)
            return 1
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as package:
            SCRIPT.parent.mkdir(parents=True, exist_ok=True)
            for name in ("axe.min.js", "LICENSE"):
                content = package.extractfile(f"package/{name}")
                assert content is not None, f"axe-core has no {name}"
                SCRIPT.with_name(name).write_bytes(content.read())
    print(SCRIPT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
