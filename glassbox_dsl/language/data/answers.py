"""`answer NAME = EXPR`, and an answer written in place in a metric, to the texts it stands for."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data import errors
from glassbox_dsl.language.data.names import Names, check_answer
from glassbox_dsl.language.data.spec import (
    AnswerPart,
    AnswerSpec,
    DataSpec,
    FirstToken,
    NamedAnswer,
    TemplateAnswer,
    ValueAnswer,
)
from glassbox_dsl.language.data.templates import parse_template
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes


def read_answer(
    name: str, value: nodes.Expr, span: Span, answers: frozenset[str], found: list[Diagnostic]
) -> AnswerSpec | None:
    """The answer; a name that `answers` holds means that answer, any other a variable (checked later)."""
    is_set = isinstance(value, (nodes.List, nodes.Set))
    parts = _parts(value, answers, found)
    if not parts:
        return None
    return AnswerSpec(name=name, parts=parts, is_set=is_set, span=span)


def inline_answer(
    name: str, value: nodes.Expr, spec: DataSpec
) -> tuple[AnswerSpec | None, tuple[Diagnostic, ...]]:
    """The answer that a metric call writes in place, checked against the names of a data set."""
    found: list[Diagnostic] = []
    answer = read_answer(name, value, value.span, frozenset(spec.answers), found)
    if answer is not None:
        check_answer(answer, Names.of(spec), found)
    return answer, tuple(found)


def named_answers(parts: tuple[AnswerPart, ...]) -> tuple[str, ...]:
    """Other answers that these parts mention."""
    names: list[str] = []
    for part in parts:
        if isinstance(part, NamedAnswer):
            names.append(part.name)
        elif isinstance(part, FirstToken):
            names += named_answers(part.of)
    return tuple(dict.fromkeys(names))


def _parts(value: nodes.Expr, answers: frozenset[str], found: list[Diagnostic]) -> tuple[AnswerPart, ...]:
    match value:
        case nodes.String():
            template, problems = parse_template(value)
            found.extend(problems)
            return (TemplateAnswer(template=template, span=value.span),)
        case nodes.List(items=items) | nodes.Set(items=items) if items:
            return tuple(part for item in items for part in _parts(item, answers, found))
        case nodes.Name(id=name) if name in answers:
            return (NamedAnswer(name=name, span=value.span),)
        case nodes.Name(id=name):
            return (ValueAnswer(variable=name, span=value.span),)
        case nodes.Attribute(base=nodes.Name(id=name), name=field):
            return (ValueAnswer(variable=name, field=field, span=value.span),)
        case nodes.Call(function=nodes.Name(id="first_token"), arguments=(nodes.Argument(name=None) as of,)):
            inner = _parts(of.value, answers, found)
            return (FirstToken(of=inner, span=value.span),) if inner else ()
    found.append(errors.not_an_answer(value.span))
    return ()
