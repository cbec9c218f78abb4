"""Run the worked experiments and photograph their pages: `python tools/pictures.py [--kept] [NAME ...]`.

`make pictures` does it for all. Results and pages go to results/gallery/ (what was computed before is not computed
again; with --kept nothing is), pictures of the head of each page to docs/gallery/NAME.png. It needs the bundled models
and Chromium.
"""

from __future__ import annotations

import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from glassbox_dsl.report.png import png  # noqa: E402
from tests.report.browser import CHROMIUM, Browser  # noqa: E402

RESULTS = ROOT / "results" / "gallery"
PICTURES = ROOT / "docs" / "gallery"
WIDTH, HEIGHT, SCALE = 960, 1200, 0.75
"""What is seen of a page, in its pixels, and how much smaller its picture is."""


def main(words: list[str]) -> int:
    """Make the pictures of some experiments, of all without names; the exit code of the last run that failed."""
    if CHROMIUM is None:
        print("there is no Chromium on this machine", file=sys.stderr)
        return 2
    kept, names = "--kept" in words, [word for word in words if word != "--kept"]
    files = sorted((ROOT / "specs" / "experiments").glob("*.gbx"))
    failed = 0
    for file in (f for f in files if not names or f.stem in names):
        print(file.stem, file=sys.stderr, flush=True)
        code, pages = made(file, kept)
        failed = code or failed
        if pages:
            picture(pages[0], PICTURES / f"{file.stem}.png")
    total = sum(path.stat().st_size for path in PICTURES.glob("*.png"))
    print(f"{PICTURES.relative_to(ROOT)}: {total:,} bytes", file=sys.stderr)
    return failed


def made(file: Path, kept: bool) -> tuple[int, list[Path]]:
    """Run an experiment, or take its kept results: the exit code, and the pages as they stand in the file."""
    name, stem = str(file.relative_to(ROOT)), RESULTS.relative_to(ROOT) / file.stem
    db = f"{stem}.duckdb"
    if kept and not (ROOT / db).exists():
        return 0, []
    RESULTS.mkdir(parents=True, exist_ok=True)
    run = ["run", name, "--db", db, "--report", str(stem), "--quiet"]
    command = [sys.executable, "-m", "glassbox_dsl", *(["report", db, "-o", str(stem)] if kept else run)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    words = (line.removeprefix("report:").strip() for line in done.stdout.splitlines())
    return done.returncode, [ROOT / word for word in words if word.endswith(".html")]


def picture(page: Path, to: Path) -> None:
    """Photograph the head of a page, light, and no further than to where it says what it comes from."""
    with Browser() as browser:
        browser.open(page, width=WIDTH)
        height = min(
            HEIGHT, browser.run("document.querySelector('footer').getBoundingClientRect().top + scrollY")
        )
        to.parent.mkdir(parents=True, exist_ok=True)
        browser.picture(to, clip=(0, 0, WIDTH, height), scale=SCALE)
        to.write_bytes(few_colours(pixels(browser, to.read_bytes())))


DECODED = """(async () => {
  const image = new Image();
  image.src = "data:image/png;base64,%s";
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const bytes = context.getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return [image.width, image.height, btoa(text)];
})()"""


def pixels(browser: Browser, picture: bytes) -> NDArray[np.uint8]:
    """A PNG as [height, width, 3], decoded by the browser."""
    width, height, text = browser.run(DECODED % b64encode(picture).decode())
    return np.frombuffer(b64decode(text), np.uint8).reshape(height, width, 4)[..., :3]


def few_colours(image: NDArray[np.uint8]) -> bytes:
    """A PNG of the 255 most frequent colours, which a page of text and steps of two scales hardly exceeds."""
    packed = (image & 0xF8).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    colours, place, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    kept = np.argsort(-counts)[:255]
    nearest = np.abs(rgb[:, None] - rgb[kept][None]).sum(-1).argmin(1)
    shown = np.minimum(rgb[kept] * 255 // 0xF8, 255)  # white stays white
    palette = np.concatenate([np.full((256 - len(kept), 3), 255), shown]).astype(np.uint8)
    return png((nearest + 256 - len(kept))[place].reshape(packed.shape).astype(np.uint8), palette)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
