"""config.json -> `ModelFacts`: sizes, windows and absent sites of one model, read without its weights.

A config with a key that may change the computation and that the family file does not know is refused:
a right-looking number from a model that is run differently from how it was trained is the worst outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from glassbox_dsl.diagnostics import Diagnostic, Findings
from glassbox_dsl.resolve import model_errors as errors
from glassbox_dsl.resolve.families import FactKey, Family, Windows, common_keys, families, family_of
from glassbox_dsl.source import Span
from glassbox_dsl.vocabulary.sites import sites

HEAD_WIDE = frozenset({"attn.q", "attn.k", "attn.v", "attn.z", "attn.q_pre", "attn.k_pre"})
"""Sites whose feature axis has the width of a head."""


class ModelFacts(BaseModel):
    """What a config tells of a model. `windows[l]` is how many keys a query of layer l sees; None for all."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
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

    def axis_size(self, axis: str) -> int | None:
        """The length of an axis of sites; None where the model does not fix it (positions) or lacks it."""
        lengths = {
            "layer": self.n_layers,
            "head": self.n_heads,
            "kv_head": self.n_kv_heads,
            "neuron": self.n_neurons,
            "vocab": self.vocab_size,
        }
        return lengths.get(axis)

    def feature_size(self, site: str) -> int | None:
        """The width of a site's values; None where they are single numbers."""
        feature = sites()[site].feature
        if feature is None:
            return None
        if feature == "vocab":
            return self.vocab_size
        return self.d_head if site in HEAD_WIDE else self.d_model


def facts_from_config(config: dict[str, Any], shown: str, span: Span | None = None) -> ModelFacts:
    """The facts of a config. `shown` is how messages call the model. Raises Findings with every problem."""
    model_type = config.get("model_type")
    family = family_of(model_type) if isinstance(model_type, str) else None
    if family is None:
        known = [name for f in families() for name in f.model_types]
        raise Findings([errors.unknown_model_type(model_type, known, shown, span)])
    problems = [*_unknown_keys(config, family, shown, span), *_refused_values(config, family, shown, span)]
    values: dict[str, int] = {}
    for name, fact in family.facts.items():
        value = _read(config, fact, values)
        if not isinstance(value, int) or (value < 1 and not isinstance(value, bool)):
            problems.append(errors.bad_fact(fact.keys, value, shown, span))
        else:
            values[name] = value
    if problems:
        raise Findings(problems)
    return ModelFacts(
        family=family.name,
        model_type=str(model_type),
        windows=_windows(config, family.windows, values["n_layers"]),
        absent=dict(family.absent),
        **values,
    )


def _read(config: dict[str, Any], fact: FactKey, known: dict[str, int]) -> Any:
    """A fact from its key, or from facts already known (the order of the file), or its default."""
    for key in fact.keys:
        if config.get(key) is not None:
            return config[key]
    if fact.same_as is not None:
        return known.get(fact.same_as)
    parts = [known.get(part) if isinstance(part, str) else part for part in fact.product or fact.quotient]
    if parts and None not in parts:
        first, second = parts
        assert first is not None and second is not None
        return first * second if fact.product else first // second
    return fact.default


def _windows(config: dict[str, Any], windows: Windows | None, n_layers: int) -> tuple[int | None, ...]:
    if windows is None:
        return (None,) * n_layers
    size = _read(config, windows.size, {})
    types = config.get(windows.types)
    if types is not None:
        return tuple(size if kind == windows.local else None for kind in types[:n_layers])
    every = _read(config, windows.full_every, {})
    return tuple(size if (layer + 1) % every else None for layer in range(n_layers))


def _unknown_keys(
    config: dict[str, Any], family: Family, shown: str, span: Span | None
) -> Iterator[Diagnostic]:
    common = common_keys()
    known = {*common.harmless, *common.fixed, *family.config.handled, *family.config.harmless}
    known |= {key.split(".")[0] for key in family.config.fixed}
    for fact in family.facts.values():
        known |= set(fact.keys)
    if family.windows is not None:
        known |= {family.windows.types, *family.windows.size.keys, *family.windows.full_every.keys}
    for key, value in config.items():
        if key not in known and value is not None:
            yield errors.unknown_config_key(key, value, family.name, shown, span)


def _refused_values(
    config: dict[str, Any], family: Family, shown: str, span: Span | None
) -> Iterator[Diagnostic]:
    for path, allowed in (common_keys().fixed | family.config.fixed).items():
        value: Any = config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and value not in allowed:
            yield errors.refused_config_value(path, value, allowed, family.name, shown, span)
