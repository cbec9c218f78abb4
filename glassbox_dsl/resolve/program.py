"""A program meets its models: configs, sites, layers and widths first, then tokens and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.language.data.spec import (
    FEWEST_ITEMS,
    DataSpec,
    LiteralTokens,
    RowSource,
    TextPrompt,
)
from glassbox_dsl.language.program import Program
from glassbox_dsl.resolve.checks import check_across, check_experiment
from glassbox_dsl.resolve.doubts import doubts
from glassbox_dsl.resolve.errors import too_few_items
from glassbox_dsl.resolve.facts import ModelFacts, facts_from_config
from glassbox_dsl.resolve.sources import ModelFiles, locate
from glassbox_dsl.vocabulary.models import ModelSource

if TYPE_CHECKING:
    from glassbox_dsl.resolve.data import DataTable


@dataclass(frozen=True)
class Resolved:
    """A program with the facts of its models; `files` say what of them is on this machine."""

    program: Program
    facts: Mapping[str, ModelFacts]
    files: Mapping[str, ModelFiles]
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class ResolvedItems:
    """The items of every data set for every model that uses it, keyed by (data, model)."""

    tables: Mapping[tuple[str, str], DataTable] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()


def used_models(program: Program) -> list[ModelSource]:
    """The models that some experiment runs on."""
    names = {m for e in program.experiments for m in e.models}
    return [m for m in program.models if m.name in names or not program.experiments]


def resolve_facts(program: Program) -> Resolved:
    """Read the config of every model and check the experiments against it."""
    facts: dict[str, ModelFacts] = {}
    files: dict[str, ModelFiles] = {}
    found: list[Diagnostic] = []
    for source in used_models(program):
        try:
            files[source.name] = locate(source)
            facts[source.name] = facts_from_config(files[source.name].config, f"`{source.name}`", source.span)
        except Findings as findings:
            found += findings.diagnostics
    items = {spec.name: count for spec in program.data if (count := _item_count(spec)) is not None}
    used = {name for e in program.experiments for name in e.data}
    found += [
        too_few_items((spec.draw or spec).span, spec.name, items[spec.name])
        for spec in program.data
        if spec.name in used and items.get(spec.name, FEWEST_ITEMS) < FEWEST_ITEMS
    ]
    for experiment in program.experiments:
        for model in experiment.models:
            if model in facts:
                found += check_experiment(experiment, facts[model], model, program.experiments, items)
        found += check_across(experiment, {m: facts[m] for m in experiment.models if m in facts})
    found += doubts(program, facts)
    return Resolved(program, facts, files, tuple(dict.fromkeys(found)))


def _item_count(spec: DataSpec) -> int | None:
    """How many items a data set has, None where that is not told by its block."""
    if spec.draw is not None:
        return spec.draw.count
    if isinstance(spec.source, RowSource):
        return len(spec.source.rows)
    texts = all(isinstance(p, TextPrompt | LiteralTokens) for p in spec.prompts.values())
    return spec.templates if texts else None


def resolve_items(
    resolved: Resolved, files: Mapping[str, ModelFiles] | None = None, *, only_cached: bool = False
) -> ResolvedItems:
    """Draw and tokenise every data set for its models; with `only_cached`, where all tokenizers are on the machine."""
    from glassbox_dsl.resolve.data import resolve_data
    from glassbox_dsl.resolve.needs import data_needs
    from glassbox_dsl.resolve.tokenizer import TextTokenizer

    program = resolved.program
    files = files if files is not None else resolved.files
    sources = {m.name: m for m in program.models}
    most = {m: facts.learned_positions for m, facts in resolved.facts.items()}
    tables: dict[tuple[str, str], DataTable] = {}
    found: list[Diagnostic] = []
    for spec in program.data:
        models = list(dict.fromkeys(m for e in program.experiments if spec.name in e.data for m in e.models))
        folders = {m: files[m].tokenizer for m in models if m in files}
        if not models or (only_cached and any(f is None for f in folders.values())):
            continue
        tokenizers = {m: TextTokenizer(f, bos=sources[m].bos) for m, f in folders.items() if f is not None}
        needs = data_needs(program.experiments, spec.name)
        try:
            for model, table in resolve_data(spec, tokenizers, needs, most).items():
                tables[(spec.name, model)] = table
                found += table.warnings
                found += [table.problem] if table.problem is not None and only_cached else []
                found += (
                    [too_few_items(spec.span, spec.name, table.n_drawn)]
                    if table.n_drawn < FEWEST_ITEMS
                    else []
                )
        except Findings as findings:
            found += findings.diagnostics
    return ResolvedItems(tables, tuple(dict.fromkeys(found)))
