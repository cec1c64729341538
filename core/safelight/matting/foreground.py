"""Foreground colours: what the subject's edge pixels would be without the old background in them."""

from __future__ import annotations

from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import box_filter, foreground_multilevel
from ..threads import in_threads

__all__ = ["estimate_foreground"]

Method = Literal["multilevel", "blur_fusion"]

_RADII = (90, 6)  # of blur fusion's two rounds, as its authors chose them
_STRIP = 64


@overload
def estimate_foreground(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    method: Method = ...,
    clear: bool = ...,
    return_background: Literal[False] = ...,
) -> NDArray[Any]: ...


@overload
def estimate_foreground(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    method: Method = ...,
    clear: bool = ...,
    return_background: Literal[True],
) -> tuple[NDArray[Any], NDArray[Any]]: ...


def estimate_foreground(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    method: Method = "multilevel",
    clear: bool = False,
    return_background: bool = False,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Estimate the colours of the foreground, un-premultiplied.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
        sRGB.
    alpha : ndarray of shape (height, width), float32 in [0, 1]
    method
        ``"multilevel"``: Germer, Uelwer, Conrad, Harmeling 2020, "Fast Multi-Level Foreground Estimation".
        ``"blur_fusion"``: Forte 2021, "Approximate Fast Foreground Colour Estimation", in its two rounds; smoother,
        and less exact where colours change fast.
    clear
        Leave nothing of the image where alpha is 0, or rounds to 0 in the image's dtype.
    return_background
        Whether the background's colours are wanted, too.

    Returns
    -------
    foreground : ndarray of the image's shape and dtype
        The image itself where alpha is 1; where alpha is 0, without meaning, or with `clear` 0.
    background : ndarray of the image's shape and dtype
        Only with `return_background`.

    Raises
    ------
    InputError
        The arrays are not what they must be, or there is no such method.
    """
    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}, but is {method!r}")
    if method == "multilevel":
        if return_background:
            return foreground_multilevel(image, alpha, clear=clear, return_background=True)
        return foreground_multilevel(image, alpha, clear=clear)
    foreground, background = _blur_fusion(image, alpha)
    if clear:
        top = 0.0 if image.dtype.kind == "f" else 0.5 / np.iinfo(image.dtype).max
        foreground[alpha <= top if image.dtype.kind == "f" else alpha < np.float32(top)] = 0
    return (foreground, background) if return_background else foreground


def _blur_fusion(image: NDArray[Any], alpha: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    foreground = background = image
    rest = np.float32(1) - alpha
    for radius in _RADII:
        # Means weighted by what is visible of either side; then the image's own detail is put back.
        foreground = box_filter(foreground, radius, edges="replicate", alpha=alpha, dtype=image.dtype)
        background = box_filter(background, radius, edges="replicate", alpha=rest, dtype=image.dtype)
        foreground = _with_detail(image, alpha, foreground, background)
    return foreground, background


def _with_detail(
    image: NDArray[Any], alpha: NDArray[np.float32], foreground: NDArray[Any], background: NDArray[Any]
) -> NDArray[Any]:
    """Return ``F + alpha (I - alpha F - (1 - alpha) B)``."""
    result = np.empty_like(image)
    whole = image.dtype.kind == "u"
    top, half = np.float32(np.iinfo(image.dtype).max if whole else 1), np.float32(0.5 if whole else 0)

    def fill(first: int) -> None:
        rows = slice(first, first + _STRIP)
        share = alpha[rows, :, None]
        mixed = foreground[rows].astype(np.float32)
        explained = share * mixed + (1 - share) * background[rows]
        mixed += share * (image[rows] - explained)
        result[rows] = np.clip(mixed, 0, top) + half

    in_threads(fill, range(0, len(alpha), _STRIP))
    return result
