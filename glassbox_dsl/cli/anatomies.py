"""What `gbx inspect` and `gbx gap` share: how models are named, and how a feature's value is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from glassbox_dsl.diagnostics import Diagnostic, Findings

if TYPE_CHECKING:
    from glassbox_dsl.resolve.anatomy import Anatomy

MODEL: Final = (
    "A bundled model's id, `tiny:FAMILY`, `hub:ORG/NAME`, a config.json or its folder, a .gguf,"
    " FILE.gbx or FILE.gbx:NAME."
)


def described(texts: Sequence[str]) -> list[Anatomy]:
    """The models that texts name, described. Raises Findings with the problems of all of them."""
    from glassbox_dsl.resolve.anatomy import anatomy
    from glassbox_dsl.resolve.asked import asked_models

    found: list[Anatomy] = []
    problems: list[Diagnostic] = []
    for text in texts:
        try:
            found += [anatomy(asked.config, asked.shown, asked.tokenizer) for asked in asked_models(text)]
        except Findings as findings:
            problems += findings.diagnostics
    if problems:
        raise Findings(problems)
    return found


def shown_value(value: Any) -> str:
    """A feature's value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "?" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
