"""config.json -> `ModelFacts`: sizes, windows and absent sites of one model, read without its weights.

A config with a key that may change the computation and that the family file does not know is refused:
a right-looking number from a model that is run differently from how it was trained is the worst outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.resolve import model_errors as errors
from glassbox_dsl.resolve.config_keys import common_keys
from glassbox_dsl.resolve.families import (
    DENSE_SITES,
    EXPERT_SITES,
    NOTHING,
    FactKey,
    Family,
    Windows,
    chosen_variants,
    families,
    family,
    family_of,
    under,
    unfit,
)
from glassbox_dsl.source import Span
from glassbox_dsl.vocabulary.axes import EDGE
from glassbox_dsl.vocabulary.keys import COPIES
from glassbox_dsl.vocabulary.plain import Plain
from glassbox_dsl.vocabulary.sites import sites

KEY_WIDE = frozenset({"attn.q", "attn.k", "attn.q_pre", "attn.k_pre"})
"""Sites whose feature axis has the width of a head's queries and keys."""
VALUE_WIDE = frozenset({"attn.v", "attn.z"})
"""Sites whose feature axis has the width of a head's values: the same, but in latent attention."""
OPTIONAL = frozenset({"n_experts", "n_expert_neurons", "experts_per_token"})
"""Facts that only some families have."""
SWITCHES = frozenset({"tied_embeddings"})
"""Facts that are true or false; all others are sizes."""


class ModelFacts(Plain):
    """What a config tells of a model. `windows[l]` is how many keys a query of layer l sees; None for all.

    `experts_in[l]`: layer l has experts in the place of an MLP. `absent` and `read_only` give the reason for each site;
    `variants` are those of the family file that the config wants; `own_attention`: why rows of it cannot be packed.
    `d_value` is the width of a head's values where it is not `d_head`.
    """

    family: str
    model_type: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    d_head: int
    n_neurons: int
    vocab_size: int
    max_positions: int
    windows: tuple[int | None, ...]
    tied_embeddings: bool
    absent: dict[str, str]
    read_only: dict[str, str] = {}
    variants: tuple[int, ...] = ()
    d_value: int = 0
    n_experts: int = 0
    n_expert_neurons: int = 0
    experts_per_token: int = 0
    experts_in: tuple[bool, ...] = ()
    own_attention: str | None = None

    def axis_size(self, axis: str, site: str | None = None) -> int | None:
        """The length of an axis of sites; None where the model does not fix it (positions) or lacks it.

        Neurons of experts and of an MLP may differ in number: without a site, the larger one.
        """
        neurons = max(self.n_neurons, self.n_expert_neurons) if site is None else self.n_neurons
        lengths = {
            "layer": self.n_layers,
            "head": self.n_heads,
            "kv_head": self.n_kv_heads,
            "neuron": self.n_expert_neurons if site in EXPERT_SITES else neurons,
            "vocab": self.vocab_size,
            "expert": self.n_experts or None,
        }
        return self.n_edges if axis == EDGE else lengths.get(axis)

    @property
    def learned_positions(self) -> int | None:
        """How many positions the model has learned a vector for; None where positions are not a table."""
        return None if "pos_embed" in self.absent else self.max_positions

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP of a layer read the same stream: nothing stands between them."""
        return "resid_mid" in {*self.read_only, *self.absent}

    @property
    def n_edges(self) -> int:
        """Pairs of what reads the stream and something that was added to it before: the edges of circuits."""
        count = 0
        for layer in range(self.n_layers):
            before = 1 + layer * (self.n_heads + 1)
            count += 3 * self.n_heads * before + before + (0 if self.parallel else self.n_heads)
        return count + 1 + self.n_layers * (self.n_heads + 1)

    def feature_size(self, site: str) -> int | None:
        """The width of a site's values; None where they are single numbers."""
        feature = sites()[site].feature
        if feature is None:
            return None
        if feature == "vocab":
            return self.vocab_size
        if site in VALUE_WIDE:
            return self.d_value or self.d_head
        return self.d_head if site in KEY_WIDE else self.d_model

    def writable(self, site: str) -> bool:
        """Whether this version can write a site of the model."""
        known = sites()[site]
        return known.write and site not in self.absent and site not in self.read_only

    def layers_with(self, site: str) -> tuple[int, ...]:
        """The layers that have a site of layers."""
        return self._layers_with[site in EXPERT_SITES, site in DENSE_SITES]

    @cached_property
    def _layers_with(self) -> dict[tuple[bool, bool], tuple[int, ...]]:
        every = range(self.n_layers)
        routed = tuple(layer for layer in every if self.experts_in and self.experts_in[layer])
        dense = tuple(layer for layer in every if not (self.experts_in and self.experts_in[layer]))
        return {(True, False): routed, (False, True): dense, (False, False): tuple(every)}


def facts_from_config(config: dict[str, Any], shown: str, span: Span | None = None) -> ModelFacts:
    """The facts of a config. `shown` is how messages call the model. Raises Findings with every problem."""
    model_type = config.get("model_type")
    base = family_of(model_type) if isinstance(model_type, str) else None
    if base is None:
        known = [name for f in families() for name in f.model_types]
        why = unfit(model_type) if isinstance(model_type, str) else None
        raise Findings([errors.unknown_model_type(model_type, known, shown, span, why)])
    variants = chosen_variants(config, base.name)
    described = family(base.name, variants)
    part = text_part(config, described)
    problems = [
        *_unknown_keys(config, part, described, shown, span),
        *_refused_values(part, described, shown, span),
    ]
    values: dict[str, Any] = {}
    for name, fact in described.facts.items():
        value = _read(described, part, fact, values)
        if value is None and name in OPTIONAL:
            continue
        if name in SWITCHES and value in (True, False):
            values[name] = bool(value)
        elif _is_size(value) and name not in SWITCHES:
            values[name] = value
        else:
            problems.append(errors.bad_fact(fact.keys, value, shown, span, switch=name in SWITCHES))
    size = _window_size(described, part)
    if size and described.windows is not None and not _is_size(size):
        problems.append(errors.bad_fact(described.windows.size.keys, size, shown, span))
    if problems:
        raise Findings(problems)
    routed = _expert_layers(described, part, values["n_layers"])
    return ModelFacts(
        family=described.name,
        model_type=str(model_type),
        windows=_windows(described, part, values["n_layers"]),
        absent={**_absent(described, routed), **_no_copies(described), **_quantised(config)},
        read_only={**_never_written(), **described.read_only},
        variants=variants,
        experts_in=routed,
        own_attention=described.layer.own_attention,
        **values,
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def text_part(config: dict[str, Any], of: Family) -> dict[str, Any]:
    """The table of a config that describes the language model."""
    part = config.get(of.model.config) if of.model.config is not None else config
    return part if isinstance(part, dict) else {}


def _absent(of: Family, routed: tuple[bool, ...]) -> dict[str, str]:
    """Sites that no layer has, with the reason."""
    absent = dict(of.absent)
    if routed and all(routed):
        why = f"every layer of {of.name} is a mixture of experts, which have neurons of their own: `expert.post`"
        absent |= dict.fromkeys(DENSE_SITES, why)
    if of.experts is not None and not any(routed):
        absent |= dict.fromkeys(EXPERT_SITES, f"no layer of this {of.name} model is a mixture of experts")
    return absent


def _never_written() -> dict[str, str]:
    """Sites that can be read only, on every family."""
    return {site.name: site.why for site in sites().values() if not site.write}


def _quantised(config: dict[str, Any]) -> dict[str, str]:
    """Sites that are made from weights and not by the model's own modules, where the weights are quantised."""
    if config.get("quantization_config") is None:
        return {}
    return {
        "attn.result": "the weights are quantised: the output projection cannot be taken apart by heads",
        "mlp.result": "the weights are quantised: the down-projection cannot be taken apart by neurons",
    }


def _no_copies(described: Family) -> dict[str, str]:
    """Heads have no copies to read where attention is code of the model's own."""
    why = "the attention of this family is code of its own, which gives all heads one input"
    return {} if described.layer.own_attention is None else dict.fromkeys(COPIES, why)


def _read(of: Family, config: Mapping[str, Any], fact: FactKey, known: dict[str, int]) -> Any:
    """A fact from its key, or from facts already known (the order of the file), or its default."""
    if (found := of.value(config, *fact.keys)) is not None:
        return found
    if fact.same_as is not None:
        return known.get(fact.same_as)
    if fact.sum:
        added = [of.value(config, key) for key in fact.sum]
        return sum(added) if all(isinstance(n, int) for n in added) else None
    parts = [known.get(part) if isinstance(part, str) else part for part in fact.product or fact.quotient]
    if parts and None not in parts:
        first, second = parts
        assert first is not None and second is not None
        return first * second if fact.product else first // second
    return fact.default


def _window_size(of: Family, config: Mapping[str, Any]) -> Any:
    """How many keys a sliding window holds, as the config says it; None or 0 where there is none."""
    windows = of.windows
    if windows is None or (windows.only_if is not None and not of.value(config, windows.only_if)):
        return None
    return _read(of, config, windows.size, {})


def _windows(of: Family, config: Mapping[str, Any], n_layers: int) -> tuple[int | None, ...]:
    windows = of.windows
    size = _window_size(of, config)
    if windows is None or not size:
        return (None,) * n_layers
    types = None if windows.types is None else of.value(config, windows.types)
    if types is not None:
        return tuple(size if kind == windows.local else None for kind in types[:n_layers])
    every = None if windows.full_every is None else _read(of, config, windows.full_every, {})
    first = 0 if windows.from_layer is None else of.value(config, windows.from_layer) or 0
    slides = [layer >= first and (not every or (layer + 1) % every != 0) for layer in range(n_layers)]
    return tuple(size if local else None for local in slides)


def _expert_layers(of: Family, config: Mapping[str, Any], n_layers: int) -> tuple[bool, ...]:
    """Whether each layer has experts; empty where the family has none."""
    if of.experts is None:
        return ()
    rule = of.experts.layers
    first = 0 if rule.first is None else of.value(config, rule.first) or 0
    step = 1 if rule.step is None else of.value(config, rule.step) or 1
    dense = () if rule.dense is None else of.value(config, rule.dense) or ()
    return tuple(
        layer >= first and (layer + 1) % step == 0 and layer not in dense for layer in range(n_layers)
    )


def _unknown_keys(
    config: dict[str, Any], part: dict[str, Any], of: Family, shown: str, span: Span | None
) -> Iterator[Diagnostic]:
    common = common_keys()
    known = {*common.harmless, *common.handled, *common.fixed, *keys_of(of)}
    around = {*common.harmless, *common.handled, *common.fixed, *of.config.around, str(of.model.config)}
    tables = [(part, known)] if part is config else [(config, around), (part, known)]
    for table, allowed in tables:
        for key, value in table.items():
            if key not in allowed and value is not None:
                yield errors.unknown_config_key(key, value, of.name, shown, span)


def keys_of(of: Family) -> Iterator[str]:
    """Every config key that a family file names, without what stands in tables."""
    yield from of.config.handled
    yield from of.config.harmless
    yield from (key.split(".")[0] for key in (*of.config.fixed, *of.config.equal, *of.config.equal.values()))
    yield from (key.split(".")[0] for fact in of.facts.values() for key in (*fact.keys, *fact.sum))
    yield from (spot.times for spot in of.sites.values() if spot.times is not None)
    if of.windows is not None:
        yield from _window_keys(of.windows)
    if of.experts is not None:
        rule = of.experts.layers
        yield from (k for k in (rule.first, rule.step, rule.dense) if k is not None)


def _window_keys(windows: Windows) -> Iterator[str]:
    yield from windows.size.keys
    yield from () if windows.full_every is None else windows.full_every.keys
    yield from (k for k in (windows.types, windows.only_if, windows.from_layer) if k is not None)


def _refused_values(
    config: dict[str, Any], of: Family, shown: str, span: Span | None
) -> Iterator[Diagnostic]:
    for path, allowed in (common_keys().fixed | of.config.fixed).items():
        value = under(config, path)
        if value not in (NOTHING, None) and value not in allowed:
            yield errors.refused_config_value(path, value, allowed, of.name, shown, span)
    for path, other in of.config.equal.items():
        value, same = of.value(config, path), of.value(config, other)
        if value is not None and value != same:
            yield errors.refused_config_value(path, value, (same,), of.name, shown, span)
