"""`hypothesis` and `scrub`: a tree of claims about what parts of a model carry (Chan et al. 2022, causal scrubbing).

A scrubbed run is a forward pass whose last stream is set to what recursive resampling gives for each item and sample;
how that is made is in `run/scrub.py`. Beside it stands a run whose outputs are shuffled between items: the other end
of the scale of `loss_recovered`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from glassbox_dsl.language import errors, scrub_errors
from glassbox_dsl.language.arguments import Arguments
from glassbox_dsl.language.binders import read_binders, readings
from glassbox_dsl.language.errors import Poisoned, Problem
from glassbox_dsl.language.program import (
    Agree,
    AllCells,
    At,
    Dimension,
    Edit,
    Expr,
    Run,
    RunVariant,
    Scrubbed,
    ScrubNode,
    Variable,
)
from glassbox_dsl.language.scope import Scope
from glassbox_dsl.source import Span
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.axes import ITEM
from glassbox_dsl.vocabulary.sites import sites

if TYPE_CHECKING:
    from glassbox_dsl.language.experiment import ExperimentReader

SAMPLE = "sample"
SAMPLES = 256
HEADS = ("attn.result", "attn.z")
PARTS = ("embed", *HEADS, "attn.out", "mlp.out")
PORTS = ("q", "k", "v")


class HypothesisReader:
    """Turns hypotheses, and the runs that scrub with them, into what they mean."""

    def __init__(self, names: ExperimentReader) -> None:
        self.names = names

    # ------------------------------------------------------------ runs

    def run(self, node: nodes.Run) -> Run:
        """`run NAME[binders] = scrub(prompt, hypothesis, samples:, seed:)`; its shuffled run is noted beside it."""
        if node.edits:
            raise Problem(scrub_errors.edited(node.edits[0].span))
        arguments = Arguments.of("scrub", node.call.span, node.call.arguments, {})
        arguments.expect(2, 2, ("samples", "seed", "model"))
        samples = arguments.integer("samples", SAMPLES)
        if samples < 1:
            raise arguments.problem("`samples:` is at least 1")
        dimensions = read_binders(node.binders, self.names.reader, self.names.scope())
        if any(variable.name == SAMPLE for d in dimensions for variable in d.variables):
            raise Problem(errors.reserved(node.binders[0].span, SAMPLE))
        where = nodes.Call(span=node.call.span, function=node.call.function,
                           arguments=tuple(a for a in node.call.arguments
                                           if a.name == "model" or a.value is arguments.positional[0]))  # fmt: skip
        model = self.names.run_reader.model(where)
        counted = sample_dimension(node.span, samples)
        variants, shuffled, data = [], [], None
        for when, words in readings(dimensions, node.call):
            prompt, data = self.names.run_reader.prompt(where, words)
            over = (data,) if data else self.names.run_reader.data_with(prompt)
            tree = self.tree(arguments.positional[1], over, words)
            mixed = (tree[0].changed(agree=()),)
            seed = Arguments.of("scrub", node.call.span, node.call.arguments, words).integer("seed", 0)
            variants.append(_variant(node, when, prompt, tree, samples, seed))
            shuffled.append(_variant(node, when, prompt, mixed, samples, seed))
        fixed = data or self.names.only_data({v.prompt for v in variants})
        run = Run(span=node.span, name=node.name, dimensions=(*dimensions, counted), variants=tuple(variants),
                  model=model, data=fixed)  # fmt: skip
        other = run.changed(name=shuffled_name(node.name), variants=tuple(shuffled), part_of=node.name)
        self.names.runs.setdefault(other.name, other)
        return run

    # ------------------------------------------------------------ hypotheses

    def tree(
        self, node: nodes.Expr, data: Sequence[str], words: Mapping[str, nodes.Expr]
    ) -> tuple[ScrubNode, ...]:
        """The nodes of the hypothesis that an argument names, the root first."""
        if isinstance(node, nodes.Name) and node.id in words:
            node = words[node.id]
        known = self.names.hypotheses()
        if not isinstance(node, nodes.Name) or node.id not in known:
            if isinstance(node, nodes.Name) and node.id in (*self.names.broken, *self.names.file.broken):
                raise Poisoned
            raise Problem(errors.unknown_name(node.span, node.span.text, known, "hypothesis"))
        return self.read(known[node.id], data)

    def read(self, hypothesis: nodes.Hypothesis, data: Sequence[str]) -> tuple[ScrubNode, ...]:
        """Its nodes, each behind the one that reads it. Raises `Problem` for the first thing wrong."""
        by_name: dict[str, nodes.HypothesisNode] = {}
        for node in hypothesis.nodes:
            if node.name in by_name:
                raise Problem(errors.declared_twice(node.span, node.name, by_name[node.name].span))
            by_name[node.name] = node
        roots = [node for node in hypothesis.nodes if node.reader is None]
        if len(roots) != 1:
            place = roots[1].span if roots else hypothesis.span
            raise Problem(scrub_errors.roots(place, [node.name for node in roots]))
        found = {node.name: self._node(node, by_name, data) for node in hypothesis.nodes}
        ordered = list(_below(roots[0].name, found))
        for node in hypothesis.nodes:
            if found[node.name] not in ordered:
                raise Problem(scrub_errors.no_way(node.span, node.name, roots[0].name))
        return tuple(ordered)

    def _node(
        self, node: nodes.HypothesisNode, known: Mapping[str, nodes.HypothesisNode], data: Sequence[str]
    ) -> ScrubNode:
        site = ".".join(node.target.path)
        self.names.check_site(site, node.target.span)
        self._check(node, site, known)
        scope = Scope(data=tuple(data))
        axes = sites()[site].axes
        index = self.names.reader.site(node.target.indices, axes, scope, site)
        index = index or self.names.all_cells(node.target.span, axes)
        if not isinstance(index[-1], AllCells):
            raise Problem(scrub_errors.position(index[-1].span))
        return ScrubNode(span=node.span, name=node.name, site=site, index=index, reader=node.reader, port=node.port,
                         agree=None if node.agree is None else tuple(self._agree(node.agree, scope)))  # fmt: skip

    @staticmethod
    def _check(node: nodes.HypothesisNode, site: str, known: Mapping[str, nodes.HypothesisNode]) -> None:
        """The part is one that something reads, and reads it by a port that it has."""
        if node.reader is None:
            if site != "logits" or node.target.indices:
                raise Problem(scrub_errors.no_root(node.target.span, node.target.span.text))
            return
        if site not in PARTS:
            raise Problem(scrub_errors.no_part(node.target.span, site, PARTS))
        if node.reader not in known:
            raise Problem(errors.unknown_name(node.span, node.reader, known, "node"))
        reader = ".".join(known[node.reader].target.path)
        ports = PORTS if reader in HEADS else ()
        if reader == "embed" or (node.port not in ports if ports else node.port is not None):
            raise Problem(scrub_errors.no_port(node.span, node.reader, node.port, reader, ports))

    def _agree(self, agree: nodes.Expr, scope: Scope) -> Iterator[Agree]:
        """The features that a node is claimed to carry."""
        for name in agree.items if isinstance(agree, nodes.Tuple) else (agree,):
            if not isinstance(name, nodes.Name):
                raise Problem(scrub_errors.no_feature(name.span))
            self.names.check_feature(name, scope.asked)
            specs = self.names.specs(scope.data)
            by_position = [bool(s.features[name.id].axes) for s in specs if name.id in s.features]
            yield Agree(span=name.span, name=name.id, by_position=any(by_position))

    # ------------------------------------------------------------ scores

    def loss_recovered(self, arguments: Arguments, scope: Scope) -> Expr:
        """`loss_recovered(s, clean, metric: loss)`: 1 at the model's own, 0 where outputs are shuffled between items.

        (shuffled - scrubbed) / (shuffled - model) of the metric, each a mean over samples: a ratio over items.
        """
        arguments.expect(2, 2, ("metric",))
        scrubbed, model = arguments.positional
        metric = arguments.named.get("metric", nodes.Name(span=arguments.span, id="loss"))
        use = self.names.values.run_argument(scrubbed, scope)
        if use is None or shuffled_name(use.run) not in self.names.runs:
            raise Problem(scrub_errors.not_scrubbed(scrubbed.span))
        shuffled = nodes.Name(span=scrubbed.span, id=shuffled_name(use.run))

        def score(run: nodes.Expr, over: bool = True) -> nodes.Expr:
            call = nodes.Call(span=arguments.span, function=metric, arguments=(_argument(None, run),))
            samples = nodes.Set(span=arguments.span, items=(nodes.Name(span=arguments.span, id=SAMPLE),))
            mean = nodes.Name(span=arguments.span, id="mean")
            whole = (_argument(None, call), _argument("over", samples))
            return nodes.Call(span=arguments.span, function=mean, arguments=whole) if over else call

        def minus(other: nodes.Expr) -> nodes.Expr:
            return nodes.Binary(span=arguments.span, op="-", left=score(shuffled), right=other)

        ratio = nodes.Binary(
            span=arguments.span, op="/", left=minus(score(scrubbed)), right=minus(score(model, over=False))
        )
        return self.names.values.value(ratio, scope)


def sample_dimension(span: Span, samples: int) -> Dimension:
    """As many cells as it takes to draw `samples` references, every item as often as the others."""
    variable = Variable(span=span, name=SAMPLE, axis=None)
    return Dimension(span=span, name=SAMPLE, variables=(variable,), members=(), samples=samples)


def shuffled_name(run: str) -> str:
    """The run beside a scrubbed one whose outputs are those of random items."""
    return f"{run}: shuffled"


def _variant(
    node: nodes.Run,
    when: tuple[tuple[str, str], ...],
    prompt: str,
    tree: tuple[ScrubNode, ...],
    samples: int,
    seed: int,
) -> RunVariant:
    value = Scrubbed(span=node.call.span, prompt=prompt, nodes=tree, samples=samples, seed=seed,
                     dims=(ITEM, SAMPLE, "pos"), feature="dim")  # fmt: skip
    index = (At(span=node.call.span, value=-1), AllCells(span=node.call.span))
    edit = Edit(span=node.call.span, site="resid_post", index=index, op=":=", value=value,
                text=" ".join(node.call.span.text.split()))  # fmt: skip
    return RunVariant(span=node.span, when=when, prompt=prompt, edits=(edit,))


def _argument(name: str | None, value: nodes.Expr) -> nodes.Argument:
    return nodes.Argument(span=value.span, name=name, value=value)


def _below(name: str, found: Mapping[str, ScrubNode]) -> Iterator[ScrubNode]:
    """A node and all that lead to it: each is read by one other, so none is met twice."""
    yield found[name]
    for child in found.values():
        if child.reader == name:
            yield from _below(child.name, found)
