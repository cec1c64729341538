"""How a Gaussian blur is computed: how far the picture is shrunk for it, and what is convolved there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlurPlan", "gaussian_taps", "plan_blur"]

_DIRECT_BELOW = 4.0  # sigma in pixels; from there on shrinking is faster, and as exact
_LEAST_SMALL = 2.0  # sigma at the size the picture is shrunk to
_REACH_BYTES, _REACH = 3.2, 3.7  # where a kernel ends, in sigmas: what is cut off stays below the rounding


@dataclass(frozen=True)
class BlurPlan:
    """What the fast kernels do.

    Attributes
    ----------
    factor : int
        By how much the picture is shrunk, a power of two; 1 is not at all.
    taps : ndarray of shape (radius + 1,), float32
        One half of the kernel to convolve with there, from its middle on.
    """

    factor: int
    taps: NDArray[np.float32]


def plan_blur(sigma: float, *, bytes_only: bool) -> BlurPlan:
    """Choose the factor, and the Gaussian that is left when shrinking and enlarging have done their part.

    Shrinking by tents ``f`` pixels wide on either side and enlarging by cubic B-splines blur themselves, with variances
    of ``(f^2 - 1/4) / 6 + ...`` and ``f^2 / 3``; variances add up.
    """
    factor = 1
    while sigma >= _DIRECT_BELOW and sigma / (2 * factor) >= _LEAST_SMALL:
        factor *= 2
    if factor == 1:
        return BlurPlan(1, gaussian_taps(sigma, _REACH_BYTES if bytes_only else _REACH))
    left = sigma * sigma - _tent_variance(factor) - factor * factor / 3
    return BlurPlan(factor, gaussian_taps(math.sqrt(left) / factor, _REACH))


def gaussian_taps(sigma: float, reach: float) -> NDArray[np.float32]:
    """Return one half of a sampled Gaussian, from its middle to ``reach`` sigmas; the whole sums up to 1."""
    at = np.arange(math.ceil(reach * sigma) + 1)
    half = np.exp(-0.5 * (at / sigma) ** 2)
    return np.asarray(half / (2 * half.sum() - half[0]), np.float32)


def _tent_variance(factor: int) -> float:
    """Return the variance of the tent of ``2 factor`` samples."""
    at = np.arange(2 * factor) - factor + 0.5
    weight = factor - np.abs(at)
    return float((weight * at * at).sum() / weight.sum())
