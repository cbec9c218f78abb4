"""Room for what is kept: refused with the figures before the machine runs out."""

from __future__ import annotations

import gc

import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.plan.room import SHARE, free_bytes
from glassbox_dsl.run import errors
from glassbox_dsl.source import Span


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
