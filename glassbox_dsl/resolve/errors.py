"""The wording of what does not fit a model or data set (GB380-GB399)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span

INSTEAD = {
    "mlp.up": "use `mlp.pre`, what enters the activation function",
    "pos_embed": "use `embed`, which is all that enters the first block",
}


def absent_site(span: Span, site: str, family: str, reason: str) -> Diagnostic:
    """A site that the family of a model does not have."""
    help_ = INSTEAD.get(site, "name a site that it has, or leave the model out: `models NAME, NAME`")
    return Diagnostic("GB303", f"family `{family}` has no site `{site}`", span, reason, help_)


def read_only_site(span: Span, site: str, family: str, reason: str) -> Diagnostic:
    """A site that can be read on a model's family, but not written."""
    return Diagnostic(
        "GB306", f"`{site}` of family `{family}` can be read, not written", span, reason,
        "write `attn.out`, `mlp.in` or `resid_post`, or leave the model out: `models NAME, NAME`",
    )  # fmt: skip


def no_gradient(span: Span, site: str, family: str, reason: str) -> Diagnostic:
    """A gradient with respect to a site that nothing in a model of the family reads."""
    return Diagnostic(
        "GB306", f"`{site}` of family `{family}` can be read, but nothing has a gradient by it", span, reason,
        "take the gradient by `attn.out`, `mlp.in` or `resid_post`, or leave the model out: `models NAME, NAME`",
    )  # fmt: skip


def no_such_layer(span: Span, site: str, layers: Sequence[int], model: str) -> Diagnostic:
    """A read of a site in layers that are of the other kind: dense ones, or mixtures of experts."""
    return Diagnostic(
        "GB303", f"no layer named here has `{site}` on `{model}`", span,
        "layers that have it: " + ", ".join(map(str, layers)), f"name one of them, or sweep: `{site}[layer, ...]`",
    )  # fmt: skip


def member_outside(span: Span, axis: str, model: str, size: int) -> Diagnostic:
    """A member of a domain that a model does not have."""
    return Diagnostic(
        "GB380", f"`{model}` has no such {axis}", span, f"its {axis}s are 0 to {size - 1}; this member is left out",
        "use depths (`50%`) to name layers on every model", severity="warning",
    )  # fmt: skip


def outside(span: Span, axis: str, value: str, model: str, size: int) -> Diagnostic:
    """A written index outside its axis."""
    return Diagnostic(
        "GB381", f"`{model}` has no {axis} {value}", span, f"its {axis}s are 0 to {size - 1}",
        "use depths (`50%`) to name layers on every model" if axis == "layer" else f"name a {axis} that it has",
    )  # fmt: skip


def members_meet(span: Span, text: str, model: str) -> Diagnostic:
    """Two members of a domain that are one cell on a model."""
    return Diagnostic(
        "GB382", f"`{text}` meets another member on `{model}`", span, "both are one cell there; it is counted once",
        "take one of them out if they are never meant to differ", severity="warning",
    )  # fmt: skip


def touches_nothing(span: Span, model: str) -> Diagnostic:
    """An edit that selects no cell in any cell of the sweep."""
    return Diagnostic(
        "GB383",
        f"the edit touches no cell of `{model}`",
        span,
        "its indices select nothing in every cell",
        "widen the indices or fix the layer",
    )


def widths_differ(span: Span, found: int, wanted: int, model: str) -> Diagnostic:
    """A source of another width than the written site."""
    return Diagnostic(
        "GB384",
        f"a value of width {found} cannot be written to a site of width {wanted}",
        span,
        f"on `{model}`",
        "write a site of the same width",
    )


def not_residual(span: Span, found: int, wanted: int, model: str) -> Diagnostic:
    """A value that is not of the residual stream's width where one is needed."""
    return Diagnostic(
        "GB385",
        f"`unembed` needs width {wanted}, not {found}",
        span,
        f"the residual stream of `{model}` is {wanted} wide",
        "read a site of that width, e.g. `attn.result` instead of `attn.z`",
    )


def heads_in_groups(span: Span, site: str, own: str, groups: Sequence[str], model: str) -> Diagnostic:
    """A set over heads where groups of heads are indexed, or the other way round."""
    has = "kv_head" if own == "head" else "head"
    shown = ", ".join(groups[:4]) + (", ..." if len(groups) > 4 else "")
    return Diagnostic(
        "GB388", f"a set over `{own}` does not index `{site}`, which has `{has}`", span, f"on `{model}`: {shown}",
        f"choose the cells by a value with the axis `{has}`",
    )  # fmt: skip


def no_cells(span: Span, name: str, model: str) -> Diagnostic:
    """A family without a cell on a model."""
    return Diagnostic(
        "GB386",
        f"`{name}` has no cell on `{model}`",
        span,
        "every member of its domain lies outside the model",
        "name members that the model has, or leave the model out",
    )


def no_such_cell(span: Span, family: str, variables: str, value: str, known: Sequence[str]) -> Diagnostic:
    """A cell that is named and that the sweep does not have."""
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return Diagnostic(
        "GB387",
        f"`{family}` has no cell at {variables} = {value}",
        span,
        f"the cells of {variables}: {shown}",
        did_you_mean(value, known) if len(known) > 8 else "name one of these cells, or widen the domain",
    )


def no_shared_cell(span: Span, family: str, variable: str, known: Sequence[str]) -> Diagnostic:
    """A family read at the cells of a variable, none of which it has."""
    shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return Diagnostic(
        "GB387", f"`{family}` and `{variable}` share no cell", span, f"the cells of `{family}`: {shown}",
        "give both domains a member in common, or index one of them",
    )  # fmt: skip


def no_such_item(span: Span, item: int, data: str, count: int) -> Diagnostic:
    """An item number past the end of every data set."""
    return Diagnostic(
        "GB387", f"data `{data}` has no item {item}", span, f"its items are 0 to {count - 1}",
        "name one of these, or draw more",
    )  # fmt: skip


def too_few_items(span: Span, data: str, count: int) -> Diagnostic:
    """A data set of one item."""
    return Diagnostic(
        "GB389", f"`{data}` has {count} item{'' if count == 1 else 's'}", span,
        "at least 2 are needed: means, intervals and summaries are over items",
        "add rows or values, or draw more",
    )  # fmt: skip


def models_differ(span: Span, widths: Mapping[str, int | None]) -> Diagnostic:
    """A reduction over models of vectors of different width."""
    shown = ", ".join(f"{width} in `{model}`" for model, width in widths.items())
    return Diagnostic(
        "GB390", "the vectors of the models differ in width", span, shown,
        "reduce numbers, such as a `norm` or a metric, or name models of one width",
    )  # fmt: skip
