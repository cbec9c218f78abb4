"""Which source position a written position takes its value from, when both are named in different prompts."""

from __future__ import annotations

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
        case Swept(variable=name):
            cells = env.variables[name].cells if name in env.variables else None
            return [index] if cells is not None and any(c.whole for c in cells) else []
        case Between() | Not():
            return [index] if _names_positions(index) else []
    return []


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


def paired_positions(index: Index, axis: str, env: Env, source: str, indexer: Indexer) -> Named:
    """For each written position the one in the source's prompt: the k-th selected is set from the k-th.

    Positions given by number pair with themselves. Raises Findings when the selections differ in length.
    """
    written = env.coordinates[axis]
    parts = named_parts(index, env)
    if not parts or env.prompt is None or env.prompt == source:
        return written
    result = Named(written.data, written.dims)
    for part in parts:
        result = _paired(part, axis, env, source, indexer, result)
    return result


def _inside(candidates: Named, n_written: int, axis: str, env: Env, source: str, indexer: Indexer) -> Named:
    """Whether a candidate lies in the source's prompt, or among the answer tokens that stand behind both."""
    here, there = (indexer.length(axis, env, prompt) for prompt in (str(env.prompt), source))
    return combine(lambda c, n, own: c < n + (n_written - own), candidates, there, here)


def _paired(part: Index, axis: str, env: Env, source: str, indexer: Indexer, result: Named) -> Named:
    assert env.prompt is not None
    written = env.coordinates[axis]
    longest = max(indexer.sizes.longest, len(written.data))
    candidates = along("#source", longest)
    here = indexer.member(part, written, axis, env, env.prompt)
    there = combine(
        np.logical_and,
        indexer.member(part, candidates, axis, env, source),
        _inside(candidates, len(written.data), axis, env, source, indexer),
    )
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
