"""Memory: how much is free, what is kept of a run, and how many rows may climb together within a budget."""

from __future__ import annotations

import math
import os
import re

from glassbox_dsl.language.program import Depth
from glassbox_dsl.library.metric import metrics
from glassbox_dsl.plan.cost import KEPT_BYTES, LOGITS_AT_ONCE, ModelCost
from glassbox_dsl.plan.jobs import Job
from glassbox_dsl.plan.rows import RowMaker
from glassbox_dsl.resolve.facts import ModelFacts
from glassbox_dsl.vocabulary.axes import POSITION_AXES
from glassbox_dsl.vocabulary.sites import sites

SHARE = 0.8
"""At most this share of the free memory is used unless a budget is given."""
SPARE_BYTES = 64 * 2**20
"""What is freed and not handed back at once, as having it again takes time: this, or a share of a small budget."""
SPARE_SHARE = 0.25
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def free_bytes() -> int:
    """Memory that can be had without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) // 2


def parse_bytes(text: str) -> int:
    """`8GiB`, `500MB`, `1.5 GiB` as a number of bytes. ValueError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in UNITS:
        raise ValueError(f"`{text}` is no amount of memory: write it like 8GiB or 500MB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def shown_bytes(n: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:,.1f} {unit}"
        n /= 1024
    return ""


def budget_bytes(chosen: int | None) -> int:
    """The budget: what the user chose, else most of what is free."""
    return chosen if chosen is not None else int(SHARE * free_bytes())


def spare_bytes(budget: int, cost: ModelCost, kept: int) -> int:
    """How much freed memory a process may hold on to within a budget."""
    return max(0, min(SPARE_BYTES, int(SPARE_SHARE * (budget - cost.weight_bytes - kept))))


def more_spare(left: int, pack: int, spare: int) -> int:
    """How much more freed memory may be held than `spare`, `left` being free of the budget."""
    return max(0, min(wanted_spare(pack) - spare, left))


def wanted_spare(pack: int) -> int:
    """How much freed memory is best held while packs of so many bytes climb: what one uses.

    Handing back what a wide pack freed, and fetching it again for the next layer, took 30% of a run's time.
    """
    return max(SPARE_BYTES, pack)


def budget_rows(budget: int, cost: ModelCost, longest: int, kept: int = 0) -> int:
    """How many rows may climb together: what is left beside the weights and what is kept (0: none).

    Logits are made in portions: few rows hold them all at once, many never more than a portion.
    """
    left = budget - cost.weight_bytes - kept - spare_bytes(budget, cost, kept)
    row = cost.row_bytes(longest)
    few = left // (row + cost.logit_bytes(1))
    many = (left - cost.logit_bytes(LOGITS_AT_ONCE)) // row
    return max(few, many, 0)


def kept_bytes(job: Job) -> int:
    """What is allocated for the sites and metrics that are wanted of a run, over all cells and items."""
    setting, wanted = job.setting, job.wanted
    longest = int(RowMaker(setting).lengths(job.run, job.extension).max())
    numbers = sum(
        math.prod(
            site_shape(setting.sizes.facts, name, layers, wanted.positions.get(name) is not None, longest)
        )
        for name, layers in wanted.layers.items()
    )
    if job.extension is None:
        for tap in wanted.taps:
            shape = metrics()[tap.metric].shape
            mean = shape == "sequence" and "mean" in dict(tap.options)
            facts = setting.sizes.facts
            if shape == "pattern":
                numbers += facts.n_layers * facts.n_heads
            else:
                numbers += longest if tap.at is None and not mean else 1
    return numbers * job.n_cells * setting.data.n_items * KEPT_BYTES


def site_shape(
    facts: ModelFacts, name: str, layers: set[int | Depth] | None, one_position: bool, longest: int
) -> list[int]:
    """The axes and the width of what is kept of a site in each cell and item."""
    site = sites()[name]
    sizes = [facts.feature_size(name) or 1] if site.feature else []
    for axis in site.axes:
        if axis == "layer":
            sizes.append(len(facts.layers_with(name)) if layers is None else len(layers))
        elif axis in POSITION_AXES:
            sizes.append(1 if axis == "pos" and one_position else longest)
        else:
            sizes.append(facts.axis_size(axis, name) or 1)
    return sizes
