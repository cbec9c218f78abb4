"""Values that take more than one pass to make: attributions, gradients, estimates, fits, generated text."""

from __future__ import annotations

from typing import Literal

from glassbox_dsl.language.program import Dimension, Expr, Index, MetricCall, RunUse, SiteRead, Variant
from glassbox_dsl.syntax.nodes import Node


class Attribution(Expr):
    """What `body` adds directly to the logit that `call` scores, through the run's own norms, frozen.

    The other reads are of the same run and position: the divisor and the output of the final norm, and what the block
    of `body` puts out before (`raw`) and after (`out`) a post-norm or multiplier. `weight`: what the router multiplies
    an expert's output by.
    """

    body: SiteRead
    call: MetricCall
    scale: SiteRead
    normed: SiteRead
    raw: SiteRead | None = None
    out: SiteRead | None = None
    weight: SiteRead | None = None


class GeneratedText(Expr):
    """`text(RUN)`: what a run has generated."""

    run: RunUse


class Grad(Expr):
    """`grad(scalar, RUN.SITE[...])`: the gradient of a number with respect to what a site holds after its edits."""

    scalar: Expr
    read: SiteRead


class Expansion(Expr):
    """A metric of an edited run to first order around the same run without the edits that its sweep makes.

    `base` is the metric of that run; `run` and `where` say which cell of the edited one is meant, and `sources` what
    its edits read. `along`: the gradient is averaged over `steps` midpoints while all cells of a layer (`cells`) or
    the input embeddings (`embed`, to those of the run that is copied) move together; "": taken at the base.
    """

    base: MetricCall
    run: str
    where: tuple[tuple[str, Index], ...]
    sources: tuple[Expr, ...]
    along: Literal["", "cells", "embed"] = ""
    steps: int = 1

    @property
    def around(self) -> str:
        """The name of the run that the edited one is expanded around."""
        return base_name(self.run)


def base_name(run: str) -> str:
    """What the run is called that an edited run is expanded around."""
    return f"{run}#base"


class FitUse(Node):
    """A fit at given cells: `where` has one index per variable of the fit, in the fit's order.

    `rank`: the pseudo-inverse of a map, from so many of its largest singular values (0: of all); None: the fit itself.
    """

    fit: str
    where: tuple[tuple[str, Index], ...]
    dims: tuple[str, ...]
    rank: int | None = None


class FitValue(Expr):
    """What a fit gives: `f(x)` (apply), `project(x, f)`, `reject(x, f)`, `f.direction`, `accuracy(f)`, `score(f)`."""

    use: FitUse
    part: Literal["apply", "project", "reject", "direction", "accuracy", "score"]
    body: Expr | None = None


class Auroc(Expr):
    """`auroc(x, label)`: how well a number tells two labels apart, over the dimensions `over` (items, positions)."""

    body: Expr
    label: str
    over: tuple[Dimension, ...]


class FitVariant(Variant):
    """A fit of `kind` to `body`. `label` names what it predicts, `target` is a value in its place.

    `scored` is the metric of the run that `body` is read from which a trained basis makes large, once what lies in it
    is exchanged for what lies in it of the `target`. Items that agree on `group` stay on one side of the split; with
    `control` the labels are drawn anew, one for each value of that feature (`item`: for each item).
    """

    kind: str
    body: Expr
    label: str | None = None
    target: Expr | None = None
    scored: MetricCall | None = None
    group: str | None = None
    control: str | None = None
    test: float = 0.3
    seed: int = 0
    options: tuple[tuple[str, float | int], ...] = ()


class Fit(Node):
    """A family of fits. Each item, and each cell of `examples`, is an example; `data`: the data set it is fitted on."""

    name: str
    dimensions: tuple[Dimension, ...]
    examples: tuple[Dimension, ...]
    variants: tuple[FitVariant, ...]
    gives: str  # classes, number, basis, map
    data: str | None = None


class Dictionary(Node):
    """A sparse autoencoder at a site of a layer, from the files in the folder `path`.

    The code of a vector x [dim] is f((x - b_dec if `centred` else x) W_enc + b_enc) [latent], f by `architecture`:
    `standard` (ReLU), `jumprelu` (0 up to a threshold), `topk` (ReLU of the `k` largest); a `gated` one is
    ReLU(x (W_enc exp(r_mag)) + b_mag) where x W_enc + b_gate > 0, and 0 elsewhere. The error is
    x - (code W_dec + b_dec), so that code and error give x back.
    """

    name: str
    path: str
    site: str
    layer: int
    architecture: str
    width: int
    latents: int
    k: int = 0
    centred: bool = True


class CodeRead(Expr):
    """`RUN.f.code[...]` or `RUN.f.error[...]`: of what the run has at the dictionary's site, `body`."""

    dictionary: str
    part: Literal["code", "error"]
    body: SiteRead
    latent: Index | None = None


class Change(Node):
    """One edit of a code or error."""

    part: Literal["code", "error"]
    latent: Index | None
    op: Literal[":=", "+=", "-=", "*="]
    value: Expr


class CodeChange(Expr):
    """What edits of a dictionary's code and error, in this order, add to the site that it stands at."""

    dictionary: str
    changes: tuple[Change, ...]
