"""The blurs in plain NumPy and double precision: what the fast versions must agree with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._aperture import dimming, from_linear, to_linear

__all__ = [
    "blurred_by",
    "box_blur",
    "edge_indices",
    "gaussian_blur",
    "gaussian_matrix",
    "lens_blur",
    "mosaic",
    "spline_matrix",
    "tent_matrix",
]

Pixels = NDArray[Any]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_REACH = 8.0  # sigmas; beyond them a Gaussian is nothing in double precision
_LEAST_ALPHA = 1e-6


def edge_indices(at: NDArray[np.int64], count: int, edges: str) -> NDArray[np.int64]:
    """Return which pixel stands for each position on a line of ``count``; -1 for none."""
    if edges == "replicate":
        return np.clip(at, 0, count - 1)
    if edges == "wrap":
        return at % count
    if edges == "reflect":
        folded = at % (2 * count)
        return np.minimum(folded, 2 * count - 1 - folded)
    return np.where((at >= 0) & (at < count), at, -1)


def gaussian_matrix(count: int, sigma: float, edges: str) -> Doubles:
    """Return the weights ``(count, count)`` of a line's pixels in each pixel of the blurred line."""
    reach = math.ceil(_REACH * sigma)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    matrix = np.zeros((count, count))
    for at in range(count):
        index = edge_indices(at + offsets, count, edges)
        np.add.at(matrix[at], index[index >= 0], kernel[index >= 0])
    return matrix


def blurred_by(
    blur: Callable[[Doubles], Doubles],
    source: Pixels,
    last_is_alpha: bool,
    alpha: Floats | None,
    mask: Floats | None,
    *,
    there: Callable[[Doubles], Doubles] = lambda colours: colours,
    back: Callable[[Doubles], Doubles] = lambda colours: colours,
) -> Pixels:
    """Blur a picture's colours premultiplied by their alpha, and mix the result with the picture.

    ``there`` takes colours in [0, 1] to where they are blurred, ``back`` takes them back.
    """
    most = 1.0 if source.dtype.kind == "f" else float(np.iinfo(source.dtype).max)
    values = np.atleast_3d(source).astype(np.float64) / most
    if last_is_alpha:
        shares = values[..., -1:]
    else:
        shares = np.ones((*source.shape[:2], 1)) if alpha is None else alpha[..., None].astype(np.float64)
    colours = values[..., :-1] if last_is_alpha else values
    result = blur(np.concatenate([there(colours) * shares, shares], axis=2))
    total = result[..., -1:]
    blurred = result[..., :-1]
    if last_is_alpha or alpha is not None:
        seen = total > _LEAST_ALPHA
        blurred = back(np.where(seen, blurred / np.where(seen, total, 1.0), 0.0))
        if not last_is_alpha:
            blurred = np.where(seen, blurred, colours)
    else:
        blurred = back(blurred)
    share = np.ones((*source.shape[:2], 1)) if mask is None else mask[..., None].astype(np.float64)
    if last_is_alpha:
        result = _mixed_with_alpha(values, np.concatenate([blurred, total], axis=2), share)
    else:
        result = values + (blurred - values) * share
    result *= most
    if source.dtype.kind == "u":
        result = np.floor(result + 0.5)
    return result.astype(source.dtype).reshape(source.shape)


def gaussian_blur(
    source: Pixels,
    sigma: float,
    _factor: int,
    _taps: Floats,
    edges: str,
    last_is_alpha: bool,
    alpha: Floats | None,
    mask: Floats | None,
) -> Pixels:
    """Convolve with the sampled Gaussian itself."""
    rows, columns = (gaussian_matrix(count, sigma, edges) for count in source.shape[:2])

    def blur(values: Doubles) -> Doubles:
        blurred: Doubles = np.einsum("yi,ijc,xj->yxc", rows, values, columns, optimize=True)
        return blurred

    return blurred_by(blur, source, last_is_alpha, alpha, mask)


def box_blur(
    source: Pixels, radius: int, edges: str, last_is_alpha: bool, alpha: Floats | None, mask: Floats | None
) -> Pixels:
    """Mean over the window, in the source's type."""

    def matrix(count: int) -> Doubles:
        at = np.arange(count)[:, None] + np.arange(-radius, radius + 1)
        weights = np.zeros((count, count))
        for y, index in enumerate(edge_indices(at, count, edges)):
            np.add.at(weights[y], index[index >= 0], 1 / (2 * radius + 1))
        return weights

    rows, columns = (matrix(count) for count in source.shape[:2])

    def blur(values: Doubles) -> Doubles:
        blurred: Doubles = np.einsum("yi,ijc,xj->yxc", rows, values, columns, optimize=True)
        return blurred

    return blurred_by(blur, source, last_is_alpha, alpha, mask)


def tent_matrix(count: int, factor: int, pad: int, edges: str) -> Doubles:
    """Return the weights of a line's pixels in those of the shrunk line, ``pad`` beyond its ends included."""
    small = -(-count // factor)
    weight = factor - np.abs(np.arange(2 * factor) - factor + 0.5)
    matrix = np.zeros((small + 2 * pad, count))
    for row, x in enumerate(range(-pad, small + pad)):
        index = edge_indices(x * factor - factor // 2 + np.arange(2 * factor), count, edges)
        np.add.at(matrix[row], index[index >= 0], (weight / weight.sum())[index >= 0])
    return matrix


def spline_matrix(count: int, factor: int, pad: int) -> Doubles:
    """Return the weights of the shrunk line's pixels in those of the line: cubic B-splines."""
    at = (np.arange(count) + 0.5) / factor - 0.5
    first = np.floor(at).astype(int)
    t = at - first
    s = 1 - t
    weights = np.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], axis=1) / 6
    matrix = np.zeros((count, -(-count // factor) + 2 * pad))
    for k in range(4):
        matrix[np.arange(count), first - 1 + k + pad] = weights[:, k]
    return matrix


def lens_blur(
    source: Pixels,
    factor: int,
    runs: Floats,
    edges: str,
    last_is_alpha: bool,
    alpha: Floats | None,
    mask: Floats | None,
    _decode: Floats,
    _encode: Floats,
    gain: float,
    _dim: Floats,
) -> Pixels:
    """Mean over an aperture given by rows, in linear light, at 1 / ``factor`` of the size."""
    radius = len(runs) // 2
    pad = radius + (4 if factor > 1 else 1)
    shape = source.shape[:2]
    if factor == 1:
        there = [np.eye(count)[edge_indices(np.arange(-pad, count + pad), count, edges)] for count in shape]
        if edges == "zero":
            for matrix in there:
                matrix[:pad] = matrix[-pad:] = 0
        back = [np.eye(count + 2 * pad)[pad:-pad] for count in shape]
    else:
        there = [tent_matrix(count, factor, pad, edges) for count in shape]
        back = [spline_matrix(count, factor, pad) for count in shape]
    across = np.arange(-radius - 1, radius + 2)
    kernel = np.clip(np.minimum(runs[:, 1:], across + 0.5) - np.maximum(runs[:, :1], across - 0.5), 0, None)
    kernel = kernel.astype(np.float64) / kernel.sum(dtype=np.float64)

    def blur(values: Doubles) -> Doubles:
        small = np.einsum("yi,ijc,xj->yxc", there[0], values, there[1], optimize=True)
        total = np.zeros_like(small)
        for dy, dx in zip(*np.nonzero(kernel), strict=True):
            total += kernel[dy, dx] * np.roll(small, (radius - dy, radius + 1 - dx), (0, 1))
        result: Doubles = np.einsum("yi,ijc,xj->yxc", back[0], total, back[1], optimize=True)
        return result

    def light(colours: Doubles) -> Doubles:
        linear = to_linear(colours)
        brightened: Doubles = linear * (1 + gain * linear.max(axis=2, keepdims=True) ** 8)
        return brightened

    def back_from_light(colours: Doubles) -> Doubles:
        return from_linear(colours * dimming(colours.max(axis=2, keepdims=True), gain))

    return blurred_by(blur, source, last_is_alpha, alpha, mask, there=light, back=back_from_light)


def mosaic(
    source: Pixels, regions: NDArray[np.int64], last_is_alpha: bool, alpha: Floats | None, mask: Floats | None
) -> Pixels:
    """Tiles become their means."""

    def within(box: tuple[slice, slice]) -> Pixels:
        def blur(values: Doubles) -> Doubles:
            return np.broadcast_to(values.mean((0, 1)), values.shape).copy()

        planes = (None if plane is None else plane[box] for plane in (alpha, mask))
        return blurred_by(blur, source[box], last_is_alpha, *planes)

    result = source.copy()
    for top, left, height, width, tile_height, tile_width in regions.tolist():
        for y in range(top, top + height, tile_height):
            for x in range(left, left + width, tile_width):
                rows = slice(y, min(y + tile_height, top + height))
                columns = slice(x, min(x + tile_width, left + width))
                result[rows, columns] = within((rows, columns))
    return result


def _mixed_with_alpha(before: Doubles, after: Doubles, share: Doubles) -> Doubles:
    """Mix pictures whose last channel is alpha: their colours count by it."""
    old, new = before[..., -1:] * (1 - share), after[..., -1:] * share
    both = old + new
    part = np.where(both > 0, new / np.where(both > 0, both, 1.0), share)
    colours = before[..., :-1] + (after[..., :-1] - before[..., :-1]) * part
    return np.concatenate([colours, both], axis=2)
