"""Which edits copy rows inside a pack, and which are the same in every cell of a run."""

from __future__ import annotations

from glassbox_dsl.language.circuit_nodes import Exchanged
from glassbox_dsl.language.hypotheses import SAMPLE
from glassbox_dsl.language.indices import is_point
from glassbox_dsl.language.program import Edit, Run, RunVariant, Scrubbed, SiteRead, Swept, VariableValue
from glassbox_dsl.language.set_nodes import SetExpr
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.syntax import nodes
from glassbox_dsl.vocabulary.sites import sites


def copied_read(edit: Edit, run: Run, setting: Setting) -> SiteRead | None:
    """The read of an edit that sets a site to what stands there in another run over the same items.

    Such an edit copies rows within a pack; any other is evaluated.
    """
    read = edit.value
    if edit.op != ":=" or not isinstance(read, SiteRead) or read.site != edit.site:
        return None
    if read.feature_index is not None or "query" in sites()[edit.site].axes:
        return None
    if not read.copied and not (read.index == edit.index and all(is_point(i) for i in read.index)):
        return None
    if by_full_passes(run):
        return None
    source, own = setting.run(read.run.run), {v.name for d in run.dimensions for v in d.variables}
    bound = all(variables_used(index) <= own for _, index in read.run.where)
    one_prompt = len({variant.prompt for variant in source.variants}) == 1
    return read if is_here(source, setting) and bound and one_prompt else None


def is_here(run: Run, setting: Setting) -> bool:
    """Whether a run belongs to the model and the items of a setting alone.

    One that the file fixes to a model is read from other models too, so what is read of it has to be kept; so has what
    is read of a run that no pack makes.
    """
    return run.model is None and run.data in (None, setting.data_name) and not by_full_passes(run)


def by_full_passes(run: Run) -> bool:
    """Whether a run is made by full passes with plain hooks: what its edges carry is made from its own senders."""
    return any(isinstance(edit.value, Exchanged) for variant in run.variants for edit in variant.edits)


def variables_used(node: nodes.Node) -> set[str]:
    """The variables that a node reads, at any depth; a set that depends on none has variables of its own only."""
    if isinstance(node, SetExpr) and not node.dims:
        return set()
    if isinstance(node, Scrubbed):
        return {SAMPLE}  # read without being named
    own = {node.variable} if isinstance(node, Swept | VariableValue) else set()
    return own.union(*(variables_used(child) for child in nodes.children(node)))


def split_edits(run: Run, variant: RunVariant) -> tuple[list[int], list[int]]:
    """Edits (by place) that are the same in every cell of a run, and those that its variables change."""
    own = {v.name for d in run.dimensions for v in d.variables}
    swept = [place for place, edit in enumerate(variant.edits) if own & variables_used(edit)]
    return [place for place in range(len(variant.edits)) if place not in swept], swept
