"""config.json -> `Anatomy`: what a model is, for people and for comparing models. No weight is read.

Two sources, both data: the family file (sites, norms, facts, windows, `[traits]`) and the config.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.resolve.facts import ModelFacts, facts_from_config, text_part
from glassbox_dsl.resolve.families import Family, family
from glassbox_dsl.resolve.parameters import parameters
from glassbox_dsl.resolve.tokenizer import TextTokenizer
from glassbox_dsl.resolve.traits import trait_words, traits_of
from glassbox_dsl.source import Span
from glassbox_dsl.vocabulary.sites import sites

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
NORM_KINDS = {
    "rms": "divides by the root mean square; no mean is subtracted (RMSNorm)",
    "ln": "subtracts the mean, then divides by the standard deviation (LayerNorm)",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def is_plain(name: str, value: Any) -> bool:
    """Whether a value of a feature says only that something is not there: no cap, a factor of 1 where 1 is usual."""
    words = trait_words().get(name)
    usual = words.default if words is not None and isinstance(words.default, int | float) else False
    return value in (False, "none", None) or (not isinstance(value, bool) and value == usual)


class Feature(_Part):
    """One thing that can be said of a model. `value` is what models are compared by, `meaning` says it in words."""

    name: str
    group: str
    title: str
    value: bool | int | float | str | None
    meaning: str

    @property
    def plain(self) -> bool:
        """Whether it says only that something is not there."""
        return self.group != "sizes" and is_plain(self.name, self.value)


class SpecialToken(_Part):
    """A token that the config names: `bos`, `eos` (there may be several), `pad`, `unk`."""

    name: str
    ids: tuple[int, ...]
    texts: tuple[str, ...] = ()


class SiteEntry(_Part):
    """A site on one model. `axes`: each with its length, None where the prompt decides. `absent`: the reason."""

    name: str
    axes: dict[str, int | None]
    feature: str | None
    width: int | None
    meaning: str
    write: bool
    absent: str | None = None


class Anatomy(_Part):
    """Everything that is known of a model from its config and its family file."""

    shown: str
    family: str
    model_type: str
    features: tuple[Feature, ...]
    parameters: dict[str, int]
    uncounted: str | None
    special_tokens: tuple[SpecialToken, ...]
    sites: tuple[SiteEntry, ...]

    @property
    def n_parameters(self) -> int:
        """All parameters; 0 where they cannot be counted."""
        return sum(self.parameters.values())

    @property
    def values(self) -> dict[str, Any]:
        """Features by name."""
        return {feature.name: feature.value for feature in self.features}

    def bytes(self) -> dict[str, int]:
        """Room for the weights in each dtype; empty where they cannot be counted."""
        return {dtype: self.n_parameters * size for dtype, size in BYTES.items()} if self.parameters else {}


def anatomy(
    config: Mapping[str, Any], shown: str, tokenizer: Path | None = None, span: Span | None = None
) -> Anatomy:
    """Describe a model; with the folder of its tokenizer, special tokens have texts.

    Raises Findings for a config that no family file understands.
    """
    facts = facts_from_config(dict(config), shown, span)
    known = family(facts.family, facts.variants)
    stated = traits_of(known)
    traits = _measured(stated.of(text_part(dict(config), known)), facts) if stated is not None else {}
    speaks = TextTokenizer(tokenizer) if tokenizer is not None else None
    counted, uncounted = _count(facts, traits, _gated(known))
    return Anatomy(
        shown=shown,
        family=facts.family,
        model_type=facts.model_type,
        features=_grouped([*_sizes(facts), *_derived(facts, known), *_stated(traits, facts), *_text(speaks)]),
        parameters=counted,
        uncounted=uncounted,
        special_tokens=_special_tokens(config, speaks),
        sites=tuple(_site(name, facts) for name in sites()),
    )


def _measured(traits: dict[str, Any], facts: ModelFacts) -> dict[str, Any]:
    """Traits with the rotary share where the config counts channels: the two are one thing said in two ways."""
    turned = traits["rotary_dims"]
    counted = isinstance(turned, int) and turned > 0
    return {**traits, "rotary_share": turned / facts.d_head} if counted else traits


def _count(facts: ModelFacts, traits: Mapping[str, Any], gated: bool) -> tuple[dict[str, int], str | None]:
    """The parameters by part; or none, and why they cannot be counted."""
    if not traits:
        return {}, f"specs/families/{facts.family}.toml has no table [traits]"
    if traits["uncounted"]:
        return {}, str(traits["uncounted"])
    try:
        return parameters(facts, traits, gated), None
    except TypeError:
        return {}, "the config has something else than a number where a size is read"


def _grouped(features: list[Feature]) -> tuple[Feature, ...]:
    """Features with those of one group beside each other, groups in the order of their first."""
    groups = list(dict.fromkeys(["sizes", *(w.group for w in trait_words().values())]))
    return tuple(sorted(features, key=lambda f: groups.index(f.group) if f.group in groups else len(groups)))


def _sizes(facts: ModelFacts) -> Iterator[Feature]:
    for name, title, value, meaning in (
        ("n_layers", "layers", facts.n_layers, "blocks of attention and MLP"),
        ("d_model", "width", facts.d_model, "channels of the residual stream"),
        ("n_heads", "heads", facts.n_heads, "query heads of a layer"),
        ("n_kv_heads", "key/value heads", facts.n_kv_heads, "heads of keys and values of a layer"),
        ("d_head", "width of a head", facts.d_head, "channels of a query and a key"),
        ("n_neurons", "neurons", facts.n_neurons, "width of a layer's MLP"),
        ("vocab_size", "vocabulary", facts.vocab_size, "rows of the embedding"),
        ("max_positions", "positions", facts.max_positions, "the longest prompt that the model is made for"),
    ):
        yield Feature(name=name, group="sizes", title=title, value=value, meaning=meaning)


def _derived(facts: ModelFacts, known: Family) -> Iterator[Feature]:
    """What follows from the family's paths and the facts, so that no trait has to repeat it."""
    kind = known.model.final_norm.kind
    yield Feature(name="norm_kind", group="norms", title="kind", value=kind, meaning=NORM_KINDS[kind])
    yield Feature(
        name="heads",
        group="attention",
        title="sharing",
        value=_grouping(facts),
        meaning=_grouping_words(facts),
    )
    fills = facts.n_heads * facts.d_head == facts.d_model
    yield Feature(
        name="heads_fill_width",
        group="attention",
        title="heads as wide as the stream",
        value=fills,
        meaning=f"{facts.n_heads} x {facts.d_head} channels against {facts.d_model} of the stream",
    )
    narrow = facts.d_value not in (0, facts.d_head)
    yield Feature(
        name="value_dims",
        group="attention",
        title="width of values",
        value=facts.d_value if narrow else False,
        meaning="channels of a head's value, where they are not as many as those of its query",
    )
    local = Counter(window for window in facts.windows if window is not None)
    words = ", ".join(
        f"a query of {count} of {facts.n_layers} layers sees the last {window} keys"
        for window, count in local.items()
    )
    yield Feature(
        name="windows",
        group="attention",
        title="windows",
        value=", ".join(f"{window} in {_ranges(facts.windows, window)}" for window in local) or "none",
        meaning=words or "every query sees all keys before it",
    )
    yield from _experts(facts)
    gated = _gated(known)
    yield Feature(
        name="gated",
        group="MLP",
        title="gated",
        value=gated,
        meaning="down(activation(gate(x)) * up(x))" if gated else "down(activation(up(x)))",
    )
    tied = facts.tied_embeddings
    yield Feature(
        name="tied_embeddings",
        group="scales",
        title="tied embeddings",
        value=tied,
        meaning="embedding and unembedding are one matrix"
        if tied
        else "the unembedding has weights of its own",
    )


def _gated(known: Family) -> bool:
    """Whether MLPs multiply two branches. The facts do not tell: where all layers have experts, none has `mlp.up`."""
    return "mlp.up" in known.sites


def _experts(facts: ModelFacts) -> Iterator[Feature]:
    where = _ranges(facts.experts_in, True) if any(facts.experts_in) else "none"
    there = where != "none"
    for name, title, value, meaning in (
        (
            "n_experts",
            "number",
            facts.n_experts if there else 0,
            "MLPs that a router chooses from, per layer",
        ),
        (
            "experts_per_token",
            "per token",
            facts.experts_per_token if there else 0,
            "how many of them a token uses",
        ),
        ("expert_width", "neurons of one", facts.n_expert_neurons if there else False, "width of one expert"),
        ("expert_layers", "layers", where, "layers with experts; the others have a plain MLP"),
        ("experts_everywhere", "in every layer", all(facts.experts_in) and there, "no layer has a plain MLP"),
    ):
        yield Feature(name=name, group="experts", title=title, value=value, meaning=meaning)


def _grouping(facts: ModelFacts) -> str:
    if facts.n_kv_heads == facts.n_heads:
        return "multi-head"
    return "multi-query" if facts.n_kv_heads == 1 else "grouped-query"


def _grouping_words(facts: ModelFacts) -> str:
    if facts.n_kv_heads == facts.n_heads:
        return "every head has keys and values of its own"
    return f"{facts.n_heads // facts.n_kv_heads} heads read the same keys and values"


def _ranges(of_layers: tuple[int | None, ...], wanted: int) -> str:
    """The layers that have a value, as ranges: `layers 0-4, 6-10`."""
    layers = [layer for layer, found in enumerate(of_layers) if found == wanted]
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    return "layers " + ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def _stated(traits: Mapping[str, Any], facts: ModelFacts) -> Iterator[Feature]:
    if traits.get("score_scale_from"):
        fits = traits["score_scale_from"] == facts.d_head
        yield Feature(
            name="score_scale_fits", group="attention", title="scores divided by the root of the head's width",
            value=fits, meaning="whether the number below is the width of a head",
        )  # fmt: skip
    for name, words in trait_words().items():
        if name in traits and words.group != "parameters" and words.fits(traits):
            value = traits[name]
            yield Feature(
                name=name, group=words.group, title=words.title, value=value, meaning=words.explain(value)
            )


def _text(speaks: TextTokenizer | None) -> Iterator[Feature]:
    if speaks is not None:
        lead = " ".join(speaks.token_text(token) for token in speaks.lead)
        words = f"every prompt begins with {lead}" if lead else "a prompt begins with its own first token"
        yield Feature(name="adds_bos", group="text", title="adds a BOS", value=bool(lead), meaning=words)


def _special_tokens(config: Mapping[str, Any], speaks: TextTokenizer | None) -> tuple[SpecialToken, ...]:
    found = []
    for name in ("bos", "eos", "pad", "unk"):
        value = config.get(f"{name}_token_id")
        ids = tuple(i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))
        if ids:
            texts = tuple(speaks.token_text(i) if speaks.knows(i) else "" for i in ids) if speaks else ()
            found.append(SpecialToken(name=name, ids=ids, texts=texts))
    return tuple(found)


def _site(name: str, facts: ModelFacts) -> SiteEntry:
    site = sites()[name]
    return SiteEntry(
        name=name,
        axes={axis: facts.axis_size(axis) for axis in site.axes},
        feature=site.feature,
        width=facts.feature_size(name),
        meaning=site.meaning,
        write=site.write,
        absent=facts.absent.get(name),
    )
