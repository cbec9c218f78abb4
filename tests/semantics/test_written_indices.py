"""Random edits under random indices, against the reference with the same cells written by hand."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.semantics.tables import PEOPLE, same

LAYER_POS = ("layer", "pos")
SITES = {
    "resid_pre": LAYER_POS, "resid_mid": LAYER_POS, "resid_post": LAYER_POS, "attn.in": LAYER_POS,
    "mlp.in": LAYER_POS, "attn.norm": LAYER_POS, "mlp.norm": LAYER_POS, "attn.out": LAYER_POS,
    "attn.out_raw": LAYER_POS, "mlp.out": LAYER_POS, "attn.norm_scale": LAYER_POS, "mlp.norm_scale": LAYER_POS,
    "attn.q": ("layer", "head", "pos"), "attn.k": ("layer", "kv_head", "pos"), "attn.v": ("layer", "kv_head", "pos"),
    "attn.z": ("layer", "head", "pos"), "attn.result": ("layer", "head", "pos"), "mlp.post": ("layer", "neuron", "pos"),
    "attn.scores": ("layer", "head", "query", "key"), "attn.pattern": ("layer", "head", "query", "key"),
    "embed": ("pos",), "final_norm": ("pos",), "final_norm_scale": ("pos",),
}  # fmt: skip
POSITION = ("pos", "query", "key")
CHANGES = {
    "*= 0.5": lambda x, _: x * 0.5,
    "+= 0.3": lambda x, _: x + 0.3,
    "-= 0.2 * self": lambda x, _: x - 0.2 * x,
    ":= 0.7": lambda x, _: x * 0 + 0.7,
    ":= clean": lambda _, source: source,
    "+= clean - self": lambda x, source: x + (source - x),
}
MILD = ("*= 0.5", "+= 0.3")  # for divisors, which stay above 0, and scores, whose hidden cells stay at -inf


# An index is (text, which of the cells of an axis it selects, given the axis's size and the prompt).


def number(low, high):
    def cells(value):
        return lambda n, _: {value + n if value < 0 else value} & set(range(n))

    return st.integers(low, high).map(lambda v: (str(v), cells(v)))


def depth():
    return st.sampled_from([0, 30, 50, 75, 100]).map(
        lambda p: (f"{p}%", lambda n, _: {int(p / 100 * (n - 1) + 0.5)})
    )


def bounds(value, n):
    return value + n if value < 0 else value


def number_range():
    def made(ends):
        low, high = ends
        return f"{low}..{high}", lambda n, _: {i for i in range(n) if bounds(low, n) <= i <= bounds(high, n)}

    return st.tuples(st.integers(-4, 3), st.integers(-3, 9)).map(made)


PLACES = {
    "first": lambda n, p: 0,
    "last": lambda n, p: n - 1,
    "c": lambda n, p: p.last("c"),
    "d": lambda n, p: p.last("d"),
    "d.first": lambda n, p: p.first("d"),
    "d.last": lambda n, p: p.last("d"),
    "d.first - 1": lambda n, p: p.first("d") - 1,
    "c + 1": lambda n, p: p.last("c") + 1,
    "first - 1": lambda n, p: -1,  # not the last one: only a written negative number counts from the end
    "last + 1": lambda n, p: n,
    "2 * a": lambda n, p: 2 * p.last("a"),
}


def place():
    return st.sampled_from(sorted(PLACES)).map(lambda t: (t, lambda n, p: {PLACES[t](n, p)} & set(range(n))))


def place_range():
    def made(ends):
        low, high = ends
        return f"{low}..{high}", lambda n, p: {
            i for i in range(n) if PLACES[low](n, p) <= i <= PLACES[high](n, p)
        }

    return st.tuples(st.sampled_from(sorted(PLACES)), st.sampled_from(sorted(PLACES))).map(made)


def span():
    return st.just(("d.span", lambda n, p: set(p.span("d"))))


def several(inner):
    def made(parts):
        return "{" + ", ".join(t for t, _ in parts) + "}", lambda n, p: set().union(
            *(f(n, p) for _, f in parts)
        )

    return st.lists(inner, min_size=1, max_size=3, unique_by=lambda part: part[0]).map(made)


def complement(inner):
    return inner.map(lambda part: (f"not {part[0]}", lambda n, p: set(range(n)) - part[1](n, p)))


def index(axis):
    if axis in POSITION:
        one = st.one_of(place(), place_range(), span(), number(-4, 6), number_range())
    elif axis == "layer":
        one = st.one_of(number(-2, 1), depth(), number_range())
    else:
        one = st.one_of(number(-2, 1), number_range())
    everything = st.just((":", lambda n, _: set(range(n))))
    return st.one_of(one, several(one), complement(one), complement(several(one)), everything)


@dataclass(frozen=True)
class Written:
    text: str
    site: str
    change: str
    selected: Callable
    touches: Callable

    def __repr__(self):
        return self.text


@st.composite
def written(draw):
    """An edit as text, with its site, its change, and which joint cells it writes."""
    site = draw(st.sampled_from(sorted(SITES)))
    axes = SITES[site]
    change = draw(st.sampled_from(MILD if "scale" in site or "scores" in site else sorted(CHANGES)))
    width = draw(st.integers(2, 3)) if len(axes) >= 3 and draw(st.integers(0, 3)) == 0 else 0
    parts = [draw(index(axis)) for axis in axes[width:]]
    tests = [lambda at, sizes, p, f=f, k=width + k: at[k] in f(sizes[k], p) for k, (_, f) in enumerate(parts)]
    texts = [t for t, _ in parts]
    if width:
        points = [st.one_of(place(), number(-3, 5)) if a in POSITION else number(-2, 1) for a in axes[:width]]
        rows = draw(st.lists(st.tuples(*points), min_size=1, max_size=3))
        negated = draw(st.booleans())
        texts.insert(0, ("not " if negated else "") + "{" + ", ".join(
            "(" + ", ".join(t for t, _ in row) + ")" for row in rows) + "}")  # fmt: skip
        tests.append(
            lambda at, sizes, p: (
                negated != any(all(at[k] in f(sizes[k], p) for k, (_, f) in enumerate(row)) for row in rows)
            )
        )
    while texts and texts[-1] == ":" and draw(st.booleans()):
        texts.pop()  # trailing axes may be left out
    if not width and texts and draw(st.integers(0, 3)) == 0:
        named = [f"{a}: {t}" for a, t in zip(axes, texts, strict=False) if t != ":"]
        texts = draw(st.permutations(named))
    text = f"{site}[{', '.join(texts)}] {change}" if texts else f"{site} {change}"

    def touches(sizes):
        """Whether the indices that need no prompt select something; an edit that does not is refused."""
        plain = [
            f(n, None)
            for (_, f), a, n in zip(parts, axes[width:], sizes[width:], strict=True)
            if a not in POSITION
        ]
        return all(plain) and (not width or negated or any(row[0][1](sizes[0], None) for row in rows))

    return Written(
        text, site, change, lambda at, sizes, p: all(test(at, sizes, p) for test in tests), touches
    )


def by_hand(edit, prompt, source, reference):
    """The edit as a function for the reference: goes through every cell of the site."""

    def apply(name, layer, value):
        if name != edit.site:
            return None
        sizes = sizes_of(edit.site, value, reference)
        new = value.clone()
        for cell in cells(sizes[1:] if layer is not None else sizes):
            if edit.selected((layer, *cell) if layer is not None else cell, sizes, prompt):
                new[cell] = CHANGES[edit.change](value[cell], source[name, layer][cell])
        return new

    return apply


def sizes_of(site, value, reference):
    """How long the site's axes are."""
    inner = [a for a in SITES[site] if a != "layer"]
    return [reference.n_layers] * (len(SITES[site]) - len(inner)) + list(value.shape[: len(inner)])


def cells(shape):
    found = [()]
    for n in shape:
        found = [(*c, i) for c in found for i in range(n)]
    return found


@settings(
    max_examples=int(os.environ.get("HUNT", 5)),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failing text is short enough to read as it is
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(written(), min_size=1, max_size=2), min_size=4, max_size=4))
def test_random_edits(fam, gbx, runs):
    items = PEOPLE.items(fam)
    sources = [fam.run(item.clean) for item in items]
    value = {site: next(v for (s, _), v in sources[0].items() if s == site) for site in SITES}
    runs = [
        kept
        for edits in runs
        if (kept := [e for e in edits if e.touches(sizes_of(e.site, value[e.site], fam.reference))])
    ]
    text = PEOPLE.text + "experiment e {\n"
    for number_, edits in enumerate(runs):
        text += f"  run r{number_} = forward(corrupt) {{ {'  '.join(e.text for e in edits)} }}\n"
        text += f"  measure m{number_} = logit(r{number_}, yes)\n"
    found = gbx(text + "  measure plain = logit(corrupt, yes)\n}\n", fam)
    for number_, edits in enumerate(runs):
        expected = {}
        for item, source in zip(items, sources, strict=True):
            changed = [by_hand(e, item.corrupt, source, fam.reference) for e in edits]
            yes = fam.speak.one(" " + item.row["a"])
            expected[fam.name, item.number] = fam.run(item.corrupt, *changed)["logits", None][-1, yes]
        same(found, f"m{number_}", expected)
