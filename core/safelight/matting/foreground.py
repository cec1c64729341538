"""Foreground colours: what the subject's edge pixels would be without the old background in them."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import foreground_multilevel

__all__ = ["estimate_foreground"]

Method = Literal["multilevel"]


def estimate_foreground(
    image: NDArray[Any], alpha: NDArray[np.float32], *, method: Method = "multilevel", clear: bool = False
) -> NDArray[Any]:
    """Estimate the colours of the foreground, un-premultiplied.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
        sRGB.
    alpha : ndarray of shape (height, width), float32 in [0, 1]
    method
        ``"multilevel"``: Germer, Uelwer, Conrad, Harmeling 2020, "Fast Multi-Level Foreground Estimation".
    clear
        Leave nothing of the image where alpha is 0, or rounds to 0 in the image's dtype.

    Returns
    -------
    ndarray of the image's shape and dtype
        The image itself where alpha is 1; where alpha is 0, without meaning, or with `clear` 0.

    Raises
    ------
    InputError
        The arrays are not what they must be, or there is no such method.
    """
    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}, but is {method!r}")
    return foreground_multilevel(image, alpha, clear=clear)
