"""What a file means: the frozen types that the language stage hands to the later ones.

The central idea: a value has *dimensions*, known by name. A dimension is swept by one variable (`layer`) or by
several in step (`(layer, head) in movers`). Every expression says which dimensions it has (`dims`) and which
feature axis its cells carry (`feature`: dim, vocab or none). `item` is a dimension like the others; `model` and
`data` are contexts in which everything is evaluated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from glassbox_dsl.source import Source, Span
from glassbox_dsl.syntax.nodes import Expr as SyntaxExpr
from glassbox_dsl.syntax.nodes import Node
from glassbox_dsl.vocabulary.models import ModelSource

if TYPE_CHECKING:
    from glassbox_dsl.language.set_nodes import SetExpr
    from glassbox_dsl.language.technique_nodes import Dictionary, Fit

# ---------------------------------------------------------------- indices


class Index(Node):
    """A choice of cells on one axis."""


class AllCells(Index):
    """`:`, or an index left out."""


class At(Index):
    """A written integer; negative counts from the end."""

    value: int


class Depth(Index):
    """`50%` of the layers: layer floor(value/100 * (n_layers - 1) + 0.5)."""

    value: float


class Position(Index):
    """A position name. `label` is a span label; None stands for the whole prompt (`first`, `last`)."""

    label: str | None
    part: str  # first, last, span


class ByValue(Index):
    """The cell of a variable without an axis whose value is this number or name."""

    number: float | None = None
    text: str = ""


class Swept(Index):
    """The value of a variable: a binder's, or an axis name that nothing binds (every index)."""

    variable: str


class Arithmetic(Index):
    """`layer + 1`, `subject.last - 2`: below 0 or past the end there is no cell."""

    op: str  # + - *
    left: Index
    right: Index


class Between(Index):
    """`low..high`, both ends included, cut to the axis."""

    low: Index
    high: Index


class AnyOf(Index):
    """A set of indices, in the order written."""

    items: tuple[Index, ...]


class Not(Index):
    """Every cell that the inner index does not choose."""

    inner: Index


class Tuples(Index):
    """A set of tuples over several leading axes: stands in the place of the first of them."""

    items: tuple[tuple[Index, ...], ...]
    width: int
    complement: bool = False


class Covered(Index):
    """An axis that a `Tuples` or `SetIndex` to its left already chooses on."""


# ---------------------------------------------------------------- dimensions


class Variable(Node):
    """A name that takes the members of a domain one by one. `axis` is None for plain numbers."""

    name: str
    axis: str | None


class Member(Node):
    """One value of a variable: an index on its axis, a number, or the name it stands for."""

    index: Index | None = None
    number: float | None = None
    text: str


class Dimension(Node):
    """One swept dimension. `members` is None for a whole axis; else one tuple per cell, a member per variable.

    `members_from`: the cells are those of a set, known when what it reads was run; `members` is empty then.
    `samples`: numbered draws, as many as let every item be the reference about equally often; `members` is empty, too.
    """

    name: str
    variables: tuple[Variable, ...]
    members: tuple[tuple[Member, ...], ...] | None
    members_from: SetExpr | None = None
    # Domains of other values that this dimension must meet: only cells that stand in all of them are kept.
    meets: tuple[Dimension, ...] = ()
    samples: int | None = None

    @property
    def named(self) -> bool:
        """Whether the variable stands for names (sites, runs, metrics, texts), not for indices or numbers."""
        return self.members is not None and any(
            m.index is None and m.number is None for row in self.members for m in row
        )


# ---------------------------------------------------------------- values


class Expr(Node):
    """A value. `dims` names its dimensions in order of appearance; `feature` the axis of its cells' vectors."""

    dims: tuple[str, ...] = ()
    feature: str | None = None


class Constant(Expr):
    """A number; truth values are 1 and 0."""

    value: float


class VariableValue(Expr):
    """A variable used as a number."""

    variable: str


class RunUse(Node):
    """A run at given cells: `where` has one index per variable of the run, in the run's order."""

    run: str
    where: tuple[tuple[str, Index], ...]
    dims: tuple[str, ...]


class SiteRead(Expr):
    """`RUN.SITE[...]`, after the run's edits. `index` has one entry per axis of the site.

    `copied`: the read is the bare run on the right of an edit: its positions pair with the written ones in order.
    """

    run: RunUse
    site: str
    index: tuple[Index, ...]
    feature_index: Index | None = None
    copied: bool = False


class AnswerUse(Node):
    """What a metric scores: an answer of the data set by name (inline ones have names that start with `#`)."""

    name: str


class TokenAt(Expr):
    """`token(prompt, at:)`: the token id at a position."""

    prompt: str
    at: Index


class MetricCall(Expr):
    """A metric of a run's logits at a position, or of a value with the axis vocab.

    Exactly one of `run` and `value` is set; `other`/`other_value` is the second distribution of `kl`.
    """

    metric: str
    run: RunUse | None = None
    value: Expr | None = None
    other: RunUse | None = None
    other_value: Expr | None = None
    answer: AnswerUse | None = None
    token: Expr | None = None
    at: Index | None = None
    other_at: Index | None = None
    options: tuple[tuple[str, Any], ...] = ()


class Operation(Expr):
    """Elementwise arithmetic, comparison or function of values whose dimensions meet by name."""

    op: str
    operands: tuple[Expr, ...]
    options: tuple[tuple[str, Any], ...] = ()


class Reduce(Expr):
    """A reduction of `body` over dimensions bound here; `feature_over` when its feature axis goes too.

    `contexts`: it runs over the models or data sets of the experiment too (`model`, `data`).
    """

    op: str  # mean, std, sum, max, min, argmax
    body: Expr
    over: tuple[Dimension, ...]
    feature_over: bool = False
    within: str | None = None
    contexts: tuple[str, ...] = ()


class OverDimension(Expr):
    """A function along one dimension that keeps it (`softmax`) or joins two values over it (`correlation`).

    `contexts`: it runs along the models or data sets of the experiment too (`model`, `data`).
    """

    op: str
    operands: tuple[Expr, ...]
    over: tuple[Dimension, ...]
    contexts: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


class Resample(Expr):
    """The body on another item, never its own."""

    body: Expr
    seed: int
    within: str | None


class Noise(Expr):
    """Gaussian noise of the written cells, or with the axes of `like`."""

    scale: Expr
    seed: int
    like: Expr | None


class Unembed(Expr):
    """Logits of a residual-width value. `frozen`: the final-norm scale of the run that the value is read from."""

    body: Expr
    norm: str  # final, frozen, none
    scale: Expr | None = None


class Direction(Expr):
    """The unembedding column of an answer (mean over a set)."""

    answer: AnswerUse


class Agree(Node):
    """A feature on which a resampled item must agree; `by_position`: at each position for itself."""

    name: str
    by_position: bool


class ScrubNode(Node):
    """A node of a hypothesis: the part it stands for, what reads it and by which port (`q`, `k`, `v` of heads).

    `agree` None: it carries everything, so the reader's own item is taken; empty: nothing, so any item.
    """

    name: str
    site: str
    index: tuple[Index, ...]
    reader: str | None
    port: str | None
    agree: tuple[Agree, ...] | None


class Scrubbed(Expr):
    """The last stream of a prompt, recomputed by recursive resampling along a hypothesis; `nodes` begin at the root."""

    prompt: str
    nodes: tuple[ScrubNode, ...]
    samples: int
    seed: int


class Load(Expr):
    """A tensor of a safetensors file (absolute path)."""

    path: str
    key: str


class OwnValue(Expr):
    """`self` on the right of an edit."""


class Reference(Expr):
    """A let or measure at given cells; `experiment` is set for a measure of another experiment.

    `truth`: its value is a truth value, so that its cells can be a set.
    """

    kind: Literal["let", "measure"]
    experiment: str
    name: str
    where: tuple[tuple[str, Index], ...]
    truth: bool = False


class InContext(Expr):
    """`x[model: m]`, `x[data: d]`, `x[item: 3]`, `x[layer: 2]`: the value in another context or at given cells.

    `over` has the dimension that each entry of `where` indexes.
    """

    body: Expr
    model: str | None = None
    data: str | None = None
    item: int | None = None
    where: tuple[tuple[str, Index], ...] = ()
    over: tuple[Dimension, ...] = ()


# ---------------------------------------------------------------- statements


class Edit(Node):
    """`SITE[...] op EXPR`. `nth`: how many equal edits of its run come before it, so that each has its own receipt."""

    site: str
    index: tuple[Index, ...]
    op: Literal[":=", "+=", "-=", "*="]
    value: Expr
    text: str
    nth: int = 0


class Variant(Node):
    """One reading of a declaration whose variables stand for names: `when` gives each such variable's member."""

    when: tuple[tuple[str, str], ...]


class Generation(Node):
    """How tokens are generated behind a prompt; temperature 0 takes the most likely one."""

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0


class RunVariant(Variant):
    """A pass over a prompt with edits; `generated` are the edits of the tokens that are generated behind it."""

    prompt: str
    edits: tuple[Edit, ...]
    generated: tuple[Edit, ...] = ()
    generation: Generation | None = None


class Run(Node):
    """A family of runs. `model` and `data` are set where the file fixes them.

    `part_of`: the run of the file that this one is made for; nothing in the file names it.
    Where it `generates`, tokens are generated behind each prompt; all else reads the pass over the prompt.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    variants: tuple[RunVariant, ...]
    model: str | None = None
    data: str | None = None
    part_of: str | None = None

    @property
    def generates(self) -> bool:
        """Whether tokens are generated behind the prompts."""
        return self.variants[0].generation is not None


class ValueVariant(Variant):
    """One reading of a let, measure, record or claim."""

    value: Expr


class Value(Node):
    """A let, measure, record or claim: `dimensions` are its binders or what its value leaves free, without item.

    `ratio`: the outermost operator is `/` and the denominator differs between items. `truth`: it is a truth value;
    `inferred` names the dimensions that no binder of it names.
    """

    kind: str  # let, measure, record, expect
    name: str
    dimensions: tuple[Dimension, ...]
    variants: tuple[ValueVariant, ...]
    has_item: bool
    feature: str | None = None
    ratio: bool = False
    truth: bool = False
    inferred: tuple[str, ...] = ()
    table: str | None = None  # "top": rows of tokens instead of one number; "text": what was generated
    text: str = ""


class Experiment(Node):
    """Everything one experiment declares, by name; `requirements` are settled for each data set."""

    name: str
    title: str | None
    models: tuple[str, ...]
    data: tuple[str, ...]
    runs: tuple[Run, ...]
    values: tuple[Value, ...]
    fits: tuple[Fit, ...] = ()
    dictionaries: tuple[Dictionary, ...] = ()
    inline_answers: tuple[tuple[str, SyntaxExpr], ...] = ()
    wanted: bool = True  # false: imported, runs only as far as something reads it

    def run(self, name: str) -> Run:
        """The run of that name."""
        return next(run for run in self.runs if run.name == name)

    def fit(self, name: str) -> Fit:
        """The fit of that name."""
        return next(fit for fit in self.fits if fit.name == name)

    def dictionary(self, name: str) -> Dictionary:
        """The dictionary of that name."""
        return next(one for one in self.dictionaries if one.name == name)

    @property
    def latents(self) -> int:
        """How many latents the largest dictionary has: the length of their axis."""
        return max((one.latents for one in self.dictionaries), default=0)

    def value(self, kind: str, name: str) -> Value:
        """The let or measure of that name."""
        return next(v for v in self.values if v.kind == kind and v.name == name)


class FigureSpec(Node):
    """One item of a report, options as plain values."""

    kind: str
    source: tuple[str, str] | str
    options: tuple[tuple[str, Any], ...]


class ReportSpec(Node):
    """One page to render."""

    name: str
    title: str | None
    figures: tuple[FigureSpec, ...]


class Program(Node):
    """A whole file with its imports."""

    sources: tuple[Source, ...]
    models: tuple[ModelSource, ...]
    data: tuple[Any, ...]  # language.data.DataSpec
    experiments: tuple[Experiment, ...]
    reports: tuple[ReportSpec, ...]


def place(node: Node) -> Span:
    """The span of a node."""
    return node.span
