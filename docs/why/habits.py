"""Four habits made for GPT-2, applied to a Llama-family and a Gemma-3 model with plain transformers and hooks.

Each function takes a `Subject` and returns what the habit reports, and what it should: numbers averaged over items
unless the name says otherwise. Nothing of Glassbox is imported here: this is what one would write without it.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer


@dataclass
class Item:
    """A prompt, one that differs in one name, and the two answers as token ids."""

    clean: Tensor
    corrupt: Tensor
    target: int
    distractor: int

    def difference(self, logits: Tensor) -> float:
        """The logit difference of logits [vocab]."""
        return float(logits[self.target] - logits[self.distractor])


@dataclass
class Subject:
    """A model with its items."""

    model: nn.Module
    items: list[Item]

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks."""
        return self.model.model.layers


def load(folder: str, rows: list[tuple[str, str, str, str]]) -> Subject:
    """A checkpoint in float32, and rows of (clean, corrupt, target, distractor) as tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")

    def word(text: str) -> int:
        (token,) = tokenizer(text, add_special_tokens=False).input_ids
        return token

    items = [
        Item(
            *(tokenizer(t, return_tensors="pt").input_ids for t in (clean, corrupt)),
            word(target),
            word(other),
        )
        for clean, corrupt, target, other in rows
    ]
    return Subject(model.eval().requires_grad_(False), items)


def last_logits(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits [vocab] at the last position."""
    with torch.inference_mode():
        return model(ids, logits_to_keep=1).logits[0, -1]


def mean(numbers: list[float]) -> float:
    """The mean over items."""
    return sum(numbers) / len(numbers)


@contextmanager
def hooked(module: nn.Module, hook: object, before: bool = False):  # noqa: ANN201
    """A hook on a module, gone afterwards."""
    handle = (module.register_forward_pre_hook if before else module.register_forward_hook)(hook)
    try:
        yield
    finally:
        handle.remove()


# ---------------------------------------------------------------- 1


def norm_again(subject: Subject) -> dict[str, float]:
    """`hidden_states[-1]` taken for the state before the final norm: it is the one behind it."""
    model, says, right, furthest, changed = subject.model, [], [], [], []
    for item in subject.items:
        with torch.inference_mode():
            out = model(item.clean, output_hidden_states=True)
            habit = model.lm_head(model.model.norm(out.hidden_states[-1][0, -1]))
        own = out.logits[0, -1]
        says.append(float(habit[item.target]))
        right.append(float(own[item.target]))
        furthest.append(float((habit - own).abs().max()))
        changed.append(float(habit.argmax() != own.argmax()))
    return {
        "logit of the answer, as the habit has it": mean(says),
        "logit of the answer": mean(right),
        "largest error of any logit": max(furthest),
        "share of prompts whose first token changes": mean(changed),
    }


# ---------------------------------------------------------------- 2


def values_per_head(subject: Subject) -> dict[str, float]:
    """The value of `head h` patched as channels h * d_head.. of `v_proj`, as there is one value per head in GPT-2."""
    seen = [Seen(subject, item) for item in subject.items]
    errors, effects, silent = [], [], []
    for layer in depths(len(subject.layers)):
        for head in range(subject.model.config.num_attention_heads):
            habit = [one.slice_patched(layer, head) for one in seen]
            right = mean([one.head_patched(layer, head) for one in seen])
            errors.append(abs(mean(habit) - right))
            effects.append(abs(right))
            silent.append(float(all(effect == 0 for effect in habit)))
    return {
        "largest effect of one head": max(effects),
        "largest error": max(errors),
        "share of heads that the habit reports as exactly 0": mean(silent),
    }


def depths(n_layers: int) -> list[int]:
    """The layers at 25%, 50% and 75%."""
    return [int(share * (n_layers - 1) + 0.5) for share in (0.25, 0.5, 0.75)]


def group_effects(subject: Subject) -> dict[tuple[int, int], float]:
    """The effect of the values of a whole group, by layer and group: what the language calls `kv_head`."""
    seen = [Seen(subject, item) for item in subject.items]
    return {
        (layer, group): mean([one.slice_patched(layer, group) for one in seen])
        for layer in depths(len(subject.layers))
        for group in range(subject.model.config.num_key_value_heads)
    }


class Seen:
    """One item: its unedited logit difference, its patterns, and the values of its corrupt prompt."""

    def __init__(self, subject: Subject, item: Item) -> None:
        self.subject, self.item = subject, item
        config = subject.model.config
        self.width, self.sharing = config.head_dim, config.num_attention_heads // config.num_key_value_heads
        with torch.inference_mode():
            out = subject.model(item.clean, output_attentions=True)
        self.patterns = out.attentions
        self.base = item.difference(
            last_logits(subject.model, item.clean)
        )  # as patched passes are made, to the bit
        self.values: list[Tensor] = []
        projections = [layer.self_attn.v_proj for layer in subject.layers]
        keep = [p.register_forward_hook(lambda _, __, out: self.values.append(out)) for p in projections]
        last_logits(subject.model, item.corrupt)
        for handle in keep:
            handle.remove()

    def slice_patched(self, layer: int, head: int) -> float:
        """The effect of one slice of the corrupt prompt's values; beyond the last group the slice is empty."""
        channels = slice(head * self.width, (head + 1) * self.width)

        def patch(_: nn.Module, __: object, out: Tensor) -> Tensor:
            out = out.clone()
            out[..., channels] = self.values[layer][..., channels]
            return out

        with hooked(self.subject.layers[layer].self_attn.v_proj, patch):
            return self._effect()

    def head_patched(self, layer: int, head: int) -> float:
        """The effect where one query head alone reads the corrupt prompt's values, through its own pattern."""
        group = head // self.sharing
        values = self.values[layer][0, :, group * self.width : (group + 1) * self.width]
        mixed = self.patterns[layer][0, head] @ values

        def patch(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            heads = args[0].clone()
            heads[0, :, head * self.width : (head + 1) * self.width] = mixed
            return (heads, *args[1:])

        with hooked(self.subject.layers[layer].self_attn.o_proj, patch, before=True):
            return self._effect()

    def _effect(self) -> float:
        return self.item.difference(last_logits(self.subject.model, self.item.clean)) - self.base


# ---------------------------------------------------------------- 3


def folded(subject: Subject) -> dict[str, float]:
    """LayerNorm folded into a model that has none: writing matrices centred, gains multiplied into the next matrix."""
    model = fold(subject.model)
    says, right, apart, changed = [], [], [], []
    for item in subject.items:
        own, other = last_logits(subject.model, item.clean), last_logits(model, item.clean)
        says.append(item.difference(other))
        right.append(item.difference(own))
        p, q = own.log_softmax(-1), other.log_softmax(-1)
        apart.append(float((p.exp() * (p - q)).sum()))
        changed.append(float(own.argmax() != other.argmax()))
    return {
        "logit difference, as the habit has it": mean(says),
        "logit difference": mean(right),
        "KL(model || folded model), nats": mean(apart),
        "share of prompts whose first token changes": mean(changed),
    }


def fold(model: nn.Module) -> nn.Module:
    """The model as `fold_ln` and `center_writing_weights` would leave a GPT-2.

    Generous to the habit: a folded norm multiplies by exactly 1, also where its weight is stored less one.
    """
    model = deepcopy(model)
    with torch.no_grad():
        model.lm_head.weight = nn.Parameter(
            model.lm_head.weight.clone()
        )  # tied: the unembedding stays as it was
        unit = 0.0 if "gemma" in model.config.model_type else 1.0
        embedding = model.model.embed_tokens.weight
        embedding.sub_(embedding.mean(-1, keepdim=True))
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            for matrix in (attention.o_proj, mlp.down_proj):  # [out, in]: what is written varies along dim 0
                matrix.weight.sub_(matrix.weight.mean(0, keepdim=True))
            before_mlp = getattr(layer, "pre_feedforward_layernorm", layer.post_attention_layernorm)
            _fold_gain(layer.input_layernorm, unit, attention.q_proj, attention.k_proj, attention.v_proj)
            _fold_gain(before_mlp, unit, mlp.gate_proj, mlp.up_proj)
        _fold_gain(model.model.norm, unit, model.lm_head)
    return model


def _fold_gain(norm: nn.Module, unit: float, *readers: nn.Module) -> None:
    for reader in readers:
        reader.weight.mul_(norm.weight)
    norm.weight.fill_(unit)


# ---------------------------------------------------------------- 4


def raw_contributions(subject: Subject) -> dict[str, float]:
    """Direct attribution of the outputs of attention and MLP modules, taken for what they add to the stream."""
    model, says, right = subject.model, [], []
    modules = [m for layer in subject.layers for m in (layer.self_attn, layer.mlp)]
    for item in subject.items:
        kept: list[Tensor] = []
        ends: list[Tensor] = []

        def keep(_: nn.Module, __: object, out: Tensor, kept: list[Tensor] = kept) -> None:
            kept.append((out[0] if isinstance(out, tuple) else out)[0, -1])

        def entered(_: nn.Module, args: tuple[Tensor, ...], kept: list[Tensor] = kept) -> None:
            kept.append(args[0][0, -1])

        handles = [module.register_forward_hook(keep) for module in modules]
        handles.append(subject.layers[0].register_forward_pre_hook(entered))
        handles.append(
            model.model.norm.register_forward_pre_hook(lambda _, a, ends=ends: ends.append(a[0][0, -1]))
        )
        right.append(item.difference(last_logits(model, item.clean)))
        for handle in handles:
            handle.remove()
        with torch.inference_mode():
            scale = model.model.norm(ends[0]) / ends[0]  # the frozen final norm, channel by channel
            parts = model.lm_head(torch.stack(kept) * scale)
        says.append(sum(item.difference(part) for part in parts))
    return {"sum of all contributions, as the habit has it": mean(says), "logit difference": mean(right)}
