"""The wording of what can be wrong with names, axes and types (GB200-GB229)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from glassbox_dsl.diagnostics import Diagnostic, did_you_mean
from glassbox_dsl.source import Span


class Problem(Exception):
    """One finding that ends the statement it stands in; the stage goes on with the next one."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic
        super().__init__(diagnostic.headline)


class Poisoned(Exception):
    """The statement uses a name whose own declaration is broken: said once already, so nothing is added."""


def unknown_name(span: Span, name: str, known: Iterable[str], kind: str = "name") -> Diagnostic:
    """A name that nothing declares."""
    help_ = did_you_mean(name, known) or "declare it, or mend its spelling"
    return Diagnostic("GB200", f"unknown {kind} `{name}`", span, "nothing of this name here", help_)


def declared_twice(span: Span, name: str, first: Span) -> Diagnostic:
    """Two declarations share a name."""
    line, _ = first.source.place(first.start)
    return Diagnostic(
        "GB201", f"`{name}` is declared twice", span, f"first declared in {first.source.path}, line {line}",
        "give one of them another name",
    )  # fmt: skip


def cycle(span: Span, chain: Sequence[str]) -> Diagnostic:
    """A declaration that needs itself."""
    return Diagnostic(
        "GB202",
        "a cycle of declarations",
        span,
        " -> ".join(f"`{n}`" for n in chain),
        "break the chain at one of them",
    )


def reserved(span: Span, name: str) -> Diagnostic:
    """A word of the language declared as a name."""
    return Diagnostic(
        "GB203", f"`{name}` cannot be declared", span, "a word of the language", "choose another name"
    )


def bad_import(span: Span, path: str, why: str) -> Diagnostic:
    """An import that cannot be read or leaves the project."""
    return Diagnostic(
        "GB204", f"cannot import `{path}`", span, why, "import files below the folder of the first file"
    )


def bad_file(span: Span, path: str, why: str) -> Diagnostic:
    """A file of numbers that cannot be read or lies outside the project."""
    return Diagnostic(
        "GB204", f"cannot read `{path}`", span, why,
        "paths are relative to the file that names them: name one below the folder of the first file",
    )  # fmt: skip


def import_cycle(span: Span, chain: Sequence[str]) -> Diagnostic:
    """Files that import each other."""
    return Diagnostic(
        "GB205", "files import each other", span, " -> ".join(chain), "move what both need to a third file"
    )


def bad_model(span: Span, headline: str, label: str, help_: str) -> Diagnostic:
    """A model source that is not one."""
    return Diagnostic("GB206", headline, span, label, help_)


def bad_arguments(span: Span, function: str, why: str, usage: str) -> Diagnostic:
    """A call whose arguments do not fit."""
    return Diagnostic(
        "GB207", f"wrong arguments for `{function}`", span, why, f"write `{usage}`" if usage else ""
    )


def unknown_function(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A call of something that cannot be called."""
    return Diagnostic(
        "GB208",
        f"unknown function `{name}`",
        span,
        "no function or metric of this name",
        did_you_mean(name, known) or "declare it (`metric NAME(r) = ...`), or mend its spelling",
    )


def wrong_kind(span: Span, name: str, found: str, wanted: str, help_: str = "") -> Diagnostic:
    """A name of one kind where another kind is needed."""
    help_ = help_ or WANTED.get(wanted, f"write {wanted} in its place")
    return Diagnostic("GB209", f"`{name}` is {found}, not {wanted}", span, f"{wanted} is needed here", help_)


WANTED = {
    "a value": "name a metric of a run (`logit(clean, ...)`), a site (`clean.resid_post[0, last]`) or a measure",
    "a number": "write a number, a metric of a run (`logit(clean, ...)`) or a reduction (`mean(...)`)",
    "a vector": "read a site with the axis `dim`, such as `clean.resid_post[0, last]`",
}


def too_many_indices(span: Span, name: str, axes: Sequence[str], given: int) -> Diagnostic:
    """More indices than axes."""
    order = ", ".join(axes)
    what = f"its axes are [{order}]" if axes else "it has no axes"
    return Diagnostic(
        "GB210", f"`{name}` takes {len(axes)} indices, not {given}", span, what, "drop the extra index"
    )


def index_twice(span: Span, name: str, of: str) -> Diagnostic:
    """Two indices on one axis."""
    return Diagnostic("GB210", f"`{name}` of `{of}` is indexed twice", span, "another index names it already",
                      "drop one of the two; a set `{0, 2}` names several cells")  # fmt: skip


def unknown_axis(span: Span, name: str, of: str, axes: Sequence[str]) -> Diagnostic:
    """A named index or reduction over an axis that is not there."""
    order = ", ".join(axes) or "none"
    return Diagnostic(
        "GB213", f"`{of}` has no axis `{name}`", span, f"its axes are: {order}",
        did_you_mean(name, axes) or "take it out",
    )  # fmt: skip


def position_on_other_axis(span: Span, text: str, axis: str, order: Sequence[str], site: str) -> Diagnostic:
    """A position name as the index of an axis that is not a position."""
    place = next((i for i, a in enumerate(order) if a in ("pos", "query", "key")), None)
    help_ = ""
    if place is not None:
        before = [":" if a == axis else a for a in order[:place]]
        help_ = f"the order is [{', '.join(order)}]: write `{site}[{', '.join([*before, text])}]` or by name"
    return Diagnostic(
        "GB211", f"`{text}` is a position, not a {axis}", span, f"this index is on the axis `{axis}`", help_
    )


def free_axes(span: Span, name: str, missing: Sequence[str], binders: Sequence[str]) -> Diagnostic:
    """A measure whose written binders leave an axis out."""
    axes = ", ".join(f"`{m}`" for m in missing)
    wanted = ", ".join([*binders, *missing])
    return Diagnostic(
        "GB212", f"`{name}` leaves {axes} free", span, "the binders name some axes, but not all that the value has",
        f"write `{name}[{wanted}]`, index the axis, or reduce it with `mean(..., over: {{{missing[0]}}})`",
    )  # fmt: skip


def features_differ(span: Span, left: str, right: str) -> Diagnostic:
    """Vectors on different feature axes in one operation."""
    return Diagnostic(
        "GB214", f"axes `{left}` and `{right}` do not meet", span, "vectors over different feature axes",
        "reduce one of them to a number first",
    )  # fmt: skip


def no_axis_in_cells(span: Span, axis: str, site: str, cells: Sequence[str], help_: str) -> Diagnostic:
    """The right side of an edit has an axis that the written cells lack."""
    known = ", ".join(f"`{c}`" for c in cells) or "none"
    return Diagnostic(
        "GB226",
        f"the value has the axis `{axis}`, the written cells of `{site}` do not",
        span,
        f"axes of the cells: {known}",
        help_,
    )


def bad_domain(span: Span, why: str, help_: str = "") -> Diagnostic:
    """A binder that cannot be swept."""
    help_ = help_ or "write `[layer]`, `[layer in 0..3]` or `[alpha in [0, 0.5, 1]]`"
    return Diagnostic("GB215", "not a domain", span, why, help_)


def no_such_reduction(span: Span, axis: str, axes: Sequence[str]) -> Diagnostic:
    """A reduction over an axis that the value does not have."""
    known = ", ".join(f"`{a}`" for a in axes) or "none"
    return Diagnostic(
        "GB216",
        f"the value has no axis `{axis}` to reduce",
        span,
        f"its axes: {known}",
        "name an axis it has with `over:`",
    )


def vector_measure(span: Span, name: str, feature: str) -> Diagnostic:
    """A measure of vectors."""
    return Diagnostic(
        "GB217", f"`{name}` is a vector over `{feature}`, not a number", span, f"the axis `{feature}` is left over",
        f"store it with `record {name} = ...`, or reduce it (`norm`, `logit`, ...)",
    )  # fmt: skip


def read_only(span: Span, site: str, why: str) -> Diagnostic:
    """A site that cannot be written."""
    return Diagnostic(
        "GB218", f"`{site}` can be read, not written", span, why, "write a site downstream of it"
    )


def unknown_site(span: Span, name: str, known: Iterable[str]) -> Diagnostic:
    """A site that the language does not have."""
    return Diagnostic(
        "GB219", f"unknown site `{name}`", span, "no site of this name",
        did_you_mean(name, known) or "sites are named like `resid_post`, `attn.z`, `mlp.out`, `logits`",
    )  # fmt: skip


def measure_not_there(span: Span, measure: str, missing: str, experiment: str) -> Diagnostic:
    """A measure of another experiment that does not run on everything this one runs on."""
    return Diagnostic(
        "GB223", f"`{measure}` is not there for `{missing}`", span,
        f"experiment `{experiment}` does not run on `{missing}`", "list the same models and data in both experiments",
    )  # fmt: skip


def bad_index(span: Span, why: str, help_: str = "") -> Diagnostic:
    """Something that is not an index."""
    help_ = (
        help_
        or "write a whole number, `:`, a range `0..3`, a set `{0, 2}`, a position or a variable of that axis"
    )
    return Diagnostic("GB221", "not an index", span, why, help_)


def span_in_read(span: Span, variable: str) -> Diagnostic:
    """A whole span as one cell where one position is read."""
    return Diagnostic(
        "GB222", f"`{variable}` stands for several positions at once", span, "one position a cell is read here",
        f"sweep its tokens (`{variable} in label.span`), or name it `part: pos in {{...}}` and reduce over `pos`",
    )  # fmt: skip


def not_for_data(span: Span, what: str, name: str, data: Sequence[str], known: Iterable[str]) -> Diagnostic:
    """An answer, feature or prompt that the data set in question lacks."""
    where = ", ".join(f"`{d}`" for d in data)
    return Diagnostic(
        "GB223",
        f"no {what} `{name}` in data {where}",
        span,
        f"the runs here are over {where}",
        did_you_mean(name, known),
    )


def nothing_to_run(span: Span, name: str) -> Diagnostic:
    """An experiment without models or data."""
    return Diagnostic(
        "GB224",
        f"experiment `{name}` has no model or no data",
        span,
        "nothing to run it on",
        "declare a `model` and a `data` block",
    )


def unaligned_set(span: Span, why: str, help_: str = "") -> Diagnostic:
    """A set of tuples that does not fit the axes."""
    help_ = help_ or "write tuples with one member for each axis, in order: `{(0, 1), (2, 3)}`"
    return Diagnostic("GB225", "the set does not fit these axes", span, why, help_)


def set_on_other_axes(span: Span, own: Sequence[str], axes: Sequence[str], of: str) -> Diagnostic:
    """A set as the index of axes that its members are not about."""
    why = f"its members are over [{', '.join(own)}]; the axes from here on are [{', '.join(axes)}]"
    where = axes.index(own[0]) if own[0] in axes else 0
    fits = where and tuple(axes[where : where + len(own)]) == tuple(own)
    written = ", ".join([*[":"] * where, "..."])
    return unaligned_set(span, why, f"write `{of}[{written}]`, the set in its place" if fits else "")


def set_of_other_axes(span: Span, own: Sequence[str], names: Sequence[str]) -> Diagnostic:
    """A set as the domain of variables on other axes."""
    why = f"its members are over [{', '.join(own)}], the variables are [{', '.join(names)}]"
    wanted = f"({', '.join(own)})" if len(own) > 1 else own[0]
    return unaligned_set(span, why, f"write `[{wanted} in ...]`")


def sets_differ(span: Span, left: Sequence[str] | None, right: Sequence[str] | None) -> Diagnostic:
    """Sets over different axes in one expression or declaration."""
    one, two = (f"[{', '.join(axes)}]" if axes is not None else "a number" for axes in (left, right))
    return unaligned_set(span, f"sets of one kind meet: {one} and {two} are not the same")


def axes_unknown(span: Span) -> Diagnostic:
    """Written members where nothing says which axes they are about."""
    return unaligned_set(
        span, "nothing here says which axes its members are about", "put a set from results beside it"
    )


def no_complement(span: Span) -> Diagnostic:
    """Set operators that would have to compare positions by name with positions by number."""
    why = (
        "members at positions by name (`last`, a label) lie elsewhere in each prompt, so only `+` joins them"
    )
    return unaligned_set(span, why, "sweep positions by number")


def no_set_axis(span: Span, plain: Sequence[str], bound: Sequence[str]) -> Diagnostic:
    """A value without an axis that members could be about."""
    if plain:
        why, help_ = f"`{plain[0]}` is not an axis of a model", f"fix it by its value: `[{plain[0]}: ...]`"
    elif bound:
        why = f"{', '.join(f'`{b}`' for b in bound)} bound here, no axis is left for the members"
        help_ = "name the set with `let` outside, where nothing binds its axes"
    else:
        why, help_ = "one number has no cells to choose from", "leave an axis of it free"
    return unaligned_set(span, why, help_)


def set_of_items(span: Span, text: str) -> Diagnostic:
    """A set whose cells would differ between items."""
    return Diagnostic(
        "GB227", "a set is the same for all items", span, "this has one value for each `item`",
        f"reduce it first: `mean({text})`" if len(text) < 40 else "reduce it first: `mean(...)`",
    )  # fmt: skip


def set_as_number(span: Span, text: str) -> Diagnostic:
    """A set where a number is needed."""
    return wrong_kind(span, text, "a set", "a number", "count it with `size(...)`, or index by it")


def number_as_set(span: Span, text: str) -> Diagnostic:
    """A number where a set is needed."""
    help_ = f"compare it (`{text} > 0.4`) or take `largest({text}, k: 10)`" if len(text) < 40 else ""
    return wrong_kind(span, text[:60], "a number", "a set", help_)


def bad_phase(span: Span, why: str) -> Diagnostic:
    """An edit that cannot hold when it is said to."""
    help_ = "write `during prompt`, or `during generated` behind an edit without positions: `resid_post[8] += 4 * d`"
    return Diagnostic("GB229", "not a phase of this edit", span, why, help_)


def text_alone(span: Span) -> Diagnostic:
    """Generated text inside of something else."""
    help_ = "store it by itself: `measure said = text(RUN)`"
    return wrong_kind(span, span.text[:40], "a text", "a number", help_)


def bad_dictionary(span: Span, path: str, why: str) -> Diagnostic:
    """A sparse dictionary whose files do not fit."""
    help_ = "give the folder of a standard, jumprelu, topk or gated dictionary, and the site that it was trained at"
    return Diagnostic("GB256", f"the dictionary in `{path}` cannot be used", span, why, help_)


def other_layer(span: Span, name: str, site: str, layer: int) -> Diagnostic:
    """A dictionary named at a layer where it does not stand."""
    return Diagnostic(
        "GB257", f"`{name}` stands at layer {layer}", span, f"it was given for {site}[{layer}]",
        f"write `{layer}` here, or leave the layer out: `[latent: 3, pos: last]`",
    )  # fmt: skip


def edited_code(span: Span, name: str, run: str) -> Diagnostic:
    """A code read of a run that changes it."""
    return Diagnostic(
        "GB258", f"`{name}` is edited in `{run}`", span,
        "the code there is what the edit says; encoding the edited state again gives another one",
        "read it of a run that leaves it alone, or read the site that it stands at",
    )  # fmt: skip


def codes_apart(span: Span, name: str) -> Diagnostic:
    """Edits of a dictionary at several positions of a run."""
    return Diagnostic(
        "GB258", f"`{name}` is edited at two places of a run", span,
        "the places may be the same token, whose code is made once",
        "write all edits at one position, or at all of them",
    )  # fmt: skip
