"""What the kernels in numba share: compiling at the first call, and strips of rows in threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "STRIP",
    "Array",
    "Floats",
    "compiled",
    "run_strips",
    "set_threads",
    "threads",
    "unit_scale",
    "with_channels",
]

Array = NDArray[Any]
Floats = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])

STRIP = 64
_thread_count = 0


def set_threads(count: int) -> None:
    """Set the number of threads; 0 restores the default, the processors in reach."""
    global _thread_count
    _thread_count = count


def threads() -> int:
    """Return the number of threads a kernel uses."""
    if _thread_count:
        return _thread_count
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiled(function: Function) -> Function:
    """Compile at the first call; the machine code is kept on disk where a place for it can be written."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        result: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        result = numba.njit(**options)(function)
    return result


def run_strips(function: Callable[..., None], height: int, strip: int, *arguments: object) -> None:
    """Call ``function(begin, end, *arguments)`` for strips of rows."""
    strips = [(begin, min(begin + strip, height)) for begin in range(0, height, strip)]
    if threads() == 1 or len(strips) == 1:
        for begin, end in strips:
            function(begin, end, *arguments)
        return
    with ThreadPoolExecutor(min(threads(), len(strips))) as pool:
        for finished in [pool.submit(function, begin, end, *arguments) for begin, end in strips]:
            finished.result()


def unit_scale(pixels: Array) -> float:
    """Return what a pixel is multiplied by to come into [0, 1]."""
    return 1.0 if pixels.dtype.kind == "f" else 1.0 / int(np.iinfo(pixels.dtype).max)


def with_channels(pixels: Array) -> Array:
    """Return a view of three dimensions."""
    return pixels.reshape(*pixels.shape[:2], -1)
