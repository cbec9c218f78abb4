"""`mlp.result`: a neuron's share of the MLP's output, against its activation times its row of the down-projection."""

import pytest
import torch

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import evaluate
from glassbox_dsl.run.instrument import Instrument
from tests.semantics.tables import PEOPLE, same

TRIED_ON = ("llama", "gemma3_text", "gpt2", "gpt_neox")
DIFFERENCE = "metric difference(r) = logit(r, yes) - logit(r, no)\n"


def results(fam, values, layer):
    """[neuron, pos, dim]: what every neuron adds before a post-norm or multiplier."""
    with torch.no_grad():
        return values["mlp.post", layer][:, :, None] * fam.reference.down(layer)[:, None, :]


BODY = """experiment e {
  measure every[layer, neuron] = norm(clean.mlp.result[layer, neuron, last])
  measure one[layer] = norm(clean.mlp.result[layer, 3, c])
  measure named[l: layer in {1, 0}, n: neuron in [3, 5]] = norm(clean.mlp.result[l, n, last])
  measure pairs[(layer, neuron) in {(0, 7), (1, 2)}] = norm(clean.mlp.result[layer, neuron, last])
  measure coordinate[neuron] = clean.mlp.result[1, neuron, last, dim: 5]
  measure whole[layer] = norm(sum(clean.mlp.result[layer, neuron, last], over: neuron))
  measure along[neuron] = cos(clean.mlp.result[0, neuron, last], clean.resid_post[0, last])
  measure everywhere[pos] = norm(clean.mlp.result[-1, 4, pos])
  run cut[layer] = forward(clean) { mlp.post[layer, 3, last] *= 2 }
  measure after[layer] = norm(cut.mlp.result[layer, 3, last])
  run added = forward(clean) { resid_pre[1, last] += corrupt.mlp.result[0, 2, last] }
  measure moved = difference(added)
}"""


def test_a_neurons_share_is_its_activation_times_its_row(fam, gbx, monkeypatch):
    """In every form of an index, at an edited neuron, and as the value of an edit; however the cells are cut up."""
    monkeypatch.setattr(evaluate, "WIDE_BYTES", 4000)
    found = gbx(DIFFERENCE + PEOPLE.text + BODY, fam)
    want = {}
    for item in PEOPLE.items(fam):
        values, at = fam.run(item.clean), len(item.clean) - 1
        label = item.clean.last("c")
        put = lambda name, number, *cell, item=item: want.setdefault(name, {}).update(  # noqa: E731
            {(fam.name, item.number, *cell): float(number)}
        )
        for layer in range(fam.reference.n_layers):
            own = results(fam, values, layer)

            put("one", own[3, label].norm(), layer)
            put("whole", own[:, at].sum(0).norm(), layer)
            put("after", 2 * own[3, at].norm(), layer)
            for neuron in range(len(own)):
                put("every", own[neuron, at].norm(), layer, neuron)
        for layer in (0, 1):
            for neuron in (3, 5):
                put("named", results(fam, values, layer)[neuron, at].norm(), layer, neuron)
        for layer, neuron in ((0, 7), (1, 2)):
            put("pairs", results(fam, values, layer)[neuron, at].norm(), layer, neuron)
        stream = values["resid_post", 0][at]
        for neuron, row in enumerate(results(fam, values, 0)[:, at]):
            put("along", torch.cosine_similarity(row, stream, dim=0), neuron)
            put("coordinate", results(fam, values, 1)[neuron, at, 5], neuron)
        for place in range(len(item.clean)):
            put("everywhere", results(fam, values, fam.reference.n_layers - 1)[4, place].norm(), place)
        other = fam.run(item.corrupt)
        extra = results(fam, other, 0)[2, len(item.corrupt) - 1]

        def add(site, layer, value, at=at, extra=extra):
            if (site, layer) != ("resid_pre", 1):
                return None
            value = value.clone()
            value[at] += extra
            return value

        logits = fam.run(item.clean, add)["logits", None][at]
        yes, no = (fam.speak.one(" " + item.row[name]) for name in ("a", "b"))
        put("moved", logits[yes] - logits[no])
    for name, cells in want.items():
        same(found, name, cells)
    assert set(want) >= {"every", "named", "pairs", "along", "whole", "after", "coordinate", "moved"}


def test_shares_and_the_bias_sum_to_the_output(fam, gbx):
    found = gbx(PEOPLE.text + """experiment e {
  measure left[layer] = norm(
    clean.mlp.out_raw[layer, last] - sum(clean.mlp.result[layer, neuron, last], over: neuron))
}""", fam)  # fmt: skip
    mlps = [layer.mlp for layer in fam.reference.layers]
    last = [
        next(getattr(m, n) for n in ("down_proj", "c_proj", "dense_4h_to_h") if hasattr(m, n)) for m in mlps
    ]
    bias = [0.0 if m.bias is None else float(m.bias.detach().norm()) for m in last]
    for (_, _, layer), number in found.values["left"].items():
        assert number == pytest.approx(bias[layer], abs=1e-5)


def test_its_attribution_is_that_of_the_neuron(fam, gbx):
    found = gbx(DIFFERENCE + PEOPLE.text + """experiment e {
  measure result[layer, neuron] = attribution(clean.mlp.result[layer, neuron, last], difference)
  measure post[layer, neuron] = attribution(clean.mlp.post[layer, neuron, last], difference)
}""", fam)  # fmt: skip
    assert found.values["result"] == found.values["post"] and any(found.values["post"].values())


def test_a_gradient_goes_through_it(llama, gbx):
    """The slope of its square norm by the neuron's activation is twice the activation times the row's square norm."""
    found = gbx(PEOPLE.text + """experiment e {
  let size = norm(clean.mlp.result[1, 4, last])
  measure slope = grad(size * size, clean.mlp.post[1, 4, last])
}""", llama)  # fmt: skip
    want = {}
    for item in PEOPLE.items(llama):
        post = llama.run(item.clean)["mlp.post", 1][4, -1]
        row = llama.reference.down(1)[4].detach()
        want[llama.name, item.number] = float(2 * post * row.pow(2).sum())
    same(found, "slope", want)


def test_only_the_rows_that_an_index_names_are_fetched(llama, gbx, monkeypatch):
    asked, own = [], Instrument.down_rows

    def noted(self, layer, neurons):
        asked.append((layer, tuple(neurons.tolist())))
        return own(self, layer, neurons)

    monkeypatch.setattr(Instrument, "down_rows", noted)
    gbx(
        PEOPLE.text
        + "experiment e {\n measure m[n: neuron in [3, 5]] = norm(clean.mlp.result[1, n, last])\n}",
        llama,
    )
    assert set(asked) == {(1, (3, 5))}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("run r = forward(clean) { mlp.result[0, 1, last] := 0 }  measure m = logit(r, yes)", "GB218"),
        ("measure m = norm(grad(logit(clean, yes), clean.mlp.result[0, 1, last]))", "GB306"),
    ],
)
def test_it_can_be_read_only(llama, gbx, body, code):
    with pytest.raises(Findings) as refused:
        gbx(PEOPLE.text + "experiment e {\n  " + body + "\n}", llama)
    [finding] = refused.value.diagnostics
    assert finding.code == code and "mlp.post" in f"{finding.label} {finding.help}"


def test_a_mixture_has_none(checkpoints, gbx):
    with pytest.raises(Findings) as refused:
        gbx(
            PEOPLE.text + "experiment e {\n  measure m = norm(clean.mlp.result[0, 1, last])\n}",
            checkpoints["mixtral"],
        )
    [finding] = refused.value.diagnostics
    assert finding.code == "GB303" and "expert.post" in finding.label
