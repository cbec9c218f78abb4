"""An affine map of the residual stream, trained so that the model's own end reads its final prediction off it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from glassbox_dsl.library.coordinates import Floats, Integers, explained
from glassbox_dsl.library.fit import FitKind, Judge, Solution, Unfit

BATCH = 256
"""At most so many positions go into one step."""
RATE, MOMENTUM, DECAY, LARGEST = 0.1, 0.9, 1e-3, 1.0
"""Of the published training: a rate of 1 times (1 - momentum), falling to 0 in a line; the norm of a slope is cut."""


def compute(x: Floats, y: Floats, options: Mapping[str, Any], judge: Judge) -> Solution:
    """x + x A + b with the least KL(final || lens), in nats, by stochastic gradient descent with Nesterov's momentum.

    A and b start at 0, that is at the logit lens, and weight decay pulls them back there. The order of the examples
    depends on the seed alone.
    """
    steps, dim = int(options["steps"]), x.shape[1]
    if steps < 1:
        raise Unfit("`steps:` is at least 1")
    found, speed = np.zeros((dim + 1, dim)), np.zeros((dim + 1, dim))
    batches = drawn(len(x), int(options["seed"]))
    for step in range(steps):
        rows = next(batches)
        wide = np.concatenate([x[rows], np.ones((len(rows), 1))], 1)
        slope = wide.T @ judge.slopes(x[rows] + wide @ found, rows) / len(rows)
        slope *= min(1.0, LARGEST / (float(np.linalg.norm(slope)) + 1e-6))
        slope += DECAY * found
        speed = MOMENTUM * speed + slope
        found = found - RATE * (1 - step / steps) * (slope + MOMENTUM * speed)
    return Solution(np.eye(dim) + found[:-1].T, found[-1])


def drawn(n: int, seed: int) -> Iterator[Integers]:
    """Batches of examples without end: all of them in an order, then in another."""
    order = np.random.default_rng(seed)
    while True:
        places = order.permutation(n)
        yield from (places[i : i + BATCH] for i in range(0, n, BATCH))


def score(solution: Solution, x: Floats, y: Floats, judge: Judge) -> float:
    """The share of the logit lens's divergence from the final prediction that the map takes away."""
    tuned = judge.losses(x @ solution.directions.T + solution.offsets)
    return explained(float(tuned.sum()), float(judge.losses(x).sum()))


FIT = FitKind(
    name="tuned_lens",
    gives="map",
    summary="an affine map of the stream that makes the logit lens agree with the model's final prediction",
    compute=compute,
    example="tuned_lens(clean.resid_pre[layer], steps: 250)",
    source="Belrose et al. 2023, arXiv:2303.08112",
    options=(("steps", 250),),
    asks="readout",
    score=score,
    at_once=BATCH,
)
