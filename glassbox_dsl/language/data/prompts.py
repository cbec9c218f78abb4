"""`prompt NAME = EXPR` to a prompt's templates, chat turns, chunks or token ids."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language.data import errors, source_errors
from glassbox_dsl.language.data.files import Unreadable, inside
from glassbox_dsl.language.data.sources import NotLiteral, Place, literal
from glassbox_dsl.language.data.spec import (
    Chunks,
    LiteralTokens,
    PromptSpec,
    RepeatedTokens,
    Template,
    TextPrompt,
    TextVariant,
)
from glassbox_dsl.language.data.templates import parse_template
from glassbox_dsl.syntax import nodes

USAGE = {
    "repeated_tokens": "repeated_tokens(length: 50, repeats: 2)",
    "chunks": 'chunks("prose.txt", tokens: 128)',
    "chat": 'chat("...", system: "...")',
    "tokens": "tokens([1, 2, 3])",
}
_PARAMETERS = {
    "repeated_tokens": ("length", "repeats"),
    "chunks": ("path", "tokens"),
    "chat": ("text", "system"),
    "tokens": ("ids",),
}
_NEEDED = {
    "repeated_tokens": ("length",),
    "chunks": ("path", "tokens"),
    "chat": ("text",),
    "tokens": ("ids",),
}


def read_prompt(node: nodes.Prompt, place: Place, found: list[Diagnostic]) -> PromptSpec | None:
    """The prompt, or None where it is broken (reported then)."""
    value = node.value
    name = _function(value)
    if isinstance(value, nodes.Call) and name in USAGE and name != "chat":
        arguments = _arguments(value, name, found)
        if arguments is None:
            return None
        readers = {"repeated_tokens": _repeated, "chunks": _chunks, "tokens": _tokens}
        return readers[name](node, arguments, place, found)
    items = value.items if isinstance(value, nodes.List) else (value,)
    if not items:
        found.append(errors.not_a_prompt(value.span, "an empty list"))
        return None
    variants = [_variant(item, found) for item in items]
    kept = tuple(v for v in variants if v is not None)
    if len(kept) < len(variants):
        return None
    labels = tuple(dict.fromkeys(label for v in kept for label in variant_labels(v)))
    return TextPrompt(name=node.name, labels=labels, variants=kept, span=node.span)


def variant_labels(variant: TextVariant) -> tuple[str, ...]:
    """Labels of a variant: those of the system turn first, as in the text."""
    system = variant.system.labels if variant.system is not None else ()
    return (*system, *variant.template.labels)


def _variant(expr: nodes.Expr, found: list[Diagnostic]) -> TextVariant | None:
    if isinstance(expr, nodes.String):
        return TextVariant(template=_template(expr, found), span=expr.span)
    if isinstance(expr, nodes.Call) and _function(expr) == "chat":
        return _chat(expr, found)
    if isinstance(expr, nodes.Call):
        found.append(errors.unknown_prompt_function(expr.function.span, expr.function.span.text, USAGE))
        return None
    found.append(errors.not_a_prompt(expr.span, f"`{expr.span.text}`"))
    return None


def _chat(expr: nodes.Call, found: list[Diagnostic]) -> TextVariant | None:
    arguments = _arguments(expr, "chat", found)
    if arguments is None:
        return None
    for value in arguments.values():
        if not isinstance(value, nodes.String):
            found.append(
                errors.bad_arguments(value.span, "chat", "a template in quotes is needed", USAGE["chat"])
            )
            return None
    templates = {k: _template(v, found) for k, v in arguments.items() if isinstance(v, nodes.String)}
    variant = TextVariant(
        template=templates["text"], chat=True, system=templates.get("system"), span=expr.span
    )
    if variant.system is not None:
        twice = set(variant.system.labels) & set(variant.template.labels)
        for piece in variant.template.pieces:
            if piece.label in twice:
                found.append(errors.label_twice(piece.span, str(piece.label), None, None))
    return variant


def _template(node: nodes.String, found: list[Diagnostic]) -> Template:
    template, problems = parse_template(node)
    found.extend(problems)
    return template


def _repeated(
    node: nodes.Prompt, arguments: dict[str, nodes.Expr], place: Place, found: list[Diagnostic]
) -> PromptSpec | None:
    length = _count(arguments["length"], "repeated_tokens", found)
    repeats = _count(arguments["repeats"], "repeated_tokens", found) if "repeats" in arguments else 2
    if length is None or repeats is None:
        return None
    labels = tuple(f"repeat_{i + 1}" for i in range(repeats))
    return RepeatedTokens(name=node.name, labels=labels, length=length, repeats=repeats, span=node.span)


def _chunks(
    node: nodes.Prompt, arguments: dict[str, nodes.Expr], place: Place, found: list[Diagnostic]
) -> PromptSpec | None:
    tokens = _count(arguments["tokens"], "chunks", found)
    path = arguments["path"]
    if not isinstance(path, nodes.String):
        found.append(errors.bad_arguments(path.span, "chunks", "a path in quotes is needed", USAGE["chunks"]))
        return None
    try:
        file = inside(path.value, place.folder, place.root)
    except Unreadable as error:
        found.append(source_errors.unreadable(path.span, path.value, str(error)))
        return None
    return None if tokens is None else Chunks(name=node.name, path=str(file), tokens=tokens, span=node.span)


def _tokens(
    node: nodes.Prompt, arguments: dict[str, nodes.Expr], place: Place, found: list[Diagnostic]
) -> PromptSpec | None:
    expr = arguments["ids"]
    try:
        ids = literal(expr, place.lets)
    except NotLiteral:
        ids = None
    if not isinstance(ids, tuple) or not ids or any(type(i) is not int or i < 0 for i in ids):
        found.append(
            errors.bad_arguments(expr.span, "tokens", "a list of token ids is needed", USAGE["tokens"])
        )
        return None
    return LiteralTokens(name=node.name, ids=ids, span=node.span)


def _count(expr: nodes.Expr, function: str, found: list[Diagnostic]) -> int | None:
    if isinstance(expr, nodes.Number) and isinstance(expr.value, int) and expr.value > 0:
        return expr.value
    found.append(
        errors.bad_arguments(expr.span, function, "a whole number above 0 is needed", USAGE[function])
    )
    return None


def _function(expr: nodes.Expr) -> str:
    return expr.function.id if isinstance(expr, nodes.Call) and isinstance(expr.function, nodes.Name) else ""


def _arguments(call: nodes.Call, name: str, found: list[Diagnostic]) -> dict[str, nodes.Expr] | None:
    """Arguments by parameter name; None (and a finding) where they do not fit."""
    parameters, given = _PARAMETERS[name], dict[str, nodes.Expr]()
    for position, argument in enumerate(call.arguments):
        positional = argument.name is None and position < len(parameters)
        key = parameters[position] if positional else argument.name or ""
        if key not in parameters or key in given:
            what = "no such argument" if key not in parameters else f"`{key}` is given twice"
            found.append(errors.bad_arguments(argument.span, name, what, USAGE[name]))
            return None
        given[key] = argument.value
    missing = [p for p in _NEEDED[name] if p not in given]
    if missing:
        found.append(errors.bad_arguments(call.span, name, f"`{missing[0]}` is missing", USAGE[name]))
        return None
    return given
