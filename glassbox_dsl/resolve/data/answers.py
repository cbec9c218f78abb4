"""Answers as the token ids that follow a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glassbox_dsl.language.data.spec import (
    AnswerPart,
    AnswerSpec,
    Chunks,
    FirstToken,
    NamedAnswer,
    PromptSpec,
    TemplateAnswer,
    TextPrompt,
    ValueAnswer,
)
from glassbox_dsl.resolve.data import errors
from glassbox_dsl.resolve.data.errors import Refusal
from glassbox_dsl.resolve.data.prompts import Reader
from glassbox_dsl.resolve.data.table import AnswerTokens, PromptTokens
from glassbox_dsl.resolve.data.texts import MissingValue, as_text, fill, lookup
from glassbox_dsl.source import Span


@dataclass(frozen=True)
class Alternative:
    """One text that counts as the answer; `first`: only its first token."""

    text: str
    first: bool = False


def answer_texts(
    answer: AnswerSpec, values: Mapping[str, Any], answers: Mapping[str, AnswerSpec]
) -> tuple[Alternative, ...] | Refusal:
    """All alternatives of an answer for one item, in the order written."""
    try:
        found = _texts(answer.parts, values, answers)
    except MissingValue as missing:
        return errors.missing_value(missing.piece.span, missing.name)
    except _NoText as missing:
        return errors.missing_value(missing.span, missing.name)
    if any(not a.text for a in found) or not found:
        return errors.empty_answer(answer.span, answer.name)
    return tuple(dict.fromkeys(found))


class _NoText(Exception):
    def __init__(self, span: Span, name: str) -> None:
        self.span = span
        self.name = name


def _texts(
    parts: tuple[AnswerPart, ...], values: Mapping[str, Any], answers: Mapping[str, AnswerSpec]
) -> list[Alternative]:
    found: list[Alternative] = []
    for part in parts:
        if isinstance(part, TemplateAnswer):
            found.append(Alternative(fill(part.template, values).text))
        elif isinstance(part, NamedAnswer):
            found += _texts(answers[part.name].parts, values, answers)
        elif isinstance(part, FirstToken):
            found += [Alternative(a.text, first=True) for a in _texts(part.of, values, answers)]
        elif isinstance(part, ValueAnswer):
            value = lookup(values, part.variable, part.field)
            texts = [as_text(v) for v in (value if isinstance(value, tuple) else (value,))]
            if any(text is None for text in texts):
                raise _NoText(
                    part.span, part.variable if part.field is None else f"{part.variable}.{part.field}"
                )
            found += [Alternative(text) for text in texts if text is not None]
    return found


def answer_tokens(
    answer: AnswerSpec,
    alternatives: tuple[Alternative, ...],
    before: Mapping[str, tuple[PromptSpec, PromptTokens]],
    reader: Reader,
) -> AnswerTokens | Refusal:
    """Token ids of the alternatives behind every prompt of `before`, which must agree; else by themselves.

    Behind a prompt means: what tokenising prompt and answer together adds to the prompt's own tokens.
    """
    texts: dict[tuple[int, ...], str] = {}
    for alternative in alternatives:
        behind: dict[str, tuple[int, ...]] = {}
        for name, (spec, prompt) in before.items():
            text = prompt.text if isinstance(spec, (TextPrompt, Chunks)) else None
            ids = _behind(text, alternative.text, reader)
            if isinstance(ids, _Merged):
                return errors.merges(
                    answer.span, answer.name, name, reader.model, alternative.text, ids.apart, ids.together
                )
            behind[name] = ids[:1] if alternative.first else ids
        if not behind:
            ids = _behind(None, alternative.text, reader)
            assert not isinstance(ids, _Merged)
            behind[""] = ids[:1] if alternative.first else ids
        if len(set(behind.values())) > 1:
            shown = {name: _pieces(ids, reader) for name, ids in behind.items()}
            return errors.differs_between_prompts(
                answer.span, answer.name, reader.model, alternative.text, shown
            )
        ids = next(iter(behind.values()))
        shown_text = reader.tokenizer.token_text(ids[0]) if alternative.first else alternative.text
        texts.setdefault(ids, shown_text)
    return AnswerTokens(alternatives=tuple(texts), texts=tuple(texts.values()))


def not_one_token(answer: AnswerSpec, tokens: AnswerTokens, reader: Reader) -> Refusal | None:
    """The refusal where an alternative has more than one token."""
    for ids, text in zip(tokens.alternatives, tokens.texts, strict=True):
        if len(ids) > 1:
            return errors.several_tokens(answer.span, answer.name, reader.model, text, _pieces(ids, reader))
    return None


@dataclass(frozen=True)
class _Merged:
    """The prompt's last tokens alone, and what they became with the answer behind them."""

    apart: tuple[str, ...]
    together: tuple[str, ...]


def _behind(prompt: str | None, text: str, reader: Reader) -> tuple[int, ...] | _Merged:
    """Tokens that a text adds behind a prompt; None: behind tokens that no text stands for."""
    if prompt is None:
        ids = _behind("\n", text, reader)
        return reader.tokenizer.encode_plain(text).ids if isinstance(ids, _Merged) else ids
    alone = reader.tokenizer.encode_plain(prompt).ids
    joined = reader.tokenizer.encode_plain(prompt + text).ids
    if joined[: len(alone)] == alone and len(joined) > len(alone):
        return joined[len(alone) :]
    same = next((i for i, (a, b) in enumerate(zip(alone, joined, strict=False)) if a != b), len(joined))
    return _Merged(_pieces(alone[same:][:4], reader), _pieces(joined[same:][:4], reader))


def _pieces(ids: tuple[int, ...], reader: Reader) -> tuple[str, ...]:
    return tuple(reader.tokenizer.token_text(i) for i in ids)
