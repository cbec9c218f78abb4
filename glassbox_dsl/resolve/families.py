"""specs/families/*.toml -> `Family`: where a family of models keeps its sites, and what its config says.

A family is data. Nothing here, and nothing in the executor, asks for a family's name: they follow the
paths, kinds and keys that the file gives. A file may extend another one (tables are merged), and have
variants: tables that are laid over it where a config says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.tables import Table, built


class Spot(Table):
    """Where a site stands: the input (first argument) or output (first item, if a tuple) of a module of the layer.

    `chunk = [i, n]`: the i-th of n equal parts of its last axis. `times`: what is added to the stream is this config
    key times the module's output. `gate`: the output is multiplied by the sigmoid of what this module puts out.
    `norm`: the site is what goes *into* this norm, whose output is the module's input, where other modules read the
    same norm. `norm_out` says that such a site is behind the norm. `in_place`: the layer adds onto the output itself.
    `sum`: the site has no module, it is the sum of these sites, and can only be read.
    """

    module: str = ""
    side: Literal["in", "out"] = "in"
    chunk: tuple[int, int] | None = None
    times: str | None = None
    gate: str | None = None
    norm: str | None = None
    in_place: bool = False
    sum: tuple[str, ...] = ()


class Norm(Table):
    """A norm: `rms` divides by sqrt(mean(x^2) + eps), `ln` by sqrt(var(x) + eps); `eps` is an attribute or a number.

    `into`: the one module that this norm's scale is about, where several modules read the norm.
    """

    module: str
    kind: Literal["rms", "ln"]
    eps: str | float
    into: str | None = None


class FactKey(Table):
    """How a fact is read: the first of `keys` that is there and not null, else one of the other fields.

    A dot in a key goes into a table.
    """

    keys: tuple[str, ...] = ()
    default: int | bool | None = None
    same_as: str | None = None
    product: tuple[str | int, ...] = ()
    quotient: tuple[str, ...] = ()
    sum: tuple[str, ...] = ()


class Windows(Table):
    """Which layers see only the last `size` keys: those that `types` calls `local`, or all but each n-th.

    Without either all do. `only_if`: a key that has to be true; `from_layer`: a key with the first such layer.
    """

    size: FactKey
    types: str | None = None
    local: str = "sliding_attention"
    full_every: FactKey | None = None
    only_if: str | None = None
    from_layer: str | None = None


class ExpertLayers(Table):
    """Which layers have experts: from the `first` on, each `step`-th, but not those listed under `dense` (keys)."""

    first: str | None = None
    step: str | None = None
    dense: str | None = None


class Experts(Table):
    """A mixture of experts: the modules of its router and its experts in a layer, and which layers have them."""

    router: str
    experts: str
    layers: ExpertLayers = ExpertLayers()


class ModelPaths(Table):
    """Paths from the model. `config` is the table of a config that describes the text part, if it is not all of it."""

    layers: str
    final_norm: Norm
    positions: str | None = None
    config: str | None = None


class LayerPaths(Table):
    """Paths from a layer. `own_attention`: why its attention cannot be given to a registered function.

    `tuple_item`: a layer puts out a tuple whose first item is the stream, and the model takes that item.
    """

    attention: str
    out_proj: str
    own_attention: str | None = None
    tuple_item: bool = False


class ConfigKeys(Table):
    """Keys beyond those of the facts: taken care of, without effect, and allowed only certain values.

    `equal` names keys that must have the value of another one; `around` those beside the text part's table.
    """

    handled: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    fixed: dict[str, tuple[Any, ...]] = {}
    equal: dict[str, str] = {}
    around: tuple[str, ...] = ()


class Gguf(Table):
    """How a GGUF file describes a model of the family: `keys` go from its metadata to config keys."""

    architecture: str
    keys: dict[str, str]


class Tolerance(Table):
    """How far sites may be from an independent computation where 1e-5 cannot hold, and why."""

    relative: float
    why: str


class Family(Table):
    """One family file. `sites` and `norms` go by site, `facts` by field of `ModelFacts`.

    `defaults` are what the model code assumes for keys that a config does not have. `tiny` is the config of a small
    model for tests, inside `tiny_around` where a config has more than one part; `tiny_more` names other ones by what
    they change, so that every layout is tested.
    """

    name: str
    model_types: tuple[str, ...]
    model: ModelPaths
    layer: LayerPaths
    sites: dict[str, Spot]
    norms: dict[str, Norm]
    absent: dict[str, str] = {}
    read_only: dict[str, str] = {}
    experts: Experts | None = None
    facts: dict[str, FactKey]
    defaults: dict[str, Any] = {}
    windows: Windows | None = None
    traits: dict[str, Any] = {}  # read by resolve/traits.py, where a model is described
    config: ConfigKeys
    gguf: Gguf | None = None
    tolerance: Tolerance | None = None
    tiny: dict[str, Any] = {}
    tiny_around: dict[str, Any] = {}
    tiny_more: dict[str, dict[str, Any]] = {}

    def value(self, config: Mapping[str, Any], *keys: str) -> Any:
        """What a config says under the first of some keys that it has, or what the model code assumes."""
        said = [found for key in keys if (found := under(config, key)) is not NOTHING]
        assumed = [self.defaults[key] for key in keys if key in self.defaults]
        return next((found for found in said or assumed if found is not None), None)


NOTHING = object()


def under(config: Mapping[str, Any], key: str) -> Any:
    """What stands under a key, where a dot goes into a table; NOTHING if the key is not there."""
    found: Any = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return NOTHING
        found = found[part]
    return found


EXPERT_SITES = ("router.logits", "router.weights", "expert.post", "expert.out", "shared.out")
"""Sites that only a mixture of experts has."""
DENSE_SITES = ("mlp.pre", "mlp.up", "mlp.post", "mlp.result")
"""Sites that a layer of experts has not."""


# ---------------------------------------------------------------- files


@cache
def family(name: str, variants: tuple[int, ...] = ()) -> Family:
    """The family of a file name, with some of its variants (by number). KeyError if there is none."""
    return built(Family, _explained(laid_over(name, variants)))


def laid_over(name: str, variants: tuple[int, ...]) -> dict[str, Any]:
    """The table of a family, with some of its variants, as its files give it."""
    table = dict(family_table(name))
    overlays = table.pop("variants", [])
    for number in variants:
        table = _merged(table, {k: v for k, v in overlays[number].items() if k != "when"})
    return {"name": name, **table}


def chosen_variants(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The numbers of a file's variants whose `when` a config meets: every key has one of the values listed.

    `"null"` in a list stands for a key without a value.
    """
    base = family(name)
    part = config.get(base.model.config, {}) if base.model.config else config
    overlays = family_table(name).get("variants", [])
    return tuple(
        number
        for number, overlay in enumerate(overlays)
        if all(_said(base.value(part, key)) in values for key, values in overlay["when"].items())
    )


def _said(value: Any) -> Any:
    return "null" if value is None else value


OF_ITS_OWN = ("defaults", "gguf", "tiny_more", "traits")
"""Tables that are said of a family alone: one that extends it does not take them over."""


@cache
def family_table(name: str) -> dict[str, Any]:
    """A family file with what it extends merged in. It is shared: nobody changes it, or a table in it."""
    own = dict(_parsed(name))
    extended, alike = own.pop("extends", None), own.pop("traits_from", None)
    taken = family_table(extended) if extended is not None else {}
    base = {key: table for key, table in taken.items() if key not in OF_ITS_OWN}
    if alike is not None:  # unless it names the one that it is like
        base["traits"] = family_table(alike)["traits"]
    if "tiny" in own:
        own["tiny"] = dict(own["tiny"])
        if own["tiny"].pop("alone", False):
            base.pop("tiny", None)
    return _merged(base, own)


@cache
def _text(name: str) -> str:
    path = family_files().get(name)
    if path is None:
        raise KeyError(name)
    return path.read_text("utf-8")


@cache
def _parsed(name: str) -> dict[str, Any]:
    return tomllib.loads(_text(name))


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Tables laid over tables; `remove` lists entries to take out of each table first. Lists of keys are joined."""
    result = dict(base)
    for table, names in over.get("remove", {}).items():
        result[table] = {k: v for k, v in result.get(table, {}).items() if k not in names}
    for key, value in over.items():
        old = result.get(key)
        if key == "remove":
            continue
        if isinstance(old, dict) and isinstance(value, dict) and not _leaf(value):
            result[key] = _merged(old, value)
        elif key in ("handled", "harmless", "around") and isinstance(old, list) and isinstance(value, list):
            result[key] = [*old, *value]
        else:
            result[key] = value
    return result


def _leaf(value: dict[str, Any]) -> bool:
    """Whether a table is one entry, which replaces another as a whole: a spot, a norm, how a fact is read."""
    return bool(value.keys() & {"module", "side", "sum", "keys", "default", "same_as", "product", "quotient"})


def _explained(table: dict[str, Any]) -> dict[str, Any]:
    """The table with the reasons that follow from it: what only a mixture of experts or learned positions have."""
    absent = dict(table.get("absent", {}))
    if "experts" not in table:
        absent = {site: "the MLP is not a mixture of experts" for site in EXPERT_SITES} | absent
    elif "shared.out" not in table["sites"]:
        absent.setdefault("shared.out", f"all experts of {table['name']} are routed, none is always on")
    if table["model"].get("positions") is not None:
        absent.pop("pos_embed", None)
    told = {*table["sites"], *table["norms"]}
    return {**table, "absent": {site: why for site, why in absent.items() if site not in told}}


def extended_by(name: str) -> str | None:
    """The family that a family's file extends."""
    found = _parsed(name).get("extends")
    return None if found is None else str(found)


def family_texts(name: str) -> tuple[str, ...]:
    """The text of a family file and of what it extends: everything that says how its models are read."""
    extended = extended_by(name)
    return (_text(name), *(family_texts(extended) if extended is not None else ()))


_added: list[Path] = []


def add_families(folder: Path) -> None:
    """Let the family files of a folder stand beside the shipped ones, or in the place of one of the same name.

    Raises Findings, with everything that is wrong with them; then it is as if they were not there.
    """
    from glassbox_dsl.resolve.family_files import problems_of_files

    if folder in _added:
        forget_families(folder)  # it may have changed
    _added.append(folder)
    _forget()
    if problems := problems_of_files(sorted(folder.glob("*.toml"))):
        forget_families(folder)
        raise Findings(problems)


def forget_families(folder: Path) -> None:
    """Take the family files of a folder away again."""
    _added.remove(folder)
    _forget()


def _forget() -> None:
    for remembered in (family_files, _text, _parsed, family_table, family, family_names, family_of):
        remembered.cache_clear()


@cache
def family_files() -> dict[str, Path]:
    """Family files by name."""
    folders = (shipped("specs") / "families", *_added)
    return dict(sorted((path.stem, path) for folder in folders for path in sorted(folder.glob("*.toml"))))


@cache
def family_names() -> tuple[str, ...]:
    """All families, sorted."""
    return tuple(family_files())


def families() -> Iterator[Family]:
    """All families in order of name."""
    return map(family, family_names())


@cache
def family_of(model_type: str) -> Family | None:
    """The family that handles a `model_type`; its own file is tried first, to read one file and not all."""
    if model_type in family_names() and model_type in family(model_type).model_types:
        return family(model_type)
    return next((f for f in families() if model_type in f.model_types), None)


@cache
def unfit(model_type: str) -> str | None:
    """Why no family file can describe a model type, if that is known."""
    with open(shipped("specs") / "unfit_types.toml", "rb") as file:
        groups = tomllib.load(file)["unfit"]
    return next((str(group["why"]) for group in groups if model_type in group["types"]), None)
