"""Which implementation of the kernels runs, and why.

``SAFELIGHT_KERNELS`` names one of `native`, `numba` and `reference`. Without it the compiled module is taken, else
numba, else plain NumPy. ``SAFELIGHT_TARGET`` names the CPU target of the compiled module, ``SAFELIGHT_THREADS``
the number of threads. The choice is made once, when the first kernel runs.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["Backend", "Kernels", "backend"]

_HOMES = {
    "native": "safelight._native",
    "numba": "safelight.kernels._numba",
    "reference": "safelight.kernels._reference",
}
_MOST_THREADS = 1024


class Kernels(Protocol):
    """The functions every implementation offers; their arguments have been checked."""

    def area_average(self, source: NDArray[Any], height: int, width: int, /) -> NDArray[np.float32]: ...

    def apply_coefficients(self, guide: NDArray[Any], coefficients: NDArray[np.float32], /) -> NDArray[np.float32]: ...

    def box_filter(self, source: NDArray[Any], radius: int, /) -> NDArray[np.float32]: ...

    def closed_form(
        self,
        image: NDArray[Any],
        trimap: NDArray[np.uint8],
        weight: NDArray[np.float32] | None,
        prior: NDArray[np.float32] | None,
        eps: float,
        tolerance: float,
        max_iterations: int,
        report: Callable[[int, float], None] | None,
        /,
    ) -> tuple[NDArray[np.float32], int, float, bool]: ...

    def expand_trimap(
        self,
        image: NDArray[Any],
        trimap: NDArray[np.uint8],
        wanted: NDArray[np.uint8],
        steps: NDArray[np.int64],
        limits: NDArray[np.float32],
        /,
    ) -> NDArray[np.uint8]: ...

    def foreground_multilevel(
        self,
        image: NDArray[Any],
        alpha: NDArray[np.float32],
        small_iterations: int,
        big_iterations: int,
        regularization: float,
        gradient_weight: float,
        return_background: bool,
        /,
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...

    def guided_coefficients(
        self,
        guide: NDArray[Any],
        source: NDArray[np.float32],
        radius: int,
        eps: float,
        weight: NDArray[np.float32] | None,
        least_weight: float,
        /,
    ) -> NDArray[np.float32]: ...

    def guided_filter(
        self,
        guide: NDArray[Any],
        source: NDArray[np.float32],
        radius: int,
        eps: float,
        weight: NDArray[np.float32] | None,
        least_weight: float,
        /,
    ) -> NDArray[np.float32]: ...

    def sample_colours(
        self,
        image: NDArray[Any],
        trimap: NDArray[np.uint8],
        distances: NDArray[np.float32],
        foreground: NDArray[np.float32],
        background: NDArray[np.float32],
        spatial: float,
        /,
    ) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Backend:
    """The implementation in use.

    Attributes
    ----------
    name : str
        ``native``, ``numba`` or ``reference``.
    target : str
        The CPU target of the compiled module; empty for the others.
    threads : int
    reason : str
        Why this one runs.
    kernels : Kernels
        Its functions.
    """

    name: str
    target: str
    threads: int
    reason: str
    kernels: Kernels


@functools.cache
def backend() -> Backend:
    """Return the implementation in use, chosen at the first call.

    Raises
    ------
    InputError
        One of the environment variables holds what cannot be had.
    """
    wanted = os.environ.get("SAFELIGHT_KERNELS", "")
    if wanted and wanted not in _HOMES:
        raise InputError(f"SAFELIGHT_KERNELS must be one of {', '.join(_HOMES)}, but is {wanted!r}")
    threads = _thread_count()
    if wanted:
        try:
            return _load(wanted, threads, "SAFELIGHT_KERNELS asks for it")
        except ImportError as error:
            raise InputError(f"SAFELIGHT_KERNELS must name installed kernels, but {wanted} are not: {error}") from error
    missing: list[str] = []
    for name in _HOMES:
        try:
            return _load(name, threads, "; ".join(missing) or "the compiled module is there")
        except ImportError as error:
            missing.append(f"no {name} kernels ({error})")
    raise AssertionError("the reference needs nothing but NumPy")


def _load(name: str, threads: int, reason: str) -> Backend:
    module = importlib.import_module(_HOMES[name])
    kernels = cast("Kernels", module)
    if name == "reference":
        return Backend(name, "", 1, reason, kernels)
    module.set_threads(threads)
    if name == "numba":
        return Backend(name, "", module.threads(), reason, kernels)
    module.set_target(_target(module.targets()))
    return Backend(name, module.target(), module.threads(), reason, kernels)


def _target(known: list[str]) -> str:
    """Return ``SAFELIGHT_TARGET``, or the best target this processor can run."""
    target = os.environ.get("SAFELIGHT_TARGET", "")
    if target and target not in known:
        raise InputError(f"SAFELIGHT_TARGET must be one of {', '.join(known)} on this processor, but is {target!r}")
    return target or known[0]


def _thread_count() -> int:
    """Return ``SAFELIGHT_THREADS``, or 0 for as many as there are processors in reach."""
    text = os.environ.get("SAFELIGHT_THREADS", "")
    if not text:
        return 0
    count = int(text) if text.isascii() and text.isdigit() else 0
    if not 1 <= count <= _MOST_THREADS:
        raise InputError(f"SAFELIGHT_THREADS must be a whole number from 1 to {_MOST_THREADS}, but is {text!r}")
    return count
