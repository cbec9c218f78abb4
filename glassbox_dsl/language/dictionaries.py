"""Sparse dictionaries: `fit f = sae("folder", site: resid_post[12])`, and its sites `f.code` and `f.error`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from glassbox_dsl.language import dictionary_files, errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.errors import Problem
from glassbox_dsl.language.indices import dotted
from glassbox_dsl.language.program import AllCells, At, Dimension, Edit, Expr, Index, RunUse, SiteRead
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.language.technique_nodes import Change, CodeChange, CodeRead, Dictionary
from glassbox_dsl.language.values import union
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

USAGE = 'sae("folder", site: resid_post[12])'
AXES = {"code": ("layer", "latent", "pos"), "error": ("layer", "pos")}
FEATURES = {"code": None, "error": "dim"}
Part = Literal["code", "error"]


def is_dictionary(node: object) -> bool:
    """Whether a declaration is a fit of the kind `sae`."""
    return (
        isinstance(node, nodes.Fit)
        and isinstance(node.call.function, nodes.Name)
        and node.call.function.id == "sae"
    )


class DictionaryReader:
    """Reads dictionaries, and reads and edits of their sites."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    def read(self, node: nodes.Fit) -> Dictionary:
        """The declaration, with what its files say of it."""
        named = {a.name: a.value for a in node.call.arguments if a.name is not None}
        positional = tuple(a.value for a in node.call.arguments if a.name is None)
        arguments = Arguments("sae", node.call.span, positional, named, USAGE)
        arguments.expect(1, 1, ("site",))
        folder = positional[0]
        if not isinstance(folder, nodes.String) or "site" not in named:
            raise arguments.problem("a folder and the place of the dictionary are needed")
        if node.binders:
            raise arguments.problem("a dictionary stands in one place: it has no cells of its own")
        site, layer = self.place(named["site"], arguments)
        path = self.names.file_path(folder, folder=True)
        found = dictionary_files.read(path, folder, (site, layer))
        return Dictionary(span=node.span, name=node.name, site=site, layer=layer, **found)

    @staticmethod
    def place(node: nodes.Expr, arguments: Arguments) -> tuple[str, int]:
        """`resid_post[12]`."""
        if isinstance(node, nodes.Index) and len(node.items) == 1:
            name, index = dotted(node.base), node.items[0].value
            known = sites().get(name)
            if known is None:
                raise Problem(errors.unknown_site(node.base.span, name, sites()))
            fits = known.axes == ("layer", "pos") and known.feature == "dim" and known.write
            if fits and isinstance(index, nodes.Number) and isinstance(index.value, int):
                return name, index.value
        raise arguments.problem(
            "`site:` is a site with vectors at every position, with the number of its layer"
        )

    # ------------------------------------------------------------ its sites

    def part(self, path: str) -> tuple[Dictionary, Part] | None:
        """The dictionary and the site of it that a dotted name means."""
        name, _, part = path.partition(".")
        dictionary = self.names.dictionary_named(name)
        if dictionary is None:
            return None
        if part == "code":
            return dictionary, "code"
        if part == "error":
            return dictionary, "error"
        raise Problem(errors.unknown_site(dictionary.span, path, (f"{name}.code", f"{name}.error")))

    @staticmethod
    def feature(found: tuple[Dictionary, Part]) -> str | None:
        """The feature axis of a site of a dictionary."""
        return FEATURES[found[1]]

    def index(
        self, found: tuple[Dictionary, Part], items: Sequence[nodes.IndexItem], scope: Scope, span: Span
    ) -> tuple[tuple[Index, ...], tuple[str, ...]]:
        """One index for each axis behind the layer, and these axes."""
        dictionary, part = found
        axes, name = AXES[part], f"{dictionary.name}.{part}"
        index = self.names.reader.site(items, axes, scope, name) or self.names.all_cells(span, axes)
        layer = index[0]
        if not isinstance(layer, AllCells) and not (
            isinstance(layer, At) and layer.value == dictionary.layer
        ):
            raise Problem(errors.other_layer(layer.span, dictionary.name, dictionary.site, dictionary.layer))
        return tuple(index[1:]), axes[1:]

    def code_read(
        self,
        use: RunUse,
        found: tuple[Dictionary, Part],
        items: Sequence[nodes.IndexItem],
        scope: Scope,
        span: Span,
        copied: bool = False,
    ) -> Expr:
        """`RUN.f.code[...]` or `RUN.f.error[...]`."""
        dictionary, part = found
        run = self.names.runs[use.run]
        if any(isinstance(e.value, CodeChange) and e.value.dictionary == dictionary.name
               for v in run.variants for e in (*v.edits, *v.generated)):  # fmt: skip
            raise Problem(errors.edited_code(span, dictionary.name, use.run))
        index, axes = self.index(found, items, scope, span)
        place = self.names.values.index_dims(index[-1:], axes[-1:], scope)
        latents = self.names.values.index_dims(index[:-1], axes[:-1], scope)
        layer = At(span=span, value=dictionary.layer)
        body = SiteRead(
            span=span, run=use, site=dictionary.site, index=(layer, index[-1]), copied=copied,
            dims=union((use.dims, place)), feature="dim",
        )  # fmt: skip
        return CodeRead(
            span=span, dictionary=dictionary.name, part=part, body=body, latent=index[0] if part == "code" else None,
            dims=union((use.dims, latents, place)), feature=FEATURES[part],
        )  # fmt: skip

    def edit(
        self, node: nodes.Write, found: tuple[Dictionary, Part], scope: Scope, bound: Mapping[str, Dimension]
    ) -> Edit:
        """An edit of a code or error: a change of the site that the dictionary stands at."""
        dictionary, part = found
        index, axes = self.index(found, node.target.indices, scope, node.target.span)
        cells = self.names.values.index_dims(index, axes, scope)
        value = self.names.values.value(node.value, scope)
        written = (*cells, *(d.name for d in bound.values()))
        self.names.run_reader.check_fits(node, f"{dictionary.name}.{part}", value, written, FEATURES[part])
        change = Change(
            span=node.span, part=part, latent=index[0] if part == "code" else None, op=node.op, value=value
        )
        latents = self.names.values.index_dims(index[:-1], axes[:-1], scope)
        dims = tuple(d for d in union((value.dims, latents)) if d != "latent" or d in bound)
        moved = CodeChange(
            span=node.span, dictionary=dictionary.name, changes=(change,), dims=dims, feature="dim"
        )
        place = (At(span=node.target.span, value=dictionary.layer), index[-1])
        text = " ".join(node.span.text.split())
        return Edit(span=node.span, site=dictionary.site, index=place, op="+=", value=moved, text=text)


def together(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Edits of a run, those of a dictionary as one behind the others: its code is made once and then changed."""
    found: dict[str, Edit] = {}
    for edit in edits:
        if not isinstance(edit.value, CodeChange):
            continue
        name = edit.value.dictionary
        if name not in found:
            found[name] = edit
            continue
        first = found[name]
        if first.index != edit.index:
            raise Problem(errors.codes_apart(edit.span, name))
        before = first.value
        assert isinstance(before, CodeChange)
        both = before.changed(
            changes=before.changes + edit.value.changes, dims=union((before.dims, edit.value.dims))
        )
        found[name] = first.changed(value=both, text=f"{first.text}  {edit.text}")
    return (*(e for e in edits if not isinstance(e.value, CodeChange)), *found.values())
