"""Indices on two items of different lengths, on numpy, and without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glassbox_dsl.language.program import (
    AnyOf,
    Arithmetic,
    At,
    Between,
    Depth,
    Not,
    Position,
    Swept,
    Tuples,
)
from glassbox_dsl.plan.data_arrays import DataArrays
from glassbox_dsl.plan.indexing import Binding, Env, Indexer
from glassbox_dsl.plan.named import Named, along, take, take_named
from glassbox_dsl.resolve.cells import Cell, Sizes
from glassbox_dsl.resolve.data import DataTable, Item, PromptTokens
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.source import Source, Span

ROOT = Path(__file__).resolve().parents[2]
HERE = Span(Source("test.gbx", "x"), 0, 1)
FACTS = ModelFacts(
    family="llama", model_type="llama", n_layers=5, n_heads=2, n_kv_heads=1, d_model=4, d_head=2, n_neurons=8,
    vocab_size=20, max_positions=64, windows=(None,) * 5, tied_embeddings=False, absent={},
)  # fmt: skip
# The label `c` is tokens 1 and 2 of the first item's 4, and token 3 of the second item's 6.
PROMPTS = (((1, 2, 3, 4), (1, 3)), ((5, 6, 7, 8, 9, 10), (3, 4)))
LONGEST = 6


def at(n):
    return At(span=HERE, value=n)


def label(part):
    return Position(span=HERE, label="c", part=part)


LAST = Position(span=HERE, label=None, part="last")


def setup() -> tuple[Indexer, Env]:
    items = tuple(
        Item(
            number=number, variables={}, template=0, features={}, answers={},
            prompts={"p": PromptTokens(text="", ids=ids, tokens=("",) * len(ids), spans={"c": span})},
        )
        for number, (ids, span) in enumerate(PROMPTS)
    )  # fmt: skip
    table = DataTable(name="d", model="m", items=items, n_drawn=2, n_tried=2, n_kept=2)
    no_sets = lambda *_: pytest.fail("no index here is a set from results")  # noqa: E731
    indexer = Indexer(Sizes(FACTS, 2, LONGEST, "m"), DataArrays(table), no_sets)
    return indexer, Env(item=along("item", 2))


def points(index, axis="pos", **variables):
    """One number per item and cell; None for no cell."""
    indexer, env = setup()
    found = indexer.point(index, axis, env.with_variables(variables), "p")
    there = found.full_presence()
    return found.dims, np.where(there, found.data, -99).tolist()


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (at(2), 2),
        (at(-1), [3, 5]),
        (LAST, [3, 5]),
        (label("first"), [1, 3]),
        (label("last"), [2, 3]),
        (Arithmetic(span=HERE, op="-", left=label("first"), right=at(2)), [-99, 1]),
    ],
)
def test_a_position_is_one_number_for_each_item(index, expected):
    assert points(index)[1] == expected


def test_depths_and_layers_outside():
    assert points(Depth(span=HERE, value=50), "layer") == ((), 2)
    assert points(at(5), "layer") == ((), -99)


def test_tokens_of_a_span_one_by_one_are_missing_where_an_item_has_fewer():
    cells = tuple(Cell(text=f"c+{k}", index=label("span"), nth=k) for k in range(LONGEST))
    dims, found = points(Swept(span=HERE, variable="x"), x=Binding(along("x", LONGEST), "x", cells))
    assert dims == ("x", "item")
    assert found == [[1, 3], [2, -99], *[[-99, -99]] * 4]


def members(index, axis="pos", size=LONGEST):
    """For each item the chosen coordinates."""
    indexer, env = setup()
    chosen = indexer.member(index, along(axis, size), axis, env, "p").spread(("item", axis))[0]
    return [np.flatnonzero(row).tolist() for row in np.broadcast_to(chosen, (2, size))]


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (label("span"), [[1, 2], [3]]),
        (AnyOf(span=HERE, items=(label("span"), LAST)), [[1, 2, 3], [3, 5]]),
        (Between(span=HERE, low=label("last"), high=at(-1)), [[2, 3], [3, 4, 5]]),
        (Not(span=HERE, inner=Between(span=HERE, low=at(1), high=at(9))), [[0], [0]]),
    ],
)
def test_a_selection_is_a_set_of_positions_for_each_item(index, expected):
    assert members(index) == expected


def test_tuples_choose_several_axes_at_once():
    indexer, env = setup()
    rows = ((at(0), at(1)), (at(3), at(0)))
    coordinates = {"layer": along("layer", 5), "head": along("head", 2)}
    for complement in (False, True):
        index = Tuples(span=HERE, items=rows, width=2, complement=complement)
        found = indexer.tuples(index, list(coordinates.items()), env, "p").spread(("layer", "head"))[0]
        assert np.argwhere(found != complement).tolist() == [[0, 1], [3, 0]]


def test_a_pick_outside_is_no_cell_and_a_whole_one_renames():
    table = Named(np.arange(6).reshape(2, 3), ("a", "b"))
    found = take(table, {"b": Named(np.array([2, 3, -1]), ("row",))})
    assert found.dims == ("row", "a")
    assert found.full_presence().tolist() == [[True, True], [False, False], [False, False]]
    assert found.data[0].tolist() == [2, 5]
    assert take_named(table, {"b": along("pos", 3)}).dims == ("a", "pos")


def test_no_module_of_the_stage_loads_torch():
    modules = [f"glassbox_dsl.plan.{p.stem}" for p in (ROOT / "glassbox_dsl/plan").glob("[!_]*.py")]
    assert len(modules) > 8
    code = (
        f"import sys, importlib\nfor m in {modules}: importlib.import_module(m)\n"
        "from tests.plan.test_indexing import label, members\n"
        "assert members(label('span')) == [[1, 2], [3]]\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
