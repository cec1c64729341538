"""The blurs in plain NumPy and double precision: what the fast versions must agree with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["blurred_by", "edge_indices", "gaussian_blur", "gaussian_matrix"]

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
    blur: Callable[[Doubles], Doubles], source: Pixels, last_is_alpha: bool, alpha: Floats | None, mask: Floats | None
) -> Pixels:
    """Blur a picture's colours premultiplied by their alpha, and mix the result with the picture."""
    most = 1.0 if source.dtype.kind == "f" else float(np.iinfo(source.dtype).max)
    values = np.atleast_3d(source).astype(np.float64)
    if last_is_alpha:
        shares = values[..., -1:] / most
    else:
        shares = np.ones((*source.shape[:2], 1)) if alpha is None else alpha[..., None].astype(np.float64)
    colours = values[..., :-1] if last_is_alpha else values
    result = blur(np.concatenate([colours * shares, shares], axis=2))
    total = result[..., -1:]
    if last_is_alpha or alpha is not None:
        seen = total > _LEAST_ALPHA
        result = np.where(seen, result / np.where(seen, total, 1.0), 0.0)
    result[..., -1:] = total * most
    share = np.ones((*source.shape[:2], 1)) if mask is None else mask[..., None].astype(np.float64)
    if last_is_alpha:
        result = _mixed_with_alpha(values, result, share)
    else:
        result = values + (result[..., :-1] - values) * share
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
        return np.einsum("yi,ijc,xj->yxc", rows, values, columns, optimize=True)

    return blurred_by(blur, source, last_is_alpha, alpha, mask)


def _mixed_with_alpha(before: Doubles, after: Doubles, share: Doubles) -> Doubles:
    """Mix pictures whose last channel is alpha: their colours count by it."""
    old, new = before[..., -1:] * (1 - share), after[..., -1:] * share
    both = old + new
    part = np.where(both > 0, new / np.where(both > 0, both, 1.0), share)
    colours = before[..., :-1] + (after[..., :-1] - before[..., :-1]) * part
    return np.concatenate([colours, both], axis=2)
