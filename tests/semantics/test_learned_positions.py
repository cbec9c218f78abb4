"""A model that has learned a vector for each position takes no prompt that needs more; others do."""

import pytest

from glassbox_dsl.diagnostics import Findings

TEXT = """
data d {{
  rows [{{a: "Anna", w: "{words}", t: "red"}}, {{a: "Bob", w: "the", t: "red"}}]
  prompt clean = "{{w}} {{a}}"
  answer next = " {{t}}"
}}
experiment e {{
  run written = generate(clean, max_new_tokens: {new})
  measure m = logprob(clean, next)
  measure said = text(written)
}}
"""


def asked(words: int, new: int = 1) -> str:
    return TEXT.format(words=" ".join(["the"] * words), new=new)


@pytest.mark.parametrize(
    "text, label",
    [
        (asked(600), "tokens"),
        (asked(1, new=600), "and 600 behind it"),
    ],
)
def test_a_prompt_without_positions_is_refused_before_weights_are_loaded(text, label, checkpoints, gbx):
    with pytest.raises(Findings) as raised:
        gbx(text, checkpoints["gpt2"])
    (found,) = raised.value.diagnostics
    assert found.code == "GB349" and label in str(found) and found.span.text.startswith("prompt clean")


def test_the_last_position_can_be_used(checkpoints, gbx):
    assert gbx(asked(100), checkpoints["gpt2"]).values["m"]


def test_rotary_positions_have_no_end(checkpoints, gbx):
    assert gbx(asked(600), checkpoints["llama"]).values["m"]
