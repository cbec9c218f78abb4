"""specs/config_keys.toml -> the config keys that mean the same in every family."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.tables import Table, built


class CommonKeys(Table):
    """Config keys of every family: without effect on a forward pass, taken care of, allowed only certain values."""

    harmless: frozenset[str]
    handled: frozenset[str]
    fixed: dict[str, tuple[Any, ...]]


@cache
def common_keys() -> CommonKeys:
    """The keys of specs/config_keys.toml."""
    with open(shipped("specs") / "config_keys.toml", "rb") as file:
        return built(CommonKeys, tomllib.load(file))
