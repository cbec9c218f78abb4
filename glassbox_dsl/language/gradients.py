"""`grad(scalar, RUN.SITE[...])`, and `estimate(EXPR, method:)`: metrics of edited runs to first order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from glassbox_dsl.language import errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.program import (
    Constant,
    Dimension,
    Edit,
    Expr,
    MetricCall,
    Operation,
    Reference,
    Run,
    RunUse,
    RunVariant,
    SiteRead,
    Swept,
    VariableValue,
)
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.set_axes import COMPARISONS
from glassbox_dsl.language.set_nodes import SetExpr
from glassbox_dsl.language.technique_nodes import Expansion, Grad, base_name
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.syntax import nodes

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

METHODS = ("gradient", "integrated_gradients")
STEPS = 5


class GradientReader:
    """Turns calls of `grad` and `estimate` into values."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names
        self.functions: dict[str, Callable[[Arguments, Scope], Expr]] = {
            "grad": self.grad,
            "estimate": self.estimate,
        }

    def grad(self, arguments: Arguments, scope: Scope) -> Expr:
        """`grad(scalar, RUN.SITE[...])`."""
        arguments.expect(2, 2, ())
        first, second = arguments.positional
        read = self.names.values.value(second, scope)
        if not isinstance(read, SiteRead) or read.feature_index is not None or read.site == "logits":
            help_ = "read a site below the logits, whole: `clean.resid_pre[layer, pos]`"
            raise Problem(
                errors.wrong_kind(second.span, second.span.text[:40], "no site of a run", "one", help_)
            )
        scalar = self.names.values.value(first, scope)
        self.check_smooth(scalar, arguments)
        if not any(n == read.run or isinstance(n, Reference) for n in nodes.everything(scalar)):
            raise arguments.problem(
                "the number does not depend on the run whose site is read, at the same cells"
            )
        loose = [d for d in scalar.dims if d not in read.run.dims]
        if loose or scalar.feature is not None:
            why = f"it has one value for each `{(*loose, scalar.feature)[0]}`"
            raise arguments.problem(
                f"a gradient is that of one number for each item and cell of the run; {why}"
            )
        return Grad(span=arguments.span, scalar=scalar, read=read, dims=read.dims, feature=read.feature)

    @staticmethod
    def check_smooth(value: Expr, arguments: Arguments) -> None:
        """Nothing in a value jumps."""
        for node in nodes.everything(value):
            if isinstance(node, MetricCall) and not metrics()[node.metric].differentiable:
                raise arguments.problem(
                    f"`{node.metric}` jumps from value to value, so that it has no gradient"
                )
            if isinstance(node, Operation) and node.op in COMPARISONS:
                raise arguments.problem("a truth value has no gradient")

    # ------------------------------------------------------------ estimates

    def estimate(self, arguments: Arguments, scope: Scope) -> Expr:
        """`estimate(EXPR, method: gradient)`: EXPR with each metric of an edited run exchanged for its expansion."""
        arguments.expect(1, 1, ("method", "steps", "along"))
        method = arguments.word("method", METHODS, None, scope)
        along, steps = "", 1
        if method == "integrated_gradients":
            along = arguments.word("along", ("cells", "embed"), "cells", scope)
            steps = arguments.integer("steps", STEPS)
            if steps < 1:
                raise arguments.problem("`steps:` is at least 1")
        elif len(arguments.named) > 1:
            raise arguments.problem("`steps:` and `along:` belong to `method: integrated_gradients`")
        body = self.names.values.value(arguments.positional[0], scope)
        made: list[Expansion] = []
        found = self.exchanged(body, along, steps, made, arguments)  # type: ignore[arg-type]
        if not made:
            raise arguments.problem("no metric in it is of a run with edits")
        return found

    def exchanged(
        self,
        value: Expr,
        along: Literal["", "cells", "embed"],
        steps: int,
        made: list[Expansion],
        arguments: Arguments,
    ) -> Expr:
        """A value with its metrics of edited runs exchanged."""
        if isinstance(value, MetricCall) and (part := self.moving(value, arguments)) is not None:
            self.check_smooth(value, arguments)
            made.append(self.expansion(value, part, along, steps, arguments))
            return made[-1]
        if isinstance(value, SiteRead) and self.edited(value.run):
            raise arguments.problem(
                f"`{value.span.text[:40]}` is no metric of the edited run `{value.run.run}`"
            )
        if isinstance(value, Reference):
            return self.through(value, along, steps, made, arguments)
        if isinstance(value, SetExpr):
            return value
        fields = {}
        for name in value._fields:
            old = value.__dict__[name]
            new = self.in_field(old, along, steps, made, arguments)
            if new is not old:
                fields[name] = new
        return value.changed(**fields) if fields else value

    def in_field(self, old: object, *rest: object) -> object:
        """A field of a value, exchanged."""
        if isinstance(old, Expr):
            return self.exchanged(old, *rest)  # type: ignore[arg-type]
        if isinstance(old, tuple) and any(isinstance(part, Expr) for part in old):
            new = tuple(self.in_field(part, *rest) for part in old)
            return new if any(a is not b for a, b in zip(old, new, strict=True)) else old
        return old

    def through(self, value: Reference, *rest: object) -> Expr:
        """A measure or let that stands for an expression; of one that reads no edited run, its own values."""
        if value.experiment != self.names.name:
            return value
        family = self.names.families[value.name]
        whole = all(isinstance(i, Swept) and i.variable == name for name, i in value.where)
        if whole and len(family.variants) == 1:  # a ratio stays one
            return self.exchanged(family.variants[0].value, *rest)  # type: ignore[arg-type]
        made: list[Expansion] = rest[2]  # type: ignore[assignment]
        before = len(made)
        bodies = [self.exchanged(v.value, *rest) for v in family.variants]  # type: ignore[arg-type]
        if len(made) == before:
            return value
        name = f"{family.name}#{rest[0] or 'gradient'}{rest[1]}"
        variants = tuple(v.changed(value=b) for v, b in zip(family.variants, bodies, strict=True))
        kind: Literal["let"] = "let"
        self.names.families.setdefault(
            name, family.changed(kind=kind, name=name, variants=variants, ratio=False)
        )
        return value.changed(kind=kind, name=name)

    def edited(self, use: RunUse) -> bool:
        """Whether a run has edits."""
        return any(v.edits for v in self.names.runs[use.run].variants)

    def moving(self, call: MetricCall, arguments: Arguments) -> Literal["run", "other"] | None:
        """Which of a metric's runs has edits; of two, the one that is swept."""
        uses: dict[Literal["run", "other"], RunUse | None] = {"run": call.run, "other": call.other}
        edited = [part for part, use in uses.items() if use is not None and self.edited(use)]
        swept = [part for part in edited if self.names.runs[uses[part].run].dimensions]  # type: ignore[union-attr]
        found = edited if len(edited) < 2 else swept
        if edited and len(found) != 1:
            raise arguments.problem(f"both runs of `{call.metric}` are edited: one of them can be expanded")
        return found[0] if found else None

    def expansion(
        self,
        call: MetricCall,
        part: Literal["run", "other"],
        along: Literal["", "cells", "embed"],
        steps: int,
        arguments: Arguments,
    ) -> Expansion:
        """The expansion of one metric."""
        use: RunUse = getattr(call, part)
        run = self.names.runs[use.run]
        base = self.base(run)
        edits = [e for v in run.variants for e in swept_edits(run, v)]
        for edit in edits:
            if any(
                isinstance(n, Constant) and abs(n.value) == float("inf") for n in nodes.everything(edit.value)
            ):
                raise arguments.problem(
                    f"`{edit.text[:60]}` moves a value by infinity, which has no first order"
                )
        if along == "embed" and not all(isinstance(e.value, SiteRead) and e.value.copied for e in edits):
            raise arguments.problem("`along: embed` leads to the embeddings of a run that the edits copy")
        kept = [v.name for d in base.dimensions for v in d.variables]
        where = tuple((name, index) for name, index in use.where if name in kept)
        dims = tuple(d for d in use.dims if d == "item" or d in {b.name for b in base.dimensions})
        at_base = call.changed(**{part: RunUse(span=use.span, run=base.name, where=where, dims=dims)})
        return Expansion(
            span=call.span, base=at_base, run=run.name, where=use.where, sources=tuple(e.value for e in edits),
            along=along, steps=steps, dims=call.dims,
        )  # fmt: skip

    def base(self, run: Run) -> Run:
        """The run without the edits that its sweep makes, once for each reading of its names."""
        variants = tuple(
            RunVariant(span=v.span, when=v.when, prompt=v.prompt,
                       edits=tuple(e for e in v.edits if e not in swept_edits(run, v)), generation=v.generation)
            for v in run.variants
        )  # fmt: skip
        name = base_name(run.name)
        found = run.changed(
            name=name, dimensions=tuple(d for d in run.dimensions if read_apart(d, run)), variants=variants
        )
        return self.names.runs.setdefault(name, found)


def read_apart(dimension: Dimension, run: Run) -> bool:
    """Whether a run is read once for each cell of a dimension: its variables stand for names, or are spelled out."""
    spelled = {name for v in run.variants for name, _ in v.when}
    return dimension.named or any(v.name in spelled for v in dimension.variables)


def swept_edits(run: Run, variant: RunVariant) -> tuple[Edit, ...]:
    """The edits of a variant that differ between the cells of its run; all of them where it has one cell."""
    if not run.dimensions:
        return variant.edits
    variables = {v.name for d in run.dimensions for v in d.variables}
    everywhere = [e for e in variant.edits if all(e in other.edits for other in run.variants)]
    return tuple(e for e in variant.edits if e not in everywhere or _depends(e, variables))


def _depends(edit: Edit, variables: set[str]) -> bool:
    return any(
        isinstance(n, Swept | VariableValue) and n.variable in variables for n in nodes.everything(edit)
    )
