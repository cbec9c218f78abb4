"""A stored run as pages: one self-contained HTML file per report block, made from the database alone."""

from __future__ import annotations

from pathlib import Path


def render_report(
    db: Path, out: Path, report: str | None = None, run_id: str | None = None
) -> tuple[Path, ...]:
    """Write the pages of a run into the folder `out` and return their paths.

    `report` chooses one block by name; `run_id` an older run than the newest complete one. Raises Findings:
    the results file (GB600, GB603 ... GB609), a report that is not there (GB650), a folder that cannot be
    written (GB657).
    """
    from glassbox_dsl.report.pages import write_pages

    return write_pages(db, out, report, run_id)


def check_folder(folder: Path) -> None:
    """Check that pages can be written to a folder, without making it. Raises Findings (GB657)."""
    from glassbox_dsl.report import pages

    pages.check_folder(folder)


__all__ = ["check_folder", "render_report"]
