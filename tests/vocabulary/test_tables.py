"""What ships is right, and what is made of it at run time is what pydantic would make of it."""

import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from glassbox_dsl.resolve.bundled import BundledModel
from glassbox_dsl.resolve.config_keys import CommonKeys
from glassbox_dsl.resolve.families import Family, families, family, family_table, laid_over
from glassbox_dsl.resolve.family_files import validated
from glassbox_dsl.resolve.traits import TraitKey, TraitWords, Value, traits_of
from glassbox_dsl.resources import shipped
from glassbox_dsl.vocabulary.sites import Site
from glassbox_dsl.vocabulary.tables import BadTable, Table, built

NAMES = [one.name for one in families()]


def layers(name):
    """No variant of a family, each alone, and all that a config of its tiny models asks for."""
    from glassbox_dsl.resolve.facts import facts_from_config
    from glassbox_dsl.resolve.sources import tiny_config

    known = family(name)
    asked = {facts_from_config(tiny_config(known, more=m), name).variants for m in (None, *known.tiny_more)}
    return {(), *((n,) for n in range(len(family_table(name).get("variants", ())))), *asked}


def named(file, key):
    """(name, table) of every entry of a shipped file, with its name under `key`."""
    return [(name, {key: name, **entry}) for name, entry in tomllib.loads(read(file)).items()]


def read(file):
    return (shipped("specs") / file).read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_built_as_pydantic_validates_it(name):
    for variants in layers(name):
        table = laid_over(name, variants)
        assert repr(built(Family, table)) == repr(validated(Family, table))


@pytest.mark.parametrize("name", NAMES)
def test_traits_are_built_as_pydantic_validates_them(name):
    for variants in layers(name):
        known = family(name, variants)
        assert repr(traits_of(known).root) == repr(validated(dict[str, Value | TraitKey], known.traits))


@pytest.mark.parametrize(
    ("kind", "file", "key"),
    [(Site, "sites.toml", "name"), (BundledModel, "models.toml", "id"), (TraitWords, "traits.toml", "name")],
)
def test_shipped_entries_are_built_as_pydantic_validates_them(kind, file, key):
    entries = named(file, key)
    assert entries
    for name, table in entries:
        assert repr(built(kind, table)) == repr(validated(kind, table)), name


def test_common_keys_are_built_as_pydantic_validates_them():
    table = tomllib.loads(read("config_keys.toml"))
    assert built(CommonKeys, table) == validated(CommonKeys, table)
    assert isinstance(built(CommonKeys, table).harmless, frozenset)


class Inner(Table):
    pair: tuple[int, int] | None = None
    word: str | float = 0.5


class Outer(Table):
    one: Inner
    many: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}
    lists: dict[str, tuple[Any, ...]] = {}
    kept: dict[str, Any] = {}
    few: frozenset[str] = frozenset()


def test_tables_inside_and_lists_become_what_the_fields_say():
    table = {
        "one": {"pair": [1, 2], "word": "w"},
        "many": [{}, {"word": 2.0}],
        "by_name": {"a": {"pair": [3, 4]}},
        "lists": {"b": [[1], {"c": [2]}]},
        "kept": {"d": [1], "e": {"f": [2]}},
        "few": ["g", "g"],
    }
    wanted = Outer(
        one=Inner(pair=(1, 2), word="w"),
        many=(Inner(), Inner(word=2.0)),
        by_name={"a": Inner(pair=(3, 4))},
        lists={"b": ([1], {"c": [2]})},
        kept={"d": [1], "e": {"f": [2]}},
        few=frozenset({"g"}),
    )
    assert built(Outer, table) == wanted == validated(Outer, table)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({}, "one"),
        ({"one": {}, "tow": 1}, "tow"),
        ({"one": {"pear": 1}}, "pear"),
        ({"one": {}, "many": [{"pear": 1}]}, "pear"),
        ({"one": {}, "by_name": {"a": {"pear": 1}}}, "pear"),
    ],
)
def test_unknown_and_missing_keys_are_refused_by_both(table, word):
    with pytest.raises(BadTable, match=f"missing or unknown {word}"):
        built(Outer, table)
    with pytest.raises(ValidationError, match=word):
        validated(Outer, table)


@pytest.mark.parametrize("inner", [{"pair": [1]}, {"pair": ["1", 2]}, {"word": ["w"]}, {"pair": [1.5, 2]}])
def test_values_of_another_type_are_refused_where_tables_are_validated(inner):
    with pytest.raises(ValidationError):
        validated(Inner, inner)
