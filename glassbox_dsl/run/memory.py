"""Room for what is kept, refused with the figures before the machine runs out; and freed memory handed back."""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from glassbox_dsl.diagnostics import Findings
from glassbox_dsl.plan.room import SHARE, free_bytes, wanted_spare
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

    The C library keeps what is freed, in pieces that larger tensors of later layers may not fit into. What is handed
    back has to be fetched again, page by page, so up to `spare` bytes (None: by the pack) over what is in use and
    `resting` are left alone. That is what the process held with its models loaded: looking before each run of small
    packs, with everything handed back for it, took a tenth of their time.
    """

    spare: int | None = None
    resting: ClassVar[int] = 0

    @classmethod
    def rest(cls) -> None:
        """Hand back everything, and remember what is held then; from then on nothing but this hands back."""
        _keep_freed()
        _trim()
        cls.resting = held_bytes()

    def keep_to(self, pack: int, kept: int) -> None:
        """Hand back what is freed, if more is held than a pack uses, what is kept of it, and what may be spare.

        A few small tensors cannot come to hold much.
        """
        in_use, spare = pack + kept, wanted_spare(pack) if self.spare is None else self.spare
        if in_use > spare // SMALL and held_bytes() > Heap.resting + in_use + spare:
            _trim()
            # What is left is no pack's: other things have come to be held, and handing back again would not help.
            Heap.resting = max(Heap.resting, held_bytes() - in_use)


def held_bytes() -> int:
    """Memory of this process that no file backs; 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of `mallopt`, as in malloc.h."""


@cache
def _keep_freed() -> None:
    """Let the C library take large tensors from its heap, and hand back none of it by itself.

    Else it maps each tensor of more than 32 MiB anew, and hands the end of its heap back when 64 MiB of it are free:
    fetching those pages again took a fifth of the time of wide packs.
    """
    if (library := _c_library()) is not None:
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _trim() -> None:
    if (library := _c_library()) is not None:
        library.malloc_trim(0)


@cache
def _c_library() -> Any:
    """The C library, where it is glibc."""
    try:
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None
    except (OSError, TypeError):
        return None
