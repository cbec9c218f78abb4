"""The oracle itself: equal to the untouched eager models, with and without edits."""

import torch

from tests.semantics.conftest import TECHNIQUES
from tests.semantics.reference import setting

TRIED_ON = TECHNIQUES


def test_reference_equals_the_untouched_model(fam):
    ids = fam.speak.prompt("When Anna and Bob went to the store the dog gave a Zebulon")
    with torch.no_grad():
        out = fam.plain(torch.tensor([ids]), output_hidden_states=True)
    values = fam.run(ids)
    torch.testing.assert_close(values["logits", None], out.logits[0], atol=1e-4, rtol=1e-4)
    for layer in range(fam.reference.n_layers):
        torch.testing.assert_close(
            values["resid_pre", layer], out.hidden_states[layer][0], atol=1e-4, rtol=1e-4
        )


def test_reference_edits_equal_hooks(fam):
    ids = fam.speak.prompt("When Anna and Bob went to the store")
    attention = fam.reference.attention_of(fam.reference.layers[1])

    def halve(_, __, out):
        return (out[0] * -0.5, *out[1:])

    hook = attention.register_forward_hook(halve)
    with torch.no_grad():
        out = fam.plain(torch.tensor([ids])).logits[0]
    hook.remove()
    values = fam.run(ids, setting("attn.out_raw", 1, slice(None), lambda x: x * -0.5))
    torch.testing.assert_close(values["logits", None], out, atol=1e-4, rtol=1e-4)
    assert (out - fam.run(ids)["logits", None]).abs().max() > 1e-2


def test_words_are_tokens(fam):
    from tests.semantics.conftest import WORDS

    assert all(len(fam.speak.ids(" " + w)) == 1 for w in WORDS)
    assert len(fam.speak.ids(" Zebulon")) > 2
