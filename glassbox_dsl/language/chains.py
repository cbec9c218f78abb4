"""Chains of names: `patched[layer, pos].attn.z[head: 3]` taken apart into a base and steps."""

from __future__ import annotations

from dataclasses import dataclass

from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import CONTEXT_AXES


@dataclass(frozen=True)
class Dot:
    """`.name`."""

    name: str
    span: Span


@dataclass(frozen=True)
class Brackets:
    """`[i, j]`."""

    items: tuple[nodes.IndexItem, ...]
    span: Span


@dataclass(frozen=True)
class Parentheses:
    """`(a, name: b)`."""

    arguments: tuple[nodes.Argument, ...]
    span: Span


Step = Dot | Brackets | Parentheses


def take_apart(node: nodes.Expr) -> tuple[nodes.Expr, list[Step]]:
    """The expression at the left end of a chain, and its steps from left to right."""
    steps: list[Step] = []
    while True:
        match node:
            case nodes.Attribute():
                steps.append(Dot(node.name, node.span))
                node = node.base
            case nodes.Index():
                steps.append(Brackets(node.items, node.span))
                node = node.base
            case nodes.Call():
                steps.append(Parentheses(node.arguments, node.span))
                node = node.function
            case _:
                return node, steps[::-1]


def leading_path(steps: list[Step]) -> tuple[list[Dot], list[Step]]:
    """The dots at the start of the steps, and what follows."""
    count = next((i for i, step in enumerate(steps) if not isinstance(step, Dot)), len(steps))
    return [step for step in steps[:count] if isinstance(step, Dot)], steps[count:]


def context_items(step: Brackets) -> bool:
    """Whether brackets name only model, data or item."""
    return all(item.name in CONTEXT_AXES for item in step.items)


def graft(word: nodes.Expr, chain: nodes.Expr) -> nodes.Expr:
    """The chain with its base name exchanged for what a variable stands for."""
    match chain:
        case nodes.Attribute():
            return chain.changed(base=graft(word, chain.base))
        case nodes.Index():
            return chain.changed(base=graft(word, chain.base))
        case nodes.Call():
            return chain.changed(function=graft(word, chain.function))
    return word
