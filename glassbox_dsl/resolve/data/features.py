"""Features and conditions of one item, computed from its variables, answers and tokens."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from glassbox_dsl.language.data.spec import DataSpec, FeatureSpec
from glassbox_dsl.language.data.templates import parse_template
from glassbox_dsl.resolve.data.table import AnswerTokens, PromptTokens
from glassbox_dsl.resolve.data.texts import MissingValue, fill, lookup
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_SCALARS: dict[str, Callable[..., float]] = {
    "abs": abs,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "max": max,
    "min": min,
}


class BadValue(Exception):
    """A feature that makes no sense for an item: `why` names the values."""

    def __init__(self, span: Span, why: str) -> None:
        self.span = span
        self.why = why


class ItemValues:
    """What the names of a feature mean for one item; missing values are None and make what uses them None."""

    def __init__(
        self,
        spec: DataSpec,
        values: Mapping[str, Any],
        template: int,
        prompts: Mapping[str, PromptTokens],
        answers: Mapping[str, AnswerTokens],
    ) -> None:
        self.spec = spec
        self.values = values
        self.template = template
        self.prompts = prompts
        self.answers = answers
        self._features: dict[str, Any] = {}

    def feature(self, name: str) -> Any:
        """The value of a feature; over positions, a tuple with one value for each token of its prompt."""
        if name not in self._features:
            self._features[name] = self._compute(self.spec.features[name])
        return self._features[name]

    def _compute(self, feature: FeatureSpec) -> Any:
        if not feature.axes:
            return self.value(feature.value, {})
        length = len(self.prompts[feature.about[0]].ids)
        return tuple(self.value(feature.value, {feature.binders[0]: i}) for i in range(length))

    def value(self, expr: nodes.Expr, bound: Mapping[str, int]) -> Any:
        """The value of an expression; `bound` gives the position that each binder stands for."""
        match expr:
            case nodes.Number(value=number):
                return number
            case nodes.String():
                try:
                    return fill(parse_template(expr)[0], self.values).text
                except MissingValue:
                    return None
            case nodes.Name(id=name):
                return self._name(name, bound)
            case nodes.Attribute(base=nodes.Name(id=name), name=field):
                return lookup(self.values, name, field)
            case nodes.List(items=items) | nodes.Set(items=items) | nodes.Tuple(items=items):
                return tuple(self.value(item, bound) for item in items)
            case nodes.Unary(op=op, operand=operand):
                return self._unary(op, operand, bound)
            case nodes.Binary(op=op, left=left, right=right):
                return self._arithmetic(expr.span, op, self.value(left, bound), self.value(right, bound))
            case nodes.Compare(op=op, left=left, right=right):
                return _compare(expr.span, op, self.value(left, bound), self.value(right, bound))
            case nodes.Call(function=nodes.Name(id=name), arguments=arguments):
                return self._call(expr.span, name, arguments, bound)
        raise BadValue(expr.span, "this has no value for an item")

    def _name(self, name: str, bound: Mapping[str, int]) -> Any:
        words = {"true": True, "false": False, "inf": math.inf, "template": self.template}
        if name in bound:
            return bound[name]
        if name in self.spec.variables:
            return self.values.get(name)
        if name in self.spec.features:
            value = self.feature(name)
            axes = self.spec.features[name].axes
            position = next(iter(bound.values()), None)
            if axes and position is not None:
                return value[position] if position < len(value) else None
            return value
        if name in self.answers:
            texts = self.answers[name].texts
            return texts[0] if len(texts) == 1 else texts
        return self.spec.constants[name] if name in self.spec.constants else words[name]

    def _unary(self, op: str, operand: nodes.Expr, bound: Mapping[str, int]) -> Any:
        value = self.value(operand, bound)
        if value is None:
            return None
        if not isinstance(value, (bool, int, float)):
            raise BadValue(operand.span, f"{_shown(value)} is not a number")
        return -value if op == "-" else not value

    def _arithmetic(self, span: Span, op: str, left: Any, right: Any) -> Any:
        if left is None or right is None:
            return None
        for value in (left, right):
            if not isinstance(value, (bool, int, float)):
                raise BadValue(span, f"{_shown(value)} is not a number")
        if op == "/" and right == 0:
            return None
        return _ARITHMETIC[op](left, right)

    def _call(
        self, span: Span, name: str, arguments: tuple[nodes.Argument, ...], bound: Mapping[str, int]
    ) -> Any:
        values = [a.value for a in arguments]
        if name == "token":
            prompt = values[0]
            assert isinstance(prompt, nodes.Name)
            tokens = self.prompts[prompt.id]
            place = self._position(values[1], tokens, bound, written=True)
            return tokens.ids[place] if place is not None and 0 <= place < len(tokens.ids) else None
        if name == "contains":
            return self._contains(span, values[0], self.value(values[1], bound), bound)
        numbers = [self.value(v, bound) for v in values]
        if any(n is None for n in numbers):
            return None
        try:
            return _SCALARS[name](*numbers)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadValue(span, f"{name} of {', '.join(_shown(n) for n in numbers)}") from error

    def _position(
        self, expr: nodes.Expr, tokens: PromptTokens, bound: Mapping[str, int], *, written: bool
    ) -> int | None:
        """A token index; below 0 it is no such token, but a *written* negative number counts from the end."""
        match expr:
            case nodes.Number(value=number):
                return int(number)
            case nodes.Unary(op="-", operand=nodes.Number(value=number)):
                return len(tokens.ids) - int(number) if written else -int(number)
            case nodes.Name(id=name) if name in bound:
                return bound[name]
            case nodes.Name(id="first"):
                return 0
            case nodes.Name(id="last"):
                return len(tokens.ids) - 1
            case nodes.Name(id=label) | nodes.Attribute(base=nodes.Name(id=label)):
                start, end = tokens.spans.get(label, (0, 0))
                first = isinstance(expr, nodes.Attribute) and expr.name == "first"
                return None if start == end else start if first else end - 1
            case nodes.Binary(op=op, left=left, right=right):
                a = self._position(left, tokens, bound, written=False)
                b = self._position(right, tokens, bound, written=False)
                return None if a is None or b is None else int(_ARITHMETIC[op](a, b))
        raise BadValue(expr.span, "this is not a position")

    def _contains(self, span: Span, where: nodes.Expr, words: Any, bound: Mapping[str, int]) -> bool | None:
        prompt = where.id if isinstance(where, nodes.Name) else ""
        if prompt in self.prompts and prompt not in self.spec.variables:
            text: Any = self.prompts[prompt].text
        else:
            text = self.value(where, bound)
        wanted = words if isinstance(words, tuple) else (words,)
        if text is None or any(word is None for word in wanted):
            return None
        texts = text if isinstance(text, tuple) else (text,)
        for value in (*texts, *wanted):
            if not isinstance(value, str):
                raise BadValue(span, f"{_shown(value)} is not a text")
        return any(word in part for part in texts for word in wanted)


def _compare(span: Span, op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    kinds = [float if isinstance(v, (bool, int, float)) else type(v) for v in (left, right)]
    if kinds[0] is not kinds[1] or (op not in ("==", "!=") and kinds[0] not in (float, str)):
        raise BadValue(span, f"{_shown(left)} and {_shown(right)} do not compare")
    return _COMPARE[op](left, right)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value}"'
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    return "a record" if isinstance(value, dict) else str(value)
