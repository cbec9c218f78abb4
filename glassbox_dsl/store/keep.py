"""Writes a session's results to the store as they come, and closes the run whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.program import Program
from glassbox_dsl.plan.actual import came_to, planned
from glassbox_dsl.store import receive
from glassbox_dsl.store.rows import Batch
from glassbox_dsl.store.writer import Store

if TYPE_CHECKING:
    from glassbox_dsl.run.session import Results, Session


class Keeper:
    """One run of a file in a store.

    `failed` once a claim is broken (the numbers stand) or the run is `void`: an edit never moved anything.
    """

    def __init__(self, store: Store, program: Program, path: Path, session: Session) -> None:
        self.store = store
        self.program = program
        self.path = path
        self.session = session
        self.headlines: list[str] = []
        self.findings: list[Diagnostic] = []
        self.failed = False
        self.void = False
        self.known: set[str] = set()
        self.known_data: set[tuple[str, str]] = set()
        self.closed = False
        self.run_id = ""

    def __enter__(self) -> Self:
        manifest = receive.manifest(
            self.program, self.path, receive.command_line(), planned(self.session.plan)
        )
        self.run_id = manifest.run_id
        self.store.begin(manifest)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.closed:
            return
        self.store.finish(
            "interrupted" if kind is not None and issubclass(kind, KeyboardInterrupt) else "failed"
        )

    def keep(self, results: Results) -> None:
        """Store one context's results in one transaction."""
        self._introduce(results.context.model)
        self._items(results.context.data_name, results.context.model)
        batch = receive.context_batch(results, self._token_texts(results))
        self.store.flush(batch)
        self.headlines += receive.headlines(results)
        self.findings += results.diagnostics
        self.void = self.void or bool(results.diagnostics)
        self.failed = self.failed or self.void or not all(c.holds for c in results.claimed)

    def _token_texts(self, results: Results) -> dict[int, str]:
        """The texts of the tokens that `top` found."""
        from glassbox_dsl.resolve.tokenizer import TextTokenizer

        ids = {int(i) for m in results.measured if m.top is not None for i in m.top["token_id"]}
        folder = self.session.files[results.context.model].tokenizer
        if not ids or folder is None:
            return {}
        tokenizer = TextTokenizer(folder)
        return {i: tokenizer.token_text(i) for i in ids}

    def _introduce(self, model: str) -> None:
        if model in self.known:
            return
        self.known.add(model)
        session = self.session
        row = receive.model_row(
            model,
            self.program,
            session.files[model],
            session.facts[model],
            str(session.instrument(model).device),
            ": ".join(part for part in session.executor_of(model) if part),
        )
        self.store.flush(Batch(models=(row,), checks=receive.check_rows(model, session.checks[model])))

    def _items(self, data: str, model: str) -> None:
        if (data, model) in self.known_data:
            return
        from glassbox_dsl.run.measured import label_at

        self.known_data.add((data, model))
        self.store.flush(Batch(items=receive.item_rows(self.session.tables[(data, model)], label_at)))

    def close(self, problems: Sequence[Diagnostic]) -> None:
        """End the run: its summaries are made and the views point at it."""
        self.findings += [p for p in problems if p.severity == "error"]
        self.failed = self.failed or any(p.severity == "error" for p in problems)
        if problems:
            self.store.flush(Batch(diagnostics=tuple(receive.diagnostic_row(p) for p in problems)))
        self.store.flush(Batch(actual=came_to(self.session.tallies)))
        self.store.finish("failed" if self.void else "complete")
        self.closed = True
