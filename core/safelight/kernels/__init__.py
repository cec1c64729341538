"""Kernels: the loops over all pixels that everything else is composed of.

Every kernel exists three times: compiled (the default), in numba, and in plain NumPy, which is the specification.
The functions here check their arguments and pass them to the implementation in use, which `backend` tells.
Results do not depend on the number of threads, nor, for the compiled kernels, on the CPU target.

Pictures are C-contiguous arrays of uint8, uint16 or float32; other layouts are copied first. Integers stand
for their share of the largest one, so that uint8 255 is 1.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import _checks
from ._backend import Backend, backend
from ._blur import Edges, box_filter, gaussian_blur, lens_blur, mosaic
from ._closed_form import Solution, closed_form
from ._sampling import expand_trimap, sample_colours

__all__ = [
    "Backend",
    "Edges",
    "Solution",
    "area_average",
    "backend",
    "box_filter",
    "closed_form",
    "expand_trimap",
    "foreground_multilevel",
    "gaussian_blur",
    "guided_filter",
    "guided_upsample",
    "lens_blur",
    "mosaic",
    "sample_colours",
]

# Share of the largest weight that is added to all of them.
_LEAST_WEIGHT = 1e-6
# Below it a float's share of the largest could vanish.
_TINY_WEIGHT = 1e-30
# Below it the rounding of sums would decide the fits of flat windows.
_LEAST_EPS = 1e-10
_MOST_ITERATIONS = 100
_MOST_CLIP = 0.4
_MOST_SMOOTHNESS = 1e30  # squares of more would leave float32


def area_average(source: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Shrink a picture: every pixel of the result is the mean over the area it covers.

    Parameters
    ----------
    source : ndarray of shape (height, width) or (height, width, 3), uint8, uint16 or float32
    shape : (int, int)
        Height and width of the result, each at most the source's; any ratio.

    Returns
    -------
    ndarray of shape ``shape`` or ``(*shape, 3)``, float32
        Integers are scaled to [0, 1]. Agrees with the specification within 1e-6 of the source's largest value.

    Raises
    ------
    InputError
        The source is not such an array, or the result would be larger.
    """
    source = _checks.pixels("source", source, channels=(0, 3))
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise InputError(f"shape must be a tuple (height, width), but is {shape!r}")
    height = _checks.whole_number("the result's height", shape[0], least=1, most=source.shape[0])
    width = _checks.whole_number("the result's width", shape[1], least=1, most=source.shape[1])
    return backend().kernels.area_average(source, height, width)


def guided_filter(
    guide: NDArray[Any],
    source: NDArray[np.float32],
    radius: int,
    eps: float,
    *,
    weight: NDArray[np.float32] | None = None,
    subsample: int = 1,
) -> NDArray[np.float32]:
    """Smooth a plane, keeping the edges of a guide.

    In every window the source is fitted by a line in the guide's colours, ``a . guide + b``, with ``eps |a|^2`` against
    steep ones. A pixel's result is the mean of the lines of all windows it lies in, at its own colour.

    Parameters
    ----------
    guide : ndarray of shape (height, width) or (height, width, 3), uint8, uint16 or float32
        Integers are scaled to [0, 1]. Three channels are fitted with their full covariance.
    source : ndarray of shape (height, width), float32
    radius : int
        Of the windows, 0 or more.
    eps : float
        Above 0. The variance of the guide, on a scale of [0, 1], from which on an edge counts as one. What is below
        1e-10 counts as 1e-10.
    weight : ndarray of shape (height, width), float32, optional
        How much each pixel counts in the fits, 0 or more. A millionth of the largest weight is added to all, so a
        window without any is fitted as if there were no weights.
    subsample : int
        Above 1 it is the fast form: the fits are made at about 1 / subsample of the size, with windows as much
        smaller, and interpolated. A quarter of the radius is a good choice.

    Returns
    -------
    ndarray of shape (height, width), float32
        Not clipped; in the fast form clipped to the source's range. Agrees with the specification within 1e-5 for
        sources in [0, 1] and ``eps`` of 1e-6 or more.

    Raises
    ------
    InputError
        An argument is not what it must be.

    References
    ----------
    K. He, J. Sun, X. Tang, "Guided Image Filtering", IEEE TPAMI 35 (2013).
    K. He, J. Sun, "Fast Guided Filter", arXiv 1505.00996 (2015).
    """
    guide = _checks.pixels("guide", guide, channels=(0, 3))
    source = _checks.plane("source", source, shape=guide.shape[:2], whose="the guide's")
    weight, least = _weight(weight, source.shape)
    radius = min(_checks.whole_number("radius", radius, least=0), max(source.shape))  # more is the same
    eps = max(_LEAST_EPS, _checks.number("eps", eps, above=0))
    subsample = min(_checks.whole_number("subsample", subsample, least=1), max(source.shape))
    if subsample > 1:
        return _fast_guided_filter(guide, source, max(1, round(radius / subsample)), eps, weight, subsample)
    return backend().kernels.guided_filter(guide, source, radius, eps, weight, least)


def guided_upsample(
    guide: NDArray[Any],
    source: NDArray[np.float32],
    radius: int,
    eps: float,
    *,
    weight: NDArray[np.float32] | None = None,
    clip: float = 0.0,
    small_guide: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Enlarge a plane to the size of a guide, along the guide's edges.

    The guide is shrunk to the source's size by area averages, the lines of the guided filter are fitted and averaged
    there, interpolated bilinearly between pixel centres, and applied to the guide at full resolution.

    Parameters
    ----------
    guide : ndarray of shape (height, width) or (height, width, 3), uint8, uint16 or float32
        Integers are scaled to [0, 1].
    source : ndarray, float32
        Of at most the guide's height and width; any ratio.
    radius : int
        Of the windows, in pixels of the source, 0 or more.
    eps : float
        Above 0; see `guided_filter`.
    weight : ndarray of the source's shape, float32, optional
        See `guided_filter`.
    clip : float
        From 0 to 0.4. What lies within it of 0 and 1 becomes 0 and 1; the rest is stretched over [0, 1].
    small_guide : ndarray of the source's height and width, float32, optional
        The guide shrunk by `area_average`, if it is there already.

    Returns
    -------
    ndarray of shape (height, width), float32 in [0, 1]
        Agrees with the specification within 1e-4 for sources in [0, 1] and ``eps`` of 1e-6 or more.

    Raises
    ------
    InputError
        An argument is not what it must be.

    References
    ----------
    K. He, J. Sun, "Fast Guided Filter", arXiv 1505.00996 (2015).
    """
    guide = _checks.pixels("guide", guide, channels=(0, 3))
    source = _checks.plane("source", source)
    weight, least = _weight(weight, source.shape)
    radius = min(_checks.whole_number("radius", radius, least=0), max(source.shape))  # more is the same
    eps = max(_LEAST_EPS, _checks.number("eps", eps, above=0))
    _checks.whole_number("the source's height", source.shape[0], least=1, most=guide.shape[0])
    _checks.whole_number("the source's width", source.shape[1], least=1, most=guide.shape[1])
    clip = _checks.number("clip", clip, least=0, most=_MOST_CLIP)
    if small_guide is not None:
        small_guide = _checks.pixels("small_guide", small_guide, channels=(guide.shape[2] if guide.ndim == 3 else 0,))
        if small_guide.shape[:2] != source.shape or small_guide.dtype != np.float32:
            raise InputError(
                f"small_guide must be float32 and have the source's shape {source.shape}, "
                f"but is {small_guide.dtype} and has {small_guide.shape[:2]}"
            )
    kernels = backend().kernels
    small = small_guide
    if small is None:
        small = kernels.area_average(guide, *source.shape)
    fits = kernels.guided_coefficients(small, source, radius, eps, weight, least)
    return kernels.apply_coefficients(guide, fits, clip)


@overload
def foreground_multilevel(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    small_iterations: int = ...,
    big_iterations: int = ...,
    regularization: float = ...,
    gradient_weight: float = ...,
    clear: bool = ...,
    return_background: Literal[False] = ...,
) -> NDArray[Any]: ...


@overload
def foreground_multilevel(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    small_iterations: int = ...,
    big_iterations: int = ...,
    regularization: float = ...,
    gradient_weight: float = ...,
    clear: bool = ...,
    return_background: Literal[True],
) -> tuple[NDArray[Any], NDArray[Any]]: ...


def foreground_multilevel(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    *,
    small_iterations: int = 10,
    big_iterations: int = 2,
    regularization: float = 1e-5,
    gradient_weight: float = 1.0,
    clear: bool = False,
    return_background: bool = False,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Estimate the colours of the foreground of a matte, un-premultiplied.

    Colours ``F`` and ``B`` are sought that vary smoothly and explain the image as ``alpha F + (1 - alpha) B``. They
    are found on a pyramid of area averages, from one pixel down to the full size, each level starting from the
    coarser one.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
    alpha : ndarray of shape (height, width), float32 in [0, 1]
    small_iterations, big_iterations : int
        Sweeps at the coarse levels and at the finest one, 1 to 100; they double from level to level in between.
    regularization : float
        Weight of smoothness everywhere, above 0.
    gradient_weight : float
        Weight of smoothness per difference of alpha, 0 or more.
    clear : bool
        Make the foreground 0 where alpha is 0, or rounds to 0 in the image's dtype: it saves time, and nothing of the
        image is left there.
    return_background : bool
        Whether the background is wanted, too.

    Returns
    -------
    foreground : ndarray of the image's shape and dtype
        The image itself where alpha is 1. Where alpha is 0 it is what the coarser level gives, the nearer foreground
        in large blocks, of use only as a fill; or 0, with `clear`. Agrees with the specification within 1e-4, or one
        step of an integer.
    background : ndarray of the image's shape and dtype
        Only with ``return_background``. The image itself where alpha is 0.

    Raises
    ------
    InputError
        An argument is not what it must be.

    Notes
    -----
    Known pixels keep their colours on every level, and only unknown ones are solved for. Sweeps go over the red and the
    black squares of a chequerboard in turn, over-relaxed by 1.7 but for the last sweep, so the result does not depend
    on the order of work.

    References
    ----------
    T. Germer, T. Uelwer, S. Conrad, S. Harmeling, "Fast Multi-Level Foreground Estimation", ICPR 2020.
    """
    image = _checks.pixels("image", image, channels=(3,))
    alpha = _checks.plane("alpha", alpha, shape=image.shape[:2], whose="the image's", least=0.0, most=1.0)
    return backend().kernels.foreground_multilevel(
        image,
        alpha,
        _checks.whole_number("small_iterations", small_iterations, least=1, most=_MOST_ITERATIONS),
        _checks.whole_number("big_iterations", big_iterations, least=1, most=_MOST_ITERATIONS),
        _checks.number("regularization", regularization, above=0, most=_MOST_SMOOTHNESS),
        _checks.number("gradient_weight", gradient_weight, least=0, most=_MOST_SMOOTHNESS),
        return_background,
        clear,
    )


def _fast_guided_filter(
    guide: NDArray[Any],
    source: NDArray[np.float32],
    radius: int,
    eps: float,
    weight: NDArray[np.float32] | None,
    subsample: int,
) -> NDArray[np.float32]:
    """Fit at a smaller size; the source is taken to [0, 1], which the coefficients' application clips to."""
    low, high = float(source.min()), float(source.max())
    if low == high:
        return source.copy()
    kernels, shape = backend().kernels, tuple(-(-side // subsample) for side in source.shape)
    small = kernels.area_average((source - np.float32(low)) / np.float32(high - low), *shape)
    small_weight, least = _weight(None if weight is None else kernels.area_average(weight, *shape), small.shape)
    fits = kernels.guided_coefficients(kernels.area_average(guide, *shape), small, radius, eps, small_weight, least)
    result = kernels.apply_coefficients(guide, fits, 0.0)
    result *= np.float32(high - low)
    result += np.float32(low)
    return result


def _weight(weight: NDArray[np.float32] | None, shape: tuple[int, int]) -> tuple[NDArray[np.float32] | None, float]:
    """Return the checked weights and what is added to all of them."""
    if weight is None:
        return None, 0.0
    weight = _checks.plane("weight", weight, shape=shape, whose="the source's", least=0.0)
    most = float(weight.max())
    if 0 < most < _TINY_WEIGHT:
        weight, most = weight / np.float32(most), 1.0
    return weight, _LEAST_WEIGHT * most or 1.0
