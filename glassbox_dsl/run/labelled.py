"""Means over items whose positions do not align: only labelled positions mean the same in all of them.

LANGUAGE.md section 6: over `item` alone, positions must align (equal token counts, labels at the same places);
otherwise only labelled positions have a mean. The k-th token of a span in one item is averaged with the k-th
token of that span in the others, and stands wherever an item has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from glassbox_dsl.language.program import Position, Reduce
from glassbox_dsl.plan import named as indices
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import Integers, along, scalar
from glassbox_dsl.plan.places import agreed
from glassbox_dsl.resolve.cells import Cell
from glassbox_dsl.run.context import Context
from glassbox_dsl.run.named import Named, take
from glassbox_dsl.vocabulary.axes import ITEM

if TYPE_CHECKING:
    from glassbox_dsl.run.reductions import Reductions

SLOT = "#slot"


def by_label(reductions: Reductions, expr: Reduce, env: Env, swept: str) -> Named:
    """The reduction at labelled positions; a position without a label is no cell.

    Outside an edit no item is in question: positions are those of the first item. A position is one of the prompt
    that a cell reads; where it reads several, it has the same label in all of them.
    """
    context = reductions.context
    prompts = context.prompts_read(expr.body)
    slots = labelled_slots(context, expr, prompts)
    full = reductions.full_env(expr.dims, env)
    inner = full.with_variables({swept: Binding(along(SLOT, len(slots)), SLOT, slots)})
    means = reductions.evaluator.cached((SLOT, expr, env.extension), lambda: reductions.reduce(expr, inner))
    item = env.item if env.item.dims == ("row",) else scalar(0)
    parts = {}
    for prompt in prompts if env.prompt is None else [env.prompt]:
        at = context.indexer.variable(swept, swept, env, prompt)
        table = indices.Named(slot_table(context, slots, prompt), (ITEM, "#pos"))
        parts[prompt] = indices.take(table, {ITEM: item, "#pos": at})
    slot, clash = agreed(parts, reductions.places.prompts_at(expr.body, env))
    slot = slot.where((slot.data >= 0) & ~clash.spread(slot.dims)[0])
    return take(reductions.pick(means, env), {SLOT: slot})


def labelled_slots(context: Context, expr: Reduce, prompts: list[str]) -> tuple[Cell, ...]:
    """Every token of every span that all the prompts have."""
    spans: dict[str, int] = {}
    for prompt in prompts:
        for item in context.data.items:
            for label, (start, end) in item.prompts[prompt].spans.items():
                spans[label] = max(spans.get(label, 0), end - start)
    return tuple(
        Cell(text=f"{label}+{k}", index=Position(span=expr.span, label=label, part="span"), nth=k)
        for label, n in spans.items()
        for k in range(n)
    )


def slot_table(context: Context, slots: tuple[Cell, ...], prompt: str) -> Integers:
    """The slot of every position of every item, [item, pos]; -1 where it has no label."""
    longest = context.sizes.longest
    table = np.full((context.data.n_items, longest), -1)
    for place, item in enumerate(context.data.items):
        spans = item.prompts[prompt].spans
        for number, slot in enumerate(slots):
            assert isinstance(slot.index, Position) and slot.nth is not None
            start, end = spans.get(str(slot.index.label), (0, 0))
            if start + slot.nth < end:
                table[place, start + slot.nth] = number
    return table
