"""The delta executor against the hooked one: every site and edit form, in experiments that hypothesis puts together."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.plan import grouping, packing
from glassbox_dsl.resolve.families import family
from glassbox_dsl.run import session as sessions
from glassbox_dsl.vocabulary.sites import sites

ROWS = [
    {"a": "Anna", "b": "Bob", "d": "Dan"},
    {"a": "Eve", "b": "Carla", "d": "Zebulon"},
    {"a": "Bob", "b": "Eve", "d": "Dan"},
    {"a": "Dan", "b": "Anna", "d": "Maximilian"},
]
LISTED = ", ".join(f'{{a: "{r["a"]}", b: "{r["b"]}", d: "{r["d"]}"}}' for r in ROWS)
DATA = f"""data d {{
  rows [{LISTED}]
  prompt clean = "When {{a}} and {{b}} went, {{c: a}} gave {{d}} a"
  prompt corrupt = "When {{a}} and {{b}} went, {{c: b}} gave {{d}} a"
  answer yes = " {{a}}"
  answer no = [" {{b}}", " {{d}}", " red"]
  answer long = " {{a}}{{d}}"
}}
metric ld(r) = logit(r, yes) - logit(r, " red")
"""
READS = (
    "ld(RUN)", "prob(RUN, no)", "logprob(RUN, long)", "rank(RUN, yes)", "correct(RUN, long)", "entropy(RUN)",
    "kl(RUN, clean)", "kl(clean, RUN)", "loss(RUN)", "loss(RUN, at: c)", "logit(RUN, yes, at: c.first)",
    "kl(RUN, other)", "norm(RUN.resid_post[-1, last])", "norm(RUN.resid_pre[1, d.first])",
    "norm(RUN.attn.z[0, 1, last])", "RUN.attn.pattern[1, 0, last, first]", "norm(RUN.final_norm[last])",
    "norm(RUN.mlp.post[1, :, last])", "RUN.attn.norm_scale[1, c]", "RUN.final_norm_scale[last]",
)  # fmt: skip


def written(name: str, layer: str, place: str, draw) -> list[str]:
    """Index texts of a site."""
    axes = sites()[name].axes
    parts = []
    for axis in axes:
        if axis == "layer":
            parts.append(layer)
        elif axis in ("pos", "query"):
            parts.append(place)
        elif axis == "key":
            parts.append(draw(st.sampled_from(["first", ":"])))
        else:
            parts.append(draw(st.sampled_from(["0", "1", ":", "{0, 1}", "not 0"])))
    return parts


@st.composite
def edits(draw, fam: str, swept: dict[str, str], sources: list[str]) -> str:
    absent = family(fam).absent
    names = [s.name for s in sites().values() if s.write and s.name not in absent]
    name = draw(st.sampled_from(names))
    layer = draw(st.sampled_from([swept["layer"], "0", "1", "-1", ":", "0..1", "{0, -1}"]))
    place = draw(
        st.sampled_from([swept["pos"], "last", "c", "c.first", "2", ":", "{c, last}", "3..5", "not last"])
    )
    target = f"{name}[{', '.join(written(name, layer, place, draw))}]"
    source = draw(st.sampled_from(sources))
    if name == "attn.scores":
        return f"{target} += {draw(st.sampled_from(['1.5', '-2']))}"
    if name.endswith("norm_scale"):
        return f"{target} {draw(st.sampled_from([f':= {source}', '*= 1.25']))}"
    form = draw(st.integers(0, 4))
    if form <= 1 or (form == 4 and sites()[name].feature is None):
        return f"{target} := {source}"
    return f"{target} {(['*= 0.5', '+= noise(scale: 0.3, seed: 1)', '-= self * 0.25'])[form - 2]}"


@st.composite
def experiments(draw, fam: str) -> str:
    swept = draw(st.sampled_from([
        {"layer": "layer", "pos": "pos", "binders": "[layer, pos]"},
        {"layer": "layer", "pos": "pos", "binders": "[layer, pos in {c, last}]"},
        {"layer": "layer", "pos": "last", "binders": "[layer]"},
        {"layer": "1", "pos": "pos", "binders": "[pos in {1, 3, d.span}]"},
    ]))  # fmt: skip
    first = draw(st.lists(edits(fam, {"layer": "1", "pos": "last"}, ["clean"]), min_size=0, max_size=2))
    second = draw(st.lists(edits(fam, swept, ["clean", "other"]), min_size=1, max_size=3))
    reads = draw(st.lists(st.sampled_from(READS), min_size=1, max_size=4, unique=True))
    prompts = draw(st.permutations(["clean", "corrupt"]))
    lines = [f"  run other = forward({prompts[0]}) {{ {'  '.join(first)} }}"]
    lines += [f"  run edited{swept['binders']} = forward({prompts[1]}) {{ {'  '.join(second)} }}"]
    lines += [f"  measure m{i} = {r.replace('RUN', 'edited')}" for i, r in enumerate(reads)]
    lines += ["  measure plain = ld(corrupt)"]
    return DATA + "experiment e {\n" + "\n".join(lines) + "\n}\n"


def outcome(gbx, text, fam, executor, monkeypatch):
    monkeypatch.setattr(sessions.Session, "executor", executor)
    try:
        return gbx(text, fam), []
    except Findings as findings:
        return None, sorted({d.code for d in findings.diagnostics})


def compare(gbx, text, fam, monkeypatch) -> bool:
    """Every number of both executors within 1e-4 of logits; whether there were any."""
    (hooked, refused), (delta, also) = (
        outcome(gbx, text, fam, executor, monkeypatch) for executor in ("hooked", "delta")
    )
    assert refused == also, text
    if hooked is None:
        return False
    assert hooked.values.keys() == delta.values.keys()
    for name, expected in hooked.values.items():
        got = delta.values[name]
        assert got.keys() == expected.keys(), (name, text)
        for key, value in expected.items():
            both_missing = got[key] != got[key] and value != value
            close = abs(got[key] - value) <= 1e-4 * max(1.0, abs(value))
            assert both_missing or close, (name, key, got[key], value, text)
    return True


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2"])
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_delta_equals_hooked(name, data, checkpoints, gbx, monkeypatch):
    text = data.draw(experiments(name))
    monkeypatch.setattr(packing, "ROWS", data.draw(st.sampled_from([4096, 60])))
    monkeypatch.setattr(grouping, "SHARED_FROM", data.draw(st.sampled_from([64, 1])))
    compare(gbx, text, checkpoints[name], monkeypatch)


FOUND = (
    # logits are made at some positions only, and an edit of them names others
    """run other = forward(corrupt) { logits[not last] += noise(scale: 0.3, seed: 1) }
  run edited = forward(clean) { attn.z[0..1, :, {c, last}] := other }
  measure m = kl(edited, other)""",
    # one member is a position, one a whole span
    """run other = forward(clean) { attn.norm_scale[1, last] *= 1.5 }
  run edited[pos in {1, 3, d.span}] = forward(corrupt) { attn.in[1, pos] := other }
  measure m = kl(edited, clean)""",
    # what a run computes with is itself edited, and stands in an earlier stage
    """run other = forward(corrupt) { resid_mid[1, :] += noise(scale: 0.3, seed: 1) }
  run edited[pos in {1, 3}] = forward(clean) { resid_post[0, pos] += other * 0.5 - self
    resid_mid[-1, not last] *= 0.5
  }
  measure m = logprob(edited, long)""",
    # edits that no cell changes carry a base of their own; one cell joins before it is whole
    """run fixed[layer, pos] = forward(clean) {
    embed[{1, 2}] += noise(scale: 0.5, seed: 1)  attn.z[1, 0, last] := corrupt  resid_post[layer, pos] := clean
  }
  measure m = loss(fixed)""",
    # the other run of a metric is computed from one that is whole a stage later
    """run other = forward(corrupt) { attn.pattern[1, 1, :, first] := clean }
  run edited = forward(clean) { mlp.out[0, last] *= 0.5 }
  measure m = kl(edited, other)""",
)


@pytest.mark.parametrize("body", FOUND)
def test_what_was_found_once_stays_right(body, llama, gbx, monkeypatch):
    assert compare(gbx, f"{DATA}experiment e {{\n  {body}\n}}\n", llama, monkeypatch)
