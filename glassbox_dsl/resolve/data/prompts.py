"""One prompt of one item as the token ids of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glassbox_dsl.language.data.spec import (
    Chunks,
    LiteralTokens,
    PromptSpec,
    RepeatedTokens,
    TextPrompt,
)
from glassbox_dsl.resolve.data import errors
from glassbox_dsl.resolve.data.chunks import Chunk
from glassbox_dsl.resolve.data.drawing import Candidate, below, stream
from glassbox_dsl.resolve.data.errors import Refusal
from glassbox_dsl.resolve.data.table import PromptTokens
from glassbox_dsl.resolve.data.texts import MissingValue, fill, fill_chat, token_span
from glassbox_dsl.resolve.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Draft:
    """What a prompt is made from: a combination, the item's number, the seed, pieces of running text."""

    candidate: Candidate
    number: int
    seed: int
    chunks: Mapping[str, list[dict[str, Chunk]]]


@dataclass(frozen=True)
class Reader:
    """A model as tokenizer: its name is for messages. `most`: positions that it has vectors for (None: any number)."""

    model: str
    tokenizer: TextTokenizer
    most: int | None = None


def build_prompt(prompt: PromptSpec, draft: Draft, reader: Reader) -> PromptTokens | Refusal:
    """The prompt's tokens and spans, or why the item cannot have it."""
    if isinstance(prompt, TextPrompt):
        built = _text(prompt, draft, reader)
    elif isinstance(prompt, RepeatedTokens):
        built = _repeated(prompt, draft, reader)
    elif isinstance(prompt, Chunks):
        chunk = draft.chunks[prompt.name][draft.candidate.chunk][reader.model]
        built = _tokens(reader, chunk.text, chunk.encoding.ids, {})
    else:
        assert isinstance(prompt, LiteralTokens)
        built = _literal(prompt, reader)
    if isinstance(built, PromptTokens) and not built.ids:
        return errors.empty_prompt(prompt.span, prompt.name, reader.model)
    return built


def _text(prompt: TextPrompt, draft: Draft, reader: Reader) -> PromptTokens | Refusal:
    variant = prompt.variants[draft.candidate.template if len(prompt.variants) > 1 else 0]
    try:
        if variant.chat:
            marked = fill_chat(variant, draft.candidate.values, reader.tokenizer)
            encoding = reader.tokenizer.encode_chat(marked.text)
        else:
            marked = fill(variant.template, draft.candidate.values)
            encoding = reader.tokenizer.encode(marked.text)
    except MissingValue as missing:
        return errors.missing_value(missing.piece.span, missing.name)
    spans = {label: token_span(encoding, start, end) for label, start, end in marked.marks}
    return _tokens(reader, marked.text, encoding.ids, spans)


def _repeated(prompt: RepeatedTokens, draft: Draft, reader: Reader) -> PromptTokens | Refusal:
    """A BOS where the model has one, then the same tokens several times over; no token twice within them."""
    tokenizer, part = reader.tokenizer, list[int]()
    rng = stream("repeated_tokens", draft.seed, draft.number, prompt.name)
    # Listing a large vocabulary takes longer than a few tokens are worth: only where it might be too small.
    if 10 * prompt.length > tokenizer.size and len(tokenizer.ordinary_tokens) < prompt.length:
        count = len(tokenizer.ordinary_tokens)
        return errors.too_few_tokens(prompt.span, prompt.name, reader.model, prompt.length, count)
    while len(part) < prompt.length:
        token = below(rng, tokenizer.size)
        if token not in part and tokenizer.is_ordinary(token):
            part.append(token)
    lead = tokenizer.lead
    starts = [len(lead) + i * prompt.length for i in range(prompt.repeats)]
    spans = {
        label: (start, start + prompt.length) for label, start in zip(prompt.labels, starts, strict=True)
    }
    ids = (*lead, *(part * prompt.repeats))
    return _tokens(reader, "".join(tokenizer.token_text(i) for i in ids[len(lead) :]), ids, spans)


def _literal(prompt: LiteralTokens, reader: Reader) -> PromptTokens | Refusal:
    unknown = [i for i in prompt.ids if not reader.tokenizer.knows(i)]
    if unknown:
        return errors.unknown_token(prompt.span, prompt.name, reader.model, unknown[0], reader.tokenizer.size)
    text = "".join(reader.tokenizer.token_text(i) for i in prompt.ids)
    return _tokens(reader, text, prompt.ids, {})


def _tokens(
    reader: Reader, text: str, ids: tuple[int, ...], spans: dict[str, tuple[int, int]]
) -> PromptTokens:
    tokens = tuple(reader.tokenizer.token_text(i) for i in ids)
    return PromptTokens(text=text, ids=ids, tokens=tokens, spans=spans)
