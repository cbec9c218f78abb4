"""What a results file knows of a file before it is run: finished contexts, and the items that conditions dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data.spec import FEWEST_ITEMS
from glassbox_dsl.language.file import condition_name
from glassbox_dsl.language.program import Program
from glassbox_dsl.plan.content import Contents, model_key
from glassbox_dsl.plan.contexts import Key, contexts, without
from glassbox_dsl.resolve.data import DataTable
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.resolve.sources import ModelFiles
from glassbox_dsl.run.errors import too_few_items
from glassbox_dsl.store.known import Archive, Past

EXECUTORS: Final = ("delta", "hooked")
"""Which one runs a model is known when it is loaded; numbers of either are right, the first's are preferred."""
Tables = Mapping[tuple[str, str], DataTable]


@dataclass
class Recall:
    """`keys` are the content keys of contexts and conditions by executor; `past` those that are known, `dropped` what
    they drop.

    `problems` says which contexts have too few items, as far as that is known without a model; `complete`: there is
    nothing to compute.
    """

    contents: Contents
    keys: dict[tuple[str, Key], str] = field(default_factory=dict)
    past: dict[Key, Past] = field(default_factory=dict)
    dropped: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    empty: set[Key] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether every context is known, or has no items."""
        return all(key in self.past or key in self.empty for key in contexts(self.contents.program))

    def reused(self) -> Iterator[Key]:
        """The known contexts, in the order of the file."""
        return (key for key in contexts(self.contents.program) if key in self.past)


def recall(
    program: Program,
    files: Mapping[str, ModelFiles],
    facts: Mapping[str, ModelFacts],
    tables: Tables,
    archive: Archive,
) -> Recall:
    """Look everything up that a file asks for."""
    models = {m.name: model_key(m, files[m.name], facts[m.name]) for m in program.models if m.name in files}
    found = Recall(Contents(program, models, dict(tables)))
    experiments = {e.name: e for e in program.experiments}
    conditions = [
        (condition_name(data), model, data)
        for data, model in tables
        if model in getattr(experiments.get(condition_name(data)), "models", ())
    ]
    for name, model, data in [*contexts(program), *conditions]:
        for executor in EXECUTORS:
            key = found.contents.of_context(experiments[name], model, data, executor)
            if key is not None:
                found.keys[executor, (name, model, data)] = key
    known = archive.contexts(found.keys)
    for executor in reversed(EXECUTORS):
        found.past |= {context: one for (by, context), one in known.items() if by == executor}
    for context in conditions:
        past = found.past.pop(context, None)
        if past is not None:
            _, model, data = context
            found.dropped[data, model] = archive.dropped(past, data, model)
    unsettled = {(data, model) for _, model, data in conditions} - set(found.dropped)
    for context in contexts(program):
        _settle(found, context, tables, unsettled)
    return found


def _settle(found: Recall, context: Key, tables: Tables, unsettled: set[tuple[str, str]]) -> None:
    """Note whether a context has items enough, where that is known."""
    _, model, data = context
    table = tables.get((data, model))
    if table is None or (data, model) in unsettled:
        return
    problem = table.problem
    kept = without(table, found.dropped.get((data, model), {}))
    if problem is None and sum(i.kept for i in kept.items) < FEWEST_ITEMS:
        span = next(d for d in found.contents.program.data if d.name == data).span
        problem = too_few_items(span, data, model, sum(i.kept for i in kept.items))
    if problem is not None:
        found.empty.add(context)
        found.past.pop(context, None)
        if problem not in found.problems:
            found.problems.append(problem)
