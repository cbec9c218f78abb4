"""Direct logit attribution against the norms and unembeddings of each family written out."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from tests.semantics.conftest import TECHNIQUES
from tests.semantics.tables import EVEN, PEOPLE, same

TRIED_ON = TECHNIQUES
DIFFERENCE = "metric difference(r) = logit(r, yes) - logit(r, no)\n"


@torch.no_grad()
def directly(fam, values, part, at, token):
    """What a part of the stream [dim] at a position adds to a token's logit, and the rest that is bias."""
    norm, u = fam.reference.final, fam.plain.lm_head.weight[token]
    gain = norm.weight + (1 if fam.name == "gemma3_text" else 0)
    if fam.reference.centred:
        part = part - part.mean()
    bias = norm.bias @ u if fam.reference.centred else torch.tensor(0.0)
    raw = values["final_norm", None][at] @ u
    share = values["logits", None][at, token] / raw
    return float(share * ((part * gain / values["final_norm_scale", None][at]) @ u)), float(share * bias)


def post(fam, values, layer, block, part, at):
    """A part of what a block puts out, behind the block's post-norm with its divisor frozen."""
    if fam.name != "gemma3_text":
        return part
    modules = fam.reference.layers[layer]
    norm = modules.post_attention_layernorm if block == "attn" else modules.post_feedforward_layernorm
    raw = values[f"{block}.out_raw", layer][at]
    return part * (1 + norm.weight) / (raw.pow(2).mean() + fam.reference.eps).sqrt()


def tokens(fam, item):
    return fam.speak.one(" " + item.row["a"]), fam.speak.one(" " + item.row["b"])


def test_parts_of_a_difference_of_logits(fam, gbx):
    """Embedding, blocks, heads and neurons or experts, by the metric's name and written out, through post-norms."""
    mixture = fam.name == "mixtral"
    body = """experiment e {
  measure embedding = attribution(clean.embed[last], difference)
  measure attn[layer] = attribution(clean.attn.out[layer, last], difference)
  measure mlp[layer] = attribution(clean.mlp.out[layer, last], logit(clean, yes) - logit(clean, no))
  measure heads[layer, head] = attribution(clean.attn.z[layer, head, last], difference)
  measure results[layer, head] = attribution(clean.attn.result[layer, head, last], -logit(clean, no)+logit(clean, yes))
  measure neurons[layer, neuron] = attribution(clean.mlp.post[layer, neuron, last], difference)
  measure one[l: layer in {1, 0}, n: neuron in [3, 5]] = attribution(clean.mlp.post[l, n, last], 2 * difference(clean))
  measure stream[layer] = attribution(clean.resid_post[layer, last], difference(clean) / 2)
  measure elsewhere[layer] = attribution(clean.attn.out[layer, c], difference)
}"""
    if mixture:
        lines = [line for line in body.splitlines() if "mlp.post" not in line]
        experts = "  measure experts[layer, expert] = attribution(clean.expert.out[layer, expert, last], difference)"
        body = "\n".join([*lines[:-1], experts, "}"])
    found = gbx(DIFFERENCE + PEOPLE.text + body, fam)
    expected = {}
    for item in PEOPLE.items(fam):
        values, at = fam.run(item.clean), len(item.clean) - 1

        def add(name, part, *cell, at=at, values=values, item=item):
            parts = [directly(fam, values, part, at, t)[0] for t in tokens(fam, item)]
            expected.setdefault(name, {})[(fam.name, item.number, *cell)] = parts[0] - parts[1]

        add("embedding", values["embed", None][at])
        for layer in range(fam.reference.n_layers):
            add("attn", values["attn.out", layer][at], layer)
            add("mlp", values["mlp.out", layer][at], layer)
            add("stream", values["resid_post", layer][at], layer)
            expected.setdefault("elsewhere", {})[fam.name, item.number, layer] = 0.0
            for head in range(fam.reference.n_heads):
                result = post(fam, values, layer, "attn", values["attn.result", layer][head, at], at)
                add("heads", result, layer, head)
            if mixture:
                for expert, weight in enumerate(values["router.weights", layer][:, at]):
                    if weight > 0:  # elsewhere the expert has no output
                        add("experts", weight * values["expert.out", layer][expert, at], layer, expert)
                continue
            rows = values["mlp.post", layer][:, at, None] * fam.reference.down(layer)
            for neuron, row in enumerate(rows):
                add("neurons", post(fam, values, layer, "mlp", row, at), layer, neuron)
    expected["results"] = expected["heads"]
    expected["stream"] = {k: v / 2 for k, v in expected["stream"].items()}
    if not mixture:
        expected["one"] = {k: 2 * v for k, v in expected["neurons"].items() if k[2] < 2 and k[3] in (3, 5)}
    for name, cells in expected.items():
        same(found, name, cells)


def test_the_parts_and_biases_sum_to_the_metric(fam, gbx):
    """Exactly: the final norm's bias and the projections' are all that no part has. Also in an edited run."""
    stream = "resid_pre" if fam.reference.parallel else "resid_mid"
    found = gbx(DIFFERENCE + EVEN.text + "experiment e {\n"
      f"run edited[layer] = forward(clean) {{ mlp.out[layer, c] *= 3  {stream}[layer, last] += 0.5 * self }}\n" """
  measure whole = difference(clean)
  measure blocks = attribution(clean.embed[last], difference)
    + sum(attribution(clean.attn.out[layer, last], difference), over: layer)
    + sum(attribution(clean.mlp.out[layer, last], difference), over: layer)
  measure ends[layer] = difference(edited) - attribution(edited.resid_post[-1, last], difference)
  measure everywhere = sum(attribution(clean.resid_post[-1, pos], difference), over: pos)
  measure every = attribution(clean.resid_post[-1, pos], logit(clean, yes, at: pos))
  measure there = logit(clean, yes, at: pos)
}""", fam)  # fmt: skip
    whole, bias, each = {}, {}, {}
    for item in EVEN.items(fam):
        values, at = fam.run(item.clean), len(item.clean) - 1
        yes, no = tokens(fam, item)
        whole[fam.name, item.number] = float(values["logits", None][at, yes] - values["logits", None][at, no])
        zero = torch.zeros_like(values["embed", None][at])
        bias[fam.name, item.number] = (
            directly(fam, values, zero, at, yes)[1] - directly(fam, values, zero, at, no)[1]
        )
        for place in range(len(item.clean)):
            end = values["resid_post", fam.reference.n_layers - 1][place]
            each[fam.name, item.number, place] = directly(fam, values, end, place, yes)[0]
    same(found, "whole", whole)
    same(found, "blocks", {k: whole[k] - bias[k] for k in whole})
    same(found, "everywhere", {k: whole[k] - bias[k] for k in whole})
    same(found, "every", each)
    if not fam.reference.centred:
        assert max(abs(v) for v in found.values["ends"].values()) < 1e-4
        same(found, "every", found.values["there"])


def test_sets_of_tokens_and_of_heads(fam, gbx):
    """A set of answers has the mean; a set of heads leaves the other cells out."""
    table = PEOPLE.text.replace("answer no", 'answer both = [" {a}", " {b}"]\n  answer no')
    found = gbx(table + """experiment e {
  measure mean_of[layer] = attribution(clean.mlp.out[layer, last], logit(clean, both))
  measure some = attribution(clean.attn.z[{(0, 1), (1, 2)}, last], logit(clean, yes))
}""", fam)  # fmt: skip
    mean, some = {}, {}
    for item in PEOPLE.items(fam):
        values, at = fam.run(item.clean), len(item.clean) - 1
        for layer in range(fam.reference.n_layers):
            parts = [directly(fam, values, values["mlp.out", layer][at], at, t)[0] for t in tokens(fam, item)]
            mean[fam.name, item.number, layer] = sum(parts) / 2
        for layer, head in ((0, 1), (1, 2)):
            result = post(fam, values, layer, "attn", values["attn.result", layer][head, at], at)
            some[fam.name, item.number, layer, head] = directly(
                fam, values, result, at, tokens(fam, item)[0]
            )[0]
    same(found, "mean_of", mean)
    same(found, "some", some)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("attribution(clean.attn.q[0, 0, last], logit(clean, yes))", "no part of the stream"),
        ("attribution(clean.mlp.out[0, last], prob(clean, yes))", "not linear in logits"),
        ("attribution(clean.mlp.out[0, last], logit(clean, yes) * logit(clean, no))", "not linear in logits"),
        ("attribution(clean.mlp.out[0, last], logit(clean, yes) - 3)", "not linear in logits"),
        ("attribution(clean.mlp.out[0, last], logit(corrupt, yes))", "about one run"),
        ("attribution(clean.mlp.out[0, last])", "it takes 2 values"),
    ],
)
def test_what_cannot_be_attributed(llama, gbx, call, said):
    with pytest.raises(Findings) as refused:
        gbx(PEOPLE.text + "experiment e {\n  measure m = " + call + "\n}", llama)
    [finding] = refused.value.diagnostics
    assert said in f"{finding.headline} {finding.label}"
