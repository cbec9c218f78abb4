"""Edges worked out on the written-out families: scores by autograd and one change at a time, circuits kept by edits.

Nothing here comes from the package but the names under which edges are stored.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack

import torch
from transformers import AutoModelForCausalLM

from tests.semantics.reference import PORTS, visited
from tests.semantics.test_paths import added


def senders(fam):
    """(site, layer, head) of everything that is added to the stream, in its order."""
    yield "embed", None, None
    for layer in range(fam.reference.n_layers):
        yield from (("attn.result", layer, head) for head in range(fam.reference.n_heads))
        yield "mlp.out", layer, None


def receivers(fam):
    """(site, layer, head) of everything that reads the stream, in its order."""
    for layer in range(fam.reference.n_layers):
        for port in PORTS:
            yield from ((f"attn.{port}", layer, head) for head in range(fam.reference.n_heads))
        yield "mlp.in", layer, None
    yield "resid_post", fam.reference.n_layers - 1, None


def hears(receiver, sender, parallel=False):
    """Whether a sender comes before a receiver; heads and MLP of a parallel block do not hear each other."""
    (site, layer, _), (sent, below, _) = receiver, sender
    if sent == "embed" or site == "resid_post":
        return True
    return below < layer or (not parallel and below == layer and site == "mlp.in" and sent == "attn.result")


def name(node):
    """What a node is called in the store."""
    site, layer, head = node
    if site == "resid_post":
        return "resid_post[-1]"
    return site if layer is None else f"{site}[{layer}]" if head is None else f"{site}[{layer}, {head}]"


def edges_of(fam):
    """All edges, as (receiver, sender)."""
    parallel = fam.reference.parallel
    return [(r, s) for r in receivers(fam) for s in senders(fam) if hears(r, s, parallel)]


def of_heads(fam, own, other, layer, heads):
    """How what attention adds changes when some heads put out what they do in another run (None: nothing)."""
    if not heads:
        return 0.0
    raw = own["attn.out_raw", layer]
    there = torch.zeros_like(own["attn.result", layer]) if other is None else other["attn.result", layer]
    new = raw + sum(there[head] - own["attn.result", layer][head] for head in heads)
    return added(fam, layer, "attn", new) - added(fam, layer, "attn", raw)


def change(fam, own, other, some):
    """How the stream changes when some senders put out what they do in another run."""
    found = 0.0
    for site, layer in {(s, k) for s, k, _ in some if s != "attn.result"}:
        found = found + (0.0 if other is None else other[site, layer]) - own[site, layer]
    for layer in {k for s, k, _ in some if s == "attn.result"}:
        found = found + of_heads(
            fam, own, other, layer, [h for s, k, h in some if (s, k) == ("attn.result", layer)]
        )
    return found


def sending(fam, outside, other):
    """An edit in which the edges outside (receiver, sender) carry what senders put out in another run."""
    own = {}

    def edit(site, layer, value):
        mine = [r for r in receivers(fam) if r[:2] == (site, layer)]
        for receiver in mine:
            some = [s for r, s in outside if r == receiver]
            if some:
                moved = change(fam, own, other, some)
                value = value.clone()
                if receiver[2] is None:
                    value = value + moved
                else:
                    value[receiver[2]] = value[receiver[2]] + moved
        own[site, layer] = value
        return value

    return edit


def slopes(fam, ids, metric, edits=()):
    """The values of a pass, and the slope of a number of it in what every receiver reads."""
    leaves = {}
    wanted = {r[:2] for r in receivers(fam)}

    def edit(site, layer, value):
        if (site, layer) not in wanted:
            return None
        leaves[site, layer] = torch.zeros_like(value, requires_grad=True)
        return value + leaves[site, layer]

    fam.plain.requires_grad_(False)
    values = type(fam.reference).run.__wrapped__(fam.reference, ids, *edits, edit)
    found = torch.autograd.grad(metric(values), list(leaves.values()))
    return {k: v.detach() for k, v in values.items()}, dict(zip(leaves, found, strict=True))


def scores(fam, own, other, slope):
    """The score of every edge of one item: the slope in what is read, times the change that one sender makes there."""
    found = {}
    for receiver, sender in edges_of(fam):
        at = slope[receiver[:2]]
        at = at if receiver[2] is None else at[receiver[2]]
        found[name(sender), name(receiver)] = float((at * change(fam, own, other, [sender])).sum())
    return found


def connected(edges):
    """Those of some edges [(sender, receiver) names] that lie on a way from the embedding to the end."""

    def node(receiver):
        for port in PORTS:
            receiver = receiver.replace(f"attn.{port}", "attn.result")
        return receiver.replace("mlp.in", "mlp.out")

    while True:
        read = {node(r) for _, r in edges} | {"embed"}
        sent = {s for s, _ in edges} | {"resid_post[-1]"}
        kept = {(s, r) for s, r in edges if s in read and node(r) in sent}
        if kept == edges:
            return kept
        edges = kept


class Split:
    """An untouched model of transformers with plain hooks, in which every head reads copies of its own.

    Keys and values that heads share are given to each by a model without groups: the same weights, repeated. `run` is
    that of the written-out families, for the sites that edges begin and end at.
    """

    def __init__(self, model):
        self.parallel = model.config.model_type == "gpt_neox"
        self.model = ungrouped(model).requires_grad_(False)
        config = self.model.config
        self.n_layers, self.n_heads = config.num_hidden_layers, config.num_attention_heads
        base = self.model.gpt_neox if self.parallel else self.model.model
        self.embed = base.embed_in if self.parallel else base.embed_tokens
        self.final = base.final_layer_norm if self.parallel else base.norm
        self.layers = base.layers

    @torch.no_grad()
    def run(self, ids, *edits):
        values, visit = visited(edits)
        with ExitStack() as stack:
            for module, hook, before in self.hooks(visit):
                register = module.register_forward_pre_hook if before else module.register_forward_hook
                stack.callback(register(hook).remove)
            logits = self.model(torch.tensor([list(ids)]), use_cache=False).logits[0]
        values["logits", None] = logits
        return values

    def hooks(self, visit):
        """(module, hook, whether it sees what goes in) for every site."""
        yield self.embed, lambda _, args, out: visit("embed", None, out[0])[None], False
        yield self.final, lambda _, args: (visit("resid_post", self.n_layers - 1, args[0][0])[None],), True
        for number, layer in enumerate(self.layers):
            yield from self.of_layer(number, layer, visit)

    def of_layer(self, number, layer, visit):
        attn = layer.attention if self.parallel else layer.self_attn
        out = attn.dense if self.parallel else attn.o_proj
        stream = {}

        def entered(_, args):
            stream["now"] = args[0][0]

        def read(port):
            """What each head makes of its own copy, [head, pos, d_head]."""
            own = visit(f"attn.{port}", number, stream["now"].expand(self.n_heads, *stream["now"].shape))
            weight, bias = self.weights(attn, PORTS.index(port))
            made = layer.input_layernorm.forward(own) @ weight.transpose(1, 2)
            return made if bias is None else made + bias[:, None]

        def fused(_, args, whole):
            made = torch.stack([read(port) for port in PORTS], 1)  # [head, port, pos, d_head]
            return made.permute(2, 0, 1, 3).reshape(whole.shape)

        def put_out(_, args, whole):
            heads = args[0][0].unflatten(-1, (self.n_heads, -1)).transpose(0, 1)
            weight = out.weight.T.unflatten(0, (self.n_heads, -1))
            visit("attn.result", number, heads @ weight)
            visit("attn.out_raw", number, whole[0])

        yield layer, entered, True
        if self.parallel:
            yield attn.query_key_value, fused, False
        else:
            for port, name in zip(PORTS, ("q_proj", "k_proj", "v_proj"), strict=True):
                yield (
                    getattr(attn, name),
                    lambda _, args, whole, p=port: read(p).transpose(0, 1).reshape(whole.shape),
                    False,
                )
        yield out, put_out, False
        norm = layer.post_attention_layernorm
        yield norm, lambda _, args: (visit("mlp.in", number, args[0][0])[None],), True
        yield layer.mlp, lambda _, args, whole: visit("mlp.out", number, whole[0])[None], False

    def weights(self, attn, port):
        """[head, d_head, dim] and [head, d_head] or None."""
        if self.parallel:
            fused = attn.query_key_value
            return tuple(w.unflatten(0, (self.n_heads, 3, -1))[:, port] for w in (fused.weight, fused.bias))
        module = getattr(attn, ("q_proj", "k_proj", "v_proj")[port])
        return module.weight.unflatten(0, (self.n_heads, -1)), None


def ungrouped(model):
    """The same model with keys and values for every head."""
    config = copy.deepcopy(model.config)
    heads, groups = (
        config.num_attention_heads,
        getattr(config, "num_key_value_heads", config.num_attention_heads),
    )
    if heads == groups:
        return model
    config.num_key_value_heads = heads
    other = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    weights = {
        name: w.unflatten(0, (groups, -1)).repeat_interleave(heads // groups, 0).flatten(0, 1)
        if ".k_proj." in name or ".v_proj." in name else w
        for name, w in model.state_dict().items()
    }  # fmt: skip
    other.load_state_dict(weights)
    return other
