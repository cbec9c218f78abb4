"""A `data` block of the syntax tree to a `DataSpec`, with all that can be wrong without a tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data import errors, source_errors
from glassbox_dsl.language.data.answers import named_answers, read_answer
from glassbox_dsl.language.data.names import (
    ExpressionCheck,
    Names,
    check_answer,
    check_prompt,
    needs_model,
)
from glassbox_dsl.language.data.prompts import read_prompt
from glassbox_dsl.language.data.sources import (
    NotLiteral,
    Place,
    Variables,
    literal,
    read_file,
    read_row_list,
    read_slots,
    reserved,
    word_span,
)
from glassbox_dsl.language.data.spec import (
    AnswerSpec,
    Chunks,
    DataSpec,
    Draw,
    FeatureSpec,
    KeepSpec,
    PromptSpec,
    RepeatedTokens,
    RowSource,
    SlotSource,
    TextPrompt,
)
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes

S = TypeVar("S", bound=nodes.Statement)


@dataclass
class _Block:
    """What has been read of a block so far."""

    node: nodes.Data
    place: Place
    found: list[Diagnostic] = field(default_factory=list)
    variables: Variables = field(default_factory=Variables)
    taken: dict[str, Span] = field(default_factory=dict)

    def statements(self, kind: type[S]) -> list[S]:
        return [item for item in self.node.items if isinstance(item, kind)]


def declare_data(
    node: nodes.Data, *, folder: Path, root: Path, lets: Mapping[str, nodes.Expr]
) -> tuple[DataSpec, tuple[Diagnostic, ...]]:
    """Read a data block; `folder` is that of its file, `root` the project's, `lets` the file's own.

    The spec holds what could be read even where there are errors, so that later checks can go on.
    """
    block = _Block(node, Place(folder, root, lets))
    source = _source(block)
    block.taken |= block.variables.declared
    prompts = _prompts(block)
    answers = _answers(block)
    features = _feature_nodes(block)
    names = _names(block, prompts, answers, features)
    for prompt in prompts.values():
        check_prompt(prompt, names, block.found)
    for answer in answers.values():
        check_answer(answer, names, block.found)
    specs = {f.name: _feature(f, names, block.found) for f in features.values()}
    keeps = tuple(_keep(k, names, block.found) for k in block.statements(nodes.Keep))
    block.found += _cycles(answers, specs)
    spec = DataSpec(
        name=node.name,
        source=source,
        variables=names.variables,
        kinds=names.kinds,
        fields=dict(names.fields),
        constants=_constants(lets),
        prompts=prompts,
        answers=answers,
        features=specs,
        keeps=keeps,
        draw=_draw(block, source, prompts),
        templates=_template_count(block, prompts),
        span=node.span,
    )
    return spec, tuple(sorted(block.found, key=lambda d: d.span.start if d.span else 0))


def _source(block: _Block) -> SlotSource | RowSource | None:
    """The one source of items; a second is reported and left out."""
    readers: dict[type[nodes.Statement], Callable[..., SlotSource | RowSource]] = {
        nodes.Slots: read_slots,
        nodes.Rows: read_row_list,
        nodes.From: read_file,
    }
    source: SlotSource | RowSource | None = None
    first: nodes.Statement | None = None
    for item in block.node.items:
        reader = readers.get(type(item))
        if reader is None:
            continue
        if first is not None:
            block.found.append(source_errors.second_source(item.span, first.span))
            block.variables.broken = True
            continue
        first = item
        source = reader(item, block.place, block.variables, block.found)
    return source


def _take(block: _Block, name: str, span: Span) -> bool:
    """Claim a name of the block's one name space; False (and a finding) where it cannot be had."""
    where = word_span(span, name)
    if reserved(name):
        block.found.append(errors.reserved(where, name))
    if name in block.taken:
        block.found.append(errors.declared_twice(where, name, block.taken[name]))
        return False
    block.taken[name] = where
    return True


def _prompts(block: _Block) -> dict[str, PromptSpec]:
    prompts: dict[str, PromptSpec] = {}
    statements = block.statements(nodes.Prompt)
    for node in statements:
        fresh = _take(block, node.name, node.span)
        prompt = read_prompt(node, block.place, block.found)
        if fresh:
            # A broken prompt still stands under its name, without labels.
            prompts[node.name] = prompt or TextPrompt(name=node.name, variants=(), span=node.span)
    if not statements:
        block.found.append(errors.no_prompt(word_span(block.node.span, block.node.name), block.node.name))
    return prompts


def _answers(block: _Block) -> dict[str, AnswerSpec]:
    answers: dict[str, AnswerSpec] = {}
    statements = block.statements(nodes.Answer)
    known = frozenset(s.name for s in statements) - frozenset(block.variables.declared)
    for node in statements:
        fresh = _take(block, node.name, node.span)
        answer = read_answer(node.name, node.value, node.span, known, block.found)
        if fresh:
            answers[node.name] = answer or AnswerSpec(name=node.name, parts=(), span=node.span)
    return answers


def _feature_nodes(block: _Block) -> dict[str, nodes.Feature]:
    return {f.name: f for f in block.statements(nodes.Feature) if _take(block, f.name, f.span)}


def _names(
    block: _Block, prompts: dict[str, PromptSpec], answers: Iterable[str], features: Iterable[str]
) -> Names:
    variables = block.variables
    fields = {name: variables.fields(name) for name in variables.declared}
    return Names(
        variables=tuple(variables.declared),
        kinds={name: variables.kinds(name) for name in variables.declared},
        fields={name: known for name, known in fields.items() if known is not None},
        prompts=prompts,
        answers=tuple(answers),
        features=tuple(features),
        constants=tuple(_constants(block.place.lets)),
        open=variables.broken,
    )


def _constants(lets: Mapping[str, nodes.Expr]) -> dict[str, Any]:
    """The `let`s that write out a value; the others are no business of a data set."""
    values: dict[str, Any] = {}
    for name, expr in lets.items():
        try:
            values[name] = literal(expr, lets)
        except NotLiteral:
            continue
    return values


def _feature(node: nodes.Feature, names: Names, found: list[Diagnostic]) -> FeatureSpec:
    binders: list[str] = []
    for binder in node.binders:
        axis = binder.axes[0]
        if len(binder.axes) > 1 or binder.domain is not None or (axis.axis or axis.name) != "pos" or binders:
            found.append(errors.bad_binder(binder.span))
        binders.append(axis.name)
    check = ExpressionCheck(names, tuple(binders), found)
    check.value(node.value)
    about = tuple(dict.fromkeys(check.about))
    if binders and not about and len(names.prompts) != 1:
        found.append(errors.no_prompt_of_positions(node.span, node.name))
    return FeatureSpec(
        name=node.name,
        axes=("pos",) if binders else (),
        binders=tuple(binders[:1]),
        about=about or (tuple(names.prompts)[:1] if binders else ()),
        value=node.value,
        span=node.span,
    )


def _keep(node: nodes.Keep, names: Names, found: list[Diagnostic]) -> KeepSpec:
    outside = needs_model(node.condition, names)
    if not outside:
        ExpressionCheck(names, (), found).value(node.condition)
    text = " ".join(node.condition.span.text.split())
    return KeepSpec(condition=node.condition, needs_model=outside, text=text, span=node.span)


def _cycles(answers: dict[str, AnswerSpec], features: dict[str, FeatureSpec]) -> list[Diagnostic]:
    """One finding per cycle of answers and features that name each other."""
    needs: dict[str, tuple[str, ...]] = {a.name: named_answers(a.parts) for a in answers.values()}
    for feature in features.values():
        mentioned = [n.id for n in _walk(feature.value) if isinstance(n, nodes.Name)]
        needs[feature.name] = tuple(n for n in mentioned if n in features or n in answers)
    spans = {**{k: v.span for k, v in answers.items()}, **{k: v.span for k, v in features.items()}}
    found: list[Diagnostic] = []
    done: set[str] = set()

    def visit(name: str, chain: tuple[str, ...]) -> None:
        if name in chain:
            loop = (*chain[chain.index(name) :], name)
            found.append(errors.cycle(word_span(spans[name], name), loop))
            return
        if name in done or name not in needs:
            return
        for other in needs[name]:
            visit(other, (*chain, name))
        done.add(name)

    for name in needs:
        visit(name, ())
    return found


def _walk(node: nodes.Node) -> list[nodes.Node]:
    return [node, *(n for child in nodes.children(node) for n in _walk(child))]


def _draw(block: _Block, source: object, prompts: dict[str, PromptSpec]) -> Draw | None:
    statements = block.statements(nodes.Draw)
    for extra in statements[1:]:
        block.found.append(source_errors.second_draw(extra.span))
    chunks = [p for p in prompts.values() if isinstance(p, Chunks)]
    repeated = [p for p in prompts.values() if isinstance(p, RepeatedTokens)]
    if source is not None and chunks:
        block.found.append(source_errors.chunks_and_source(chunks[0].span))
    if not statements:
        if isinstance(source, SlotSource):
            block.found.append(source_errors.how_many(_head(source.span), "slots"))
        elif source is None and repeated and not chunks:
            block.found.append(source_errors.how_many(_head(repeated[0].span), "`repeated_tokens`"))
        return None
    draw = statements[0]
    if draw.count < 1:
        block.found.append(source_errors.draw_nothing(draw.span))
    many = any(isinstance(p, TextPrompt) and len(p.variants) != 1 for p in prompts.values())
    varied = source is not None or many or chunks or repeated or block.variables.broken
    if prompts and not varied:
        block.found.append(source_errors.nothing_to_draw(draw.span))
    return Draw(count=max(1, draw.count), seed=draw.seed or 0, span=draw.span)


def _head(span: Span) -> Span:
    """The first line of a span."""
    return Span(span.source, span.start, span.start + len(span.text.split("\n", 1)[0]))


def _template_count(block: _Block, prompts: dict[str, PromptSpec]) -> int:
    """How many templates an item chooses from; lists of different length are reported."""
    lists = [p for p in prompts.values() if isinstance(p, TextPrompt) and len(p.variants) > 1]
    for prompt in lists[1:]:
        if len(prompt.variants) != len(lists[0].variants):
            block.found.append(
                errors.template_counts(
                    prompt.span, prompt.name, len(prompt.variants), lists[0].name, len(lists[0].variants)
                )
            )
    return min((len(p.variants) for p in lists), default=1)
