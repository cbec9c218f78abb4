"""Five families written out again from the model code of transformers: one prompt, every site, any edit.

`Reference.run` gives every site of one prompt after the edits, in forward order; nothing of it comes from the
package under test. `test_reference.py` holds it against the untouched eager models.
"""

from __future__ import annotations

import torch
from torch.nn import functional

INF = float("inf")
PORTS = ("q_in", "k_in", "v_in")
EPSILONS = ("layer_norm_epsilon", "rms_norm_eps", "layer_norm_eps")


def visited(edits):
    """{(site, layer): value} as it fills, and what is called with each value in forward order and gives it edited."""
    values = {}

    def visit(site, layer, value):
        for edit in edits:
            changed = edit(site, layer, value)
            value = value if changed is None else changed
        values[site, layer] = value
        return value

    return values, visit


def put(heads, head, value):
    """Heads with one of them exchanged."""
    heads = heads.clone()
    heads[head] = value
    return heads


class Reference:
    """A model of llama, gemma3_text or gpt2. Values: [pos, dim], [head, pos, d], [head, query, key], [neuron, pos]."""

    centred = property(
        lambda self: self.family == "gpt2", doc="Whether norms take the mean away and add a bias."
    )
    parallel = False
    """Whether the MLP reads the stream before its layer's attention is added."""

    def __init__(self, model):
        self.model, self.config = model, model.config
        self.family = model.config.model_type
        self.eps = next(getattr(self.config, n) for n in EPSILONS if hasattr(self.config, n))
        self.base, self.layers, self.final = self.parts(model)
        self.n_layers = len(self.layers)
        self.n_heads = self.config.num_attention_heads
        self.n_kv = getattr(self.config, "num_key_value_heads", self.n_heads)

    def parts(self, model):
        """What has the embeddings, the layers and the final norm."""
        base = model.transformer if self.family == "gpt2" else model.model
        if self.family == "gpt2":
            return base, list(base.h), base.ln_f
        return base, list(base.layers), base.norm

    @torch.no_grad()
    def run(self, ids, *edits):
        """{(site, layer): value} for token ids; an edit is a function of (site, layer, value) that returns a value."""
        values, visit = visited(edits)
        x = visit("embed", None, self.embed(torch.tensor(list(ids))))
        for number, layer in enumerate(self.layers):
            x = self.block(number, layer, x, visit)
        scale = visit("final_norm_scale", None, self.divisor(x))
        normed = visit("final_norm", None, self.normed(self.final, x, scale))
        visit("logits", None, self.unembed(normed))
        return values

    def embed(self, ids):
        if self.family == "gpt2":
            return self.base.wte.weight[ids] + self.base.wpe.weight[: len(ids)]
        x = self.base.embed_tokens.weight[ids]
        return x * self.config.hidden_size**0.5 if self.family == "gemma3_text" else x

    def unembed(self, normed):
        logits = normed @ self.model.lm_head.weight.T
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def divisor(self, x):
        if self.centred:
            return (x.var(-1, unbiased=False) + self.eps).sqrt()
        return (x.pow(2).mean(-1) + self.eps).sqrt()

    def normed(self, norm, x, scale):
        if self.centred:
            return (x - x.mean(-1, keepdim=True)) / scale[:, None] * norm.weight + norm.bias
        return x / scale[:, None] * (norm.weight + (1 if self.family == "gemma3_text" else 0))

    def block(self, number, layer, x, visit):
        gpt2, gemma = self.family == "gpt2", self.family == "gemma3_text"
        norm1 = layer.ln_1 if gpt2 else layer.input_layernorm
        norm2 = (
            layer.ln_2
            if gpt2
            else layer.pre_feedforward_layernorm
            if gemma
            else layer.post_attention_layernorm
        )
        see = lambda site, value: visit(site, number, value)  # noqa: E731
        pre = see("resid_pre", x)
        into = see("attn.in", pre)
        copies = {port: see(f"attn.{port}", into.expand(self.n_heads, *into.shape)) for port in PORTS}
        scale = see("attn.norm_scale", own := self.divisor(into))

        def read(port, head):
            """What a head reads by one of its ports, normed; None where its copy is what every head reads."""
            copy = copies[port][head]
            if torch.equal(copy, into) and not copy.requires_grad:
                return None
            return self.normed(norm1, copy, torch.where(scale == own, self.divisor(copy), scale))

        raw = self.attention(number, layer, see("attn.norm", self.normed(norm1, into, scale)), see, read)
        out = self.normed(layer.post_attention_layernorm, raw, self.divisor(raw)) if gemma else raw
        mid = see("resid_mid", pre + see("attn.out", out))
        into = see("mlp.in", pre if self.parallel else mid)
        scale = see("mlp.norm_scale", self.divisor(into))
        raw = see("mlp.out_raw", self.mlp(layer.mlp, see("mlp.norm", self.normed(norm2, into, scale)), see))
        out = self.normed(layer.post_feedforward_layernorm, raw, self.divisor(raw)) if gemma else raw
        return see("resid_post", mid + see("mlp.out", out))

    def mlp(self, mlp, x, see):
        if self.family == "gpt2":
            before = see("mlp.pre", (x @ mlp.c_fc.weight + mlp.c_fc.bias).T)
            after = see("mlp.post", functional.gelu(before, approximate="tanh"))
            return after.T @ mlp.c_proj.weight + mlp.c_proj.bias
        before, up = see("mlp.pre", mlp.gate_proj(x).T), see("mlp.up", mlp.up_proj(x).T)
        llama = self.family == "llama"
        active = functional.silu(before) if llama else functional.gelu(before, approximate="tanh")
        return mlp.down_proj(see("mlp.post", active * up).T)

    def attention(self, number, layer, x, see, read):
        attn = self.attention_of(layer)
        n, group = len(x), self.n_heads // self.n_kv
        q, k, v = self.projected(number, attn, x)
        for head in range(self.n_heads):
            if (own := read("q_in", head)) is not None:
                q = put(q, head, self.projected(number, attn, own)[0][head])
        if group == 1:
            k, v = self.own_keys(number, attn, k, v, read)
        q, k, v = see("attn.q", q), see("attn.k", k), see("attn.v", v)
        keys, values = (y.repeat_interleave(group, 0) for y in (k, v))
        if group > 1:
            keys, values = self.own_keys(number, attn, keys, values, read)
        scores = (q @ keys.transpose(1, 2) * self.temper(number)).masked_fill(self.hidden(number, n), -INF)
        pattern = see("attn.pattern", see("attn.scores", scores).softmax(-1))
        z = see("attn.z", pattern @ values)
        weight, bias = self.projection(attn)
        result = see("attn.result", z @ weight.reshape(self.n_heads, -1, weight.shape[-1]))
        return see("attn.out_raw", result.sum(0) + (0 if bias is None else bias))

    def attention_of(self, layer):
        return layer.attn if self.family == "gpt2" else layer.self_attn

    def projection(self, attn):
        """The output projection as [head * d, dim], and its bias."""
        if self.family == "gpt2":
            return attn.c_proj.weight, attn.c_proj.bias
        return attn.o_proj.weight.T, attn.o_proj.bias

    def down(self, layer):
        """The down-projection of a layer's MLP, [neuron, dim]."""
        mlp = self.layers[layer].mlp
        return mlp.c_proj.weight if self.family == "gpt2" else mlp.down_proj.weight.T

    def own_keys(self, number, attn, keys, values, read):
        """Keys and values [head, pos, d], those of heads that read copies of their own exchanged."""
        kv = lambda head: head * self.n_kv // self.n_heads  # noqa: E731
        for head in range(self.n_heads):
            if (own := read("k_in", head)) is not None:
                keys = put(keys, head, self.projected(number, attn, own)[1][kv(head)])
            if (own := read("v_in", head)) is not None:
                values = put(values, head, self.projected(number, attn, own)[2][kv(head)])
        return keys, values

    def projected(self, number, attn, x):
        """q, k, v of a normed input, rotary positions included: [head, pos, d], [kv_head, pos, d] twice."""
        gpt2 = self.family == "gpt2"
        n = len(x)
        split = lambda y, heads: y.reshape(n, heads, -1).transpose(0, 1)  # noqa: E731
        if gpt2:
            q, k, v = (
                split(y, self.n_heads) for y in (x @ attn.c_attn.weight + attn.c_attn.bias).chunk(3, -1)
            )
        else:
            q, k, v = (
                split(attn.q_proj(x), self.n_heads),
                split(attn.k_proj(x), self.n_kv),
                split(attn.v_proj(x), self.n_kv),
            )
            q, k = self.turned(number, attn, q), self.turned(number, attn, k, key=True)
        return q, k, v

    def hidden(self, number, n):
        """Which keys [query, key] no query may see: later ones and those behind a sliding window."""
        distance = torch.arange(n)[:, None] - torch.arange(n)
        return (distance < 0) | (distance >= (self.window(number) or n))

    def window(self, number):
        types = getattr(self.config, "layer_types", None)
        local = self.family == "gemma3_text" and types[number] == "sliding_attention"
        return self.config.sliding_window if local else None

    def temper(self, number):
        if self.family == "gpt2":
            width = self.config.n_embd // self.config.n_head
            return width**-0.5 / (number + 1 if self.config.scale_attn_by_inverse_layer_idx else 1)
        base = self.config.query_pre_attn_scalar if self.family == "gemma3_text" else self.config.head_dim
        return base**-0.5

    def turned(self, number, attn, x, key=False):
        """Head norms where there are some, then rotary positions with halves paired."""
        parameters = self.config.rope_parameters
        if self.family == "gemma3_text":
            norm = attn.k_norm if key else attn.q_norm
            x = x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt() * (1 + norm.weight)
            parameters = parameters[self.config.layer_types[number]]
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[1])[:, None] * parameters["rope_theta"] ** (-torch.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


class NeoX(Reference):
    """gpt_neox: parallel blocks, keys and values beside each head's queries, a part of each head turned."""

    centred = parallel = True

    def parts(self, model):
        return model.gpt_neox, list(model.gpt_neox.layers), model.gpt_neox.final_layer_norm

    def embed(self, ids):
        return self.base.embed_in.weight[ids]

    def mlp(self, mlp, x, see):
        before = see("mlp.pre", mlp.dense_h_to_4h(x).T)
        return mlp.dense_4h_to_h(see("mlp.post", functional.gelu(before)).T)

    def down(self, layer):
        return self.layers[layer].mlp.dense_4h_to_h.weight.T

    def attention_of(self, layer):
        return layer.attention

    def projection(self, attn):
        return attn.dense.weight.T, attn.dense.bias

    def temper(self, number):
        return (self.config.hidden_size // self.n_heads) ** -0.5

    def projected(self, number, attn, x):
        q, k, v = (
            y.transpose(0, 1) for y in attn.query_key_value(x).reshape(len(x), self.n_heads, 3, -1).unbind(2)
        )
        return self.partly_turned(q), self.partly_turned(k), v

    def partly_turned(self, x):
        parameters = self.config.rope_parameters
        turned = int(x.shape[-1] * parameters["partial_rotary_factor"])
        powers = torch.arange(0, turned, 2) / turned
        angle = torch.arange(x.shape[1])[:, None] * parameters["rope_theta"] ** -powers
        half = len(powers)  # of an odd width one more coordinate is turned
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


class Mixtral(Reference):
    """mixtral: llama with a sliding window, and two experts for each token in the place of an MLP."""

    def window(self, number):
        return self.config.sliding_window

    def mlp(self, mlp, x, see):
        logits = see("router.logits", (x @ mlp.gate.weight.T).T).T
        best, which = logits.softmax(-1).topk(self.config.num_experts_per_tok)
        weights = torch.zeros_like(logits).scatter(1, which, best / best.sum(-1, keepdim=True))
        weights = see("router.weights", weights.T).T
        gate, up = torch.einsum("pd,exd->epx", x, mlp.experts.gate_up_proj).chunk(2, -1)
        outs = torch.einsum("epx,edx->epd", functional.silu(gate) * up, mlp.experts.down_proj)
        return (weights.T[..., None] * see("expert.out", outs)).sum(0)


def reference_of(model):
    """The computation of a model, written out."""
    return {"gpt_neox": NeoX, "mixtral": Mixtral}.get(model.config.model_type, Reference)(model)


def setting(site, layer, place, value):
    """An edit that writes `value` (or a function of what is there) into `place` of a site."""

    def edit(name, number, old):
        if (name, number) != (site, layer):
            return None
        new = old.clone()
        new[place] = value(old[place]) if callable(value) else value
        return new

    return edit
