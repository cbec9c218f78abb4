"""Circuits as values: sets of edges that a search finds, and what an edit does with the edges outside of one."""

from __future__ import annotations

from typing import Literal

from glassbox_dsl.language.program import Expr, RunUse
from glassbox_dsl.language.set_nodes import SetExpr

Kind = Literal["eap", "eap_ig", "acdc"]


class Found(SetExpr):
    """The edges that a search keeps; its only axis is `edge`.

    `metric` is a number of the run `clean` for each item; that run is one of the circuit's own, equal to the one that
    the file names, so that a metric can compare the two. `edges` says how many are kept, `threshold` how much one has
    to change the metric. `steps`: midpoints between the embeddings of `corrupt` and `clean` at which slopes are taken.
    `signed`: the metric is one to be kept small, so that only what raises it counts.
    """

    kind: Kind
    metric: Expr
    clean: RunUse
    corrupt: RunUse
    edges: Expr | None = None
    threshold: Expr | None = None
    steps: int = 1
    signed: bool = False


class Exchanged(Expr):
    """What a receiver reads otherwise when every edge outside of a circuit carries what `other` sends (None: nothing).

    Stands as the change in an edit of each kind of receiver.
    """

    members: SetExpr
    other: RunUse | None
