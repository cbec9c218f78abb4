"""The options of a figure (LANGUAGE.md section 9), checked against the measure that it shows and its data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.language import report_errors as errors
from glassbox_dsl.language.indices import dotted
from glassbox_dsl.language.program import Dimension, Value, Variable
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import CONTEXT_AXES, ITEM, POSITION_AXES

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

GROUPING = ("x", "y", "color", "facet", "row")
WORDS = (*GROUPING, "value", "over", "title")
DEPTH = "depth"
"""A layer's place in its model, from 0 to 100 percent: what `x` or `y` may name in place of the layer."""
ALIGNED = ("heatmap", "line")
NOT_OF = {
    "scatter": ("y",),
    "histogram": ("x", "y"),
    "text": (*GROUPING, "value", "over"),
    "attention": (*GROUPING, "over", "query", "key"),
}
"""The words that a figure has no use for. (`x` of a scatter names a measure, and is checked with its source.)"""
OF_RECORDS: Mapping[str, tuple[set[str], ...]] = {
    "minus": ({"layer", "head", "query", "key"},),
    "value": ({"layer", "head", "pos"}, {"layer", "kv_head", "pos"}),
}
"""What names a record beside the patterns of an `attention`, and the axes that it needs."""


@dataclass(frozen=True)
class FigureOptions:
    """Checks the options of one figure: what it shows, the reader of its experiment, and the file's data sets."""

    kind: str
    value: Value
    reader: ExperimentReader
    data: Mapping[str, Any]

    @property
    def variables(self) -> dict[str, tuple[Variable, Dimension]]:
        """The axes of the measure that are its own."""
        return {v.name: (v, d) for d in self.value.dimensions for v in d.variables}

    @property
    def axes(self) -> list[str]:
        """All axes of the measure."""
        context = CONTEXT_AXES if self.value.has_item else CONTEXT_AXES[:2]
        return [*self.variables, *context]

    @property
    def columns(self) -> list[str]:
        """Variables and features of the data sets."""
        specs = [self.data[name] for name in self.reader.data if name in self.data]
        return list(dict.fromkeys(n for s in specs for n in (*s.variables, *s.features, "template")))

    def check(self, options: Sequence[nodes.Option]) -> Iterator[Diagnostic]:
        """Everything wrong with the options of a figure."""
        seen: dict[str, nodes.Option] = {}
        for option in options:
            if option.key in seen:
                yield errors.option_twice(option.span, option.key)
            elif option.key in NOT_OF.get(self.kind, ()):
                yield errors.no_use(option.span, option.key, self.kind)
            elif option.key == "x" and self.kind == "scatter":
                pass
            elif self.kind == "attention" and option.key in OF_RECORDS:
                yield from self._record(option)
            elif self.kind == "lens" and option.key == "color":
                yield from self._measure(option, "color")
            elif option.key in WORDS:
                yield from self._word(option)
            elif option.key in (*self.axes, *self.columns):
                yield from self._fixed(option)
            elif not self._open:
                known = [*WORDS, *self.axes, *self.columns]
                yield errors.unknown_option(option.span, option.key, self.kind, known)
            seen.setdefault(option.key, option)
        yield from self._used_twice(seen)

    def _word(self, option: nodes.Option) -> Iterator[Diagnostic]:
        if option.key == "title":
            if not isinstance(option.value, nodes.String):
                yield errors.wrong_value(option.value.span, "title", "a text", 'write `title: "..."`')
        elif option.key == "over":
            is_group = isinstance(option.value, nodes.Set | nodes.List)
            for one in option.value.items if is_group else (option.value,):  # type: ignore[attr-defined]
                yield from self._names(one, "over", "an axis of the measure", [*self.axes, ITEM])
        elif option.key == "value":
            yield from self._measure(option, "value")
        else:
            known = [*self.axes, *self.columns, *self._depth(option.key)]
            yield from self._names(option.value, option.key, "an axis, or a column of the data", known)

    def _depth(self, key: str) -> tuple[str, ...]:
        """`depth`, where the figure may lay layers out by it."""
        return (DEPTH,) if key in ("x", "y") and "layer" in self.variables and self.kind in ALIGNED else ()

    def _measure(self, option: nodes.Option, key: str) -> Iterator[Diagnostic]:
        """Another measure of the experiment, with the axes of the source."""
        measures = {n: v for n, v in self.reader.families.items() if v.kind == "measure"}
        if not isinstance(option.value, nodes.Name):
            yield errors.wrong_value(option.value.span, key, "the name of a measure", "as in `color: place`")
            return
        if option.value.id not in measures:
            known = [n for n, v in measures.items() if v.table is None]
            yield errors.no_such_axis(option.value.span, option.value.id, key, self._shown, known)
            return
        other = measures[option.value.id]
        if {d.name for d in other.dimensions} != {d.name for d in self.value.dimensions}:
            yield errors.other_axes(option.value.span, other.name, [d.name for d in other.dimensions])

    def _record(self, option: nodes.Option) -> Iterator[Diagnostic]:
        """Another record of the experiment: patterns to subtract, or what weights are multiplied by."""
        records = {n: v for n, v in self.reader.families.items() if v.kind == "record"}
        wanted = OF_RECORDS[option.key]
        if not isinstance(option.value, nodes.Name):
            example = f"as in `{option.key}: NAME`"
            yield errors.wrong_value(option.value.span, option.key, "the name of a record", example)
            return
        if option.value.id not in records:
            yield errors.no_such_axis(option.value.span, option.value.id, option.key, self._shown, [*records])
            return
        axes = {v.name for d in records[option.value.id].dimensions for v in d.variables} - {*CONTEXT_AXES}
        if axes not in wanted:
            needed = " or ".join(", ".join(f"`{a}`" for a in sorted(one)) for one in wanted)
            yield errors.record_axes(option.value.span, option.value.id, option.key, sorted(axes), needed)

    def _names(self, node: nodes.Expr, key: str, what: str, known: Sequence[str]) -> Iterator[Diagnostic]:
        if not isinstance(node, nodes.Name | nodes.Attribute):
            yield errors.wrong_value(node.span, key, f"the name of {what}", f"as in `{key}: {known[0]}`")
        elif self._is_measure(dotted(node)) and key in GROUPING:
            yield errors.measure_as_axis(node.span, key)
        elif dotted(node) not in known and not (key in GROUPING and self._open):
            yield errors.no_such_axis(node.span, dotted(node), key, self._shown, known)

    @property
    def _open(self) -> bool:
        """Whether the columns of the data are not all known, because a data block is broken."""
        return any(name in self.reader.file.broken for name in self.reader.data)

    def _is_measure(self, name: str) -> bool:
        family = self.reader.families.get(name.removeprefix(f"{self.reader.name}."))
        return family is not None and name not in (*self.axes, *self.columns)

    @property
    def _shown(self) -> str:
        return f"{self.reader.name}.{self.value.name}"

    # ------------------------------------------------------------ an axis with a value fixes it

    def _fixed(self, option: nodes.Option) -> Iterator[Diagnostic]:
        key, node = option.key, option.value
        if key in ("model", "data"):
            known = self.reader.models if key == "model" else self.reader.data
            if not isinstance(node, nodes.Name | nodes.String):
                yield errors.wrong_value(node.span, key, f"the name of a {key}", f"as in `{key}: {known[0]}`")
            elif dotted(node) not in known and dotted(node) not in self.reader.file.broken:
                yield errors.no_such_axis(node.span, dotted(node), key, self._shown, known)
        elif key in self.variables:
            variable, dimension = self.variables[key]
            yield from self._cell(node, variable, dimension)
        elif key == ITEM and not _whole(node):
            yield errors.wrong_value(node.span, key, "the number of an item", "as in `item: 0`")
        elif not isinstance(node, nodes.Name | nodes.String) and _number(node) is None:
            yield errors.wrong_value(node.span, key, "a text, number or word", f'as in `{key}: "..."`')

    def _cell(self, node: nodes.Expr, variable: Variable, dimension: Dimension) -> Iterator[Diagnostic]:
        """The value at which a variable of the measure is fixed."""
        wanted: tuple[str, Callable[[nodes.Expr], bool]]
        if dimension.named or variable.axis is None:
            members = [row[dimension.variables.index(variable)] for row in dimension.members or ()]
            numbers = [m.number for m in members if m.number is not None]
            if not any(dotted(node) == m.text for m in members) and _number(node) not in numbers:
                known = [m.text for m in members]
                yield errors.no_such_axis(node.span, dotted(node), variable.name, self._shown, known)
            return
        if variable.axis == "layer":
            wanted = "a layer or depth", lambda n: _whole(n) or isinstance(n, nodes.Percent)
        elif variable.axis in POSITION_AXES:
            wanted = (
                "a position",
                lambda n: _whole(n) or isinstance(n, nodes.Name | nodes.Attribute | nodes.String),
            )
        else:
            wanted = f"a {variable.axis}", _whole
        if not wanted[1](node):
            yield errors.wrong_value(node.span, variable.name, wanted[0], f"as in `{variable.name}: 0`")

    # ------------------------------------------------------------ options that get in each other's way

    def _used_twice(self, options: Mapping[str, nodes.Option]) -> Iterator[Diagnostic]:
        """An axis that two options want for themselves."""
        role = {dotted(o.value): k for k, o in options.items() if k in GROUPING}
        for key, option in options.items():
            if key not in WORDS and key in role:
                yield errors.shown_and_fixed(option.span, key, role[key])
        across, up = options.get("x"), options.get("y")
        if across is None or up is None:
            return
        if dotted(across.value) == dotted(up.value):
            yield errors.same_axis(up.span, dotted(up.value))
        if {dotted(across.value), dotted(up.value)} == {"model", DEPTH} and self.kind == "heatmap":
            yield errors.depth_of_several(up.span)


def _whole(node: nodes.Expr) -> bool:
    number = _number(node)
    return number is not None and float(number).is_integer()


def _number(node: nodes.Expr) -> float | None:
    match node:
        case nodes.Number(value=value):
            return float(value)
        case nodes.Unary(op="-", operand=nodes.Number(value=value)):
            return -float(value)
    return None
