"""A plan as one stable document of plain data: what `gbx explain --json` writes, and what its text is made from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from glassbox_dsl.plan.program_plan import ModelPlan, ProgramPlan, RunPlan
from glassbox_dsl.plan.tally import Tally

EXECUTOR = "delta"
REASON = "checked when the model loads; where a check of packs fails, the hooked executor with the reason"


def document(plan: ProgramPlan) -> dict[str, Any]:
    """Everything about a plan. Times in seconds, room in bytes."""
    total, passes = plan.planned, sum(m.naive.passes for m in plan.models)
    layers, flops = sum(m.naive.token_layers for m in plan.models), sum(m.naive.flops for m in plan.models)
    seconds = sum(m.seconds for m in plan.models)
    naive_seconds = sum(m.naive.flops / m.speed.flops_per_second for m in plan.models)
    return {
        "exact": all(m.exact for m in plan.models),
        "notes": list(plan.notes),
        "models": [_model(m) for m in plan.models],
        "planned": {
            "base_runs": sum(m.prompts for m in plan.models),
            **_counts(total),
            "seconds": seconds,
            "peak_bytes": max((m.peak_bytes for m in plan.models), default=0),
        },
        "naive": {"passes": passes, "token_layers": layers, "flops": flops, "seconds": naive_seconds},
        "budget": {"bytes": plan.budget_bytes, "chosen": plan.budget_chosen},
    }


def _model(plan: ModelPlan) -> dict[str, Any]:
    facts, cost = plan.facts, plan.cost
    sizes = ("n_layers", "n_heads", "n_kv_heads", "d_model", "d_head", "n_neurons", "vocab_size")
    return {
        "model": plan.model,
        "source": plan.source,
        "family": facts.family,
        "dtype": cost.dtype,
        "sizes": {name: getattr(facts, name) for name in sizes},
        "parameters": cost.parameters,
        "weight_bytes": cost.weight_bytes,
        "kept_bytes": plan.kept_bytes,
        "pack_bytes": plan.planned.peak_bytes,
        "spare_bytes": plan.spare_bytes,
        "budget_rows": plan.budget_rows,
        "executor": EXECUTOR,
        "reason": REASON,
        "speed": {
            "device": plan.speed.device,
            "flops_per_second": plan.speed.flops_per_second,
            "measured": plan.speed.measured,
        },
        "exact": plan.exact,
        "base_runs": plan.prompts,
        "planned": {**_counts(plan.planned), "seconds": plan.seconds, "peak_bytes": plan.peak_bytes},
        "naive": {
            "passes": plan.naive.passes,
            "token_layers": plan.naive.token_layers,
            "flops": plan.naive.flops,
        },
        "runs": [_run(run) for run in plan.runs],
        "beside": [asdict(one) for one in plan.beside],
        "seconds_beside": plan.seconds_beside,
    }


def _counts(tally: Tally) -> dict[str, int]:
    names = ("cells", "noops", "packs", "layer_calls", "passes", "rows", "token_layers", "flops")
    return {name: getattr(tally, name) for name in names}


def _run(run: RunPlan) -> dict[str, Any]:
    return {
        "experiment": run.experiment,
        "run": run.run,
        "data": run.data,
        "stage": run.stage,
        "shape": run.shape,
        "items": run.items,
        "cells": run.cells,
        "noops": run.noops,
        "executor": run.executor,
        "reason": run.reason,
    }
