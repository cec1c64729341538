"""The Gaussian blur in numba, with the plans and by the steps of the compiled one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba_convolve import convolved
from ._numba_lanes import load_lanes, store_lanes
from ._numba_resample import expand, padded_small
from ._numba_tools import Array, Floats

__all__ = ["gaussian_blur"]

_BAND = 512  # small rows at a time


def gaussian_blur(
    source: Array,
    _sigma: float,
    factor: int,
    taps: Floats,
    edges: str,
    last_is_alpha: bool,
    alpha: Floats | None,
    mask: Floats | None,
) -> Array:
    """Directly, or on a smaller picture."""
    lanes = load_lanes(source, last_is_alpha, alpha)
    plain = not last_is_alpha and alpha is None and mask is None
    dtype = source.dtype if plain else np.dtype(np.float32)
    if not plain and lanes.dtype == np.uint8:
        lanes = lanes.astype(np.float32)
    blurred = convolved(lanes, taps, edges, dtype) if factor == 1 else _small(lanes, factor, taps, edges, dtype)
    return store_lanes(source, blurred, last_is_alpha, alpha, mask)


def _small(lanes: Array, factor: int, taps: Floats, edges: str, dtype: Any) -> Array:
    height, pad = lanes.shape[0], len(taps) + 2
    result = np.empty(lanes.shape, dtype)
    middle = np.int16 if dtype == np.uint8 else np.float32
    for begin in range(0, height, _BAND * factor):
        end = min(begin + _BAND * factor, height)
        first = begin // factor - pad
        count = (end - 1) // factor + pad + 1 - first
        small = padded_small(lanes, factor, pad, first, count, edges, middle)
        expand(convolved(small, taps, "replicate", middle), factor, pad, first, begin, end, result)
    return result
