"""Run the worked experiments and photograph their pages: `python tools/pictures.py [NAME ...]`, or `make pictures`.

Results and pages go to results/gallery/ (what was computed before is not computed again), pictures of the head of each
page to docs/gallery/NAME.png. It needs the bundled models and Chromium.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.report.browser import CHROMIUM, Browser  # noqa: E402

RESULTS = ROOT / "results" / "gallery"
PICTURES = ROOT / "docs" / "gallery"
WIDTH, HEIGHT, SCALE = 1280, 1500, 0.6
"""What is seen of a page, in its pixels, and how much smaller its picture is."""


def main(names: list[str]) -> int:
    """Make the pictures of some experiments, of all without names; the exit code of the last run that failed."""
    if CHROMIUM is None:
        print("there is no Chromium on this machine", file=sys.stderr)
        return 2
    files = sorted((ROOT / "specs" / "experiments").glob("*.gbx"))
    failed = 0
    with Browser() as browser:
        for file in (f for f in files if not names or f.stem in names):
            print(file.stem, file=sys.stderr, flush=True)
            code, pages = run(file)
            failed = code or failed
            if pages:
                picture(browser, pages[0], PICTURES / f"{file.stem}.png")
    total = sum(path.stat().st_size for path in PICTURES.glob("*.png"))
    print(f"{PICTURES.relative_to(ROOT)}: {total:,} bytes", file=sys.stderr)
    return failed


def run(file: Path) -> tuple[int, list[Path]]:
    """Run an experiment; its exit code, and its pages as they stand in the file."""
    db, out = RESULTS / f"{file.stem}.duckdb", RESULTS / file.stem
    RESULTS.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "glassbox_dsl",
        "run",
        str(file),
        "--db",
        str(db),
        "--report",
        str(out),
        "--quiet",
    ]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    found = [
        line.removeprefix("report:").strip()
        for line in done.stdout.splitlines()
        if line.startswith("report:")
    ]
    return done.returncode, [Path(line) for line in found]


def picture(browser: Browser, page: Path, to: Path) -> None:
    """Photograph the head of a page, light, and no longer than it is."""
    browser.open(page, width=WIDTH)
    height = min(HEIGHT, browser.run("document.documentElement.scrollHeight"))
    to.parent.mkdir(parents=True, exist_ok=True)
    browser.picture(to, clip=(0, 0, WIDTH, height), scale=SCALE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
