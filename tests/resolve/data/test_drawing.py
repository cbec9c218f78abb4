"""Which combinations are drawn: all different, evenly, and the same on every machine."""

import random
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassbox_dsl.resolve.data.drawing import Space, below, stream


@given(n=st.integers(1, 2**100), seed=st.integers(0, 2**32))
def test_below_stays_below(n, seed):
    rng = random.Random(seed)
    assert all(0 <= below(rng, n) < n for _ in range(20))


def test_below_is_even():
    rng = random.Random(1)
    counts = Counter(below(rng, 6) for _ in range(6000))
    assert set(counts) == set(range(6)) and max(counts.values()) - min(counts.values()) < 200


def test_below_reaches_past_the_precision_of_a_float():
    rng = random.Random(2)
    assert len({below(rng, 2**80) % 1024 for _ in range(2000)}) > 800


def test_the_numbers_of_a_seed_never_change():
    """Golden: if this fails, files drawn before would be drawn otherwise now."""
    rng = random.Random(0)
    assert [below(rng, 1000) for _ in range(6)] == GOLDEN_BELOW
    rng = stream("repeated_tokens", 0, 3, "seq")
    assert [below(rng, 50_000) for _ in range(4)] == GOLDEN_STREAM


GOLDEN_BELOW = [236, 372, 185, 974, 207, 877]
GOLDEN_STREAM = [3164, 14237, 11448, 39503]


@pytest.mark.parametrize("seed", range(5))
def test_a_small_space_is_walked_once_through(declare, seed):
    spec = declare(
        'data d { slots { a, b from ["x", "y", "z"]  c from [1, 2] } prompt p = ["{a}{b}", "{c}"] draw 2 }'
    )
    space = Space(spec)
    assert space.size == 3 * 2 * 2 * 2
    drawn = [(*c.values.values(), c.template) for c in space.drawn(seed)]
    assert len(drawn) == len(set(drawn)) == space.size
    assert all(a != b for a, b, _, _ in drawn)


def test_seeds_differ(declare):
    space = Space(declare('data d { slots { a, b from names } prompt p = "{a}{b}" draw 2 }'))
    first, second = ([c.values for c in islice(space.drawn(seed), 5)] for seed in (0, 1))
    assert first != second
    assert first == [c.values for c in islice(space.drawn(0), 5)]


def test_each_first_item_is_as_likely(declare):
    space = Space(declare('data d { slots { a, b from ["x", "y", "z"] } prompt p = "{a}{b}" draw 2 }'))
    counts = Counter(tuple(next(space.drawn(seed)).values.values()) for seed in range(1200))
    assert len(counts) == 6 and min(counts.values()) > 140


def test_a_huge_space_is_no_matter(declare):
    names = ", ".join(f"n{i}" for i in range(40))
    space = Space(declare(f'data d {{ slots {{ {names} from names }} prompt p = "{{n0}}" draw 2 }}'))
    assert space.size > 10**80
    values = next(space.drawn(0)).values
    assert len(set(values.values())) == 40


def test_equal_rows_are_one_item_to_draw_but_stay_without_a_draw(declare):
    spec = declare('data d { rows [{a: 1}, {a: 2}, {a: 1}] prompt p = "{a}" draw 2 }')
    assert Space(spec).size == 2
    spec = declare('data d { rows [{a: 1}, {a: 2}, {a: 1}] prompt p = "{a}" }')
    assert [c.values["a"] for c in Space(spec).all()] == [1, 2, 1]
