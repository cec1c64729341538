"""The public blurs: arguments checked, plans made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import _checks
from ._aperture import dim_table, light_tables, plan_aperture
from ._backend import backend
from ._gaussian import plan_blur

__all__ = ["Edges", "box_filter", "gaussian_blur", "lens_blur", "mosaic"]

Edges = Literal["replicate", "reflect", "wrap", "zero"]

_CHANNELS = (0, 1, 2, 3, 4)
_SIGMAS = (0.3, 5000.0)
_MOST_RADIUS = 5000
_MOST_STOPS = 8.0
_BLADES = (3, 32)


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
        or 4 channels is alpha, the others un-premultiplied; it is blurred, too. With a plane the result is the
        normalised convolution, the blur of ``alpha * source`` divided by that of alpha; the source where no alpha is
        in reach.
    mask : ndarray of shape (height, width), float32 in [0, 1], optional
        The blur's share in the result, ``source + mask * (blurred - source)``; with ``"last"``, of premultiplied
        colours.

    Returns
    -------
    ndarray of the source's shape and dtype
        Agrees with the specification, the convolution with a sampled Gaussian, within 1 step of uint8 and within 2e-3
        of the largest value otherwise. Colours that are un-premultiplied are off by as much divided by their alpha.

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
    sigma = _within("sigma", sigma, *_SIGMAS)
    plan = plan_blur(sigma, bytes_only=source.dtype == np.uint8 and not last and plane is None and mask is None)
    kernels = backend().kernels
    return kernels.gaussian_blur(source, sigma, plan.factor, plan.taps, _edges(edges), last, plane, mask)


def box_filter(
    source: NDArray[Any],
    radius: int,
    *,
    edges: Edges | Literal["shrink"] = "shrink",
    alpha: NDArray[np.float32] | Literal["last"] | None = None,
    mask: NDArray[np.float32] | None = None,
    dtype: type[np.generic] | np.dtype[Any] | None = None,
) -> NDArray[Any]:
    """Mean over the square window of ``2 radius + 1`` pixels a side.

    The time does not depend on the radius.

    Parameters
    ----------
    source : ndarray of shape (height, width) or (height, width, channels), uint8, uint16 or float32
        At most 4 channels, but for means in float32 with shrinking windows and nothing else.
    radius : int
        0 or more; with edges other than ``"shrink"`` at most 5000.
    edges : {"shrink", "replicate", "reflect", "wrap", "zero"}
        ``"shrink"``: at the borders the mean of the pixels that exist. The others: see `gaussian_blur`.
    alpha, mask : optional
        See `gaussian_blur`; not with ``"shrink"``.
    dtype : dtype, optional
        float32, the default, or the source's own, for which means are rounded.

    Returns
    -------
    ndarray of the source's shape
        In the source's own units: the mean of uint8 values lies in [0, 255]. Agrees with the specification
        within 1e-6 of the source's largest value, or one step of an integer.

    Raises
    ------
    InputError
        An argument is not what it must be.
    """
    wanted = np.dtype(np.float32 if dtype is None else dtype)
    if edges == "shrink" and alpha is None and mask is None:
        source = _checks.pixels("source", source)
        _box_dtype(wanted, source)
        radius = min(_checks.whole_number("radius", radius, least=0), max(source.shape[:2]))  # more is the same
        means = backend().kernels.box_filter(source, radius)
        return means if wanted == np.float32 else np.floor(means + np.float32(0.5)).astype(wanted)
    if edges == "shrink":
        raise InputError("edges must not be 'shrink' with alpha or a mask, but are")
    source, last, plane = _layer(source, alpha)
    _box_dtype(wanted, source)
    if wanted != source.dtype:
        if last:
            raise InputError(
                f"dtype must be the source's {source.dtype} where its last channel is alpha, but is {wanted}"
            )
        source = source.astype(np.float32)
    radius = _checks.whole_number("radius", radius, least=0, most=_MOST_RADIUS)
    return backend().kernels.box_blur(source, radius, _edges(edges), last, plane, _share("mask", mask, source))


def lens_blur(
    source: NDArray[Any],
    radius: float,
    *,
    blades: int = 0,
    rotation: float = 0.0,
    highlight: float = 0.0,
    subject: NDArray[np.float32] | None = None,
    edges: Edges = "replicate",
    alpha: NDArray[np.float32] | Literal["last"] | None = None,
    mask: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """Blur as a lens out of focus does: every point becomes an image of the aperture, in linear light.

    Parameters
    ----------
    source : ndarray of shape (height, width) or (height, width, 1 to 4), uint8, uint16 or float32
        sRGB; floats in [0, 1], what is outside counts as the nearer end.
    radius : float
        Of the circle around the aperture in pixels, 0.5 to 5000.
    blades : int
        0 for a disc, or the corners of a regular polygon, 3 to 32.
    rotation : float
        Of the polygon, in degrees clockwise; at 0 a side is upright at the right.
    highlight : float
        By how many stops white is brighter than its value says while light is averaged, 0 to 8; less bright colours by
        less, with the eighth power of their largest channel. The mean is taken back by the same rule, so that an even
        sky stays as it is, and a small lamp, clipped when the picture was taken, blooms again.
    subject : ndarray of shape (height, width), float32 in [0, 1], optional
        What is in focus and to be put over the result: its pixels are left out of the average, so that its colours do
        not bleed. Where nothing else is in reach the source stays as it is.
    edges, alpha, mask
        See `gaussian_blur`. ``subject`` together with ``alpha="last"`` is refused.

    Returns
    -------
    ndarray of the source's shape and dtype
        Agrees with the specification within 2 steps of uint8 and within 4e-3 of the largest value otherwise; where the
        weights in reach are small, as much divided by them.

    Raises
    ------
    InputError
        An argument is not what it must be.

    Notes
    -----
    From a radius of 16 on the aperture is applied to a picture shrunk to where it has a radius of 8 to 16, and the
    result is enlarged by cubic B-splines; that softens the aperture's rim by less than a tenth of its radius.
    """
    source, last, plane = _layer(source, alpha)
    if subject is not None:
        if last:
            raise InputError("subject must not be given where the last channel is alpha, but is")
        seen = 1 - _checks.plane("subject", subject, shape=source.shape[:2], whose="the source's", least=0.0, most=1.0)
        plane = seen if plane is None else seen * plane
    mask = _share("mask", mask, source)
    radius = _within("radius", radius, 0.5, _MOST_RADIUS)
    blades = _checks.whole_number("blades", blades, least=0, most=_BLADES[1])
    if 0 < blades < _BLADES[0]:
        raise InputError(f"blades must be 0 or from {_BLADES[0]} to {_BLADES[1]}, but are {blades}")
    gain = float(np.float32(2.0 ** _within("highlight", highlight, 0.0, _MOST_STOPS) - 1.0))
    plan = plan_aperture(radius, blades, _checks.number("rotation", rotation, least=-1e6))
    decode, encode = light_tables(source.dtype)
    tables = (decode, encode, gain, dim_table(gain))
    return backend().kernels.lens_blur(source, plan.factor, plan.runs, _edges(edges), last, plane, mask, *tables)


def mosaic(
    source: NDArray[Any],
    tile: int | tuple[int, int] | Sequence[int | tuple[int, int]],
    *,
    regions: Sequence[tuple[int, int, int, int]] | None = None,
    alpha: NDArray[np.float32] | Literal["last"] | None = None,
    mask: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """Replace every tile by its mean.

    Parameters
    ----------
    source : ndarray of shape (height, width) or (height, width, 1 to 4), uint8, uint16 or float32
    tile : int, (int, int), or a list of either
        A tile's side, or its height and width; a list holds those of each region.
    regions : sequence of (top, left, height, width), optional
        Where tiles are laid, each from the region's corner on; the whole picture if left out. Parts outside the
        picture are cut off. Where regions overlap the later one counts.
    alpha, mask
        See `gaussian_blur`.

    Returns
    -------
    ndarray of the source's shape and dtype
        Tiles that are cut off are the mean of what is left. Agrees with the specification within 1e-5 of the largest
        value, or one step of an integer.

    Raises
    ------
    InputError
        An argument is not what it must be.
    """
    source, last, plane = _layer(source, alpha)
    mask = _share("mask", mask, source)
    height, width = source.shape[:2]
    boxes = [(0, 0, height, width)] if regions is None else list(regions)
    tiles = list(tile) if isinstance(tile, Sequence) and not _is_pair(tile) else [tile] * len(boxes)
    if len(tiles) != len(boxes):
        raise InputError(f"tile must have one entry for each of {len(boxes)} regions, but has {len(tiles)}")
    rows = [_region(box, size, height, width) for box, size in zip(boxes, tiles, strict=True)]
    table = np.array([row for row in rows if row[2] > 0 and row[3] > 0], np.int64).reshape(-1, 6)
    return backend().kernels.mosaic(source, table, last, plane, mask)


def _is_pair(tile: object) -> bool:
    return isinstance(tile, tuple) and len(tile) == 2 and all(not isinstance(side, tuple) for side in tile)


def _region(box: Any, tile: Any, height: int, width: int) -> tuple[int, ...]:
    """Return a region cut to the picture, and its tile's height and width."""
    sides = tile if isinstance(tile, tuple) and len(tile) == 2 else (tile, tile)
    tall, wide = (_checks.whole_number("a tile's side", side, least=1, most=1 << 24) for side in sides)
    if not isinstance(box, Sequence) or len(box) != 4:
        raise InputError(f"a region must be (top, left, height, width), but is {box!r}")
    top, left = (_checks.whole_number("a region's corner", value, least=-(1 << 24), most=1 << 24) for value in box[:2])
    down, across = (_checks.whole_number("a region's side", value, least=1, most=1 << 25) for value in box[2:])
    first, start = max(top, 0), max(left, 0)
    return first, start, min(top + down, height) - first, min(left + across, width) - start, tall, wide


def _within(name: str, value: object, least: float, most: float) -> float:
    number = _checks.number(name, value, least=least)
    if number > most:
        raise InputError(f"{name} must be a number of at most {most:g}, but is {number:g}")
    return number


def _box_dtype(wanted: np.dtype[Any], source: NDArray[Any]) -> None:
    if wanted not in (np.float32, source.dtype):
        raise InputError(f"dtype must be float32 or the source's {source.dtype}, but is {wanted}")


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
