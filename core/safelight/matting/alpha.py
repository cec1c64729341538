"""Refining a network's soft mask to an alpha matte at the picture's full resolution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import area_average, box_filter, guided_upsample
from ._resize import fit_within, resize_plane
from .closed_form import Progress, soft_closed_form
from .fusion import suppress_ghosts

__all__ = ["WORKING_SIDE", "confidence", "refine_alpha"]

WORKING_SIDE = 640  # solving at more made no matte better
_DOUBTFUL = 0.05  # nearer than this to 0 or 1 a mask is taken to be sure
_REACH = 0.01  # of the diagonal: how far from a doubtful pixel the mask may still be wrong
_MARGIN = 0.005  # of the diagonal: what is farther from where the mask may be wrong is settled
_LEAST_DOUBT = 0.01  # weight of the doubtful beside the sure
_RADIUS, _EPSILON = 2, 1e-5  # of the last step, at the working resolution
_CLIP = 0.02  # nothing is almost transparent by accident


def refine_alpha(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    mask: NDArray[np.float32],
    *,
    ghosts: bool = False,
    sure: NDArray[np.float32] | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Let the picture's own edges and hairs decide where the mask is unsure.

    The soft closed form at a working resolution: the matting Laplacian (Levin, Lischinski, Weiss 2008) with the mask
    as a data term, which weighs 1 where the network is sure and next to nothing where it is not. No hard trimap is
    drawn: a wrong guess can be outvoted, but far from all doubt. The result is carried to full resolution along the
    picture's edges (He, Sun 2015, "Fast Guided Filter").

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
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

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
    said = np.clip(resize_plane(mask, height, width), 0.0, 1.0)
    sure = resize_plane(sure, height, width) if sure is not None else None
    weight, settled = confidence(said)
    if sure is not None:
        weight = np.maximum(weight, sure)
    alpha = soft_closed_form(small, said, weight, settled=settled, progress=progress)
    if not ghosts:
        alpha = suppress_ghosts(alpha)
    alpha = _kept(np.clip(alpha, 0.0, 1.0), said, sure)
    alpha = guided_upsample(image, alpha, _RADIUS, _EPSILON, clip=_CLIP, small_guide=small)
    return _kept(alpha, said, sure)


def confidence(mask: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return how much a mask's values are to be trusted, and where they are beyond doubt.

    The weight is 1 where the mask is sure, and from 0.01 down to 0.0001 at what is doubtful and what lies near by.
    """
    certainty = np.abs(2.0 * mask - 1.0)
    diagonal = math.hypot(*mask.shape)
    near = _grown(certainty < 1.0 - 2.0 * _DOUBTFUL, _REACH * diagonal)
    square = certainty * certainty
    weight = np.where(near, _LEAST_DOUBT * (_LEAST_DOUBT + square * square), 1.0)
    return weight.astype(np.float32), ~_grown(near, _MARGIN * diagonal)


def _grown(region: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    radius = max(1, round(reach))
    share = box_filter(region.astype(np.uint8), radius)
    grown: NDArray[np.bool_] = share > 0.5 / (2 * radius + 1) ** 2
    return grown


def _kept(
    alpha: NDArray[np.float32], said: NDArray[np.float32], sure: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Put back what a person has said, at any resolution."""
    if sure is None:
        return alpha
    height, width = alpha.shape
    return alpha + resize_plane(sure, height, width) * (resize_plane(said, height, width) - alpha)
