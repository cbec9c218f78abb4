"""Room for what is kept, refused with the figures before the machine runs out; and freed memory handed back."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

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


SMALL = 16
"""A pack that needs less than this part of what may be held in spare is not looked at."""


@dataclass
class Heap:
    """Hands freed memory back to the system where a process has come to hold more than it needs.

    The C library keeps what is freed, in pieces that the larger tensors of later layers do not fit into: a climb would
    end up holding several times what it uses. What is handed back has to be fetched again, page by page, so up to
    `spare` bytes over `resting` (what was held before the first pack) and what is in use are left alone.
    """

    spare: int
    resting: int = 0

    def rest(self) -> None:
        """Hand back everything, and remember what is held then."""
        _trim()
        self.resting = held_bytes()

    def keep_to(self, in_use: int) -> None:
        """Hand back what is freed, if more than this is held. A few small tensors cannot come to hold much."""
        if in_use > self.spare // SMALL and held_bytes() > self.resting + in_use + self.spare:
            _trim()


def held_bytes() -> int:
    """Memory of this process that no file backs; 0 where that cannot be told."""
    try:
        _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _trim() -> None:
    if (trim := _c_library()) is not None:
        trim(0)


@cache
def _c_library() -> Any:
    """`malloc_trim` of glibc; None where there is no such thing."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
