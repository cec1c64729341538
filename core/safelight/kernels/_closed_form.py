"""The closed form, checked: what may be passed to it, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import _checks
from ._backend import backend

__all__ = ["Solution", "check_trimap", "closed_form"]

_LEAST_SIDE = 3  # of a window
_LEAST_EPS = 1e-12


@dataclass(frozen=True)
class Solution:
    """An alpha matte, and how far the iterations came.

    Attributes
    ----------
    alpha : ndarray of shape (height, width), float32 in [0, 1]
    iterations : int
    residual : float
        What is left of the system's right side, as a share of it (2-norms).
    converged : bool
        Whether the residual is as small as was asked for.
    """

    alpha: NDArray[np.float32]
    iterations: int
    residual: float
    converged: bool


def closed_form(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    *,
    prior: NDArray[np.float32] | None = None,
    weight: NDArray[np.float32] | None = None,
    eps: float = 1e-7,
    tolerance: float = 3e-5,
    max_iterations: int = 300,
    report: Callable[[int, float], None] | None = None,
) -> Solution:
    """Solve the closed form of matting for the unknown pixels of a trimap.

    ``a' L a + sum(weight * (a - prior)^2)`` becomes smallest, where ``L`` is the matting Laplacian of 3 x 3 windows.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
    trimap : ndarray of shape (height, width), uint8
        0 background, 128 unknown, 255 foreground. All may be unknown if there is a weight.
    prior, weight : ndarrays of shape (height, width), float32, optional
        What alpha is thought to be, in [0, 1], and how much that counts against the Laplacian, 0 or more. Only unknown
        pixels have them. The iterations start at the prior.
    eps : float
        Regularizes the windows' colour models, above 0.
    tolerance : float
        At which residual to stop, above 0.
    max_iterations : int
        After how many iterations to stop in any case, 1 or more.
    report : callable
        Called as ``report(iterations, residual)`` before the first iteration, after each one, and now and then before
        them. What it raises ends the work and is passed on.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        An argument is not what it must be.

    References
    ----------
    A. Levin, D. Lischinski, Y. Weiss, "A Closed-Form Solution to Natural Image Matting", IEEE TPAMI 30 (2008).
    """
    image = _checks.pixels("image", image, channels=(3,))
    shape = image.shape[:2]
    trimap = check_trimap(trimap, shape)
    if (prior is None) != (weight is None):
        raise InputError("prior and weight must be given together, but one is missing")
    if prior is not None and weight is not None:
        prior = _checks.plane("prior", prior, shape=shape, whose="the image's", least=0.0, most=1.0)
        weight = _checks.plane("weight", weight, shape=shape, whose="the image's", least=0.0)
        prior, weight = _extended(prior), _extended(weight)
    eps = max(_LEAST_EPS, _checks.number("eps", eps, above=0))
    tolerance = _checks.number("tolerance", tolerance, above=0)
    most = _checks.whole_number("max_iterations", max_iterations, least=1)
    alpha, iterations, residual, converged = backend().kernels.closed_form(
        _extended(image), _extended(trimap), weight, prior, eps, tolerance, most, report
    )
    alpha = np.ascontiguousarray(alpha[: shape[0], : shape[1]])
    return Solution(alpha, iterations, residual, converged)


def check_trimap(trimap: object, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a C-contiguous trimap of the image's shape."""
    if not isinstance(trimap, np.ndarray) or trimap.dtype != np.uint8:
        what = trimap.dtype if isinstance(trimap, np.ndarray) else f"a {type(trimap).__name__}"
        raise InputError(f"trimap must be a NumPy array of uint8, but is {what}")
    if trimap.shape != shape:
        raise InputError(f"trimap must have the image's shape {shape}, but has {trimap.shape}")
    wrong = trimap[(trimap != 0) & (trimap != 128) & (trimap != 255)]
    if wrong.size:
        raise InputError(
            f"trimap must hold 0 (background), 128 (unknown) and 255 (foreground) only, but holds {wrong[0]}"
        )
    return np.ascontiguousarray(trimap)


def _extended(array: NDArray[Any]) -> NDArray[Any]:
    """Repeat the last row and column of what is too small for a window."""
    missing = [(0, max(0, _LEAST_SIDE - side)) for side in array.shape[:2]]
    if missing == [(0, 0), (0, 0)]:
        return array
    return np.pad(array, missing + [(0, 0)] * (array.ndim - 2), mode="edge")
