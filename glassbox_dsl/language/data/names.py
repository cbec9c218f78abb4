"""Whether the names in templates, answers, features and conditions mean something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data import errors
from glassbox_dsl.language.data.sources import word_span
from glassbox_dsl.language.data.spec import (
    AnswerPart,
    AnswerSpec,
    DataSpec,
    FirstToken,
    Insert,
    PromptSpec,
    Template,
    TemplateAnswer,
    TextPrompt,
    ValueAnswer,
)
from glassbox_dsl.language.data.templates import parse_template
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import POSITION_WORDS

SCALARS = ("abs", "exp", "log", "sqrt", "max", "min")
FUNCTIONS = ("token", "contains", *SCALARS)
USAGE = {"token": "token(prompt, at: 0)", "contains": 'contains(text, ["a", "b"])'}


@dataclass(frozen=True)
class Names:
    """Every name that an item of a data set gives a meaning to."""

    variables: tuple[str, ...]
    kinds: Mapping[str, tuple[str, ...]]
    fields: Mapping[str, tuple[str, ...]]
    prompts: Mapping[str, PromptSpec]
    answers: tuple[str, ...]
    features: tuple[str, ...]
    constants: tuple[str, ...]
    open: bool = False  # a source could not be read: unknown names are not reported a second time

    @staticmethod
    def of(spec: DataSpec) -> Names:
        """The names of a finished data set."""
        return Names(
            spec.variables, spec.kinds, spec.fields, spec.prompts, tuple(spec.answers), tuple(spec.features),
            tuple(spec.constants),
        )  # fmt: skip

    def values(self) -> tuple[str, ...]:
        """Names that stand for a value of the item."""
        return (*self.variables, *self.answers, *self.features, *self.constants, "template")


def check_prompt(prompt: PromptSpec, names: Names, found: list[Diagnostic]) -> None:
    """All templates of a prompt."""
    if isinstance(prompt, TextPrompt):
        for variant in prompt.variants:
            check_template(variant.template, names, found)
            if variant.system is not None:
                check_template(variant.system, names, found)


def check_template(template: Template, names: Names, found: list[Diagnostic]) -> None:
    """Every hole: a variable that can be inserted, or a field of a record."""
    for piece in template.pieces:
        if isinstance(piece, Insert):
            _value(piece.variable, piece.field, piece.span, names, found, text=True)


def check_answer(answer: AnswerSpec, names: Names, found: list[Diagnostic]) -> None:
    """Every part of an answer."""
    _check_parts(answer.parts, names, found)


def _check_parts(parts: Iterable[AnswerPart], names: Names, found: list[Diagnostic]) -> None:
    for part in parts:
        if isinstance(part, TemplateAnswer):
            check_template(part.template, names, found)
        elif isinstance(part, ValueAnswer):
            _value(part.variable, part.field, part.span, names, found, text=False)
        elif isinstance(part, FirstToken):
            _check_parts(part.of, names, found)


def _value(
    variable: str, field: str | None, span: Span, names: Names, found: list[Diagnostic], *, text: bool
) -> None:
    where = word_span(span, variable)
    if variable not in names.variables:
        if not names.open:
            found.append(errors.unknown_variable(where, variable, names.variables))
        return
    fields, kinds = names.fields.get(variable), names.kinds[variable]
    if field is not None and fields is None:
        if kinds:
            found.append(errors.no_fields(span, variable))
    elif field is not None and fields is not None and field not in fields:
        at = Span(span.source, span.end - len(field), span.end) if span.text.endswith(field) else span
        found.append(errors.unknown_field(at, variable, field, fields))
    elif field is None and "record" in kinds:
        found.append(errors.whole_record(where, variable, fields or ()))
    elif field is None and text and "list" in kinds:
        found.append(errors.whole_list(where, variable))


def needs_model(expr: nodes.Expr, names: Names) -> bool:
    """Whether a condition mentions a run, a prompt's pass or a metric: what no item answers by itself."""
    match expr:
        case nodes.Call(function=nodes.Name(id=("token" | "contains")), arguments=arguments):
            return any(
                needs_model(a.value, names)
                for a in arguments
                if not isinstance(a.value, nodes.Name) and a.name != "at"
            )
        case nodes.Call(function=nodes.Name(id=name)) if name not in SCALARS:
            return True
        case nodes.Name(id=name):
            return name in names.prompts and name not in names.values()
    return any(needs_model(child, names) for child in _expressions(expr))


def _expressions(node: nodes.Node) -> list[nodes.Expr]:
    found: list[nodes.Expr] = []
    for child in nodes.children(node):
        found += [child] if isinstance(child, nodes.Expr) else _expressions(child)
    return found


class ExpressionCheck:
    """Walks a feature or condition; collects findings and the prompts whose tokens it reads."""

    def __init__(self, names: Names, binders: tuple[str, ...], found: list[Diagnostic]) -> None:
        self.names = names
        self.binders = binders
        self.found = found
        self.about: list[str] = []

    def value(self, expr: nodes.Expr) -> None:
        """An expression that gives a value of the item."""
        match expr:
            case nodes.Number():
                return
            case nodes.String():
                template, problems = parse_template(expr)
                self.found += problems
                check_template(template, self.names, self.found)
            case nodes.Name(id=name):
                self._name(name, expr.span)
            case nodes.Attribute(base=nodes.Name(id=name), name=field):
                _value(name, field, expr.span, self.names, self.found, text=False)
            case nodes.List(items=items) | nodes.Set(items=items) | nodes.Tuple(items=items):
                for item in items:
                    self.value(item)
            case nodes.Unary(operand=operand):
                self.value(operand)
            case nodes.Binary(left=left, right=right) | nodes.Compare(left=left, right=right):
                self.value(left)
                self.value(right)
            case nodes.Call(function=nodes.Name(id=name)):
                self._call(name, expr)
            case _:
                self.found.append(errors.not_a_feature(expr.span))

    def _name(self, name: str, span: Span) -> None:
        known = self.names.values()
        if name in ("true", "false", "inf") or name in self.binders:
            return
        if name in known:
            return
        if name in self.names.prompts:
            self.found.append(errors.prompt_as_value(span, name))
        elif not self.names.open:
            self.found.append(errors.unknown_value(span, name, known))

    def _call(self, name: str, call: nodes.Call) -> None:
        given = {a.name: a.value for a in call.arguments if a.name is not None}
        plain = [a.value for a in call.arguments if a.name is None]
        if name == "token":
            self._token(call, plain, given)
        elif name == "contains":
            self._contains(call, plain, given)
        elif name in SCALARS:
            if given or not plain or (len(plain) > 1 and name not in ("max", "min")):
                usage = f"{name}(a, b)" if name in ("max", "min") else f"{name}(x)"
                self.found.append(errors.wrong_arguments(call.span, name, usage))
            for value in plain:
                self.value(value)
        else:
            self.found.append(errors.unknown_function(call.function.span, name, FUNCTIONS))

    def _token(self, call: nodes.Call, plain: list[nodes.Expr], given: dict[str, nodes.Expr]) -> None:
        if len(plain) == 2 and not given:
            plain, given = plain[:1], {"at": plain[1]}
        if len(plain) != 1 or set(given) != {"at"} or not isinstance(plain[0], nodes.Name):
            self.found.append(errors.wrong_arguments(call.span, "token", USAGE["token"]))
            return
        prompt = plain[0].id
        if prompt not in self.names.prompts:
            self.found.append(errors.unknown_prompt(plain[0].span, prompt, self.names.prompts))
            return
        self.about.append(prompt)
        self._position(given["at"], prompt)

    def _position(self, expr: nodes.Expr, prompt: str) -> None:
        declared = self.names.prompts[prompt]
        if isinstance(declared, TextPrompt) and not declared.variants:
            return  # broken, and said so already: its labels are not known
        labels = declared.labels
        match expr:
            case nodes.Number(value=int()):
                return
            case nodes.Unary(op="-", operand=nodes.Number(value=int())):
                return
            case nodes.Name(id=name) if name in self.binders or name in POSITION_WORDS or name in labels:
                return
            case nodes.Name(id=name) | nodes.Attribute(base=nodes.Name(id=name), name=("first" | "last")):
                if name not in labels:
                    known = (*labels, *self.binders, *POSITION_WORDS)
                    self.found.append(
                        errors.unknown_position(word_span(expr.span, name), name, prompt, known)
                    )
                return
            case nodes.Binary(op=("+" | "-" | "*"), left=left, right=right):
                self._position(left, prompt)
                self._position(right, prompt)
                return
        self.found.append(errors.not_a_position(expr.span))

    def _contains(self, call: nodes.Call, plain: list[nodes.Expr], given: dict[str, nodes.Expr]) -> None:
        if len(plain) != 2 or given:
            self.found.append(errors.wrong_arguments(call.span, "contains", USAGE["contains"]))
            return
        text, words = plain
        if not (isinstance(text, nodes.Name) and text.id in self.names.prompts):
            self.value(text)
        self.value(words)
