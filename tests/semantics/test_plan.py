"""What a plan counts is what a run then does."""

import pytest

from glassbox_dsl.language.file import read_program
from glassbox_dsl.plan.actual import COUNTS, against_plan, came_to, planned
from glassbox_dsl.plan.cost import ModelCost
from glassbox_dsl.plan.program_plan import plan_program
from glassbox_dsl.plan.progress import Silent
from glassbox_dsl.plan.room import SPARE_SHARE
from glassbox_dsl.resolve.program import resolve_facts, resolve_items
from glassbox_dsl.run import session as sessions

DATA = """
data words {
  rows [{a: "red", b: "blue"}, {a: "green", b: "red"}, {a: "blue", b: "green"}]
  prompt clean   = "the {a} dog gave the ball"
  prompt corrupt = "the {b} dog gave the ball"
  answer target  = " {a}"
}
"""
FILES = {
    "copies": """experiment e {
      run patched[layer, pos] = forward(corrupt) { resid_pre[layer, pos] := clean }
      measure score = logit(patched, target)
      record all = patched.resid_mid[1, last]
    }""",
    "several stages": """experiment e {
      run zeroed[layer, head] = forward(clean) { attn.z[layer, head, last] := mean(clean, over: {item}) }
      measure changed = kl(zeroed, clean)
      measure hit = correct(zeroed, target)
    }""",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
@pytest.mark.parametrize("budget", [None, 25])
def test_planned_is_actual(text, budget, llama, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "verified", lambda *_: ())
    path = tmp_path / "file.gbx"
    path.write_text(f'gbx 1\nmodel llama = local("{llama.folder}", device: "cpu")\n{DATA}{text}')
    program, problems = read_program(path)
    assert program is not None, problems
    resolved = resolve_facts(program)
    tables = resolve_items(resolved).tables
    plan = plan_program(program, resolved.facts, tables, exact_packs=1000)
    if budget is not None:
        free = plan.models[0]
        room = free.cost.weight_bytes + free.kept_bytes
        rows = 2 * budget * (free.cost.row_bytes(6) + free.cost.logit_bytes(1))
        room += int(rows / (1 - SPARE_SHARE)) + 1
        plan = plan_program(program, resolved.facts, tables, memory=room, exact_packs=1000)
        assert 20 <= plan.models[0].budget_rows <= 25 and plan.planned.packs > free.planned.packs
    session = sessions.Session(program, resolved.facts, resolved.files, dict(tables), Silent(), plan)
    assert list(session.results())
    assert plan.models[0].exact
    wanted, done = planned(plan), came_to(session.tallies)
    assert {n: wanted[n] for n in COUNTS} == {n: done[n] for n in COUNTS}
    assert session.tallies["llama"].flops == plan.planned.flops
    (line,) = against_plan(plan, session.tallies)
    assert f"planned: {plan.planned.packs}, {plan.planned.token_layers:,}" in line


def test_passes_of_the_hooked_executor_are_counted(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "verified", lambda *_: ())
    path = tmp_path / "file.gbx"
    text = """experiment e {
      run off[layer] = forward(clean) { mlp.out[layer, last] *= 0 }
      measure score = logit(off, target)
    }"""
    path.write_text(f'gbx 1\nmodel llama = local("{llama.folder}", device: "cpu")\n{DATA}{text}')
    program, _ = read_program(path)
    resolved = resolve_facts(program)
    tables = resolve_items(resolved).tables
    session = sessions.Session(program, resolved.facts, resolved.files, dict(tables), Silent())
    session.executor = "hooked"
    assert list(session.results())
    done, facts = session.tallies["llama"], resolved.facts["llama"]
    # Three layers on three items of six tokens, in one batch from the first layer on.
    assert (facts.n_layers, done.cells, done.noops, done.passes, done.packs) == (3, 9, 0, 9, 1)
    assert done.token_layers == 9 * 6 * 3 and done.seconds > 0
    cost = ModelCost(facts)
    one = facts.n_layers * (6 * cost.layer_flops + cost.key_flops * (1 + 2 + 3 + 4 + 5 + 6))
    assert done.flops == 9 * one + cost.logit_flops(9)
