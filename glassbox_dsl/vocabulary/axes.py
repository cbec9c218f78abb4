"""The axes of values: what the indices of runs, sites and measures mean.

`dim`, `vocab` and `component` are feature axes: they are never swept and are indexed only by name.
"""

from __future__ import annotations

from typing import Final

MODEL: Final = "model"
DATA: Final = "data"
ITEM: Final = "item"
CONTEXT_AXES: Final = (MODEL, DATA, ITEM)
POSITION_AXES: Final = ("pos", "query", "key")
SITE_AXES: Final = ("layer", "head", "kv_head", "pos", "query", "key", "neuron", "expert", "latent")
FEATURE_AXES: Final = ("dim", "vocab", "component")
AXES: Final = (*CONTEXT_AXES, *SITE_AXES, *FEATURE_AXES)
EDGE: Final = "edge"
"""What a circuit is a set of: the pairs of what is added to the stream and what reads it. No site has this axis."""
POSITION_WORDS: Final = ("first", "last")
RESERVED_WORDS: Final = ("first", "last", "self", "true", "false", "inf")
