"""Results in users' files are found again by digests of these bytes: they may not change unnoticed."""

from pathlib import Path

import pytest

from glassbox_dsl.diagnostics import InternalError
from glassbox_dsl.plan.canonical import digest, written
from glassbox_dsl.resolve.adapters import Adapter
from glassbox_dsl.resolve.data.table import AnswerTokens, DataTable, Item, PromptTokens
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.source import Source, Span
from glassbox_dsl.vocabulary.models import ModelSource

SPAN = Span(Source("a.gbx", "model m"), 0, 7)
PROMPT = PromptTokens(text="a b", ids=(5, 7), tokens=("a", " b"), spans={"x": (0, 1), "y": (1, 1)})
ANSWER = AnswerTokens(alternatives=((3,), (4, 9)), texts=(" c", " d e"))
ITEM = Item(
    number=2,
    variables={"n": 1, "w": "ä", "f": 0.5, "t": True, "l": (1, None)},
    template=0,
    features={"template": 0, "odd": (None, 1.5)},
    prompts={"clean": PROMPT},
    answers={"z": ANSWER, "a": ANSWER},
    kept=False,
    dropped_by="n > 1",
)
TABLE = DataTable(name="d", model="m", items=(ITEM,), n_drawn=1, n_tried=3, n_kept=0)
FACTS = ModelFacts(
    family="llama",
    model_type="llama",
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    d_model=8,
    d_head=2,
    n_neurons=16,
    vocab_size=11,
    max_positions=32,
    windows=(None, 4),
    tied_embeddings=True,
    absent={"pos_embed": "rotary"},
)
SOURCE = ModelSource(name="m", kind="tiny", target="llama", layers=2, span=SPAN)
ADAPTER = Adapter(folder=Path("/a"), alpha=16.0, alpha_pattern={"q": 2.0})


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (PROMPT, "a9a62fa6c50dc62d7bbd7ed602828e73"),
        (ANSWER, "734fb8cfa98dcf19fcea1398e5a65538"),
        (ITEM, "5e677ea2ea488ab951b2ed9035812758"),
        (TABLE, "7f5c68b58daf0cb0f4fa1af99dae4b34"),
        (FACTS, "5f7f3856bf34a872b4fef1186dc334dd"),
        (SOURCE, "1e8ceae11aa9bf01d85c57984b25e142"),
        (ADAPTER, "371c3b801507e2528c8e030ff2f41752"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_digests_are_those_that_stand_in_results_already(value, wanted):
    assert digest(written(value)).hex() == wanted


def test_a_place_in_the_file_is_not_written():
    elsewhere = ModelSource(name="m", kind="tiny", target="llama", layers=2)
    assert written(elsewhere) == written(SOURCE)
    assert written(ModelSource(name="m", kind="tiny", target="llama", layers=3)) != written(SOURCE)


def test_what_has_no_canonical_form_is_refused():
    with pytest.raises(InternalError, match="a object has no canonical form"):
        written(object())
    with pytest.raises(InternalError, match="a type has no canonical form"):
        written(ModelSource)
