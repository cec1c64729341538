"""Putting a foreground on another background."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from ..errors import InputError
from ..kernels import box_filter, gaussian_blur, lens_blur
from ..threads import in_threads

__all__ = ["Aperture", "alpha_levels", "blur_background", "composite", "cover"]

Aperture = Literal["disc", "polygon", "gaussian"]

_STRIP = 64  # rows at a time: no float copy of a large picture is made, and they stay in the cache
_LOW_STRIP, _HIGH_STRIP = 16, 256
_MOST_STRENGTH = 0.2
_MARGIN = 0.003  # of the diagonal: around the subject the background is not trusted
_STEEPNESS = 3.0  # a third of the window's alpha is as good as the whole
_FILL = 0.1  # of the diagonal: the spread of the mean that stands for what the subject hides
_HIDDEN = 0.002  # what that counts, where nothing else does


def composite(foreground: NDArray[Any], alpha: NDArray[np.float32], background: NDArray[Any]) -> NDArray[Any]:
    """Return ``alpha * foreground + (1 - alpha) * background``, rounded for integer pictures.

    Parameters
    ----------
    foreground : ndarray of shape (height, width, 3), uint8, uint16 or float32
        Un-premultiplied colours.
    alpha : ndarray of shape (height, width), float32 in [0, 1]
    background : ndarray of shape (height, width, 3) or (3,)
        A picture or one colour, in the foreground's dtype.

    Raises
    ------
    InputError
        The shapes or dtypes do not fit.
    """
    if alpha.shape != foreground.shape[:2]:
        raise InputError(f"alpha must have the foreground's shape {foreground.shape[:2]}, but has {alpha.shape}")
    if background.shape not in (foreground.shape, (3,)):
        raise InputError(f"background must have the shape {foreground.shape} or (3,), but has {background.shape}")
    if background.dtype != foreground.dtype:
        raise InputError(f"background must have the dtype {foreground.dtype}, but has {background.dtype}")
    result = np.empty_like(foreground)
    half = np.float32(0.5 if foreground.dtype.kind == "u" else 0.0)

    def fill(top: int) -> None:
        rows = slice(top, top + _STRIP)
        behind = background[rows].astype(np.float32) if background.ndim == 3 else background.astype(np.float32)
        mixed = foreground[rows].astype(np.float32) - behind
        mixed *= alpha[rows, :, None]
        mixed += behind
        mixed += half
        result[rows] = mixed

    in_threads(fill, range(0, alpha.shape[0], _STRIP))
    return result


def alpha_levels(alpha: NDArray[np.float32], dtype: DTypeLike) -> NDArray[Any]:
    """Return alpha as whole numbers, rounded.

    Parameters
    ----------
    alpha : ndarray of shape (height, width), float32 in [0, 1]
    dtype
        uint8 or uint16.
    """
    levels = np.empty(alpha.shape, dtype)
    top, half = np.float32(np.iinfo(levels.dtype).max), np.float32(0.5)

    def fill(first: int) -> None:
        room = np.empty((_LOW_STRIP, alpha.shape[1]), np.float32)
        for y in range(first, min(first + _HIGH_STRIP, len(alpha)), _LOW_STRIP):
            rows = slice(y, min(y + _LOW_STRIP, len(alpha)))
            scaled = room[: rows.stop - y]
            np.multiply(alpha[rows], top, out=scaled)
            scaled += half
            levels[rows] = scaled

    in_threads(fill, range(0, len(alpha), _HIGH_STRIP))
    return levels


def blur_background(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    strength: float = 0.015,
    aperture: Aperture = "disc",
    blades: int = 6,
    rotation: float = 0.0,
    highlight: float = 2.0,
    visible: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """Blur what is behind the subject, without the subject's colours bleeding into it.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16 or float32
    alpha : ndarray of shape (height, width), float32 in [0, 1]
        The subject; it is left out of the average, and a little around it, where its matte may have missed something.
    strength : float
        Radius of the aperture as a share of the picture's diagonal, above 0 and at most 0.2.
    aperture : {"disc", "polygon", "gaussian"}
        The Gaussian has the disc's spread, a sigma of half its radius.
    blades, rotation
        Of the polygon; see `safelight.kernels.lens_blur`.
    highlight : float
        In stops; see `safelight.kernels.lens_blur`. The Gaussian knows none.
    visible : ndarray of shape (height, width), float32 in [0, 1], optional
        The picture's own alpha: what is transparent has no colour to give.

    Returns
    -------
    ndarray of the image's shape and dtype
        The background alone. Behind the subject, where nothing of it is seen, it is a wide mean of what lies around.

    Raises
    ------
    InputError
        An argument is not what it must be.
    """
    if aperture not in get_args(Aperture):
        raise InputError(f"aperture must be one of {', '.join(get_args(Aperture))}, but is {aperture!r}")
    if not 0 < strength <= _MOST_STRENGTH:
        raise InputError(f"strength must be above 0 and at most {_MOST_STRENGTH:g}, but is {strength:g}")
    diagonal = math.hypot(*alpha.shape)
    radius = max(0.6, strength * diagonal)
    weight = _background_weight(alpha, max(1, round(_MARGIN * diagonal)))
    if visible is not None:
        weight *= visible
    around = gaussian_blur(image, max(1.0, _FILL * diagonal), alpha=weight, edges="reflect")
    background = composite(image, weight, around)
    np.maximum(weight, np.float32(_HIDDEN), out=weight)
    if aperture == "gaussian":
        return gaussian_blur(background, radius / 2, alpha=weight, edges="reflect")
    sides = blades if aperture == "polygon" else 0
    return lens_blur(
        background, radius, blades=sides, rotation=rotation, highlight=highlight, alpha=weight, edges="reflect"
    )


def _background_weight(alpha: NDArray[np.float32], margin: int) -> NDArray[np.float32]:
    """Return how much each pixel tells of the background: little beside the subject, nothing behind it."""
    near = box_filter(alpha, margin)
    near *= np.float32(_STEEPNESS)
    np.maximum(near, alpha, out=near)
    np.subtract(1.0, near, out=near)
    np.maximum(near, 0.0, out=near)
    return near


def cover(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale and crop a picture about its centre so that it fills height and width, its shape kept."""
    scale = max(height / image.shape[0], width / image.shape[1])
    crop_height, crop_width = height / scale, width / scale
    top, left = (image.shape[0] - crop_height) / 2, (image.shape[1] - crop_width) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, box=box))
