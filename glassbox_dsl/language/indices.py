"""What stands in square brackets: indices of sites and families, and the domains of binders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import (
    AllCells,
    AnyOf,
    Arithmetic,
    At,
    Between,
    ByValue,
    Covered,
    Depth,
    Dimension,
    Index,
    Not,
    Position,
    Swept,
    Tuples,
    Variable,
)
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import AXES, POSITION_AXES, POSITION_WORDS

if TYPE_CHECKING:
    from glassbox_dsl.language.set_nodes import SetIndex
    from glassbox_dsl.language.sets import SetReader

PARTS = ("first", "last", "span")


class IndexReader:
    """Turns index syntax into `Index` trees.

    `labels(scope)` gives the span labels that the prompts in scope define; `named_set(name)` the literal set or
    list that a `let` declares, or None; `sets` reads the sets that results make.
    """

    def __init__(
        self,
        labels: Callable[[Scope], frozenset[str]],
        named_set: Callable[[str], nodes.Expr | None],
        sets: SetReader,
    ) -> None:
        self.labels = labels
        self.named_set = named_set
        self.sets = sets

    # ------------------------------------------------------------ one index

    def read(
        self,
        node: nodes.Expr | nodes.All,
        axis: str | None,
        scope: Scope,
        order: Sequence[str] = (),
        of: str = "",
    ) -> Index:
        """One index on an axis (None: a variable without axis). `order` and `of` are for the message."""
        if isinstance(node, nodes.All):
            return AllCells(span=node.span)
        if axis is None:
            return self.by_value(node, scope)
        return self._index(node, axis, scope, order, of)

    def _index(self, node: nodes.Expr, axis: str, scope: Scope, order: Sequence[str], of: str) -> Index:
        span = node.span

        def inner(child: nodes.Expr) -> Index:
            return self._index(child, axis, scope, order, of)

        if (members := self.sets.index(node, (axis,), scope, of)) is not None:
            return members
        match node:
            case nodes.Number():
                return At(span=span, value=self._whole(node))
            case nodes.Unary(op="-", operand=nodes.Number() as number):
                return At(span=span, value=-self._whole(number))
            case nodes.Percent():
                if axis != "layer":
                    raise Problem(
                        errors.bad_index(span, f"a depth is a share of the layers; this index is on `{axis}`")
                    )
                return Depth(span=span, value=node.value)
            case nodes.Range():
                return Between(span=span, low=inner(node.low), high=inner(node.high))
            case nodes.Set() | nodes.List():
                return AnyOf(span=span, items=tuple(inner(item) for item in node.items))
            case nodes.Unary(op="not"):
                return Not(span=span, inner=inner(node.operand))
            case nodes.Binary(op="+" | "-" | "*"):
                return Arithmetic(span=span, op=node.op, left=inner(node.left), right=inner(node.right))
            case nodes.Unary(op="-"):
                zero = At(span=span, value=0)
                return Arithmetic(span=span, op="-", left=zero, right=inner(node.operand))
            case nodes.Name():
                return self._name(node, axis, scope, order, of)
            case nodes.Attribute(base=nodes.Name() as base):
                return self._position(node, base.id, node.name, axis, scope, order, of)
            case nodes.Tuple():
                raise Problem(
                    errors.bad_index(span, "a tuple indexes several axes", "write it in a set: `{(a, b)}`")
                )
        raise Problem(errors.bad_index(span, "an integer, depth, range, set, position or variable is needed"))

    @staticmethod
    def _whole(number: nodes.Number) -> int:
        if not isinstance(number.value, int):
            raise Problem(errors.bad_index(number.span, f"`{number.value}` is not a whole number"))
        return number.value

    def _name(self, node: nodes.Name, axis: str, scope: Scope, order: Sequence[str], of: str) -> Index:
        name = node.id
        if name in scope.words:
            return self._index(scope.words[name], axis, scope, order, of)
        if name in scope.binders:
            own = next(v.axis for v in scope.binders[name].variables if v.name == name)
            self._same_axis(node.span, name, own, axis)
            scope.sweep(node.span, name)
            return Swept(span=node.span, variable=name)
        if name in POSITION_WORDS or name in self.labels(scope):
            return self._position(node, name, "", axis, scope, order, of)
        if (literal := self.named_set(name)) is not None:
            return self._index(literal, axis, scope, order, of)
        if name in AXES:
            self._same_axis(node.span, name, name, axis)
            scope.sweep(node.span, name)
            return Swept(span=node.span, variable=name)
        known = [*scope.binders, *POSITION_WORDS, *self.labels(scope), *order]
        raise Problem(errors.unknown_name(node.span, name, known, "index"))

    @staticmethod
    def _same_axis(span: Span, name: str, own: str | None, axis: str) -> None:
        """A variable indexes its own axis; positions go with queries and keys, plain numbers with any."""
        if own is None or own == axis or {own, axis} <= set(POSITION_AXES):
            return
        why = f"`{name}` sweeps the axis `{own}`, this index is on `{axis}`"
        help_ = (
            "query heads share key and value heads: sweep `kv_head`"
            if {own, axis} == {"head", "kv_head"}
            else ""
        )
        raise Problem(errors.bad_index(span, why, help_))

    def _position(
        self, node: nodes.Expr, label: str, part: str, axis: str, scope: Scope, order: Sequence[str], of: str
    ) -> Index:
        if axis not in POSITION_AXES:
            raise Problem(errors.position_on_other_axis(node.span, node.span.text, axis, order, of))
        if label in POSITION_WORDS and not part:
            return Position(span=node.span, label=None, part=label)
        if label not in self.labels(scope):
            self.named_set(label)  # says nothing more where the declaration behind the name is broken
            known = [*self.labels(scope), *POSITION_WORDS]
            raise Problem(errors.unknown_name(node.span, label, known, "span"))
        part = part or "last"
        if part not in PARTS:
            raise Problem(
                errors.bad_index(node.span, f"a span has no `{part}`", "use `.first`, `.last` or `.span`")
            )
        return Position(span=node.span, label=label, part=part)

    def by_value(self, node: nodes.Expr, scope: Scope) -> Index:
        """The index of a variable without an axis: its value, or a variable of the same name."""
        match node:
            case nodes.Name() if node.id in scope.binders:
                scope.sweep(node.span, node.id)
                return Swept(span=node.span, variable=node.id)
            case nodes.Name() if node.id in scope.words:
                return self.by_value(scope.words[node.id], scope)
            case nodes.Number():
                return ByValue(span=node.span, number=float(node.value), text=f"{node.value:g}")
            case nodes.Unary(op="-", operand=nodes.Number() as number):
                return ByValue(span=node.span, number=-float(number.value), text=f"{-number.value:g}")
            case nodes.String():
                return ByValue(span=node.span, text=node.value)
            case nodes.Name() | nodes.Attribute():
                return ByValue(span=node.span, text=dotted(node))
        raise Problem(errors.bad_index(node.span, "this variable is indexed by one of its values"))

    # ------------------------------------------------------------ all indices of a site

    def site(
        self, items: Sequence[nodes.IndexItem], axes: Sequence[str], scope: Scope, of: str
    ) -> tuple[Index, ...]:
        """One index per axis of a site; axes without one are `:`."""
        span = items[0].span if items else None
        slots: dict[str, Index] = {}
        place = 0
        for item in items:
            if item.name is not None:
                if item.name not in axes:
                    raise Problem(errors.unknown_axis(item.span, item.name, of, axes))
                if item.name in slots:
                    raise Problem(errors.index_twice(item.span, item.name, of))
                slots[item.name] = self.read(item.value, item.name, scope, axes, of)
                continue
            while place < len(axes) and axes[place] in slots:
                place += 1
            if place >= len(axes):
                raise Problem(errors.too_many_indices(item.span, of, axes, len(items)))
            place = self._slot(item, place, axes, scope, of, slots)
        default = span or scope_span(items)
        return tuple(slots.get(axis) or AllCells(span=default) for axis in axes) if default else ()

    def _slot(
        self,
        item: nodes.IndexItem,
        place: int,
        axes: Sequence[str],
        scope: Scope,
        of: str,
        slots: dict[str, Index],
    ) -> int:
        tuples = self._several(item.value, axes[place:], scope, of)
        if tuples is None:
            slots[axes[place]] = self.read(item.value, axes[place], scope, axes, of)
            return place + 1
        slots[axes[place]] = tuples
        for axis in axes[place + 1 : place + tuples.width]:
            slots[axis] = Covered(span=item.span)
        return place + tuples.width

    def _several(
        self, node: nodes.Expr | nodes.All, axes: Sequence[str], scope: Scope, of: str
    ) -> Tuples | SetIndex | None:
        """The set over some leading axes that an index is, written or from results; None for any other index."""
        if isinstance(node, nodes.All):
            return None
        return self.sets.index(node, axes, scope, of) or self.tuple_set(node, axes, scope, of)

    def tuple_set(
        self, node: nodes.Expr | nodes.All, axes: Sequence[str], scope: Scope, of: str
    ) -> Tuples | None:
        """The set of tuples that a node is, or None; `not` gives the complement."""
        if isinstance(node, nodes.Name) and node.id in scope.words:
            return self.tuple_set(scope.words[node.id], axes, scope, of)
        if isinstance(node, nodes.Name) and node.id not in scope.binders:
            literal = self.named_set(node.id)
            return self.tuple_set(literal, axes, scope, of) if literal is not None else None
        if isinstance(node, nodes.Unary) and node.op == "not":
            found = self.tuple_set(node.operand, axes, scope, of)
            return found.changed(complement=not found.complement) if found else None
        if not isinstance(node, nodes.Set | nodes.List) or not any(
            isinstance(i, nodes.Tuple) for i in node.items
        ):
            return None
        return self._tuples(node, axes, scope, of)

    def _tuples(self, node: nodes.Set | nodes.List, axes: Sequence[str], scope: Scope, of: str) -> Tuples:
        width = len(node.items[0].items) if isinstance(node.items[0], nodes.Tuple) else 0
        rows = []
        for item in node.items:
            if not isinstance(item, nodes.Tuple) or len(item.items) != width:
                raise Problem(errors.unaligned_set(item.span, "all members must be tuples of one length"))
            if width > len(axes):
                why = (
                    f"tuples of {width} need {width} axes, {len(axes)} are left on `{of}`: {', '.join(axes)}"
                )
                raise Problem(errors.unaligned_set(item.span, why))
            rows.append(
                tuple(
                    self._index(part, axis, scope, axes, of)
                    for part, axis in zip(item.items, axes, strict=False)
                )
            )
        return Tuples(span=node.span, items=tuple(rows), width=width)

    def rows(self, node: nodes.Expr, axes: Sequence[str], scope: Scope) -> tuple[tuple[Index, ...], ...]:
        """The members of a written set over axes, one index per axis."""
        tuples = self.tuple_set(node, axes, scope, "the set")
        if tuples is not None and tuples.width == len(axes):
            return tuples.items
        if tuples is not None or len(axes) > 1:
            why = f"the set beside it has members over {', '.join(axes)}"
            raise Problem(errors.unaligned_set(node.span, why))
        items = node.items if isinstance(node, nodes.Set | nodes.List) else (node,)
        return tuple((self._index(item, axes[0], scope, axes, "the set"),) for item in items)

    # ------------------------------------------------------------ cells of a family

    def family(
        self,
        items: Sequence[nodes.IndexItem],
        dimensions: Sequence[Dimension],
        scope: Scope,
        of: str,
        span: Span,
    ) -> tuple[tuple[str, Index], ...]:
        """One index per variable of a family; variables left out are swept, bound or free."""
        variables: list[tuple[Variable, Dimension]] = [(v, d) for d in dimensions for v in d.variables]
        names = [v.name for v, _ in variables]
        chosen: dict[str, nodes.Expr | nodes.All] = {}
        rest = list(names)
        for item in items:
            name = item.name
            if name is None:
                if not rest:
                    raise Problem(errors.too_many_indices(item.span, of, names, len(items)))
                name = rest[0]
            if name not in names:
                raise Problem(errors.unknown_axis(item.span, name, of, names))
            if name in chosen:
                raise Problem(errors.index_twice(item.span, name, of))
            rest = [n for n in rest if n != name]
            chosen[name] = item.value
        return tuple((v.name, self._cell(chosen.get(v.name), v, d, scope, of, span)) for v, d in variables)

    def _cell(
        self,
        node: nodes.Expr | nodes.All | None,
        variable: Variable,
        dimension: Dimension,
        scope: Scope,
        of: str,
        span: Span,
    ) -> Index:
        if node is None and variable.name in scope.words:
            return self.by_value(scope.words[variable.name], scope)
        if node is None or isinstance(node, nodes.All):
            scope.sweep(span, variable.name, variable.axis, dimension)
            return Swept(span=span, variable=variable.name)
        if dimension.named or variable.axis is None:
            return self.by_value(node, scope)
        index = self.read(node, variable.axis, scope, [variable.axis], of)
        if not is_point(index):
            scope.sweep(node.span, variable.name, variable.axis, dimension)
        return index


def scope_span(items: Sequence[nodes.IndexItem]) -> Span | None:
    """The span of the first index, if any."""
    return items[0].span if items else None


def dotted(node: nodes.Expr) -> str:
    """`mlp.out` from its tree; the text of the node when it is no dotted name."""
    match node:
        case nodes.Name():
            return node.id
        case nodes.Attribute():
            return f"{dotted(node.base)}.{node.name}"
        case nodes.String():
            return node.value
    return node.span.text


def is_point(index: Index) -> bool:
    """Whether the index names one cell (per item and cell of the sweep), so that its axis goes away."""
    match index:
        case Position(part="span"):
            return False
        case Arithmetic():
            return is_point(index.left) and is_point(index.right)
        case At() | Depth() | Position() | Swept() | ByValue():
            return True
    return False


def swept_variables(index: Index) -> tuple[str, ...]:
    """The variables that an index depends on."""
    match index:
        case Swept():
            return (index.variable,)
        case Arithmetic():
            return (*swept_variables(index.left), *swept_variables(index.right))
        case Between():
            return (*swept_variables(index.low), *swept_variables(index.high))
        case AnyOf():
            return tuple(v for item in index.items for v in swept_variables(item))
        case Not():
            return swept_variables(index.inner)
        case Tuples():
            return tuple(v for row in index.items for item in row for v in swept_variables(item))
    return ()
