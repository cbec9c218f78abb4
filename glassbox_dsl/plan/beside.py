"""What is made beside the packs, by passes with plain hooks: gradients, estimates, generated text, scrubbed streams.

Counted are token-layers and FLOPs: a pass back takes every product with weights once more and every product of
attention twice (weights have no gradients).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import numpy as np

from glassbox_dsl.language.gradients import swept_edits
from glassbox_dsl.language.program import Expr, Reference, Run, Scrubbed, ScrubNode, Value
from glassbox_dsl.language.set_nodes import SetReference
from glassbox_dsl.language.technique_nodes import Expansion, Fit, FitUse, GeneratedText, Grad
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.demand import Demand, Wanted, demand, want_both_logits
from glassbox_dsl.plan.edit_cells import touched_layers
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.named import Integers, Mask, along, scalar
from glassbox_dsl.plan.reads import reads_of_a_cell
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.plan.searching import Searching, Work, lengths_of
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.syntax.nodes import Node, everything
from glassbox_dsl.vocabulary.sites import sites

EXECUTOR = "hooked"
HEADS = ("attn.result", "attn.z")


@dataclass(frozen=True)
class Beside:
    """Passes for one declaration or run on a data set: `passes` forward, `back` of them with a pass back."""

    experiment: str
    name: str
    data: str
    reason: str
    passes: int
    back: int
    token_layers: int
    flops: int
    executor: str = EXECUTOR


def beside(setting: Setting, read: Demand, values: list[Node], cost: ModelCost) -> list[Beside]:
    """Everything that the `values` of a setting, and the runs and fits they read, need beside the packs."""
    counter = _Counter(setting, cost)
    nodes = list(_reached(setting, read, values))
    taken: dict[tuple[Expr, str], None] = {}
    estimated: dict[object, Expansion] = {}
    for node in nodes:
        if isinstance(node, Grad):
            taken[node.scalar, node.read.run.run] = None
        if isinstance(node, Expansion):
            estimated[node.base, node.run, node.along, node.steps] = node
    found = [counter.estimate(node) for node in estimated.values()]
    found += [counter.gradient(scalar, run) for scalar, run in taken]
    told = dict.fromkeys(node.run.run for node in nodes if isinstance(node, GeneratedText))
    found += [counter.generated(setting.run(name)) for name in told]
    found += [counter.scrubbed(wanted) for wanted in read.ordered() if _claims(wanted.run)]
    return [*found, *(counter.searched(work) for work in _searched(setting, read, nodes, cost))]


def _searched(setting: Setting, read: Demand, reached: list[Node], cost: ModelCost) -> Iterator[Work]:
    """What searches for circuits, the runs that keep them, and fits need."""
    searching = Searching(setting, cost)
    for node in dict.fromkeys(node for node in reached if isinstance(node, Value | Fit)):
        yield from searching.fit(node) if isinstance(node, Fit) else searching.circuit(node)
    yield from filter(None, (searching.kept(wanted.run) for wanted in read.ordered()))


def _reached(setting: Setting, read: Demand, values: list[Node]) -> Iterator[Node]:
    """Every node of some values, of the edits of the runs they read, and of the fits that they use."""
    edits = [edit for wanted in read.ordered() for variant in wanted.run.variants for edit in variant.edits]
    waiting, seen = [*values, *edits], set()
    while waiting:
        for node in everything(waiting.pop(0)):
            yield node
            key = ("fit", getattr(node, "fit", None))
            if isinstance(node, Reference | SetReference):
                key = (node.kind, node.name)
            if key in seen or key[1] is None:
                continue
            seen.add(key)
            if isinstance(node, FitUse):
                waiting.append(setting.experiment.fit(node.fit))
            elif isinstance(node, Reference | SetReference) and node.experiment == setting.experiment.name:
                waiting.append(setting.experiment.value(node.kind, node.name))


def _claims(run: Run) -> list[Scrubbed]:
    return [e.value for v in run.variants for e in v.edits if isinstance(e.value, Scrubbed)]


@dataclass(frozen=True)
class _Counter:
    """Counts in one setting."""

    setting: Setting
    cost: ModelCost

    def _back(self, lengths: Integers, times: Integers) -> int:
        """FLOPs of passes back through all layers."""
        layers = self.cost.layer_flops * self.cost.facts.n_layers * int((lengths * times).sum())
        return 2 * self.cost.pass_flops(lengths, times) - layers

    def gradient(self, scalar: Expr, run: str) -> Beside:
        """A pass and a pass back for each cell; values that the number reads whole are made in passes before."""
        reason = "gradients: a pass forward and a pass back for each cell and item"
        return self._gradients(f"grad of `{run}`", scalar, run, 1, reason)

    def _gradients(self, name: str, scalar: Expr, run: str, times: int, reason: str) -> Beside:
        setting, n_layers = self.setting, self.cost.facts.n_layers
        asked = demand(setting.experiment, [], None, [scalar])
        want_both_logits(scalar, asked)
        wanted = asked.steps.get(run, Wanted(setting.run(run)))
        wanted = replace(wanted, taps=[tap for tap in wanted.taps if tap.other is None])
        lengths, cells = lengths_of(setting, wanted.run)
        forward = times * (2 if wanted.layers else 1)
        places, everywhere = reads_of_a_cell(Job(setting, wanted, None, 0))
        tokens, n = int((lengths * cells).sum()), int(cells.sum())
        logits = self.cost.logit_flops(tokens if everywhere else places * n)
        flops = forward * (self.cost.pass_flops(lengths, cells) + logits)
        flops += times * (self._back(lengths, cells) + logits)
        return Beside(
            setting.experiment.name, name, setting.data_name, reason, forward * n, times * n,
            (forward + times) * tokens * n_layers, flops,
        )  # fmt: skip

    def estimate(self, node: Expansion) -> Beside:
        """Gradients at the base, and at the midpoints of the ways."""
        run, times = self.setting.run(node.run), 1
        reason = "an estimate: a pass forward and a pass back for each cell and item without the sweep"
        if node.along:
            times += node.steps * len(self._swept(run)) if node.along == "cells" else node.steps + 1
            reason += f", at {node.steps} midpoints of each way"
        return self._gradients(f"estimate of `{node.run}`", node.base, node.around, times, reason)

    def _swept(self, run: Run) -> set[tuple[str, int | None]]:
        """The sites and layers that the sweep of a run writes."""
        rows = RowMaker(self.setting)
        found: set[tuple[str, int | None]] = set()
        made, variants = rows.made(run, None), self.setting.cell_variants(run).reshape(-1)
        for number, variant in enumerate(run.variants):
            cells, items = np.nonzero(made & (variants == number)[:, None])
            env = rows.env(run, cells, items, None)
            for edit in swept_edits(run, variant):
                if not sites()[edit.site].has_layer:
                    found.add((edit.site, None))
                    continue
                touched = touched_layers(self.setting, edit, variant, env).any(0)
                found |= {(edit.site, int(layer)) for layer in np.flatnonzero(touched)}
        return found

    def generated(self, run: Run) -> Beside:
        """The prompt in one pass and each new token but the last in one, with a cache."""
        new = max(v.generation.max_new_tokens for v in run.variants if v.generation is not None)
        lengths, cells = lengths_of(self.setting, run)
        n, whole = int(cells.sum()), lengths + new - 1
        flops = self.cost.pass_flops(whole, cells) + self.cost.logit_flops(n * new)
        layers = int((whole * cells).sum()) * self.cost.facts.n_layers
        reason = f"generates up to {new} tokens, one by one; fewer where a text ends"
        return self._beside(f"text of `{run.name}`", reason, n * new, layers, flops)

    def _beside(self, name: str, reason: str, passes: int, token_layers: int, flops: int) -> Beside:
        setting = self.setting
        return Beside(
            setting.experiment.name, name, setting.data_name, reason, passes, 0, token_layers, flops
        )

    def searched(self, work: Work) -> Beside:
        """What a search, a kept circuit or a fit needs."""
        name, reason, passes, back, layers, flops = astuple(work)
        setting = self.setting
        return Beside(setting.experiment.name, name, setting.data_name, reason, passes, back, layers, flops)

    # ------------------------------------------------------------ scrubbing

    def scrubbed(self, wanted: Wanted) -> Beside:
        """Plain passes over the items, and passes of one layer for each instance of a node."""
        run, n_layers = wanted.run, self.cost.facts.n_layers
        n_items, passes, layers, flops = self.setting.data.n_items, 0, 0, 0
        for claim in _claims(run):
            lengths = self.setting.data.prompt(claim.prompt).length
            length = int(lengths.max())
            once = self.cost.pass_flops(np.array([length]), np.array([1]))
            single = self._instances(
                claim, claim.nodes[0], int(RowMaker(self.setting).made(run, None).sum()), length
            )
            passes += n_items + single
            layers += length * (n_items * n_layers + single)
            flops += n_items * once + single * once // n_layers
        reason = "plain passes over all items, then one layer for each instance of a node of the hypothesis"
        return self._beside(f"streams of `{run.name}`", reason, passes, layers, flops)

    def _instances(self, claim: Scrubbed, node: ScrubNode, n: int, length: int) -> int:
        """How many passes of one layer `n` readers of a node need for it and all that lead to it."""
        children = [other for other in claim.nodes[1:] if other.reader == node.name]
        if not children:
            return 0
        if any(f.by_position for f in node.agree or ()):
            n *= length  # each position is an instance of its own
        found = 0 if node.site in ("logits", "embed") else n * len(self._layers(claim, node))
        for child in children:
            if child.site in HEADS:  # what heads add to the stream: their layer's projection
                found += n * len(self._layers(claim, child))
            found += self._instances(claim, child, n, length)
        return found

    def _layers(self, claim: Scrubbed, node: ScrubNode) -> list[int]:
        """The layers that a node has a part in."""
        found: list[int] = np.flatnonzero(part_of(self.setting, claim.prompt, node).any(1)).tolist()
        return found


def part_of(setting: Setting, prompt: str, node: ScrubNode) -> Mask:
    """The cells of its site that a node of a hypothesis stands for, [layer, rest]."""
    axes = [a for a in sites()[node.site].axes if a != "pos"]
    coordinates = {a: along(a, setting.sizes.of(a)) for a in axes}
    env = Env(item=scalar(0), variables={a: Binding(c, a) for a, c in coordinates.items()})
    width = len(node.index) - 1
    chosen = setting.indexer.selection(node.index[:width], axes, coordinates, env, prompt)
    table = np.broadcast_to(chosen.spread(axes)[0], [setting.sizes.of(a) for a in axes])
    return table.reshape(len(table), -1)
