"""The public blurs: arguments checked, plans made."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import _checks
from ._backend import backend
from ._gaussian import plan_blur

__all__ = ["Edges", "gaussian_blur"]

Edges = Literal["replicate", "reflect", "wrap", "zero"]

_CHANNELS = (0, 1, 2, 3, 4)
_SIGMAS = (0.3, 5000.0)


def gaussian_blur(
    source: NDArray[Any],
    sigma: float,
    *,
    edges: Edges = "replicate",
    alpha: NDArray[np.float32] | Literal["last"] | None = None,
    mask: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """Blur with a Gaussian, in a time that does not depend on its width.

    Parameters
    ----------
    source : ndarray of shape (height, width) or (height, width, 1 to 4), uint8, uint16 or float32
    sigma : float
        Standard deviation in pixels, 0.3 to 5000.
    edges : {"replicate", "reflect", "wrap", "zero"}
        What lies beyond the picture: its nearest pixel, its mirror image (``dcba|abcd|dcba``), its other side, or
        nothing: zeros, and transparency where there is alpha.
    alpha : ndarray of shape (height, width), float32 in [0, 1], or "last", optional
        How much each pixel counts, so that the colours of transparent ones do not show. With ``"last"`` the last of 2
        or 4 channels is alpha, the others un-premultiplied; it is blurred, too. With a plane the result is the normalised
        convolution, the blur of ``alpha * source`` divided by that of alpha; 0 where no alpha is in reach.
    mask : ndarray of shape (height, width), float32 in [0, 1], optional
        The blur's share in the result, ``source + mask * (blurred - source)``; with ``"last"``, of premultiplied colours.

    Returns
    -------
    ndarray of the source's shape and dtype
        Agrees with the specification, the convolution with a sampled Gaussian, within 1 step of uint8 and within 2e-3 of
        the largest value otherwise. Colours that are un-premultiplied are off by as much divided by their alpha.

    Raises
    ------
    InputError
        An argument is not what it must be.

    Notes
    -----
    From a sigma of 4 on the picture is shrunk by tents, convolved, and enlarged by cubic B-splines. Both are nearly
    Gaussian, and the convolution in between has the variance that is left.
    """
    source, last, plane = _layer(source, alpha)
    mask = _share("mask", mask, source)
    sigma = _checks.number("sigma", sigma, least=_SIGMAS[0])
    if sigma > _SIGMAS[1]:
        raise InputError(f"sigma must be a number of at most {_SIGMAS[1]:g}, but is {sigma:g}")
    plan = plan_blur(sigma, bytes_only=source.dtype == np.uint8 and not last and plane is None and mask is None)
    kernels = backend().kernels
    return kernels.gaussian_blur(source, sigma, plan.factor, plan.taps, _edges(edges), last, plane, mask)


def _layer(source: NDArray[Any], alpha: object) -> tuple[NDArray[Any], bool, NDArray[np.float32] | None]:
    """Return the checked picture, whether its last channel is alpha, and the plane of alpha."""
    source = _checks.pixels("source", source, channels=_CHANNELS)
    if isinstance(alpha, str):
        if alpha != "last":
            raise InputError(f"alpha must be an array or 'last', but is {alpha!r}")
        if source.ndim != 3 or source.shape[2] not in (2, 4):
            raise InputError(f"a source whose last channel is alpha must have 2 or 4, but has the shape {source.shape}")
        return source, True, None
    return source, False, _share("alpha", alpha, source)


def _share(name: str, value: object, source: NDArray[Any]) -> NDArray[np.float32] | None:
    if value is None:
        return None
    return _checks.plane(name, value, shape=source.shape[:2], whose="the source's", least=0.0, most=1.0)


def _edges(edges: str) -> str:
    if edges not in get_args(Edges):
        raise InputError(f"edges must be one of {', '.join(get_args(Edges))}, but is {edges!r}")
    return edges
