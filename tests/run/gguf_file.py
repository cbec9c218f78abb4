"""A small Llama as a GGUF file, laid out as llama.cpp does, and the model with the dequantised weights."""

from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize

from glassbox_dsl.resolve.families import family
from glassbox_dsl.resolve.sources import tiny_config
from glassbox_dsl.run.tiny import tiny_model

Q8 = gguf.GGMLQuantizationType.Q8_0
HEADS = {"q_proj": 4, "k_proj": 2}
CONFIG = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "attention_bias": False, "mlp_bias": False, "rope_theta": 10000.0,
}  # fmt: skip
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def write_llama(path: Path) -> torch.nn.Module:
    """Matrices are stored in 8 bits (Q8_0), norms in float32."""
    model = tiny_model({**tiny_config(family("llama")), **CONFIG}, 5, "eager")
    writer = gguf.GGUFWriter(str(path), "llama")
    _write_keys(writer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            stored = parameter.numpy().copy()
            if stored.ndim < 2:
                writer.add_tensor(_renamed(name), stored)
                continue
            parameter.copy_(torch.from_numpy(dequantize(quantize(stored, Q8), Q8).copy()))
            heads = next((n for part, n in HEADS.items() if part in name), None)
            if (
                heads is not None
            ):  # llama.cpp turns neighbouring channels, transformers the two halves of a head
                halves = stored.reshape(heads, 2, len(stored) // heads // 2, -1)
                stored = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(stored.shape))
            writer.add_tensor(_renamed(name), quantize(stored, Q8), raw_dtype=Q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _write_keys(writer: gguf.GGUFWriter) -> None:
    writer.add_block_count(3)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(64)
    letters = [chr(ord("a") + i) for i in range(26)]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*letters, "ab", *(f"<t{i}>" for i in range(27, 64))])
    writer.add_token_types([1] * 64)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(27)
    writer.add_eos_token_id(28)


def _renamed(path: str) -> str:
    path = path.removesuffix(".weight")
    if path in NAMES:
        return f"{NAMES[path]}.weight"
    _, _, layer, rest = path.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.weight"
