"""The whole program on one screen: text -> program -> resolved -> runs -> rows -> database -> pages.

`check_file` and `explain_file` run the first stages and load no weights; `run_file` runs them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.language.file import has_errors, read_program
from glassbox_dsl.language.program import Program
from glassbox_dsl.plan.limits import not_fetched, too_large
from glassbox_dsl.plan.progress import Progress
from glassbox_dsl.resolve.program import Resolved, ResolvedItems, resolve_facts, resolve_items

if TYPE_CHECKING:
    from glassbox_dsl.resolve.sources import ModelFiles
    from glassbox_dsl.run.session import Session
    from glassbox_dsl.store.known import Archive
    from glassbox_dsl.store.recall import Recall

if TYPE_CHECKING:
    from glassbox_dsl.plan.program_plan import ProgramPlan

COMPLETE, FINDINGS = 0, 1
PACKS_BEFORE_A_RUN = 3
"""Packs of each stage that are planned row by row before a run: enough to say what it will cost."""


@dataclass(frozen=True)
class RunOutcome:
    """What a run left behind: exit code of LANGUAGE.md section 12, files, and what to tell the user."""

    exit_code: int
    db: Path
    reports: tuple[Path, ...] = ()
    headlines: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    run_id: str = ""


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
        items = resolve_items(resolved, only_cached=True)
        return (*found, *items.diagnostics, *too_large(program, resolved.facts, items.tables))
    except Findings as findings:
        return (*diagnostics, *findings.diagnostics)


def explain_file(path: Path, memory: int | None = None) -> tuple[ProgramPlan, tuple[Diagnostic, ...]]:
    """The plan of a file and its warnings; loads no weights. Raises Findings for what would stop a run.

    `memory` is the budget in bytes; None: most of what is free.
    """
    from glassbox_dsl.plan.program_plan import plan_program

    program, diagnostics = read_program(path)
    if program is None:
        raise Findings(diagnostics)
    resolved = resolve_facts(program)
    found = [*diagnostics, *resolved.diagnostics]
    if not has_errors(found):
        found += [*too_large(program, resolved.facts, {}), *not_fetched(program, resolved.files)]
    if has_errors(found):
        raise Findings(found)
    items = resolve_items(resolved)
    found += [*items.diagnostics, *too_large(program, resolved.facts, items.tables)]
    if has_errors(found):
        raise Findings(found)
    return plan_program(program, resolved.facts, items.tables, memory), tuple(found)


def run_file(
    path: Path,
    db: Path,
    report_dir: Path | None,
    progress: Progress,
    fresh: bool = False,
    memory: int | None = None,
) -> RunOutcome:
    """Run a file; what the results file knows already is not computed again, unless `fresh`.

    `memory` is the budget in bytes; None: most of what is free. Raises Findings for what stops it; what was computed
    until then is kept.
    """
    program, diagnostics = read_program(path)
    if program is None:
        raise Findings(diagnostics)
    resolved = resolve_facts(program)
    warnings = (*diagnostics, *resolved.diagnostics)
    found = warnings if has_errors(warnings) else (*warnings, *too_large(program, resolved.facts, {}))
    if has_errors(found):
        raise Findings(found)
    return _run(program, resolved, path, db, report_dir, progress, warnings, fresh, memory)


def _run(
    program: Program,
    resolved: Resolved,
    path: Path,
    db: Path,
    report_dir: Path | None,
    progress: Progress,
    warnings: Sequence[Diagnostic],
    fresh: bool,
    memory: int | None,
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
    warnings = [
        *warnings,
        *store.losses,
        *tables.diagnostics,
        *too_large(program, resolved.facts, tables.tables),
    ]
    if has_errors(warnings):
        raise Findings(warnings)
    archive = Archive(store, fresh)
    known = recall(program, files, resolved.facts, tables.tables, archive)
    session = plan = None
    if not known.complete:
        from glassbox_dsl.plan.program_plan import plan_program

        plan = plan_program(program, resolved.facts, tables.tables, memory, PACKS_BEFORE_A_RUN)
        session = _session(program, resolved, files, tables, progress, known, archive, plan)
    with Keeper(archive, program, path, session, known) as keeper:
        for results in session.results() if session is not None else known.reused():
            keeper.keep(results)
        keeper.close([*warnings, *(session.problems if session is not None else known.problems)])
    pages = render_report(db, report_dir, run_id=keeper.run_id) if report_dir is not None else ()
    exit_code = FINDINGS if keeper.failed else COMPLETE
    headlines = tuple(keeper.headlines)
    if session is not None and plan is not None:
        from glassbox_dsl.plan.actual import against_plan, note_speeds

        note_speeds(plan, session.tallies)
        headlines += tuple(against_plan(plan, session.tallies))
    found = tuple([*warnings, *keeper.findings])
    return RunOutcome(exit_code, db, tuple(pages), headlines, found, keeper.run_id)


def _session(
    program: Program,
    resolved: Resolved,
    files: Mapping[str, ModelFiles],
    tables: ResolvedItems,
    progress: Progress,
    known: Recall,
    archive: Archive,
    plan: ProgramPlan,
) -> Session:
    """What computes; importing it takes seconds, which a file of which everything is known need not wait."""
    from glassbox_dsl.run.session import Session

    return Session(
        program, resolved.facts, files, dict(tables.tables), progress, plan,
        contents=known.contents, shelf=archive, reused=known.past.keys(), dropped=known.dropped,
    )  # fmt: skip
