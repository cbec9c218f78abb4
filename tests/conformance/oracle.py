"""What sites hold and what edits do, by plain hooks on an untouched transformers model.

Nothing here comes from the family files or the executor: module paths, rotary positions, masks, norms and
projections are written out again, from the model code of transformers and the papers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import nn

Edit = Callable[[torch.Tensor], torch.Tensor]
COPIES = ("attn.q_in", "attn.k_in", "attn.v_in")
INSIDE_ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.scores", "attn.pattern", "attn.z", "attn.result")


class LlamaPaths:
    """SmolLM2 and other models of class LlamaForCausalLM."""

    gated = True

    def __init__(self, model: nn.Module) -> None:
        self.config = model.config
        self.embed = model.model.embed_tokens
        self.layers = model.model.layers
        self.final_norm = model.model.norm
        self.final_bias = None

    def attention(self, layer):
        return layer.self_attn

    def modules(self, layer):
        return {
            "norm1": layer.input_layernorm,
            "attn": layer.self_attn,
            "attn_added": layer.self_attn,
            "norm2": layer.post_attention_layernorm,
            "pre": layer.mlp.gate_proj,
            "up": layer.mlp.up_proj,
            "down": layer.mlp.down_proj,
            "mlp": layer.mlp,
            "mlp_added": layer.mlp,
        }

    def window(self, index):
        return None

    def scale(self, index):
        return self.config.head_dim**-0.5

    def theta(self, index):
        return self.config.rope_parameters["rope_theta"]

    def qkv(self, attn, x, index, turned=True):
        width = self.config.head_dim
        q, k, v = (
            split(x @ p.weight.T + (0 if p.bias is None else p.bias), width)
            for p in (attn.q_proj, attn.k_proj, attn.v_proj)
        )
        q, k = self.norm_heads(attn, q, k)
        if not turned:
            return q, k, v
        return rotate(q, self.theta(index)), rotate(k, self.theta(index)), v

    def norm_heads(self, attn, q, k):
        return q, k

    def project(self, attn, n_heads):
        weight = attn.o_proj.weight  # [dim, head * width]
        bias = 0 if attn.o_proj.bias is None else attn.o_proj.bias
        return weight.T.reshape(n_heads, -1, weight.shape[0]), bias

    def divisor(self, norm, x):
        return (x.pow(2).mean(-1) + self.config.rms_norm_eps).sqrt()

    def normed(self, norm, x, divisor):
        return x / divisor[..., None] * norm.weight


class GemmaPaths(LlamaPaths):
    """Gemma3ForCausalLM."""

    def modules(self, layer):
        return {
            **super().modules(layer),
            "attn_added": layer.post_attention_layernorm,
            "norm2": layer.pre_feedforward_layernorm,
            "mlp_added": layer.post_feedforward_layernorm,
        }

    def window(self, index):
        return self.config.sliding_window if self.config.layer_types[index] == "sliding_attention" else None

    def scale(self, index):
        return self.config.query_pre_attn_scalar**-0.5

    def theta(self, index):
        return self.config.rope_parameters[self.config.layer_types[index]]["rope_theta"]

    def norm_heads(self, attn, q, k):
        return tuple(self.normed(n, x, self.divisor(n, x)) for n, x in ((attn.q_norm, q), (attn.k_norm, k)))

    def normed(self, norm, x, divisor):
        return x / divisor[..., None] * (1 + norm.weight)


class Gpt2Paths:
    """GPT2LMHeadModel."""

    gated = False

    def __init__(self, model: nn.Module) -> None:
        self.config = model.config
        self.embed = model.transformer.drop
        self.positions = model.transformer.wpe
        self.layers = model.transformer.h
        self.final_norm = model.transformer.ln_f

    def attention(self, layer):
        return layer.attn

    def modules(self, layer):
        return {
            "norm1": layer.ln_1,
            "attn": layer.attn,
            "attn_added": layer.attn,
            "norm2": layer.ln_2,
            "pre": layer.mlp.c_fc,
            "down": layer.mlp.c_proj,
            "mlp": layer.mlp,
            "mlp_added": layer.mlp,
        }

    def window(self, index):
        return None

    def scale(self, index):
        width = self.config.n_embd // self.config.n_head
        return width**-0.5 / (index + 1 if self.config.scale_attn_by_inverse_layer_idx else 1)

    def qkv(self, attn, x, index, turned=True):
        parts = (x @ attn.c_attn.weight + attn.c_attn.bias).chunk(3, dim=-1)
        return tuple(split(part, self.config.n_embd // self.config.n_head) for part in parts)

    def project(self, attn, n_heads):
        weight = attn.c_proj.weight  # [head * width, dim]
        return weight.reshape(n_heads, -1, weight.shape[1]), attn.c_proj.bias

    def divisor(self, norm, x):
        return (x.var(-1, unbiased=False) + self.config.layer_norm_epsilon).sqrt()

    def normed(self, norm, x, divisor):
        return (x - x.mean(-1, keepdim=True)) / divisor[..., None] * norm.weight + norm.bias


PATHS = {"LlamaForCausalLM": LlamaPaths, "Gemma3ForCausalLM": GemmaPaths, "GPT2LMHeadModel": Gpt2Paths}


def split(x, width):
    """[batch, pos, head * width] to [batch, head, pos, width]."""
    return x.reshape(*x.shape[:2], -1, width).transpose(1, 2)


def rotate(x, theta):
    """Rotary positions (Su et al. 2021) with halves paired as in Llama: [batch, head, pos, width]."""
    half = x.shape[-1] // 2
    speed = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = torch.arange(x.shape[-2], dtype=torch.float32)[:, None] * speed
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


def same(x):
    return x


class Oracle:
    """An untouched eager model. Values and edits have the layout of the language: see `Instrument.forward`."""

    def __init__(self, model: nn.Module) -> None:
        assert model.config._attn_implementation == "eager"
        self.model = model
        self.paths = PATHS[type(model).__name__](model)

    @torch.no_grad()
    def logits(self, ids, site=None, layer=None, edit: Edit = same, at=slice(None)):
        """Logits [batch, pos, vocab] of the model at some positions, with one site edited."""
        keep = torch.arange(ids.shape[1])[at]
        with ExitStack() as hooks:
            if site not in (None, "logits"):
                self._edit(hooks, site, layer, edit)
            logits = self.model(ids, use_cache=False, logits_to_keep=keep).logits
        return edit(logits) if site == "logits" else logits

    @torch.no_grad()
    def read(self, ids):
        """Every site in every layer: {(site, layer): value}."""
        values = {}
        with ExitStack() as hooks:
            self._watch(hooks, values)
            values["logits", None] = self.model(ids, use_cache=False).logits
        if ("pos_embed", None) in values:
            values["pos_embed", None] = values["pos_embed", None].expand(values["embed", None].shape)
        for (site, layer), value in list(values.items()):
            if site in ("mlp.pre", "mlp.up", "mlp.post"):
                values[site, layer] = value.transpose(1, 2)
        return values

    def _watch(self, hooks, values):
        paths = self.paths

        def keep(site, layer, change=same):
            def hook(value):
                values[site, layer] = change(value)
                return value

            return hook

        after(hooks, paths.embed, keep("embed", None))
        if hasattr(paths, "positions"):
            after(hooks, paths.positions, keep("pos_embed", None))
        for index, layer in enumerate(paths.layers):
            at = paths.modules(layer)
            before(hooks, layer, keep("resid_pre", index))
            after(hooks, layer, keep("resid_post", index))
            for norm, name in (("norm1", "attn"), ("norm2", "mlp")):
                before(hooks, at[norm], keep(f"{name}.in", index))
                scale = lambda x, norm=at[norm]: paths.divisor(norm, x)  # noqa: E731
                before(hooks, at[norm], keep(f"{name}.norm_scale", index, scale))
                after(hooks, at[norm], keep(f"{name}.norm", index))
            for port in COPIES:
                heads = lambda x: x[:, None].repeat(1, self.model.config.num_attention_heads, 1, 1)  # noqa: E731
                before(hooks, at["norm1"], keep(port, index, heads))
            before(hooks, at["norm2"], keep("resid_mid", index))
            after(hooks, at["attn"], keep("attn.out_raw", index))
            after(hooks, at["attn_added"], keep("attn.out", index))
            after(hooks, at["pre"], keep("mlp.pre", index))
            if paths.gated:
                after(hooks, at["up"], keep("mlp.up", index))
            before(hooks, at["down"], keep("mlp.post", index))
            after(hooks, at["mlp"], keep("mlp.out_raw", index))
            after(hooks, at["mlp_added"], keep("mlp.out", index))

            def inside(x, attn=at["attn"], index=index):
                def visit(site, value):
                    values[site, index] = value
                    return value

                self.attention(attn, x, index, visit)
                return x

            before(hooks, at["attn"], inside)
        before(hooks, paths.final_norm, keep("final_norm_scale", None, self._final_divisor))
        after(hooks, paths.final_norm, keep("final_norm", None))

    def _final_divisor(self, x):
        return self.paths.divisor(self.paths.final_norm, x)

    def attention(self, attn, x, index, visit):
        """The attention of a layer from its normed input, written out; `visit` sees each site and may change it."""
        for site, value in zip(
            ("attn.q_pre", "attn.k_pre"), self.paths.qkv(attn, x, index, False), strict=False
        ):
            visit(site, value)
        q, k, v = self.paths.qkv(attn, x, index)
        q, k, v = visit("attn.q", q), visit("attn.k", k), visit("attn.v", v)
        group = q.shape[1] // k.shape[1]
        keys, values = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        return self._attended(attn, q, keys, values, index, visit)

    def _attended(self, attn, q, keys, values, index, visit):
        """The output of attention from queries, keys and values [batch, head, pos, width] of every query head."""
        x = q[0, 0]
        scores = torch.einsum("bhqd,bhkd->bhqk", q, keys) * self.paths.scale(index)
        distance = torch.arange(len(x))[:, None] - torch.arange(len(x))
        window = self.paths.window(index) or len(x)
        hidden = (distance < 0) | (distance >= window)
        scores = visit("attn.scores", scores.masked_fill(hidden, -torch.inf))
        pattern = visit("attn.pattern", scores.softmax(-1))
        z = visit("attn.z", torch.einsum("bhqk,bhkd->bhqd", pattern, values))
        weight, bias = self.paths.project(attn, q.shape[1])
        result = visit("attn.result", torch.einsum("bhqd,hdm->bhqm", z, weight))
        return result.sum(1) + bias

    def _edit(self, hooks, site, index, edit):
        paths = self.paths
        neurons = lambda x: edit(x.transpose(1, 2)).transpose(1, 2).contiguous()  # noqa: E731
        if site == "embed":
            return after(hooks, paths.embed, edit)
        if site == "pos_embed":
            return self._edit_positions(hooks, edit)
        if site in ("final_norm", "final_norm_scale"):
            if site == "final_norm":
                return after(hooks, paths.final_norm, edit)
            return self._edit_scale(hooks, paths.final_norm, edit)
        layer = paths.layers[index]
        at = paths.modules(layer)
        if site in COPIES:
            return self._edit_copies(hooks, at, index, COPIES.index(site), edit)
        if site in INSIDE_ATTENTION:
            return self._edit_attention(hooks, at["attn"], index, site, edit)
        if site == "resid_mid":
            return self._edit_mid(hooks, layer, at, edit)
        places = {
            "resid_pre": (before, layer, edit),
            "resid_post": (after, layer, edit),
            "attn.in": (before, at["norm1"], edit),
            "attn.norm": (after, at["norm1"], edit),
            "attn.out_raw": (after, at["attn"], edit),
            "attn.out": (after, at["attn_added"], edit),
            "mlp.in": (before, at["norm2"], edit),
            "mlp.norm": (after, at["norm2"], edit),
            "mlp.pre": (after, at["pre"], neurons),
            "mlp.up": (after, at.get("up"), neurons),
            "mlp.post": (before, at["down"], neurons),
            "mlp.out_raw": (after, at["mlp"], edit),
            "mlp.out": (after, at["mlp_added"], edit),
        }
        if site in places:
            where, module, change = places[site]
            return where(hooks, module, change)
        return self._edit_scale(hooks, at["norm1" if site == "attn.norm_scale" else "norm2"], edit)

    def _edit_positions(self, hooks, edit):
        """Another position embedding is a change of what enters the first layer."""
        table = {}
        after(hooks, self.paths.positions, lambda x: table.setdefault("own", x))

        def change(entered):
            own = table["own"].expand(entered.shape)
            return entered + (edit(own) - own)

        after(hooks, self.paths.embed, change)

    def _edit_scale(self, hooks, norm, edit):
        """The norm computed again with another divisor."""
        seen = {}
        before(hooks, norm, lambda x: seen.setdefault("x", x))
        change = lambda _: self.paths.normed(norm, seen["x"], edit(self.paths.divisor(norm, seen["x"])))  # noqa: E731
        after(hooks, norm, change)

    def _edit_mid(self, hooks, layer, at, edit):
        """resid_mid := v as attn.out := v - resid_pre."""
        seen = {}
        before(hooks, layer, lambda x: seen.setdefault("pre", x))
        after(hooks, at["attn_added"], lambda out: edit(seen["pre"] + out) - seen["pre"])

    def _edit_copies(self, hooks, at, index, port, edit):
        """Attention computed again, the query, key or value of every head from an edited copy of its own."""
        seen = {}
        before(hooks, at["norm1"], lambda x: seen.setdefault("x", x))

        def attention(_):
            x, norm = seen["x"], at["norm1"]
            made = self.made(at["attn"], self.paths.normed(norm, x, self.paths.divisor(norm, x)), index)
            for head, copy in enumerate(edit(x[:, None].repeat(1, made[0].shape[1], 1, 1)).unbind(1)):
                own = self.made(
                    at["attn"], self.paths.normed(norm, copy, self.paths.divisor(norm, copy)), index
                )
                made[port][:, head] = own[port][:, head]
            return self._attended(at["attn"], *made, index, lambda _, value: value)

        after(hooks, at["attn"], attention)

    def made(self, attn, x, index):
        """Queries, keys and values of every query head from a normed input."""
        q, k, v = self.paths.qkv(attn, x, index)
        group = q.shape[1] // k.shape[1]
        return [q.clone(), k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)]

    def _edit_attention(self, hooks, attn, index, site, edit):
        """The whole output of an attention module computed again, with one of its sites edited."""
        seen = {}
        before(hooks, attn, lambda x: seen.setdefault("x", x))
        visit = lambda name, value: edit(value) if name == site else value  # noqa: E731
        after(hooks, attn, lambda _: self.attention(attn, seen["x"], index, visit))


def before(hooks, module, change):
    """Replace the first argument of a module by `change` of it."""

    def hook(_, args, kwargs):
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    hooks.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def after(hooks, module, change):
    """Replace the output of a module, or its first item, by `change` of it."""

    def hook(_, args, output):
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    hooks.callback(module.register_forward_hook(hook).remove)
