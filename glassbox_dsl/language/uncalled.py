"""Metrics that nothing calls: their names are looked up all the same, as far as that goes.

What a metric means depends on the run it is given, so it is read where it is called. One that is never called is
only asked whether each of its names stands for anything in the file, and whether it needs itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language import errors
from glassbox_dsl.language.chains import Parentheses, leading_path, take_apart
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.library.value import value_functions
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES, RESERVED_WORDS
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.file import FileReader

Body = nodes.Metric
FUNCTIONS = ("mean", "std", "sum", "max", "min", "argmax", "softmax", "correlation", "resample", "noise", "unembed",
             "direction", "token", "contains", "load", "first_token",
             "largest", "sample", "size", "attribution",
             "accuracy", "score", "auroc", "inverse", "grad", "estimate", "text")  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What a name may stand for: `values` where a value stands, `functions` before a bracket; `broken` is both.

    `open`: metrics whose answers may stand in data sets of other files, so that only functions and sites are known.
    """

    values: frozenset[str] | None
    functions: frozenset[str]
    broken: frozenset[str]
    open: frozenset[str]


def unread(file: FileReader) -> tuple[dict[str, Body], Known]:
    """The metrics of a file and its experiments that nothing called, and all that their names may stand for."""
    readers = list(file.experiments.values())
    local = [node for r in readers for node in r.declared.values() if isinstance(node, nodes.Metric)]
    uncalled = [m for m in (*file.metrics.values(), *local) if id(m) not in file.called]
    broken = file.broken.union(*(r.broken for r in readers))
    functions = {*FUNCTIONS, *value_functions(), *metrics(), *file.metrics, *(m.name for m in local)}
    values = {*AXES, *RESERVED_WORDS, *file.lets, *file.experiments, *file.data, *file.models, *sites()}
    for reader in readers:
        values |= reader.declared.keys() | {a.name for n in reader.declared.values() for a in _variables(n)}
    for spec in file.data.values():
        values |= {"template", *spec.prompts, *spec.answers, *spec.features, *spec.variables}
        values |= {label for prompt in spec.prompts.values() for label in prompt.labels}
    # A file of metrics is checked by itself, and imported where some of them are not needed.
    elsewhere = frozenset(file.imported if file.data else file.metrics)
    known = Known(frozenset(values), frozenset(functions), frozenset(broken), elsewhere)
    return {m.name: m for m in uncalled if m.name not in broken}, known


def _variables(node: nodes.Node) -> list[nodes.Axis]:
    return [axis for binder in getattr(node, "binders", ()) for axis in binder.axes]


def check_uncalled(bodies: Mapping[str, Body], known: Known) -> Iterator[Diagnostic]:
    """Findings about the bodies of declarations that nothing reads."""
    for body in bodies.values():
        here = replace(known, values=None) if body.name in known.open else known
        yield from dict.fromkeys(_names(body.value, frozenset(body.parameters), here))
    yield from _cycles(bodies)


def _names(node: nodes.Node, parameters: frozenset[str], known: Known) -> Iterator[Diagnostic]:
    if not isinstance(node, nodes.Name | nodes.Attribute | nodes.Index | nodes.Call):
        for child in nodes.children(node):
            yield from _names(child, parameters, known)
        return
    base, steps = take_apart(node)
    if isinstance(base, nodes.Name):
        called = bool(steps) and isinstance(steps[0], Parentheses)
        yield from _base(base, called, parameters, known)
        if base.id in parameters:
            path, _ = leading_path(steps)
            site = ".".join(dot.name for dot in path)
            declared = bool(path) and path[0].name in (known.values or ())  # a dictionary has sites too
            if site and site not in sites() and not declared:
                first, last = path[0].span, path[-1].span
                place = Span(first.source, first.end - len(path[0].name), last.end)
                yield errors.unknown_site(place, site, sites())
    else:
        yield from _names(base, parameters, known)
    for step in steps:
        if isinstance(step, Parentheses):
            for argument in step.arguments:
                if argument.name is None or not isinstance(argument.value, nodes.Name):
                    yield from _names(argument.value, parameters, known)


def _base(base: nodes.Name, called: bool, parameters: frozenset[str], known: Known) -> Iterator[Diagnostic]:
    name = base.id
    if name in parameters or name in known.broken:
        return
    if called and name not in known.functions:
        yield errors.unknown_function(base.span, name, known.functions)
    elif not called and known.values is not None and name not in known.values:
        yield errors.unknown_name(base.span, name, [*parameters, *sorted(known.values)])


def _cycles(bodies: Mapping[str, Body]) -> Iterator[Diagnostic]:
    """One finding for each cycle among the declarations themselves."""
    done: set[str] = set()

    def visit(name: str, chain: Sequence[str]) -> Iterator[Diagnostic]:
        if name in chain:
            yield errors.cycle(bodies[name].span, [*chain[chain.index(name) :], name])
        elif name not in done:
            for other in dict.fromkeys(n.id for n in _below(bodies[name].value) if isinstance(n, nodes.Name)):
                if other in bodies:
                    yield from visit(other, [*chain, name])
            done.add(name)

    for name in bodies:
        yield from visit(name, [])


def _below(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in nodes.children(node):
        yield from _below(child)
