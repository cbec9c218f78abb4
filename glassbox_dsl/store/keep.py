"""Writes a session's results to the store as they come, and closes the run whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from glassbox_dsl.diagnostics import Diagnostic, InternalError
from glassbox_dsl.language.file import condition_name
from glassbox_dsl.language.program import Experiment, Program
from glassbox_dsl.plan.actual import came_to, planned
from glassbox_dsl.plan.contexts import Key
from glassbox_dsl.plan.progress import Stopped
from glassbox_dsl.store import receive
from glassbox_dsl.store.known import Archive
from glassbox_dsl.store.rows import Batch, ContextRow, EndStatus, MeasureRow, TokenRow
from glassbox_dsl.store.writer import Reused

if TYPE_CHECKING:
    from glassbox_dsl.resolve.tokenizer import TextTokenizer
    from glassbox_dsl.run.session import Results, Session
    from glassbox_dsl.store.recall import Recall


class Keeper:
    """One run of a file in a store.

    `session` is None when everything is known (see `recall`). `failed` once a claim is broken (the numbers stand) or
    the run is `void`: an edit never moved anything.
    """

    def __init__(
        self, archive: Archive, program: Program, path: Path, session: Session | None, recall: Recall
    ) -> None:
        self.archive = archive
        self.store = archive.store
        self.program = program
        self.path = path
        self.session = session
        self.recall = recall
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
            self.program,
            self.path,
            receive.command_line(),
            planned(self.session.plan if self.session is not None else None),
        )
        self.run_id = manifest.run_id
        self.store.begin(manifest)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.closed:
            return
        status: EndStatus = "failed"
        if kind is not None and issubclass(kind, KeyboardInterrupt | Stopped):
            status = "interrupted" if issubclass(kind, KeyboardInterrupt) else "incomplete"
        self.archive.flush()
        self.store.finish(status)

    # ------------------------------------------------------------ contexts

    def keep(self, results: Results | Key) -> None:
        """Store one context's results in one transaction; a key stands for a context that is known."""
        if isinstance(results, tuple):
            self._reuse(results)
            return
        context = results.context
        self._introduce(context.model)
        self._items(context.data_name, context.model)
        key = (context.experiment.name, context.model, context.data_name)
        headlines, failed = tuple(receive.headlines(results)), not all(c.holds for c in results.claimed)
        content = self.recall.keys.get((results.executor, key))
        row = None if content is None else _context_row(content, key, failed, headlines)
        finished = () if row is None or results.diagnostics else (row,)
        self.archive.flush()
        texts = self._vocabulary(context.model, receive.top_tokens(results))
        spoken = self._spoken(results)
        self.store.flush(receive.context_batch(results, texts, content or "", finished, spoken))
        self.headlines += headlines
        self.findings += results.diagnostics
        self.void = self.void or bool(results.diagnostics)
        self.failed = self.failed or self.void or failed

    def _reuse(self, key: Key) -> None:
        """Copy a known context from the run that finished it."""
        past = self.recall.past[key]
        name, model, data = key
        experiment = next(e for e in self.program.experiments if e.name == name)
        row = _context_row(past.key, key, past.failed, past.headlines).model_copy(
            update={"reused_from": past.run_id}
        )
        measures = tuple(_present(m, experiment) for m in self.archive.measures(past, name))
        lines = _lines(experiment)
        fresh = model not in self.known, (data, model) not in self.known_data
        self.store.reuse(Reused(past.run_id, key, row, measures, lines, *fresh))
        self.known.add(model)
        self.known_data.add((data, model))
        self.headlines += past.headlines
        self.failed = self.failed or past.failed

    # ------------------------------------------------------------ what results are about

    def _made(self) -> Session:
        if self.session is None:
            raise InternalError("results came without a session")
        return self.session

    def _tokenizer(self, model: str) -> TextTokenizer | None:
        """A model's tokenizer, where it has one."""
        from glassbox_dsl.resolve.tokenizer import TextTokenizer

        folder = self._made().files[model].tokenizer
        return None if folder is None else TextTokenizer(folder)

    def _vocabulary(self, model: str, ids: Iterable[int]) -> tuple[TokenRow, ...]:
        """Tokens of a model's vocabulary by their numbers."""
        wanted = sorted(set(ids))
        tokenizer = self._tokenizer(model) if wanted else None
        if tokenizer is None:
            return ()
        return tuple(
            TokenRow(model=model, token_id=i, token=tokenizer.token_text(i), bytes=tokenizer.token_bytes(i))
            for i in wanted
        )

    def _spoken(self, results: Results) -> dict[tuple[int, ...], str]:
        """The texts of token sequences that were generated."""
        spoken = {t for m in results.measured for t in m.generated or ()}
        tokenizer = self._tokenizer(results.context.model) if spoken else None
        if tokenizer is None:
            return {}
        return {
            tokens: b"".join(map(tokenizer.token_bytes, tokens)).decode("utf-8", errors="replace")
            for tokens in spoken
        }

    def _introduce(self, model: str) -> None:
        if model in self.known:
            return
        self.known.add(model)
        session = self._made()
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
        from glassbox_dsl.run.position_columns import label_at

        self.known_data.add((data, model))
        condition = (condition_name(data), model, data)
        content = self.recall.keys.get((self._made().executor_of(model)[0], condition))
        settled = () if content is None else (_context_row(content, condition, False, ()),)
        rows = receive.item_rows(self._made().tables[(data, model)], label_at)
        tokens = self._vocabulary(model, (i for row in rows for p in row.prompts for i in p.token_ids))
        self.store.flush(Batch(items=rows, contexts=settled, vocabulary=tokens))

    def close(self, problems: Sequence[Diagnostic]) -> None:
        """End the run: its summaries are made and the views point at it."""
        self.findings += [p for p in problems if p.severity == "error"]
        self.failed = self.failed or any(p.severity == "error" for p in problems)
        self.archive.flush()
        if problems:
            self.store.flush(Batch(diagnostics=tuple(receive.diagnostic_row(p) for p in problems)))
        if self.session is not None:
            self.store.flush(Batch(actual=came_to(self.session.tallies)))
        self.store.finish("failed" if self.void else "complete")
        self.closed = True


def _context_row(content: str, key: Key, failed: bool, headlines: tuple[str, ...]) -> ContextRow:
    experiment, model, data = key
    return ContextRow(
        key=content, experiment=experiment, model=model, data=data, failed=failed, headlines=headlines
    )


def _present(measure: MeasureRow, experiment: Experiment) -> MeasureRow:
    """The definition of a measure with what the file says of it now."""
    value = experiment.value("measure", measure.measure)
    now = {"title": experiment.title or "", "source": " ".join(value.span.text.split())}
    return measure.model_copy(update={**now, "line": value.span.source.place(value.span.start)[0]})


def _lines(experiment: Experiment) -> dict[str, int]:
    """The lines on which the claims (by text) and the edits (by run and text) of an experiment stand now."""
    claims = {v.text: v.span for v in experiment.values if v.kind == "expect"}
    edits = {f"{r.name}: {e.text}": e.span for r in experiment.runs for v in r.variants for e in v.edits}
    return {text: span.source.place(span.start)[0] for text, span in (claims | edits).items()}
