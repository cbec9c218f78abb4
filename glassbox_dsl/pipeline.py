"""The whole program on one screen: text -> program -> resolved -> runs -> rows -> database -> pages.

`check_file` runs the first stages and loads no weights; `run_file` runs them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.language.file import has_errors, read_program
from glassbox_dsl.language.program import Program
from glassbox_dsl.plan.progress import Progress
from glassbox_dsl.resolve.program import Resolved, ResolvedItems, resolve_facts, resolve_items

if TYPE_CHECKING:
    from glassbox_dsl.resolve.sources import ModelFiles
    from glassbox_dsl.run.session import Session
    from glassbox_dsl.store.known import Archive
    from glassbox_dsl.store.recall import Recall

COMPLETE, FINDINGS = 0, 1


@dataclass(frozen=True)
class RunOutcome:
    """What a run left behind: exit code of LANGUAGE.md section 12, files, and what to tell the user."""

    exit_code: int
    db: Path
    reports: tuple[Path, ...] = ()
    headlines: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def check_file(path: Path) -> tuple[Diagnostic, ...]:
    """Everything wrong or doubtful in a file: syntax, names, axes, sites, and tokens where tokenizers are at hand."""
    program, diagnostics = read_program(path)
    if program is None:
        return diagnostics
    try:
        resolved = resolve_facts(program)
        found = (*diagnostics, *resolved.diagnostics)
        if has_errors(found):
            return found
        return (*found, *resolve_items(resolved, only_cached=True).diagnostics)
    except Findings as findings:
        return (*diagnostics, *findings.diagnostics)


def run_file(
    path: Path, db: Path, report_dir: Path | None, progress: Progress, fresh: bool = False
) -> RunOutcome:
    """Run a file; what the results file knows already is not computed again, unless `fresh`.

    Raises Findings for what stops it; what was computed until then is kept.
    """
    program, diagnostics = read_program(path)
    if program is None:
        raise Findings(diagnostics)
    resolved = resolve_facts(program)
    if has_errors(resolved.diagnostics):
        raise Findings((*diagnostics, *resolved.diagnostics))
    return _run(
        program, resolved, path, db, report_dir, progress, (*diagnostics, *resolved.diagnostics), fresh
    )


def _run(
    program: Program,
    resolved: Resolved,
    path: Path,
    db: Path,
    report_dir: Path | None,
    progress: Progress,
    warnings: Sequence[Diagnostic],
    fresh: bool,
) -> RunOutcome:
    from glassbox_dsl.report import check_folder, render_report
    from glassbox_dsl.run.fetch import prepare
    from glassbox_dsl.store.keep import Keeper
    from glassbox_dsl.store.known import Archive
    from glassbox_dsl.store.recall import recall
    from glassbox_dsl.store.writer import Store

    if report_dir is not None:
        check_folder(report_dir)  # before hours of work, not behind them
    store = Store.create_or_open(db)
    progress.stage("models and data", None)
    files = {m.name: prepare(m, progress.say) for m in program.models if m.name in resolved.facts}
    tables = resolve_items(resolved, files=files)
    warnings = [*warnings, *tables.diagnostics]
    if has_errors(warnings):
        raise Findings(warnings)
    archive = Archive(store, fresh)
    known = recall(program, files, resolved.facts, tables.tables, archive)
    session = None if known.complete else _session(program, resolved, files, tables, progress, known, archive)
    with Keeper(archive, program, path, session, known) as keeper:
        for results in session.results() if session is not None else known.reused():
            keeper.keep(results)
        keeper.close([*warnings, *(session.problems if session is not None else known.problems)])
    pages = render_report(db, report_dir, run_id=keeper.run_id) if report_dir is not None else ()
    exit_code = FINDINGS if keeper.failed else COMPLETE
    return RunOutcome(
        exit_code, db, tuple(pages), tuple(keeper.headlines), tuple([*warnings, *keeper.findings])
    )


def _session(
    program: Program,
    resolved: Resolved,
    files: Mapping[str, ModelFiles],
    tables: ResolvedItems,
    progress: Progress,
    known: Recall,
    archive: Archive,
) -> Session:
    """What computes; importing it takes seconds, which a file of which everything is known need not wait."""
    from glassbox_dsl.run.session import Session

    return Session(
        program, resolved.facts, files, dict(tables.tables), progress,
        contents=known.contents, shelf=archive, reused=known.past.keys(), dropped=known.dropped,
    )  # fmt: skip
