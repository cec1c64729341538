"""Alpha from a picture and a trimap."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import guided_filter
from .closed_form import Progress, closed_form_alpha
from .sampling import sampled_alpha
from .trimap import BACKGROUND, FOREGROUND, UNKNOWN

__all__ = ["estimate_alpha"]

Method = Literal["closed_form", "sampled", "guided_filter"]

_EPSILON = 1e-5


def estimate_alpha(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    *,
    method: Method = "closed_form",
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Estimate the alpha matte of a picture where a trimap leaves it open.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
        sRGB.
    trimap : ndarray of shape (height, width), uint8
        0 background, 128 unknown, 255 foreground; see `make_trimap` and `read_trimap`.
    method
        - ``"closed_form"``: Levin, Lischinski, Weiss 2008, "A Closed-Form Solution to Natural Image Matting".
        - ``"sampled"``: the same, helped by pairs of foreground and background colours found all along the unknown band
          (after He, Rhemann, Rother, Tang, Sun 2011, "A Global Sampling Method for Alpha Matting"). Better on most
          pictures, and about twice the work.
        - ``"guided_filter"``: He, Sun, Tang 2013, "Guided Image Filtering". A rough matte at once.
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

    Returns
    -------
    ndarray of shape (height, width), float32 in [0, 1]
        1 and 0 where the trimap says so. A trimap that leaves nothing open is returned as it is, as numbers.

    Raises
    ------
    InputError
        The arrays are not what they must be, the trimap has unknown pixels but no foreground or no background, or there
        is no such method.
    """
    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}, but is {method!r}")
    _check(image, trimap)
    if not (trimap == UNKNOWN).any():
        return np.asarray(trimap == FOREGROUND, np.float32)
    for value, name in ((FOREGROUND, "foreground"), (BACKGROUND, "background")):
        if not (trimap == value).any():
            raise InputError(f"trimap must hold foreground and background where it holds unknown, but has no {name}")
    if method == "closed_form":
        return closed_form_alpha(image, trimap, progress=progress)
    if method == "sampled":
        return sampled_alpha(image, trimap, progress=progress)
    return _guided_alpha(image, trimap)


def _check(image: NDArray[Any], trimap: NDArray[np.uint8]) -> None:
    for name, array in (("image", image), ("trimap", trimap)):
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} must be a NumPy array, but is a {type(array).__name__}")
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"image must have the shape (height, width, 3) and hold pixels, but has {image.shape}")
    if trimap.shape != image.shape[:2]:
        raise InputError(f"trimap must have the image's shape {image.shape[:2]}, but has {trimap.shape}")
    if trimap.dtype != np.uint8:
        raise InputError(f"trimap must be uint8, but is {trimap.dtype}")
    wrong = trimap[~np.isin(trimap, (BACKGROUND, UNKNOWN, FOREGROUND))]
    if wrong.size:
        raise InputError(f"trimap must hold {BACKGROUND}, {UNKNOWN} and {FOREGROUND} only, but holds {wrong[0]}")


def _guided_alpha(image: NDArray[Any], trimap: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Filter the known pixels into the band, in windows that reach across all of it."""
    import cv2

    unknown = (trimap == UNKNOWN).astype(np.uint8)
    radius = 2 + int(cv2.distanceTransform(np.pad(unknown, 1), cv2.DIST_L2, 3).max())
    known = (trimap == FOREGROUND).astype(np.float32)
    filtered = guided_filter(image, known, radius, _EPSILON, weight=(1 - unknown).astype(np.float32))
    return np.where(unknown > 0, np.clip(filtered, 0, 1), known).astype(np.float32)
