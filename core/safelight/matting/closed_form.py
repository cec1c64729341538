"""Alpha by the closed form, from a trimap or from a soft mask with a weight."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import closed_form

__all__ = ["TOLERANCE", "Progress", "closed_form_alpha", "reporter", "soft_closed_form"]

Progress = Callable[[float, str], None]

TOLERANCE = 3e-5  # leaves about 0.1 % of the error in the result
_SOFT_TOLERANCE = 2e-3


def closed_form_alpha(
    image: NDArray[Any], trimap: NDArray[np.uint8], *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Solve for the unknown pixels of a trimap (Levin, Lischinski, Weiss 2008).

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
    trimap : ndarray of shape (height, width), uint8
        0 background, 128 unknown, 255 foreground.
    progress
        ``progress(fraction, stage)`` between iterations; may raise ``Cancelled``.

    Returns
    -------
    ndarray of shape (height, width), float32 in [0, 1]

    Raises
    ------
    InputError
        The arrays are not what they must be.
    """
    return closed_form(image, trimap, tolerance=TOLERANCE, report=reporter(progress, TOLERANCE)).alpha


def soft_closed_form(
    image: NDArray[Any],
    prior: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    settled: NDArray[np.bool_] | None = None,
    tolerance: float = _SOFT_TOLERANCE,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Let the picture correct a soft mask where the mask is not sure.

    The matte ``a`` with the least ``a' L a + sum(weight * (a - prior)^2)``, where ``L`` is the matting Laplacian. But
    for settled pixels none is known for good: what the weight calls sure can be outvoted, too.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
        At the resolution to work in; some 640 pixels on the longer side hold all that a network's mask does.
    prior : ndarray of shape (height, width), float32 in [0, 1]
        The soft mask.
    weight : ndarray of shape (height, width), float32
        About 1 where the mask is sure, a hundredth of that or less where it is not, 0 where it says nothing.
    settled : ndarray of shape (height, width), bool, optional
        Pixels that are 1 where the prior is above 0.5, else 0, and cost nothing.
    tolerance : float
        At which relative residual to stop, above 0.
    progress
        ``progress(fraction, stage)`` between iterations; may raise ``Cancelled``.

    Returns
    -------
    ndarray of shape (height, width), float32 in [0, 1]

    Raises
    ------
    InputError
        The arrays are not what they must be, or nothing has any weight.
    """
    if isinstance(weight, np.ndarray) and weight.size and not weight.any():
        raise InputError("weight must be above 0 somewhere, but is 0 everywhere")
    trimap = np.full(image.shape[:2], 128, np.uint8)
    if settled is not None:
        if settled.shape != trimap.shape:
            raise InputError(f"settled must have the image's shape {trimap.shape}, but has {settled.shape}")
        trimap[settled] = np.where(prior[settled] > 0.5, 255, 0)
    report = reporter(progress, tolerance)
    return closed_form(image, trimap, prior=prior, weight=weight, tolerance=tolerance, report=report).alpha


def reporter(progress: Progress | None, tolerance: float) -> Callable[[int, float], None] | None:
    """Turn residuals, which fall about evenly in their logarithm, into fractions that never go back."""
    if progress is None:
        return None
    reached = 0.0

    def report(iterations: int, residual: float) -> None:
        nonlocal reached
        if iterations and 0 < residual < 1:
            reached = max(reached, min(1.0, math.log(residual) / math.log(min(tolerance, 0.5))))
        progress(reached, "solving for alpha")

    return report
