"""Runs: `run NAME[binders] = forward(prompt, model:) { edits }`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.indices import dotted
from glassbox_dsl.language.paths import without_paths
from glassbox_dsl.language.program import Dimension, Edit, Expr, Run, RunVariant
from glassbox_dsl.language.scope import Met, Scope
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


class RunReader:
    """Turns run statements into families of passes with edits."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    def read(self, node: nodes.Run) -> Run:
        """One run, once per reading of its name-valued binders."""
        if isinstance(node.call.function, nodes.Name) and node.call.function.id == "scrub":
            return self.names.hypothesis_reader.run(node)
        if not isinstance(node.call.function, nodes.Name) or node.call.function.id != "forward":
            name = node.call.function.span.text
            raise Problem(
                errors.unknown_function(node.call.function.span, name, ["forward", "generate", "scrub"])
            )
        node, parts = without_paths(node)
        self.names.declared.update({part.name: part for part in parts})
        dimensions = read_binders(node.binders, self.names.reader, self.names.scope())
        model = self.model(node.call)
        variants, data = [], None
        for when, words in readings(dimensions):
            prompt, data = self.prompt(node.call, words)
            scope_data = (data,) if data else self.data_with(prompt)
            bound = {v.name: d for d in dimensions for v in d.variables if v.name not in words}
            edits = tuple(self.edit(e, scope_data, bound, words) for e in node.edits)
            variants.append(RunVariant(span=node.span, when=when, prompt=prompt, edits=edits))
        return Run(
            span=node.span,
            name=node.name,
            dimensions=dimensions,
            variants=tuple(variants),
            model=model,
            data=data or self.names.only_data({v.prompt for v in variants}),
            part_of=getattr(node, "part_of", None),
        )

    def data_with(self, prompt: str) -> tuple[str, ...]:
        """The experiment's data sets that have the prompt."""
        return tuple(s.name for s in self.names.specs(self.names.data) if prompt in s.prompts)

    def model(self, call: nodes.Call) -> str | None:
        """The option `model:`."""
        for argument in call.arguments:
            if argument.name == "model":
                if dotted(argument.value) in self.names.file.broken:
                    raise Poisoned
                if (
                    not isinstance(argument.value, nodes.Name)
                    or argument.value.id not in self.names.file.models
                ):
                    raise Problem(
                        errors.unknown_name(
                            argument.value.span, argument.value.span.text, self.names.file.models, "model"
                        )
                    )
                if argument.value.id not in self.names.models:
                    raise Problem(
                        errors.unknown_name(
                            argument.value.span,
                            argument.value.id,
                            self.names.models,
                            "model of this experiment",
                        )
                    )
                return argument.value.id
        return None

    def prompt(self, call: nodes.Call, words: Mapping[str, nodes.Expr]) -> tuple[str, str | None]:
        """The prompt that `forward` names, and its data set where that is written."""
        usage = "forward(PROMPT, model: NAME)"
        positional = [a for a in call.arguments if a.name is None]
        unknown = [a for a in call.arguments if a.name not in (None, "model")]
        if len(positional) != 1 or unknown:
            why = f"it has no option `{unknown[0].name}:`" if unknown else "one prompt is needed"
            raise Problem(errors.bad_arguments(call.span, "forward", why, usage))
        node = positional[0].value
        if isinstance(node, nodes.Name) and node.id in words:
            node = words[node.id]
        scope = self.names.scope()
        match node:
            case nodes.Name() if self.names.has_prompt(node.id, scope):
                return node.id, None
            case nodes.Attribute(base=nodes.Name(id=data)) if data in self.names.data:
                if node.name in self.names.file.data[data].prompts:
                    return node.name, data
        raise Problem(errors.unknown_name(node.span, dotted(node), self.names.prompt_names(scope), "prompt"))

    def edit(
        self,
        node: nodes.Edit,
        data: tuple[str, ...],
        bound: Mapping[str, Dimension],
        words: Mapping[str, nodes.Expr],
    ) -> Edit:
        """One edit."""
        assert isinstance(node, nodes.Write)
        met = Met()
        scope = Scope(data=data, met=met, binders=bound, words=words, target=node.target)
        name = self.names.values.site_name(node.target.path, scope)
        self.names.check_site(name, node.target.span)
        site = sites()[name]
        if not site.write:
            raise Problem(errors.read_only(node.target.span, name, site.why))
        index = self.names.reader.site(node.target.indices, site.axes, scope, name) or self.names.all_cells(
            node.target.span, site.axes
        )
        cells = self.names.values.index_dims(index, site.axes, scope)
        value = self.names.values.value(node.value, scope)
        self.check_fits(node, name, value, (*cells, *(d.name for d in bound.values())), site.axes)
        return Edit(
            span=node.span,
            site=name,
            index=index,
            op=node.op,
            value=value,
            text=" ".join(node.span.text.split()),
        )

    def check_fits(
        self, node: nodes.Write, name: str, value: Expr, cells: Sequence[str], axes: Sequence[str]
    ) -> None:
        """The value has no axis that the written cells lack, and the right kind of cell."""
        loose = [d for d in value.dims if d not in cells and d != ITEM]
        if loose:
            help_ = f"index it (`{loose[0]}: ...`) or reduce it with `mean(..., over: {{{loose[0]}}})`"
            raise Problem(
                errors.no_axis_in_cells(node.value.span, loose[0], name, list(dict.fromkeys(cells)), help_)
            )
        feature = sites()[name].feature
        if value.feature is not None and value.feature != feature:
            raise Problem(errors.features_differ(node.value.span, value.feature, feature or "none"))
