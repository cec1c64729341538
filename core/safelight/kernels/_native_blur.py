"""The compiled blurs, called as the other implementations are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._gaussian import plan_blur

__all__ = ["EDGES", "gaussian_blur"]

EDGES = {"replicate": 0, "reflect": 1, "wrap": 2, "zero": 3}


def gaussian_blur(
    source: NDArray[Any],
    sigma: float,
    edges: str,
    last_is_alpha: bool,
    alpha: NDArray[np.float32] | None,
    mask: NDArray[np.float32] | None,
) -> NDArray[Any]:
    """Blur with the plan that suits the picture."""
    bytes_only = source.dtype == np.uint8 and not last_is_alpha and alpha is None and mask is None
    plan = plan_blur(sigma, bytes_only=bytes_only)
    return _native.gaussian_blur(source, plan.factor, plan.taps, EDGES[edges], last_is_alpha, alpha, mask)
