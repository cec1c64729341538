"""Putting a foreground on another background."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from ..errors import InputError
from ..kernels import box_filter
from ..threads import in_threads
from ._resize import fit_within, resize_plane

__all__ = ["alpha_levels", "blur_background", "composite", "cover"]

_STRIP = 64  # rows at a time: no float copy of a large picture is made, and they stay in the cache
_LOW_STRIP, _HIGH_STRIP = 16, 256
_BLUR_SIDE = 768  # a blurred picture carries no more


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


def blur_background(image: NDArray[Any], alpha: NDArray[np.float32], *, sigma: float = 0.02) -> NDArray[Any]:
    """Blur what is behind the subject, without the subject's colours bleeding into it.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8 or uint16
    alpha : ndarray of shape (height, width), float32 in [0, 1]
        The subject; it is left out of the average.
    sigma
        As a share of the diagonal.

    Returns
    -------
    ndarray of the image's shape and dtype
        The background alone; where the subject hides it all, the colours around it.
    """
    height, width = fit_within(alpha.shape, _BLUR_SIDE)
    top = 65535.0 if image.dtype == np.uint16 else 255.0
    visible = 1.0 - resize_plane(alpha, height, width)
    planes = [_small_plane(image, channel, height, width) * visible for channel in range(3)]
    reach = sigma * math.hypot(height, width)
    # A second, wide and faint average fills the middle of large subjects, where the first sees nothing.
    near, far = _radius(reach), _radius(6.0 * reach)
    weight = _blurred(visible, near) + 1e-3 * _blurred(visible, far) + 1e-9
    result = np.empty_like(image)
    for channel, plane in enumerate(planes):
        mean = (_blurred(plane, near) + 1e-3 * _blurred(plane, far)) / weight
        large = resize_plane(np.clip(mean, 0.0, top).astype(np.float32), *alpha.shape)
        result[..., channel] = (large + 0.5).astype(image.dtype)
    return result


def cover(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scale and crop a picture about its centre so that it fills height and width, its shape kept."""
    scale = max(height / image.shape[0], width / image.shape[1])
    crop_height, crop_width = height / scale, width / scale
    top, left = (image.shape[0] - crop_height) / 2, (image.shape[1] - crop_width) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, box=box))


def _small_plane(image: NDArray[Any], channel: int, height: int, width: int) -> NDArray[np.float32]:
    return resize_plane(image[..., channel].astype(np.float32), height, width)


def _radius(sigma: float) -> int:
    return max(1, round((math.sqrt(4.0 * sigma * sigma + 1.0) - 1.0) / 2.0))


def _blurred(plane: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    for _ in range(3):
        plane = box_filter(plane, radius)
    return plane
