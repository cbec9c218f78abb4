"""What can be wrong with a model before its weights are read: GB300 to GB339."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from glassbox_dsl.diagnostics import Diagnostic
from glassbox_dsl.source import Span


def unknown_model_type(model_type: Any, known: Iterable[str], shown: str, span: Span | None) -> Diagnostic:
    """No family file handles the checkpoint's `model_type`."""
    says = f"`{model_type}`" if model_type is not None else "nothing"
    return Diagnostic(
        code="GB300",
        headline=f"no family file for the model type of {shown}",
        span=span,
        label=f"its config.json says `model_type`: {says}",
        help="families that can be used: " + ", ".join(f"`{name}`" for name in sorted(known)),
    )


def unknown_config_key(key: str, value: Any, family: str, shown: str, span: Span | None) -> Diagnostic:
    """The config has a key that may change what the model computes."""
    return Diagnostic(
        code="GB301",
        headline=f"unknown config key `{key}` in {shown}",
        span=span,
        label=f"family `{family}` does not know what `{key}: {brief(value)}` does to the computation",
        help=f"if it does nothing, list it as harmless in specs/families/{family}.toml",
    )


def refused_config_value(
    key: str, value: Any, allowed: Iterable[Any], family: str, shown: str, span: Span | None
) -> Diagnostic:
    """The config has a known key with a value that is not built."""
    return Diagnostic(
        code="GB302",
        headline=f"config key `{key}` of {shown} is `{brief(value)}`",
        span=span,
        label=f"family `{family}` is built only for " + ", ".join(f"`{brief(a)}`" for a in allowed),
        help="use another checkpoint of this family",
    )


def bad_fact(keys: tuple[str, ...], value: Any, shown: str, span: Span | None) -> Diagnostic:
    """A size is missing from the config, or is no size."""
    key = keys[0] if keys else "?"
    missing = value is None
    return Diagnostic(
        code="GB304",
        headline=f"config.json of {shown} " + (f"lacks `{key}`" if missing else f"has a bad `{key}`"),
        span=span,
        label="a whole number above 0 is needed" + ("" if missing else f", not `{brief(value)}`"),
        help="take config.json from the checkpoint's own page",
    )


def brief(value: Any) -> str:
    """A config value as JSON writes it, cut to a line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
