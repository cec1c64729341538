"""Refining a network's soft mask to an alpha matte at the picture's full resolution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import area_average, guided_filter, guided_upsample
from ._resize import fit_within, resize_plane
from .fusion import suppress_ghosts

__all__ = ["WORKING_SIDE", "confidence", "refine_alpha"]

WORKING_SIDE = 1024  # the largest network's resolution; finer carries no information until the last step
_WIDE, _NARROW = 0.02, 0.006  # window radii as shares of the diagonal
_EPSILON = 3e-5
_CLIP = 0.02  # nothing is almost transparent by accident


def refine_alpha(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    mask: NDArray[np.float32],
    *,
    ghosts: bool = False,
    sure: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Let the picture's own edges and hairs decide where the mask is unsure.

    A guided filter whose windows are weighted least squares: pixels the network is sure of count fully, doubtful ones
    hardly, so a window through hair is explained by the colours of sure subject and sure background. First with wide
    windows, then with narrow ones whose linear coefficients are applied to the picture at full resolution.
    Nothing is hard: no trimap is drawn, so a wrong guess can be outvoted (He, Sun, Tang 2013, "Guided Image
    Filtering"; He, Sun 2015, "Fast Guided Filter"; the weights are ours).

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8 or uint16
        sRGB.
    mask : ndarray of shape (any, any), float32 in [0, 1]
        The soft mask, at any resolution.
    ghosts
        Keep wide half-transparent areas (glass, smoke) instead of deciding them.
    sure : ndarray of the mask's shape, float32 in [0, 1], optional
        Where a person has said what is right: there the mask is kept to this degree.

    Returns
    -------
    ndarray of shape (height, width), float32 in [0, 1]

    Raises
    ------
    InputError
        The arrays are not what they must be.
    """
    if mask.ndim != 2:
        raise InputError(f"mask must have the shape (height, width), but has {mask.shape}")
    height, width = fit_within(image.shape, WORKING_SIDE)
    small = area_average(image, (height, width))
    mask = said = resize_plane(mask, height, width)
    sure = resize_plane(sure, height, width) if sure is not None else None
    diagonal = math.hypot(height, width)
    mask = guided_filter(small, mask, max(2, round(_WIDE * diagonal)), _EPSILON, weight=_weight(mask, sure))
    mask = np.clip(mask, 0.0, 1.0)
    if not ghosts:
        mask = suppress_ghosts(mask)
    mask = _kept(mask, said, sure)
    narrow = max(2, round(_NARROW * diagonal))
    alpha = guided_upsample(image, mask, narrow, _EPSILON, weight=_weight(mask, sure), clip=_CLIP, small_guide=small)
    return _kept(alpha, said, sure)


def confidence(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how much a mask's values are to be trusted: about 1 near 0 and 1, 0.01 in the middle."""
    distance = 2.0 * mask - 1.0
    square = distance * distance
    quartic = square * square
    return np.asarray(0.01 + quartic * quartic, np.float32)


def _weight(mask: NDArray[np.float32], sure: NDArray[np.float32] | None) -> NDArray[np.float32]:
    weight = confidence(mask)
    return weight if sure is None else np.maximum(weight, sure)


def _kept(
    alpha: NDArray[np.float32], said: NDArray[np.float32], sure: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Put back what a person has said, at any resolution."""
    if sure is None:
        return alpha
    height, width = alpha.shape
    return alpha + resize_plane(sure, height, width) * (resize_plane(said, height, width) - alpha)
