"""Names of places in a pass, and the order in which they are visited."""

from __future__ import annotations

from typing import Final, NamedTuple


class SiteKey(NamedTuple):
    """A site in a layer; `layer` is None for sites that stand once in a model."""

    site: str
    layer: int | None = None


CORE: Final = frozenset({"attn.q", "attn.k", "attn.v", "attn.scores", "attn.pattern", "attn.z"})
"""Sites inside the attention function."""
UNTURNED: Final = frozenset({"attn.q_pre", "attn.k_pre"})
"""Queries and keys before rotary positions."""
COPIES: Final = ("attn.q_in", "attn.k_in", "attn.v_in")
"""The heads' own copies of `attn.in`, in the order of what is made of them."""
STREAM: Final = frozenset({"embed", "resid_pre", "resid_post"})
"""Sites that are the residual stream between two layers."""
EXPERTS: Final = frozenset({"router.weights", "expert.post", "expert.out"})
"""Sites inside the experts function."""
HEAD: Final = frozenset({"final_norm_scale", "final_norm", "logits"})
"""Sites after the last layer."""
MIXED: Final = frozenset(
    {
        "attn.in",
        "attn.norm_scale",
        "attn.norm",
        "attn.q_in",
        "attn.k_in",
        "attn.v_in",
        "attn.q_pre",
        "attn.k_pre",
    }
    | {"attn.q", "attn.k", "attn.v"}
)
"""Sites of a layer that attention mixes over positions: rows that nobody queries have them too."""
ORDER: Final = (
    "pos_embed", "embed", "resid_pre",
    "attn.in", *COPIES, "attn.norm_scale", "attn.norm", *sorted(UNTURNED), *sorted(CORE),
    "attn.result", "attn.out_raw", "attn.out",
    "resid_mid", "mlp.in", "mlp.norm_scale", "mlp.norm", "mlp.pre", "mlp.up", "mlp.post",
    "router.logits", "router.weights", "expert.post", "expert.out", "shared.out",
    "mlp.out_raw", "mlp.out", "resid_post", "final_norm_scale", "final_norm", "logits",
)  # fmt: skip
"""The order in which sites that share a module's input or output are written."""
