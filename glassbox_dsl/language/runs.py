"""Runs: `run NAME[binders] = forward(prompt, model:) { edits }`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from glassbox_dsl.language import circuit_errors, errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.dictionaries import together
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.indices import dotted
from glassbox_dsl.language.paths import without_paths
from glassbox_dsl.language.program import AllCells, Dimension, Edit, Expr, Generation, Run, RunVariant
from glassbox_dsl.language.scope import Met, Scope
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM, POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader


PROMPT, GENERATED = "prompt", "generated"
GENERATION = ("max_new_tokens", "temperature", "seed")
USAGE = {
    "forward": "forward(PROMPT, model: NAME)",
    "generate": "generate(PROMPT, max_new_tokens: 20, temperature: 0, seed: 0)",
    "scrub": "scrub(PROMPT, HYPOTHESIS, samples: 256, seed: 0)",
}


def as_write(node: nodes.Edit) -> nodes.Write:
    """An edit as a write; `keep SET, else RUN` sets the output of every head that is not in the set."""
    if isinstance(node, nodes.KeepEdit):
        rest = nodes.Unary(span=node.circuit.span, op="not", operand=node.circuit)
        index = nodes.IndexItem(span=node.circuit.span, name=None, value=rest)
        target = nodes.Target(span=node.circuit.span, path=("attn", "z"), indices=(index,))
        value = node.otherwise or nodes.Number(span=node.span, value=0)
        return nodes.Write(span=node.span, target=target, op=":=", value=value, during=None)
    assert isinstance(node, nodes.Write)
    return node


def generation_of(call: nodes.Call, words: Mapping[str, nodes.Expr]) -> Generation | None:
    """The options of `generate`."""
    if dotted(call.function) != "generate":
        return None
    given = [a for a in call.arguments if a.name in GENERATION]
    arguments = Arguments.of("generate", call.span, given, words, USAGE["generate"])
    count = arguments.integer("max_new_tokens", None)
    if count < 1:
        raise arguments.problem("`max_new_tokens:` is at least 1")
    heat = arguments.named.get("temperature", nodes.Number(span=call.span, value=0))
    if not isinstance(heat, nodes.Number) or heat.value < 0:
        raise arguments.problem("`temperature:` is a number from 0 on")
    return Generation(
        span=call.span, max_new_tokens=count, temperature=float(heat.value), seed=arguments.integer("seed", 0)
    )


def told_apart(edits: Sequence[Edit]) -> tuple[Edit, ...]:
    """Edits of a run, those that are equal numbered."""
    seen: Counter[Edit] = Counter()
    found = []
    for edit in edits:
        found.append(edit.changed(nth=seen[edit]) if edit in seen else edit)
        seen[edit] += 1
    return tuple(found)


class RunReader:
    """Turns run statements into families of passes with edits."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    def read(self, node: nodes.Run) -> Run:
        """One run, once per reading of its name-valued binders."""
        if isinstance(node.call.function, nodes.Name) and node.call.function.id == "scrub":
            return self.names.hypothesis_reader.run(node)
        if not isinstance(node.call.function, nodes.Name) or node.call.function.id not in (
            "forward",
            "generate",
        ):
            name = node.call.function.span.text
            raise Problem(
                errors.unknown_function(node.call.function.span, name, ["forward", "generate", "scrub"])
            )
        node, parts = without_paths(node)
        self.names.declared.update({part.name: part for part in parts})
        dimensions = read_binders(node.binders, self.names.reader, self.names.scope())
        model = self.model(node.call)
        variants, data = [], None
        for when, words in readings(dimensions, node.call, *node.edits):
            generation = generation_of(node.call, words)
            prompt, data = self.prompt(node.call, words)
            scope_data = (data,) if data else self.data_with(prompt)
            bound = {v.name: d for d in dimensions for v in d.variables if v.name not in words}
            phases = [
                phased
                for edit in node.edits
                for phased in self.edits(edit, scope_data, bound, words, generation is not None)
            ]
            variants.append(RunVariant(
                span=node.span, when=when, prompt=prompt, generation=generation,
                edits=told_apart(together([e for p, e in phases if PROMPT in p])),
                generated=together([e for p, e in phases if GENERATED in p]),
            ))  # fmt: skip
        return Run(
            span=node.span,
            name=node.name,
            dimensions=dimensions,
            variants=tuple(variants),
            model=model,
            data=data or self.names.only_data({v.prompt for v in variants}),
            part_of=getattr(node, "part_of", None),
        )

    def edits(
        self,
        node: nodes.Edit,
        data: tuple[str, ...],
        bound: Mapping[str, Dimension],
        words: Mapping[str, nodes.Expr],
        generates: bool,
    ) -> Iterator[tuple[tuple[str, ...], Edit]]:
        """What an edit comes to, each with the phases in which it holds."""
        circuits = self.names.circuit_reader
        if isinstance(node, nodes.KeepEdit) and circuits.is_circuit(node.circuit, words):
            if generates:
                raise Problem(circuit_errors.generated(node.span))
            yield from (((PROMPT,), edit) for edit in circuits.kept(node, data, bound, words))
            return
        write = as_write(node)
        edit = self.edit(write, data, bound, words)
        yield self.phases(write, edit, generates), edit

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
        name = dotted(call.function)
        usage = USAGE[name]
        positional = [a for a in call.arguments if a.name is None]
        known = ("model", *GENERATION) if name == "generate" else ("model",)
        unknown = [a for a in call.arguments if a.name not in (None, *known)]
        if len(positional) != 1 or unknown:
            why = f"it has no option `{unknown[0].name}:`" if unknown else "one prompt is needed"
            raise Problem(errors.bad_arguments(call.span, name, why, usage))
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

    def phases(self, node: nodes.Write, edit: Edit, generates: bool) -> tuple[str, ...]:
        """When an edit holds: at the prompt, and (where it names no position) at generated tokens."""
        if node.during is not None and not generates:
            raise Problem(errors.bad_phase(node.span, "`during` belongs to the edits of a `generate` run"))
        if node.during not in (None, PROMPT, GENERATED):
            raise Problem(errors.bad_phase(node.span, f"`{node.during}` is no phase"))
        axes = sites()[edit.site].axes
        everywhere = axes[-1:] == ("pos",) and isinstance(edit.index[-1], AllCells)
        if not generates or node.during == PROMPT or (node.during is None and not everywhere):
            return (PROMPT,)
        if not everywhere:
            raise Problem(
                errors.bad_phase(node.span, "generated tokens have no positions to name: leave `pos` out")
            )
        if any(d in POSITION_AXES for d in edit.value.dims):
            raise Problem(
                errors.bad_phase(node.span, "the value has positions, which generated tokens do not share")
            )
        return (GENERATED,) if node.during == GENERATED else (PROMPT, GENERATED)

    def edit(
        self,
        node: nodes.Write,
        data: tuple[str, ...],
        bound: Mapping[str, Dimension],
        words: Mapping[str, nodes.Expr],
    ) -> Edit:
        """One edit."""
        met = Met()
        scope = Scope(data=data, met=met, binders=bound, words=words, target=node.target)
        name = self.names.values.site_name(node.target.path, scope)
        if (code := self.names.dictionaries.part(name)) is not None:
            return self.names.dictionaries.edit(node, code, scope, bound)
        self.names.check_site(name, node.target.span)
        site = sites()[name]
        if not site.write:
            raise Problem(errors.read_only(node.target.span, name, site.why))
        index = self.names.reader.site(node.target.indices, site.axes, scope, name) or self.names.all_cells(
            node.target.span, site.axes
        )
        cells = self.names.values.index_dims(index, site.axes, scope)
        value = self.names.values.value(node.value, scope)
        self.check_fits(node, name, value, (*cells, *(d.name for d in bound.values())), site.feature)
        return Edit(
            span=node.span,
            site=name,
            index=index,
            op=node.op,
            value=value,
            text=" ".join(node.span.text.split()),
        )

    def check_fits(
        self, node: nodes.Write, name: str, value: Expr, cells: Sequence[str], feature: str | None
    ) -> None:
        """The value has no axis that the written cells lack, and the right kind of cell."""
        loose = [d for d in value.dims if d not in cells and d != ITEM]
        if loose:
            help_ = f"index it (`{loose[0]}: ...`) or reduce it with `mean(..., over: {{{loose[0]}}})`"
            raise Problem(
                errors.no_axis_in_cells(node.value.span, loose[0], name, list(dict.fromkeys(cells)), help_)
            )
        if value.feature is not None and value.feature != feature:
            raise Problem(errors.features_differ(node.value.span, value.feature, feature or "none"))
