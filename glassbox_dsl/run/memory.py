"""Room for what is kept: refused with the figures before the machine runs out."""

from __future__ import annotations

import gc
import os

import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.run import errors
from glassbox_dsl.source import Span

SHARE = 0.8
"""At most this share of the free memory goes to one tensor."""


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


def allocate(
    name: str, shape: tuple[int | None, ...], dtype: torch.dtype, span: Span | None = None
) -> Tensor:
    """Zeros of a shape; Findings (GB537) when that would not fit."""
    sizes = [int(n or 1) for n in shape]
    wanted = torch.empty(0, dtype=dtype).element_size()
    for n in sizes:
        wanted *= n
    free = free_bytes()
    if wanted > SHARE * free:
        raise Findings([errors.out_of_memory(span, name, wanted / 2**30, free / 2**30)])
    return torch.zeros(sizes, dtype=dtype)


def out_of_memory(problem: BaseException) -> bool:
    """Whether an error says that memory could not be had: on a GPU, of Python, or of torch on a CPU."""
    return isinstance(problem, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(
        problem
    )


def release(device: torch.device) -> None:
    """Hand cached memory of a device back before less is asked for."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
