"""Which source position a written position takes its value from, when both are named in different prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.language.program import AnyOf, Between, Index, Not, Position, Swept
from glassbox_dsl.plan import errors
from glassbox_dsl.plan.indexing import Env, Indexer
from glassbox_dsl.plan.named import Named, along, combine


def named_parts(index: Index, env: Env) -> list[Index]:
    """The parts of a selection that depend on where a prompt has its labels or its end, in written order."""
    match index:
        case AnyOf():
            return [part for item in index.items for part in named_parts(item, env)]
        case Position():
            return [index]
        case Swept():
            return [index] if sweeps_sets(index, env) else []
        case Between() | Not():
            return [index] if _names_positions(index) else []
    return []


def sweeps_sets(index: Index, env: Env) -> bool:
    """Whether an index is a variable some of whose members are spans, ranges or sets used whole."""
    if not isinstance(index, Swept) or index.variable not in env.variables:
        return False
    return env.variables[index.variable].has_sets


def _names_positions(index: Index) -> bool:
    match index:
        case Position():
            return True
        case Between():
            return _names_positions(index.low) or _names_positions(index.high)
        case AnyOf():
            return any(_names_positions(i) for i in index.items)
        case Not():
            return _names_positions(index.inner)
    return False


def paired_positions(index: Index, axis: str, env: Env, source: str, indexer: Indexer, extra: Named) -> Named:
    """For each written position the one in the source's prompt: the k-th selected is set from the k-th.

    Positions given by number pair with themselves. `extra` counts the answer tokens behind both prompts. Raises
    Findings when the selections differ in length.
    """
    written = env.coordinates[axis]
    parts = named_parts(index, env)
    if not parts or env.prompt is None or (env.prompt == source and env.writer is None):
        return written
    result = Named(written.data, written.dims)
    for part in parts:
        result = _paired(part, axis, env, source, indexer, extra, result)
    return result


def _selected(
    part: Index, at: Named, axis: str, env: Env, prompt: str, indexer: Indexer, extra: Named
) -> Named:
    """Whether each position is selected and stands in a prompt or behind it: a complement selects no padding."""
    inside = combine(lambda c, n, m: c < n + m, at, indexer.length(axis, env, prompt), extra)
    return combine(np.logical_and, indexer.member(part, at, axis, env, prompt), inside)


def _paired(
    part: Index, axis: str, env: Env, source: str, indexer: Indexer, extra: Named, result: Named
) -> Named:
    assert env.prompt is not None
    written = env.coordinates[axis]
    longest = max(indexer.sizes.longest + int(extra.data.max()), int(written.data.max()) + 1)
    candidates = along("#source", longest)
    # The written prompt is read as its own model has it, the source as the model that made it.
    own, item = env.writer if env.writer is not None else (indexer, env.item)
    here = _selected(part, written, axis, replace(env, item=item), env.prompt, own, extra)
    there = _selected(part, candidates, axis, env, source, indexer, extra)
    dims = tuple(d for d in dict.fromkeys((*here.dims, *there.dims)) if d not in (axis, "#source"))
    a, b = here.spread((*dims, axis))[0], there.spread((*dims, "#source"))[0]
    shape = np.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    a, b = np.broadcast_to(a, (*shape, a.shape[-1])), np.broadcast_to(b, (*shape, b.shape[-1]))
    a_n, b_n = a.sum(-1), b.sum(-1)
    if not np.array_equal(a_n, b_n):
        worst = tuple(np.argwhere(a_n != b_n)[0])
        counts = f"{int(a_n[worst])} tokens in `{env.prompt}`, {int(b_n[worst])} in `{source}`"
        raise Findings([errors.spans_differ(part.span, counts)])
    order_here, order_there = a.cumsum(-1), b.cumsum(-1)
    match = (order_here[..., :, None] == order_there[..., None, :]) & b[..., None, :]
    position = np.where(a, match.argmax(-1), -1)
    found = Named(position, (*dims, axis))
    return combine(lambda p, r: np.asarray(np.where(p >= 0, p, r)), found, result)
