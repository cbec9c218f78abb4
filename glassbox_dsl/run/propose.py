"""A family file for a model type that has none: the known layout that fits it best, with the proof beside it.

Nearly every new architecture is laid out as one that is known, with other keys in its config. So each known layout
whose modules are all there is tried on a small random model of the new type; one whose contracts all hold is right, and
the file only says what differs. Where none is, the file says which checks fail, and lists the modules of a layer.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from glassbox_dsl.resolve.config_keys import common_keys
from glassbox_dsl.resolve.facts import keys_of
from glassbox_dsl.resolve.families import (
    Family,
    add_families,
    families,
    family_texts,
    forget_families,
)
from glassbox_dsl.resolve.verified import Layout
from glassbox_dsl.run.family_checks import checked
from glassbox_dsl.run.quiet import quiet

SIZES = {
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "num_hidden_layers": 3, "n_layer": 3, "n_layers": 3,
    "num_layers": 3,
    "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 40, "moe_intermediate_size": 28, "vocab_size": 101, "max_position_embeddings": 128,
    "n_positions": 128, "num_experts": 5, "num_local_experts": 5, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": 5,
}  # fmt: skip
"""What makes a config small, by the names that configs use; only those are set that a config has."""
TRIED = 12
"""So many layouts are tried at most, a few seconds each."""
NOTE = (
    "# Say of each key whether it changes what the model computes (its modules must then take care of it). Move those",
    "# that change nothing to `harmless`, and those that only work with some values to `fixed`.",
)


def is_known_to_transformers(model_type: str) -> bool:
    """Whether the installed transformers has a model type."""
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


@dataclass(frozen=True)
class Layer:
    """How a known layout could be that of the new type: its family, or it with a plain MLP in the place of a gated one.

    `missing` are the modules that it names and the new type has not, `unknown` the config keys that its file lacks.
    """

    base: Family
    plain_mlp: bool
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int, int, bool, str]:
        """The order in which layouts are tried: by what is missing, by differences; families that extend none first."""
        return (
            len(self.missing), len(self.unknown), len(family_texts(self.base.name)), self.plain_mlp, self.base.name,
        )  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """A family file as text, the family that it extends, and the outcome of its contracts (None: none could run)."""

    text: str
    base: str
    found: Layout | None
    unknown: tuple[str, ...]

    @property
    def proven(self) -> bool:
        """Whether every contract holds on a small model."""
        return self.found is not None and not self.found.failed


@dataclass
class Proposer:
    """Tries the known layouts on one model type; `config` is that of a real checkpoint, or empty."""

    model_type: str
    config: Mapping[str, Any]
    names: dict[str, Any] = field(init=False)
    modules: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        from transformers import AutoConfig

        self.names = {**AutoConfig.for_model(self.model_type).to_dict(), **self.config}
        self.modules = dict(self._modules())

    def best(self) -> Proposal:
        """The first layout whose contracts all hold, else the one with the fewest failures."""
        layers = sorted(self._layers(), key=lambda layer: layer.rank)
        tried: list[Proposal] = []
        for layer in [x for x in layers if not x.missing][:TRIED] or layers[:1]:
            tried.append(self._tried(layer))
            if tried[-1].proven:
                return tried[-1]
        return min(tried, key=lambda p: (p.found is None, len(p.found.failed) if p.found else 0))

    def _layers(self) -> Iterator[Layer]:
        """Known layouts whose facts can be read from the config."""
        for known in families():
            if known.model.config is not None or not self._readable(known):
                continue
            unknown = self._unknown(known)
            yield Layer(known, False, self._missing(known, ()), unknown)
            if "mlp.up" in known.sites and known.sites["mlp.up"].chunk is None:
                yield Layer(known, True, self._missing(known, ("mlp.pre",)), unknown)

    def _readable(self, of: Family) -> bool:
        wanted = [of.facts[name].keys for name in ("n_layers", "n_heads", "d_model", "vocab_size")]
        return all(any(key in self.names for key in keys) for keys in wanted)

    def _missing(self, of: Family, but: tuple[str, ...]) -> tuple[str, ...]:
        spots = [spot for site, spot in of.sites.items() if site not in but]
        paths = [p for s in spots for p in (s.module, s.gate, s.norm) if p]
        paths += [of.layer.attention, of.layer.out_proj, *(norm.module for norm in of.norms.values())]
        paths += [of.experts.router, of.experts.experts] if of.experts else []
        return tuple(sorted({p for p in paths if p not in self.modules}))

    def _unknown(self, of: Family) -> tuple[str, ...]:
        """Keys of the config that a family's file does not know."""
        common = common_keys()
        known = {*common.harmless, *common.fixed, *keys_of(of)}
        return tuple(sorted(k for k, value in self.names.items() if k not in known and value is not None))

    def _tried(self, layer: Layer) -> Proposal:
        text = self._text(layer, None)
        found = None
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / f"{self.model_type}.toml").write_text(text, "utf-8")
            add_families(Path(folder))
            try:
                with quiet():
                    found = checked(self.model_type)
            except Exception:  # a layout that does not fit may fail anywhere: it is not the one
                found = None
            finally:
                forget_families(Path(folder))
        return Proposal(self._text(layer, found), layer.base.name, found, layer.unknown)

    # ------------------------------------------------------------ the file

    def _text(self, layer: Layer, found: Layout | None) -> str:
        base = layer.base
        lines = [
            f"# {self.model_type}: proposed from the layout of {base.name}.",
            *self._outcome(layer, found),
            "",
        ]
        lines += [f'extends = "{base.name}"', f'model_types = ["{self.model_type}"]', ""]
        if layer.plain_mlp:
            up = json.dumps(base.sites["mlp.up"].module)
            lines += ['remove = { sites = ["mlp.up"] }', "", "[sites]"]
            lines += [f'"mlp.pre" = {{ module = {up}, side = "out" }}', "", "[absent]"]
            lines += ['"mlp.up" = "the MLP is not gated"', ""]
        lines += ["[config]", *(NOTE if layer.unknown else ())]
        lines += [f"handled = {json.dumps(list(layer.unknown))}", ""]
        lines += ["# A small random model for the contracts, which `gbx families verify` runs.", "[tiny]"]
        lines += [
            "alone = true",
            *(f"{key} = {_toml(value)}" for key, value in self._tiny(base).items()),
        ]
        return "\n".join(lines) + "\n"

    def _outcome(self, layer: Layer, found: Layout | None) -> Iterator[str]:
        if found is None:
            yield "# It does not fit: the paths under [sites] have to be written. Not there: " + ", ".join(
                layer.missing
            )
            yield "# A layer has the modules:"
            yield from (f"#   {path}: {kind}" for path, kind in self.modules.items())
        elif found.failed:
            yield f"# {len(found.failed)} of {found.checks} checks fail on a small random model:"
            yield from (f"#   {line}" for line in found.failed)
        else:
            yield f"# All {found.checks} checks hold on a small random model; the largest error is {found.largest:.1e}."

    def _tiny(self, base: Family) -> dict[str, Any]:
        """Sizes of the base's small model where the config has those keys; activations stay the type's own."""
        small = {
            key: value for key, value in base.tiny.items()
            if key in self.names and key != "alone" and not key.endswith(("_act", "_activation", "activation_function"))
        }  # fmt: skip
        sizes = {k: v for k, v in SIZES.items() if self.names.get(k) is not None and k not in small}
        return {**sizes, **small}

    def _modules(self) -> Iterator[tuple[str, str]]:
        """The modules of a layer of the type, by path, with their classes."""
        from transformers import AutoConfig, AutoModelForCausalLM

        build: Any = AutoModelForCausalLM.from_config
        small = {k: v for k, v in SIZES.items() if self.names.get(k) is not None}
        try:
            with quiet():
                model = build(AutoConfig.for_model(self.model_type, **small))
        except Exception as problem:  # whatever the class does not like about small sizes
            yield "?", f"no small model could be made: {type(problem).__name__}"
            return
        lists = [
            m
            for m in model.modules()
            if isinstance(m, nn.ModuleList) and len(m) == SIZES["num_hidden_layers"]
        ]
        for path, module in lists[0][1].named_modules() if lists else ():
            if path:
                yield path, type(module).__name__


def _toml(value: Any) -> str:
    """A value of JSON as TOML writes it: only tables differ."""
    if isinstance(value, Mapping):
        told = (f"{json.dumps(str(key))} = {_toml(own)}" for key, own in value.items() if own is not None)
        return "{ " + ", ".join(told) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
