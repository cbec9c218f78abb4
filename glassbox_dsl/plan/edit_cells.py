"""Which cells of a site the edits of a run write, for each row of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from glassbox_dsl.language.program import Edit, RunVariant
from glassbox_dsl.plan.indexing import Binding, Env
from glassbox_dsl.plan.named import Integers, Mask, Named, along
from glassbox_dsl.plan.rows import ROW
from glassbox_dsl.plan.setting import Setting
from glassbox_dsl.vocabulary.sites import sites


def written_coordinates(edit: Edit, layer: Named | None, lengths: Mapping[str, int]) -> dict[str, Named]:
    """The coordinates of a site in a layer: every cell of the axes in `lengths`, each along a dimension."""
    inner = {a: along(a, lengths[a]) for a in sites()[edit.site].axes if a != "layer"}
    return inner if layer is None else {"layer": layer, **inner}


def edit_env(setting: Setting, variant: RunVariant, env: Env, coordinates: Mapping[str, Named]) -> Env:
    """The rows' environment in an edit: axes that no binder sweeps are the written cells' own."""
    own = {a: Binding(c, a) for a, c in coordinates.items() if a not in env.variables}
    return replace(env.with_variables(own), coordinates=coordinates, prompt=variant.prompt)


def selected(
    setting: Setting, edit: Edit, variant: RunVariant, env: Env, coordinates: Mapping[str, Named]
) -> Named:
    """Whether each row writes each of the coordinates; `env` is what `edit_env` gave for them."""
    axes = sites()[edit.site].axes
    return setting.indexer.selection(edit.index, axes, coordinates, env, variant.prompt)


def touched_layers(setting: Setting, edit: Edit, variant: RunVariant, env: Env) -> Mask:
    """Whether each row touches each layer with an edit of a site that layers have, [row, layer]."""
    first = edit.index[0]
    width = getattr(first, "width", 1)
    axes = sites()[edit.site].axes
    coordinates = {a: along(a, setting.sizes.of(a)) for a in axes}
    chosen = setting.indexer.selection(
        edit.index[:width],
        axes[:width],
        coordinates,
        edit_env(setting, variant, env, coordinates),
        variant.prompt,
    )
    data = chosen.spread((ROW, *axes[:width]))[0]
    inner = tuple(range(2, data.ndim))
    facts = setting.sizes.facts
    there = np.isin(np.arange(facts.n_layers), facts.layers_with(edit.site))
    return np.broadcast_to(data.any(inner), (len(env.item.data), facts.n_layers)) & there


def first_layers(setting: Setting, variant: RunVariant, env: Env) -> Integers:
    """The lowest layer whose input, inside or output a row's edits touch, [row]; n_layers for those behind."""
    n_rows, n_layers = len(env.item.data), setting.sizes.facts.n_layers
    first = np.full(n_rows, n_layers)
    for edit in variant.edits:
        if not sites()[edit.site].has_layer:
            own = np.full(n_rows, 0 if edit.site in ("embed", "pos_embed") else n_layers)
        else:
            touched = touched_layers(setting, edit, variant, env)
            own = np.where(touched.any(1), touched.argmax(1), n_layers)
            own = own + (1 if edit.site == "resid_post" else 0)
        first = np.minimum(first, own)
    return first.clip(max=n_layers)
