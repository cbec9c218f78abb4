"""What can go wrong while models are fetched, loaded and run: GB500 to GB529."""

from __future__ import annotations

from glassbox_dsl.diagnostics import Diagnostic


def no_key_left(layer: int, item: int, head: int, query: int) -> Diagnostic:
    """Written scores leave a query without a key."""
    return Diagnostic(
        code="GB520",
        headline="every key of a query was set to -inf",
        label=f"layer {layer}, head {head}, query position {query}, row {item} of the batch: its softmax has no value",
        help="leave at least one key, e.g. the query itself or the first token",
    )


def layer_count(family: str, found: int, expected: int) -> Diagnostic:
    """The model has another number of layers than its config says."""
    return Diagnostic(
        code="GB513",
        headline=f"the model has {found} layers and its config says {expected}",
        label=f"the layers that specs/families/{family}.toml points at",
        help="check the path `layers` of the family file",
    )


def module_missing(family: str, path: str, model_class: str) -> Diagnostic:
    """A path of the family file leads nowhere in the loaded model."""
    return Diagnostic(
        code="GB514",
        headline=f"{model_class} has no module `{path}`",
        label=f"specs/families/{family}.toml names it",
        help="check the family file against the installed version of transformers",
    )
