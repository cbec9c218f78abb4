"""A `DataSpec` and tokenizers to one table of items per model, the same items for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.language.data import inline_answer
from glassbox_dsl.language.data.files import Unreadable, read_text
from glassbox_dsl.language.data.spec import FEWEST_ITEMS, AnswerSpec, Chunks, DataSpec, TextPrompt
from glassbox_dsl.resolve.chat import ChatRefused
from glassbox_dsl.resolve.data import errors
from glassbox_dsl.resolve.data.answers import answer_texts, answer_tokens, not_one_token
from glassbox_dsl.resolve.data.chunks import Chunk, cut
from glassbox_dsl.resolve.data.drawing import Candidate, Space
from glassbox_dsl.resolve.data.errors import Refusal
from glassbox_dsl.resolve.data.features import BadValue, ItemValues
from glassbox_dsl.resolve.data.prompts import Draft, Reader, build_prompt
from glassbox_dsl.resolve.data.table import (
    AnswerTokens,
    DataNeeds,
    DataTable,
    Item,
    PromptTokens,
)
from glassbox_dsl.resolve.tokenizer import TextTokenizer, TokenizerProblem

TRIES_PER_ITEM = 100


@dataclass(frozen=True)
class Tokens:
    """The tokens of one item for one model."""

    prompts: dict[str, PromptTokens]
    answers: dict[str, AnswerTokens]


@dataclass(frozen=True)
class _Chosen:
    candidate: Candidate
    tokens: dict[str, Tokens]


@dataclass
class _Work:
    """One data set with the models that share it."""

    spec: DataSpec
    readers: tuple[Reader, ...]
    needs: DataNeeds
    answers: dict[str, AnswerSpec]
    prompts: tuple[str, ...]
    chunks: dict[str, list[dict[str, Chunk]]] = field(default_factory=dict)


def resolve_data(
    spec: DataSpec,
    tokenizers: Mapping[str, TextTokenizer],
    needs: DataNeeds,
    most: Mapping[str, int | None] | None = None,
) -> dict[str, DataTable]:
    """Choose the items, tokenise them for each model (keys: model names), compute features, apply `keep`.

    `most` says how many positions a model has learned, where it has learned them.
    Conditions that need a model are left to the run. Raises Findings where the models cannot share the items;
    what concerns one model alone stands in its table's `problem`.
    """
    readers = tuple(
        Reader(model, tokenizer, (most or {}).get(model)) for model, tokenizer in tokenizers.items()
    )
    work = _Work(spec, readers, needs, _all_answers(spec, needs), _used_prompts(spec, needs))
    work.chunks = _cut_texts(work)
    space = Space(spec, min((len(c) for c in work.chunks.values()), default=0))
    if spec.draw is not None:
        chosen, tried = _draw(work, space)
    else:
        chosen = _take_all(work, space)
        tried = len(chosen)
    tables = {reader.model: _table(work, reader.model, chosen, tried) for reader in readers}
    for reader in readers:
        reader.tokenizer.keep_answers()
    return tables


def _all_answers(spec: DataSpec, needs: DataNeeds) -> dict[str, AnswerSpec]:
    answers, found = dict(spec.answers), list[Diagnostic]()
    for name, expr in needs.extra_answers:
        answer, problems = inline_answer(name, expr, spec)
        found += problems
        if answer is not None:
            answers[name] = answer
    if found:
        raise Findings(found)
    return answers


def _used_prompts(spec: DataSpec, needs: DataNeeds) -> tuple[str, ...]:
    """Prompts that experiments or features read, in the order of the file."""
    if not needs.prompts:
        return tuple(spec.prompts)
    used = needs.prompts | {p for f in spec.features.values() for p in f.about}
    used |= {p for pair in needs.aligned for p in pair} | {p for _, p in needs.answers_after}
    return tuple(p for p in spec.prompts if p in used)


def _cut_texts(work: _Work) -> dict[str, list[dict[str, Chunk]]]:
    pieces: dict[str, list[dict[str, Chunk]]] = {}
    tokenizers = {r.model: r.tokenizer for r in work.readers}
    for prompt in (work.spec.prompts[name] for name in work.prompts):
        if not isinstance(prompt, Chunks):
            continue
        try:
            text = read_text(Path(prompt.path))
        except Unreadable as error:
            raise Findings([errors.unreadable_text(prompt.span, prompt.name, str(error))]) from error
        pieces[prompt.name] = cut(text, tokenizers, prompt.tokens)
        if not pieces[prompt.name]:
            raise Findings([errors.text_too_short(prompt.span, prompt.name, prompt.tokens)])
    return pieces


# ---------------------------------------------------------------- choosing items


def _draw(work: _Work, space: Space) -> tuple[list[_Chosen], int]:
    draw = work.spec.draw
    assert draw is not None
    if space.size is not None and space.size < draw.count:
        raise Findings([errors.space_too_small(draw.span, work.spec.name, draw.count, space.size)])
    chosen: list[_Chosen] = []
    reasons: Counter[str] = Counter()
    examples: dict[str, Refusal] = {}
    tried = 0
    for candidate in space.drawn(draw.seed):
        if len(chosen) == draw.count or tried == TRIES_PER_ITEM * draw.count:
            break
        tried += 1
        result = _attempt(work, candidate, len(chosen))
        if isinstance(result, Refusal):
            reasons[result.headline] += 1
            examples.setdefault(result.headline, result)
        else:
            chosen.append(_Chosen(candidate, result))
    if len(chosen) < draw.count:
        counted = [(count, examples[headline]) for headline, count in reasons.most_common()]
        raise Findings(
            [errors.draw_failed(draw.span, work.spec.name, draw.count, len(chosen), tried, counted)]
        )
    return chosen, tried


def _take_all(work: _Work, space: Space) -> list[_Chosen]:
    chosen: list[_Chosen] = []
    refused: dict[str, list[tuple[int, Refusal]]] = {}
    rows = 0
    for row, candidate in enumerate(space.all()):
        rows += 1
        tokens: dict[str, Tokens] = {}
        found = list(_refusals(work, candidate, row, tokens))
        for refusal in found:
            refused.setdefault(refusal.headline, []).append((row, refusal))
        if not found:
            chosen.append(_Chosen(candidate, tokens))
    if refused:
        raise Findings([errors.rows_refused(group, rows) for group in refused.values()])
    return chosen


def _attempt(work: _Work, candidate: Candidate, number: int) -> dict[str, Tokens] | Refusal:
    """The tokens of an item for every model, or the first reason against it."""
    tokens: dict[str, Tokens] = {}
    for refusal in _refusals(work, candidate, number, tokens):
        return refusal
    return tokens


def _refusals(work: _Work, candidate: Candidate, number: int, tokens: dict[str, Tokens]) -> Iterator[Refusal]:
    """Every reason against an item; fills `tokens` for each model on the way."""
    seed = work.spec.draw.seed if work.spec.draw is not None else 0
    draft = Draft(candidate, number, seed, work.chunks)
    for reader in work.readers:
        tokens[reader.model] = Tokens({}, {})
        try:
            for refusal in _model_refusals(work, draft, reader, tokens[reader.model]):
                if refusal.always:
                    raise Findings([errors.all_refused(refusal)])
                yield refusal
        except TokenizerProblem as problem:
            raise Findings([errors.no_tokenizer(None, reader.model, str(problem))]) from problem


def _model_refusals(work: _Work, draft: Draft, reader: Reader, tokens: Tokens) -> Iterator[Refusal]:
    for name in work.prompts:
        prompt = work.spec.prompts[name]
        try:
            built = build_prompt(prompt, draft, reader)
        except ChatRefused as refused:
            raise Findings([errors.no_chat(prompt.span, name, reader.model, str(refused))]) from refused
        if isinstance(built, Refusal):
            yield built
        else:
            tokens.prompts[name] = built
    if len(tokens.prompts) < len(work.prompts):
        return
    yield from _length_refusals(work, reader, tokens)
    generated = dict(work.needs.behind)  # sorted: of several numbers the largest
    for name in tokens.prompts:
        yield from _too_long(work, reader, name, tokens, generated.get(name, 0))
    for name in work.answers:
        yield from _answer_refusals(work, name, draft, reader, tokens)


def _length_refusals(work: _Work, reader: Reader, tokens: Tokens) -> Iterator[Refusal]:
    for first, second in sorted(work.needs.aligned):
        if first not in tokens.prompts or second not in tokens.prompts:
            continue  # prompts of another data set of the same experiment
        a, b = tokens.prompts[first], tokens.prompts[second]
        if len(a.ids) != len(b.ids):
            span = work.spec.prompts[second].span
            yield errors.lengths_differ(
                span, first, second, reader.model, (len(a.ids), len(b.ids)), (a.text, b.text)
            )


def _too_long(work: _Work, reader: Reader, name: str, tokens: Tokens, behind: int) -> Iterator[Refusal]:
    """A prompt without a position left for so many tokens behind it; the last of them is not read."""
    length = len(tokens.prompts[name].ids)
    if reader.most is not None and length + max(behind - 1, 0) > reader.most:
        span = work.spec.prompts[name].span
        yield errors.too_long(span, name, reader.model, length, behind, reader.most)


def _answer_refusals(
    work: _Work, name: str, draft: Draft, reader: Reader, tokens: Tokens
) -> Iterator[Refusal]:
    """Answers that nothing asks for are given no tokens rather than refused."""
    answer = work.answers[name]
    after = [p for p in work.prompts if (name, p) in work.needs.answers_after]
    needed = bool(after) or name in work.needs.one_token
    alternatives = answer_texts(answer, draft.candidate.values, work.answers)
    if isinstance(alternatives, Refusal):
        if needed:
            yield alternatives
        tokens.answers[name] = AnswerTokens(alternatives=(), texts=())
        return
    before = {p: (work.spec.prompts[p], tokens.prompts[p]) for p in (after or work.prompts[:1])}
    built = answer_tokens(answer, alternatives, before, reader)
    if isinstance(built, Refusal):
        if needed:
            yield built
        built = AnswerTokens(alternatives=(), texts=tuple(a.text for a in alternatives))
    elif name in work.needs.one_token and (refusal := not_one_token(answer, built, reader)):
        yield refusal
    else:
        longest = max(map(len, built.alternatives), default=0)
        for prompt in after:
            yield from _too_long(work, reader, prompt, tokens, longest)
    tokens.answers[name] = built


# ---------------------------------------------------------------- tables


def _table(work: _Work, model: str, chosen: list[_Chosen], tried: int) -> DataTable:
    items = tuple(_item(work, model, number, one) for number, one in enumerate(chosen))
    kept = sum(item.kept for item in items)
    problem = None
    if kept < FEWEST_ITEMS and kept < len(items):
        dropped = Counter(item.dropped_by for item in items if item.dropped_by is not None)
        keep = next(k for k in work.spec.keeps if k.text in dropped)
        problem = errors.too_few_left(keep.span, work.spec.name, model, kept, dropped.most_common())
    return DataTable(
        name=work.spec.name,
        model=model,
        items=items,
        n_drawn=len(items),
        n_tried=tried,
        n_kept=kept,
        warnings=_warnings(work, items),
        problem=problem,
    )


def _item(work: _Work, model: str, number: int, chosen: _Chosen) -> Item:
    tokens, candidate = chosen.tokens[model], chosen.candidate
    values = ItemValues(work.spec, candidate.values, candidate.template, tokens.prompts, tokens.answers)
    features, name = dict[str, object](), ""
    dropped_by = None
    try:
        for feature in work.spec.features.values():
            name = f"feature `{feature.name}`"
            features[feature.name] = values.feature(feature.name)
        for keep in work.spec.keeps:
            name = f"`keep where {keep.text}`"
            if not keep.needs_model and dropped_by is None and not values.value(keep.condition, {}):
                dropped_by = keep.text
    except BadValue as bad:
        raise Findings([errors.bad_feature(bad.span, name, number, bad.why)]) from bad
    return Item(
        number=number,
        variables=candidate.values,
        template=candidate.template,
        features={"template": candidate.template, **features},
        prompts=tokens.prompts,
        answers=tokens.answers,
        kept=dropped_by is None,
        dropped_by=dropped_by,
    )


def _warnings(work: _Work, items: tuple[Item, ...]) -> tuple[Diagnostic, ...]:
    found = []
    for name in work.prompts:
        prompt = work.spec.prompts[name]
        if not isinstance(prompt, TextPrompt) or any(v.chat for v in prompt.variants):
            continue
        rows = [item.number for item in items if item.prompts[name].text.endswith(" ")]
        if rows:
            found.append(errors.ends_in_space(prompt.span, name, rows))
    return tuple(found)
