"""The page over all runs of a results file: what each was about, how it ended, and its pages to open.

One static file: its script only hides the rows that do not hold what is typed. Without a script all rows show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from markupsafe import Markup

from glassbox_dsl.report.pages import write, write_pages
from glassbox_dsl.report.render import asset, environment, policy
from glassbox_dsl.store.reader import Reader, RunInfo, open_reader

SCRIPT = ("index.js",)
STYLE = ("style.css", "index.css")


@dataclass(frozen=True)
class Entry:
    """One run in the list. `pages`: (name, address relative to the index). `alarms`: what went wrong, in words."""

    run_id: str
    file: str
    path: str
    status: str
    started: str
    took: str
    models: tuple[str, ...]
    measures: tuple[str, ...]
    alarms: tuple[str, ...]
    pages: tuple[tuple[str, str], ...]

    @property
    def searched(self) -> str:
        """What the search looks through."""
        words = (self.path, self.status, self.run_id, *self.models, *self.measures, *self.alarms)
        return " ".join(words).lower()


def write_index(db: Path, out: Path, with_pages: bool = True) -> Path:
    """Write `index.html` into a folder, and the pages of each run that has ended into a folder of its own.

    Pages that are there already are kept: what a run stored does not change once it has ended. Raises Findings: the
    results file (GB600, GB603 ... GB608), a folder that cannot be written (GB657).
    """
    with open_reader(db) as reader:
        runs = reader.runs()[::-1]
    made = {run.run_id: tuple(_pages(db, out, run)) if with_pages else () for run in runs}
    with open_reader(db) as reader:
        entries = tuple(_entry(reader, run, made[run.run_id]) for run in runs)
    style, script = asset(STYLE), "{\n" + asset(SCRIPT) + "\n}"
    html = (
        environment()
        .get_template("index.html")
        .render(
            name=db.name,
            entries=entries,
            policy=policy(script, style),
            script=Markup(script),
            style=Markup(style),
        )
    )
    return write(out / "index.html", html.lstrip())


def _pages(db: Path, out: Path, run: RunInfo) -> Iterator[tuple[str, str]]:
    """The pages of a run, drawn unless they are there."""
    folder = out / run.run_id
    found = sorted(folder.glob("*.html"))
    if run.status == "started" or not found:
        found = sorted(write_pages(db, folder, None, run.run_id))
    for path in found:
        yield path.stem, f"{run.run_id}/{path.name}"


def _entry(reader: Reader, run: RunInfo, pages: tuple[tuple[str, str], ...]) -> Entry:
    measures = reader.measures(run.run_id)
    return Entry(
        run_id=run.run_id,
        file=PurePath(run.file).name,
        path=run.file,
        status=run.status,
        started=f"{run.started:%Y-%m-%d %H:%M}",
        took="" if run.seconds is None else took(run.seconds),
        models=tuple(model.model for model in reader.models(run.run_id)),
        measures=tuple(f"{m.experiment}.{m.measure}" for m in measures),
        alarms=tuple(_alarms(reader, run.run_id)),
        pages=pages,
    )


def _alarms(reader: Reader, run_id: str) -> Iterator[str]:
    """What went wrong, a phrase each."""
    counts = {
        "expectation{s} broken": sum(not claim.holds for claim in reader.expectations(run_id)),
        "cell{s} failed": sum(cell.status == "failed" for cell in reader.cells(run_id)),
        "check{s} did not hold": sum(not check.ok for check in reader.verification(run_id)),
        "error{s}": sum(d.severity == "error" for d in reader.diagnostics(run_id)),
    }
    return (f"{n} {what.format(s='' if n == 1 else 's')}" for what, n in counts.items() if n)


def took(seconds: float) -> str:
    """A duration: `0.4 s`, `12 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
