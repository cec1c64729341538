"""The two kernels of sampling methods, checked: expanding a trimap, and finding pairs of colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import _checks
from ._backend import backend
from ._closed_form import check_trimap

__all__ = ["expand_trimap", "sample_colours"]

_MOST_SAMPLES = 1 << 26


def expand_trimap(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    *,
    reach: int = 10,
    colour: float = 9.0,
    slope: float = 0.5,
) -> NDArray[np.uint8]:
    """Give unknown pixels the label of the nearest known pixel of nearly the same colour.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
    trimap : ndarray of shape (height, width), uint8
        0 background, 128 unknown, 255 foreground.
    wanted : ndarray of shape (height, width), bool
        Which unknown pixels look for a label.
    reach : int
        How far away they look, in pixels, 1 to 100.
    colour, slope : float
        Colours count as the same when they differ by at most ``colour - slope * distance``, in units of 1/255.

    Returns
    -------
    ndarray of shape (height, width), uint8

    Raises
    ------
    InputError
        An argument is not what it must be.
    """
    image = _checks.pixels("image", image, channels=(3,))
    trimap = check_trimap(trimap, image.shape[:2])
    if not isinstance(wanted, np.ndarray) or wanted.dtype != np.bool_ or wanted.shape != trimap.shape:
        raise InputError(f"wanted must be a boolean array of the image's shape {trimap.shape}, but is not")
    reach = _checks.whole_number("reach", reach, least=1, most=100)
    colour = _checks.number("colour", colour, least=0)
    slope = _checks.number("slope", slope, least=0)
    y, x = (each.ravel() for each in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    distance = np.hypot(y, x)
    limits = colour - slope * distance
    inside = (distance > 0) & (distance <= reach) & (limits >= 0)
    order = np.argsort(distance[inside], kind="stable")
    steps = np.stack([y, x], 1)[inside][order].astype(np.int64)
    squares = (limits[inside][order] ** 2).astype(np.float32)
    looking = (wanted & (trimap == 128)).astype(np.uint8)
    return backend().kernels.expand_trimap(image, trimap, looking, steps, squares)


def sample_colours(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    distances: NDArray[np.float32],
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
    *,
    spatial: float = 2.0,
) -> NDArray[np.float32]:
    """Find for every unknown pixel the pair of samples that explains its colour best.

    The cost of a pair is the distance of the pixel's colour from the line between the pair's, plus ``spatial`` times
    how far away each sample is, as a multiple of how far the nearest known pixel of its kind is.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
    trimap : ndarray of shape (height, width), uint8
        0 background, 128 unknown, 255 foreground.
    distances : ndarray of shape (unknown, 2), float32
        From each unknown pixel, by rows, to the nearest foreground and background pixel; 1 or more.
    foreground, background : ndarrays of shape (any, 5), float32
        Samples: red, green, blue in units of 1/255, row, column. Similar ones should stand near each other.
    spatial : float
        0 or more.

    Returns
    -------
    ndarray of shape (unknown, 4), float32
        Alpha, distance of the colour from the pair's line, distance of the pair's colours, cost.

    Raises
    ------
    InputError
        An argument is not what it must be.

    References
    ----------
    K. He, C. Rhemann, C. Rother, X. Tang, J. Sun, "A Global Sampling Method for Alpha Matting", CVPR 2011.
    """
    image = _checks.pixels("image", image, channels=(3,))
    trimap = check_trimap(trimap, image.shape[:2])
    count = int(np.count_nonzero(trimap == 128))
    if not count:
        return np.empty((0, 4), np.float32)
    distances = _checks.plane("distances", distances, shape=(count, 2), whose="one row per unknown pixel, the", least=1)
    lists = []
    for name, samples in (("foreground", foreground), ("background", background)):
        samples = _checks.plane(name, samples)
        if samples.shape[1] != 5 or samples.shape[0] > _MOST_SAMPLES:
            raise InputError(f"{name} must have the shape (at most {_MOST_SAMPLES}, 5), but has {samples.shape}")
        lists.append(samples)
    spatial = _checks.number("spatial", spatial, least=0)
    return backend().kernels.sample_colours(image, trimap, distances, lists[0], lists[1], spatial)
