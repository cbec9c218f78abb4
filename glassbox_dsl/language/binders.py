"""Binders: `[layer, pos]`, `[l: layer in 0..5]`, `[(layer, head) in movers]`, `[site in {resid_post, mlp.out}]`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import product

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import SPELLED_OPTIONS
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.indices import IndexReader, dotted
from glassbox_dsl.language.program import Between, Dimension, Member, Not, Position, Variable
from glassbox_dsl.language.scope import Scope, whole_axis
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES, CONTEXT_AXES, FEATURE_AXES, RESERVED_WORDS


def read_binders(binders: Sequence[nodes.Binder], reader: IndexReader, scope: Scope) -> tuple[Dimension, ...]:
    """The dimensions that binders declare, in order."""
    dimensions: list[Dimension] = []
    seen: dict[str, nodes.Axis] = {}
    for binder in binders:
        for axis in binder.axes:
            if axis.name in seen:
                raise Problem(errors.declared_twice(axis.span, axis.name, seen[axis.name].span))
            if axis.name in RESERVED_WORDS:
                raise Problem(errors.reserved(axis.span, axis.name))
            seen[axis.name] = axis
        dimensions.append(_dimension(binder, reader, scope))
    return tuple(dimensions)


def _axis_of(axis: nodes.Axis) -> str | None:
    name = axis.axis if axis.axis is not None else axis.name
    if name in CONTEXT_AXES or name in FEATURE_AXES:
        raise Problem(
            errors.bad_domain(axis.span, f"`{name}` is not swept by a binder", "index or reduce it by name")
        )
    if axis.axis is not None and name not in AXES:
        place = Span(axis.span.source, axis.span.end - len(name), axis.span.end)
        raise Problem(errors.unknown_name(place, name, AXES, "axis"))
    return name if name in AXES else None


def _dimension(binder: nodes.Binder, reader: IndexReader, scope: Scope) -> Dimension:
    variables = tuple(Variable(span=a.span, name=a.name, axis=_axis_of(a)) for a in binder.axes)
    name = ",".join(v.name for v in variables)
    if binder.domain is None:
        if variables[0].axis is None:
            help_ = f"write `[{name} in [...]]`, or `[{name}: layer]` for an axis"
            raise Problem(
                errors.bad_domain(binder.span, f"`{name}` is not an axis, so it needs a domain", help_)
            )
        whole = whole_axis(binder.span, variables[0].axis)
        return whole.changed(name=name, variables=variables)
    if (found := reader.sets.domain(binder.domain, variables, scope)) is not None:
        on = tuple(v.changed(axis=axis) for v, axis in zip(variables, found.axes, strict=True))
        return Dimension(span=binder.span, name=name, variables=on, members=(), members_from=found)
    members = tuple(_members(binder.domain, variables, reader, scope))
    if not members:
        raise Problem(errors.bad_domain(binder.domain.span, "the domain is empty"))
    return Dimension(span=binder.span, name=name, variables=variables, members=members)


def _members(
    domain: nodes.Expr, variables: Sequence[Variable], reader: IndexReader, scope: Scope
) -> Iterator[tuple[Member, ...]]:
    if isinstance(domain, nodes.Name) and (literal := reader.named_set(domain.id)) is not None:
        domain = literal
    if len(variables) > 1:
        yield from _tuple_members(domain, variables, reader, scope)
        return
    [variable] = variables
    match domain:
        case nodes.Set() | nodes.List():
            for item in domain.items:
                yield (member(item, variable, reader, scope),)
        case _ if variable.axis is not None:
            # A range, span or complement as the whole domain: its cells are taken one by one.
            index = reader.read(domain, variable.axis, scope, [variable.axis], variable.name)
            if not isinstance(index, Between | Not | Position):
                raise Problem(
                    errors.bad_domain(domain.span, "a list, set, range, span or complement is needed")
                )
            yield (Member(span=domain.span, index=index, text="*"),)
        case nodes.Range(low=low, high=high):
            for number in range(_integer(low), _integer(high) + 1):
                yield (Member(span=domain.span, number=float(number), text=str(number)),)
        case _:
            raise Problem(
                errors.bad_domain(domain.span, "a list, set or range is needed", "write `in [1, 2, 3]`")
            )


def _integer(node: nodes.Expr) -> int:
    match node:
        case nodes.Number(value=int() as value):
            return value
        case nodes.Unary(op="-", operand=nodes.Number(value=int() as value)):
            return -value
    raise Problem(errors.bad_domain(node.span, "the ends of a range are whole numbers here"))


def _tuple_members(
    domain: nodes.Expr, variables: Sequence[Variable], reader: IndexReader, scope: Scope
) -> Iterator[tuple[Member, ...]]:
    if not isinstance(domain, nodes.Set | nodes.List):
        raise Problem(
            errors.bad_domain(domain.span, "a set of tuples is needed", "write `in {(0, 1), (2, 3)}`")
        )
    for item in domain.items:
        if not isinstance(item, nodes.Tuple) or len(item.items) != len(variables):
            raise Problem(errors.bad_domain(item.span, f"a tuple of {len(variables)} is needed"))
        yield tuple(member(part, v, reader, scope) for part, v in zip(item.items, variables, strict=True))


def member(node: nodes.Expr, variable: Variable, reader: IndexReader, scope: Scope) -> Member:
    """One member of a domain: an index on the variable's axis, a number, or a name."""
    if variable.axis is not None:
        index = reader.read(node, variable.axis, scope, [variable.axis], variable.name)
        return Member(span=node.span, index=index, text=node.span.text)
    match node:
        case nodes.Number():
            return Member(span=node.span, number=float(node.value), text=f"{node.value:g}")
        case nodes.Unary(op="-", operand=nodes.Number() as number):
            return Member(span=node.span, number=-float(number.value), text=f"{-number.value:g}")
        case nodes.Name(id="true" | "false"):
            return Member(span=node.span, number=float(node.id == "true"), text=node.id)
        case nodes.Name() | nodes.Attribute() | nodes.String():
            return Member(span=node.span, text=dotted(node))
    raise Problem(errors.bad_domain(node.span, "a number, string or name is needed"))


def readings(
    dimensions: Sequence[Dimension], *read: nodes.Node
) -> Iterator[tuple[tuple[tuple[str, str], ...], dict[str, nodes.Expr]]]:
    """Every choice of what the name-valued variables stand for: (when, syntax of each).

    So are numbers that options of a call take (`seed: s`), where `read`, the syntax that is read, has such calls.
    """
    spelled = {word for node in read for word in _option_words(node)}
    named = [
        (d, _syntax_members(d, spelled))
        for d in dimensions
        if d.named or any(_is_spelled(v, spelled) for v in d.variables)
    ]
    for choice in product(*(rows for _, rows in named)):
        when: list[tuple[str, str]] = []
        words: dict[str, nodes.Expr] = {}
        for (dimension, _), row in zip(named, choice, strict=True):
            for variable, (text, syntax) in zip(dimension.variables, row, strict=True):
                if syntax is not None:
                    when.append((variable.name, text))
                    words[variable.name] = syntax
        yield tuple(when), words


def _option_words(node: nodes.Node) -> Iterator[str]:
    """The names that stand alone behind an option which the text has to spell out."""
    for child in nodes.everything(node):
        match child:
            case nodes.Argument(name=option, value=nodes.Name(id=name)) if option in SPELLED_OPTIONS:
                yield name


def _is_spelled(variable: Variable, spelled: Collection[str]) -> bool:
    return variable.axis is None and variable.name in spelled


def _syntax_members(
    dimension: Dimension, spelled: Collection[str]
) -> list[tuple[tuple[str, nodes.Expr | None], ...]]:
    return [
        tuple(
            (m.text, _as_name(m, _is_spelled(v, spelled)))
            for v, m in zip(dimension.variables, row, strict=True)
        )
        for row in dimension.members or ()
    ]


def _as_name(member: Member, spelled: bool) -> nodes.Expr | None:
    """The syntax of what a member names; None for an index, and for a number unless it is spelled out."""
    if member.index is not None or (member.number is not None and not spelled):
        return None
    if member.number is not None and member.text not in ("true", "false"):
        whole = member.number == int(member.number)
        return nodes.Number(span=member.span, value=int(member.number) if whole else member.number)
    if member.span.text.startswith('"'):
        return nodes.String(span=member.span, value=member.text)
    first, *rest = member.text.split(".")
    node: nodes.Expr = nodes.Name(span=member.span, id=first)
    for part in rest:
        node = nodes.Attribute(span=member.span, base=node, name=part)
    return node
