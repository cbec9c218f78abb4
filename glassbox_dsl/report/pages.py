"""The files of a run: which pages there are, and each written whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.report import errors
from glassbox_dsl.report.assemble import page
from glassbox_dsl.report.material import Material
from glassbox_dsl.report.render import render_page
from glassbox_dsl.report.spec import PageSpec, default_page
from glassbox_dsl.store.query import querying
from glassbox_dsl.store.reader import open_reader
from glassbox_dsl.store.rows import RunManifest


def write_pages(
    db: Path, out: Path, report: str | None, run_id: str | None, refresh_seconds: int | None = None
) -> tuple[Path, ...]:
    """See `glassbox_dsl.report.render_report`; pages load themselves again after `refresh_seconds`, if given."""
    with open_reader(db) as reader, querying(db) as ask:
        run = reader.run(run_id)
        manifest = reader.manifest(run.run_id)
        material = Material(reader, run.run_id, lambda sql: ask(sql, None))
        specs = page_specs(manifest, material)
        if report is not None:
            chosen = [spec for spec in specs if spec.name == report]
            if not chosen:
                raise Findings([errors.no_report(report, [spec.name for spec in specs])])
            specs = tuple(chosen)
        texts = [
            (spec.name, render_page(page(spec, material, run, manifest), refresh_seconds)) for spec in specs
        ]
    return tuple(write(out / file_name(name), text) for name, text in texts)


def page_specs(manifest: RunManifest, material: Material) -> tuple[PageSpec, ...]:
    """The report blocks of the file, and a sensible page for the experiments that none of them shows."""
    written = tuple(PageSpec(**spec) for spec in getattr(manifest, "reports", ()))
    shown = {item.source[0] for spec in written for item in spec.items if not isinstance(item.source, str)}
    measures = tuple(m for m in material.measures if m.experiment not in shown)
    patterns = tuple(
        dict.fromkeys(
            (r.experiment, r.record)
            for r in material.records
            if r.experiment not in shown and r.axes[-2:] == ("query", "key")
        )
    )
    if written and not measures and not patterns:
        return written
    stem = PurePath(manifest.sources[0].path).stem
    return (*written, default_page(free_name(stem, (spec.name for spec in written)), measures, patterns))


def file_name(page: str) -> str:
    """The file of a page: its name, without anything that could lead out of the folder."""
    return (re.sub(r"[^\w-]+", "_", page) or "report") + ".html"


def free_name(name: str, taken: Iterable[str]) -> str:
    """The name, or the first made from it by appending `_` that no other page has."""
    known = set(taken)
    while name in known:
        name += "_"
    return name


def check_folder(folder: Path) -> None:
    """Check that pages can be written to a folder, without making it. Raises Findings (GB657)."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    reason = "" if there.is_dir() else f"`{there}` is a file, not a folder"
    if not reason and not os.access(there, os.W_OK | os.X_OK):
        reason = "Permission denied"
    if reason:
        raise Findings([errors.not_writable(str(folder), reason)])


def write(path: Path, text: str) -> Path:
    """Write a page under another name first, then move it into place. Raises Findings (GB657)."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as problem:
        with suppress(OSError):
            temporary.unlink()
        raise Findings([errors.not_writable(str(path), problem.strerror or str(problem))]) from None
    return path
