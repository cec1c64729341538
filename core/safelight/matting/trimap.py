"""Trimaps: which pixels are background, which foreground, and which are to be found out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["BACKGROUND", "FOREGROUND", "UNKNOWN", "make_trimap", "read_trimap", "trimap_from_scribbles"]

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

_SURE = 0.05  # what lies within it of 0 or 1 is taken at its word
_SIDE_ROOM = 1.5  # half of the transition's own width, times this, is added on either side of it
_LEAST_WIDTH = 2.0  # pixels; an edge is never sharper than the demosaicing and the compression left it
_NARROW, _WIDE = 0.003, 0.03  # of the diagonal: how far the band reaches at least, and at most, from the edge
_ISLAND = 1e-5  # of the picture: smaller sure spots inside the band are noise of the mask
_GAP = 0.1  # read_trimap: so near to black and white is what was drawn black and white


def make_trimap(alpha: NDArray[np.float32], *, width: float | None = None) -> NDArray[np.uint8]:
    """Draw the unknown band around the edge of a soft mask.

    Where the mask goes from 0 to 1 within a few pixels the band is narrow, where it fades slowly (hair, fur, defocus)
    the band holds all of the fading and some room on either side. If it swallowed all of the subject, or all of the
    background, what is surest of that side stays known.

    Parameters
    ----------
    alpha : ndarray of shape (height, width), float32 in [0, 1]
        A matte, a network's mask, a selection or a layer mask; a hard one is an edge that is nowhere soft.
    width : float, optional
        How far the band reaches at least from the edge into either side, in pixels, above 0. The default grows with the
        picture.

    Returns
    -------
    ndarray of shape (height, width), uint8
        BACKGROUND 0, UNKNOWN 128, FOREGROUND 255. A mask without any edge gives a trimap without unknown pixels.

    Raises
    ------
    InputError
        The mask is not such an array, or the width is not above 0.
    """
    _check_alpha(alpha)
    if width is not None and not (math.isfinite(width) and width > 0):
        raise InputError(f"width must be a number above 0, but is {width!r}")
    import cv2

    diagonal = math.hypot(*alpha.shape)
    least = max(_LEAST_WIDTH, _NARROW * diagonal) if width is None else width
    most = max(2 * least, _WIDE * diagonal)
    subject = alpha >= 0.5
    soft = (alpha > _SURE) & (alpha < 1 - _SURE)
    edge = _edge(subject)
    if not (edge.any() or soft.any()):
        return np.where(subject, FOREGROUND, BACKGROUND).astype(np.uint8)
    # Half of the transition's width at each soft pixel, spread outwards so that all of it gets its side room.
    half = np.minimum(cv2.distanceTransform(soft.astype(np.uint8), cv2.DIST_L2, 3), np.float32(most))
    reach = np.minimum(least + _SIDE_ROOM * _spread(half, most), max(most, least))
    distance = cv2.distanceTransform((~(edge | soft)).astype(np.uint8), cv2.DIST_L2, 5)
    unknown = soft | (distance < reach)
    unknown = _without_specks(unknown, subject)
    trimap = np.where(unknown, UNKNOWN, np.where(subject, FOREGROUND, BACKGROUND)).astype(np.uint8)
    return _with_cores(trimap, alpha)


def trimap_from_scribbles(said: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Turn strokes into a trimap: what no stroke covers is unknown.

    Parameters
    ----------
    said : ndarray of shape (height, width), int8
        1 foreground, -1 background, 0 nothing.

    Returns
    -------
    ndarray of shape (height, width), uint8

    Raises
    ------
    InputError
        The strokes do not mark both foreground and background.
    """
    for value, name in ((1, "foreground"), (-1, "background")):
        if not (said == value).any():
            raise InputError(f"scribbles must mark both foreground and background, but mark no {name}")
    return np.where(said > 0, FOREGROUND, np.where(said < 0, BACKGROUND, UNKNOWN)).astype(np.uint8)


def read_trimap(level: NDArray[Any]) -> NDArray[np.uint8]:
    """Read a gray picture as a trimap: nearly black is background, nearly white foreground, the rest unknown.

    Parameters
    ----------
    level : ndarray of shape (height, width), uint8, uint16 or float32 in [0, 1]
        Of any grays; drawing programs soften edges, and trimaps are found with 127, 128 and others as unknown.

    Returns
    -------
    ndarray of shape (height, width), uint8

    Raises
    ------
    InputError
        It is not such an array.
    """
    if level.ndim != 2:
        raise InputError(f"a trimap must have the shape (height, width), but has {level.shape}")
    most = 1.0 if level.dtype.kind == "f" else float(np.iinfo(level.dtype).max)
    low, high = _GAP * most, (1 - _GAP) * most
    return np.where(level <= low, BACKGROUND, np.where(level >= high, FOREGROUND, UNKNOWN)).astype(np.uint8)


def _check_alpha(alpha: NDArray[np.float32]) -> None:
    if not isinstance(alpha, np.ndarray) or alpha.ndim != 2 or alpha.dtype != np.float32 or not alpha.size:
        what = f"{alpha.dtype} {alpha.shape}" if isinstance(alpha, np.ndarray) else type(alpha).__name__
        raise InputError(f"alpha must be a float32 array of shape (height, width), but is {what}")
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= 0 and high <= 1):
        raise InputError(f"alpha must lie in [0, 1], but holds {low if not low >= 0 else high:g}")


def _edge(subject: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels with a neighbour on the other side."""
    edge = np.zeros_like(subject)
    across, down = subject[:, 1:] != subject[:, :-1], subject[1:] != subject[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def _spread(half: NDArray[np.float32], most: float) -> NDArray[np.float32]:
    """Return the largest half width of a transition within `most` pixels, falling off no faster than it is far away."""
    import cv2

    factor = max(1, math.ceil(most / 8))  # on a coarse grid: the band's outline need not be exact
    height, width = (-(-side // factor) for side in half.shape)
    padded = np.pad(half, ((0, height * factor - half.shape[0]), (0, width * factor - half.shape[1])))
    small = padded.reshape(height, factor, width, factor).max((1, 3))
    small = cv2.dilate(small, np.ones((3, 3), np.uint8), iterations=max(1, round(most / factor / 2)))
    small = cv2.blur(small, (3, 3))
    large = cv2.resize(small, (width * factor, height * factor), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[: half.shape[0], : half.shape[1]], dtype=np.float32)


def _without_specks(unknown: NDArray[np.bool_], subject: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add to the band sure spots too small to be parts of the subject, or holes in it."""
    import cv2

    least = max(4, round(_ISLAND * unknown.size))
    result = unknown.copy()
    for sure in (subject & ~unknown, ~subject & ~unknown):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(sure.astype(np.uint8), connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < least
        small[0] = False
        if count > 1 and not small[1:].all():
            result |= small[labels]
    return result


def _with_cores(trimap: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Keep the surest pixels known where all of one side would be unknown."""
    for value, side in ((FOREGROUND, alpha), (BACKGROUND, 1 - alpha)):
        if (trimap == value).any() or not (side >= 0.5).any():
            continue
        trimap[side >= min(float(side.max()), 1 - _SURE)] = value
    return trimap
