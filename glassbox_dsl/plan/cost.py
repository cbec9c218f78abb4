"""What a model's passes cost, from its config: parameters, FLOPs and bytes.

A multiplication and an addition are two FLOPs. Counted are the products with weights, the attention of each query to
the keys that it sees, and the logits; norms, activations and rotations are left out, and so are biases among the
parameters: together they are about 1%.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from glassbox_dsl.plan.named import Integers
from glassbox_dsl.resolve.facts import ModelFacts

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
KEPT_BYTES = 4
"""What is kept of a run is float32, in the memory of the CPU."""
LOGITS_AT_ONCE = 2**26
"""About how many logits are made at once; more rows are taken in portions."""


@dataclass(frozen=True)
class ModelCost:
    """Sizes and work of one model in a dtype."""

    facts: ModelFacts
    dtype: str = "float32"

    @property
    def attention_parameters(self) -> int:
        """Weights of one layer's projections: queries, keys, values and the output."""
        f = self.facts
        return f.d_model * f.d_head * (2 * f.n_heads + 2 * f.n_kv_heads)

    @property
    def mlp_parameters(self) -> int:
        """Weights of a layer's MLP that one token meets, with or without a gate; the mean over layers."""
        return self._mlp_weights(self.facts.experts_per_token) // self.facts.n_layers

    def _mlp_weights(self, experts: int) -> int:
        """Weights of all MLPs, if so many experts of a layer count (experts are gated)."""
        f = self.facts
        gated = f.n_experts > 0 or "mlp.up" not in f.absent
        routed = len(f.layers_with("expert.out")) if f.n_experts else 0
        dense = (f.n_layers - routed) * (3 if gated else 2) * f.d_model * f.n_neurons
        return dense + routed * experts * 3 * f.d_model * f.n_expert_neurons

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embeddings, of learned positions, and of an unembedding of its own."""
        f = self.facts
        learned = "pos_embed" not in f.absent
        vocabularies = 1 if f.tied_embeddings else 2
        return f.d_model * (vocabularies * f.vocab_size + (f.max_positions if learned else 0))

    @property
    def parameters(self) -> int:
        """All weights that are matrices."""
        return (
            self.embedding_parameters
            + self.attention_parameters * self.facts.n_layers
            + self._mlp_weights(self.facts.n_experts)
        )

    @property
    def weight_bytes(self) -> int:
        """Room for the weights."""
        return self.parameters * BYTES[self.dtype]

    # ------------------------------------------------------------ work

    @property
    def layer_flops(self) -> int:
        """One token through the projections and the MLP of one layer."""
        return 2 * (self.attention_parameters + self.mlp_parameters)

    @property
    def projection_flops(self) -> int:
        """One token to its queries, keys and values in one layer."""
        f = self.facts
        return 2 * f.d_model * f.d_head * (f.n_heads + 2 * f.n_kv_heads)

    @property
    def key_flops(self) -> int:
        """One query meeting one key in one layer: its score, and mixing its value in."""
        return 4 * self.facts.n_heads * self.facts.d_head

    def logit_flops(self, rows: int, tokens: int | None = None) -> int:
        """Logits of rows over some tokens (None: the whole vocabulary)."""
        return 2 * self.facts.d_model * rows * (self.facts.vocab_size if tokens is None else tokens)

    @cached_property
    def _windows(self) -> list[tuple[int | None, int]]:
        """Windows with the number of layers that have each."""
        windows = self.facts.windows
        return [(w, windows.count(w)) for w in dict.fromkeys(windows)]

    def pass_flops(self, lengths: Integers, times: Integers) -> int:
        """Full forward passes over prompts of some lengths [n], each run `times` [n] over, without their logits."""
        keys = 0
        for window, n_layers in self._windows:
            inside = lengths if window is None else np.minimum(lengths, window)
            seen = inside * (inside + 1) // 2 + (lengths - inside) * inside
            keys += n_layers * int((seen * times).sum())
        tokens = int((lengths * times).sum())
        return self.layer_flops * self.facts.n_layers * tokens + self.key_flops * keys

    # ------------------------------------------------------------ room

    def row_bytes(self, longest: int) -> int:
        """What a row of a climb needs at the widest place of a layer, for prompts of up to `longest` tokens.

        The stream three times over (before, inside and behind), and on top the attention (queries, keys and
        values, gathered once more; scores and pattern in float32) or the MLP, whichever is wider.
        """
        f, size = self.facts, BYTES[self.dtype]
        stream = 3 * f.d_model * size
        heads = 2 * (2 * f.n_heads + 2 * f.n_kv_heads) * f.d_head * size + 2 * f.n_heads * longest * 4
        mlp = (3 if "mlp.up" not in f.absent else 2) * f.n_neurons * size
        return stream + max(heads, mlp)

    def logit_bytes(self, rows: int) -> int:
        """Room for the logits that are made at once, and float32 copies of them."""
        made = min(rows * self.facts.vocab_size, max(LOGITS_AT_ONCE, self.facts.vocab_size))
        return made * (BYTES[self.dtype] + 4)
