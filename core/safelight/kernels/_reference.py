"""The kernels in plain NumPy and double precision: what the fast versions must agree with.

Arguments are checked before they come here (see ``safelight.kernels``). Slow and hungry for memory on purpose:
nothing is done that would hide the mathematics.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "OVER_RELAXATION",
    "Doubles",
    "Floats",
    "Pixels",
    "apply_coefficients",
    "area_average",
    "box_filter",
    "closed_form",
    "doubled",
    "expand_trimap",
    "foreground_multilevel",
    "from_unit",
    "guided_coefficients",
    "guided_filter",
    "halved",
    "neighbours",
    "relax",
    "sample_colours",
    "sweeps_at",
    "to_unit",
    "window_mean",
    "window_sum",
]

Pixels = NDArray[Any]  # uint8, uint16 or float32
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

OVER_RELAXATION = 1.7


def to_unit(pixels: Pixels) -> Doubles:
    """Integers scaled to [0, 1], floats as they are."""
    most = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    return pixels.astype(np.float64) / most


def from_unit(values: Doubles, like: Pixels) -> Pixels:
    """Return values in [0, 1] in the dtype of ``like``."""
    if like.dtype.kind == "f":
        return values.astype(np.float32)
    whole: Pixels = np.floor(values * np.iinfo(like.dtype).max + 0.5).astype(like.dtype)
    return whole


def window_sum(values: Doubles, radius: int) -> Doubles:
    """Sum over the ``(2 radius + 1)^2`` window, of the pixels that exist."""
    for axis in (0, 1):
        count = values.shape[axis]
        first = np.clip(np.arange(count) - radius, 0, count)
        end = np.clip(np.arange(count) + radius + 1, 0, count)
        zero = np.zeros_like(values.take([0], axis))
        running = np.concatenate([zero, np.cumsum(values, axis)], axis)
        values = running.take(end, axis) - running.take(first, axis)
    return values


def window_mean(values: Doubles, radius: int) -> Doubles:
    """Mean over the window, of the pixels that exist."""
    count = window_sum(np.ones(values.shape[:2]), radius)
    return window_sum(values, radius) / count.reshape(count.shape + (1,) * (values.ndim - 2))


def box_filter(source: Pixels, radius: int) -> Floats:
    """Mean over the window, in the source's own units."""
    return window_mean(source.astype(np.float64), radius).astype(np.float32)


def area_average(source: Pixels, height: int, width: int) -> Floats:
    """Mean over the area every pixel of the smaller picture covers."""

    def shares(source_count: int, count: int) -> Doubles:
        edges = np.arange(count + 1) * (source_count / count)
        begin, end = edges[:-1, None], edges[1:, None]
        at = np.arange(source_count)
        covered: Doubles = np.clip(np.minimum(end, at + 1) - np.maximum(begin, at), 0, None) / (end - begin)
        return covered

    rows, columns = shares(source.shape[0], height), shares(source.shape[1], width)
    means: Floats = np.einsum("yi,ij...,xj->yx...", rows, to_unit(source), columns, optimize=True).astype(np.float32)
    return means


def guided_coefficients(
    guide: Pixels, source: Floats, radius: int, eps: float, weight: Floats | None, least_weight: float
) -> Floats:
    """Mean coefficients ``(channels + 1, height, width)`` of the windows' fits ``a . guide + b``."""
    colours = np.atleast_3d(to_unit(guide))
    channels = colours.shape[2]
    target = source.astype(np.float64)
    weights = np.ones(source.shape) if weight is None else weight.astype(np.float64) + least_weight
    total = window_sum(weights, radius)

    def mean(values: Doubles) -> Doubles:
        return window_sum(weights * values, radius) / total

    guide_mean = np.stack([mean(colours[..., c]) for c in range(channels)], -1)
    target_mean = mean(target)
    covariance = np.empty((*source.shape, channels, channels))
    with_target = np.empty((*source.shape, channels))
    for c in range(channels):
        with_target[..., c] = mean(colours[..., c] * target) - guide_mean[..., c] * target_mean
        for d in range(channels):
            product = guide_mean[..., c] * guide_mean[..., d]
            covariance[..., c, d] = mean(colours[..., c] * colours[..., d]) - product
    a = np.linalg.solve(covariance + eps * np.eye(channels), with_target[..., None])[..., 0]
    b = target_mean - (a * guide_mean).sum(-1)
    fits = window_mean(np.concatenate([a, b[..., None]], -1), radius)
    return np.moveaxis(fits, -1, 0).astype(np.float32)


def guided_filter(
    guide: Pixels, source: Floats, radius: int, eps: float, weight: Floats | None, least_weight: float
) -> Floats:
    """Apply the mean coefficients to the guide they were fitted to."""
    fits = guided_coefficients(guide, source, radius, eps, weight, least_weight).astype(np.float64)
    colours = np.atleast_3d(to_unit(guide))
    result: Floats = (np.einsum("cyx,yxc->yx", fits[:-1], colours) + fits[-1]).astype(np.float32)
    return result


def apply_coefficients(guide: Pixels, coefficients: Floats) -> Floats:
    """Apply low-resolution coefficients, bilinear between pixel centres, to the guide; clip to [0, 1]."""

    def bilinear(values: Doubles, axis: int, count: int) -> Doubles:
        low = values.shape[axis]
        at = np.clip((np.arange(count) + 0.5) * low / count - 0.5, 0, low - 1)
        first = np.floor(at).astype(int)
        share = (at - first).reshape(-1, *(1,) * (values.ndim - 1 - axis))
        second = np.minimum(first + 1, low - 1)
        blend: Doubles = values.take(first, axis) * (1 - share) + values.take(second, axis) * share
        return blend

    height, width = guide.shape[:2]
    fits = bilinear(bilinear(coefficients.astype(np.float64), 1, height), 2, width)
    colours = np.atleast_3d(to_unit(guide))
    result: Floats = np.clip(np.einsum("cyx,yxc->yx", fits[:-1], colours) + fits[-1], 0, 1).astype(np.float32)
    return result


def halved(values: Doubles) -> Doubles:
    """Mean of two by two pixels; at an odd edge of those that exist."""
    even = [(0, values.shape[0] % 2), (0, values.shape[1] % 2)] + [(0, 0)] * (values.ndim - 2)
    v = np.pad(values, even, mode="edge")
    return (v[0::2, 0::2] + v[0::2, 1::2] + v[1::2, 0::2] + v[1::2, 1::2]) / 4


def doubled(values: Doubles, height: int, width: int) -> Doubles:
    """Every pixel repeated two by two, cut to the size."""
    return np.repeat(np.repeat(values, 2, 0), 2, 1)[:height, :width]


def neighbours(values: Doubles) -> list[Doubles]:
    """Give the left, right, upper and lower neighbour of every pixel; at the border the pixel itself."""
    first_column, last_column = values[:, :1], values[:, -1:]
    return [
        np.concatenate([first_column, values[:, :-1]], 1),
        np.concatenate([values[:, 1:], last_column], 1),
        np.concatenate([values[:1], values[:-1]], 0),
        np.concatenate([values[1:], values[-1:]], 0),
    ]


def sweeps_at(level: int, small_iterations: int, big_iterations: int) -> int:
    """Sweeps of a level: twice as many as of the next finer one, within the two numbers."""
    return max(big_iterations, min(small_iterations, big_iterations << level))


def relax(
    image: Doubles,
    alpha: Doubles,
    foreground: Doubles,
    background: Doubles,
    sweeps: int,
    regularization: float,
    gradient_weight: float,
) -> tuple[Doubles, Doubles]:
    """Red-black sweeps over the unknown pixels, over-relaxed but for the last one."""
    exists = neighbours(np.pad(np.zeros(alpha.shape), 1, constant_values=1))
    weights = [
        (regularization + gradient_weight * np.abs(alpha - other)) * (1 - outside[1:-1, 1:-1])
        for other, outside in zip(neighbours(alpha), exists, strict=True)
    ]
    total = np.sum(weights, axis=0)
    shares = [(weight / total)[..., None] for weight in weights]
    gain = (1 / (alpha**2 + (1 - alpha) ** 2 + total))[..., None]
    unknown = (alpha > 0) & (alpha < 1)
    red = np.add.outer(np.arange(alpha.shape[0]), np.arange(alpha.shape[1])) % 2 == 0
    a = alpha[..., None]
    for sweep in range(sweeps):
        relaxation = OVER_RELAXATION if sweep + 1 < sweeps else 1.0
        for chosen in ((unknown & red)[..., None], (unknown & ~red)[..., None]):
            f = np.sum([w * v for w, v in zip(shares, neighbours(foreground), strict=True)], axis=0)
            b = np.sum([w * v for w, v in zip(shares, neighbours(background), strict=True)], axis=0)
            error = (image - a * f - (1 - a) * b) * gain
            new_foreground = foreground + relaxation * (f + a * error - foreground)
            new_background = background + relaxation * (b + (1 - a) * error - background)
            foreground = np.where(chosen, np.clip(new_foreground, 0, 1), foreground)
            background = np.where(chosen, np.clip(new_background, 0, 1), background)
    return foreground, background


def foreground_multilevel(
    image: Pixels,
    alpha: Floats,
    small_iterations: int,
    big_iterations: int,
    regularization: float,
    gradient_weight: float,
    return_background: bool,
) -> Pixels | tuple[Pixels, Pixels]:
    """Foreground, and background where asked for, of the image's shape and dtype."""
    images, alphas = [to_unit(image)], [alpha.astype(np.float64)]
    while alphas[-1].size > 1:
        images.append(halved(images[-1]))
        alphas.append(halved(alphas[-1]))
    foreground = background = images[-1]
    for level in range(len(alphas) - 2, -1, -1):
        level_image, level_alpha = images[level], alphas[level]
        foreground = doubled(foreground, *level_alpha.shape)
        background = doubled(background, *level_alpha.shape)
        foreground = np.where(level_alpha[..., None] >= 1, level_image, foreground)
        background = np.where(level_alpha[..., None] <= 0, level_image, background)
        sweeps = sweeps_at(level, small_iterations, big_iterations)
        foreground, background = relax(
            level_image, level_alpha, foreground, background, sweeps, regularization, gradient_weight
        )
    result = from_unit(foreground, image)
    return (result, from_unit(background, image)) if return_background else result


def closed_form(*arguments: Any) -> tuple[Floats, int, float, bool]:
    """Alpha of the closed form, iterations, residual, and whether they converged."""
    from ._reference_closed_form import closed_form as solve

    return solve(*arguments)


def expand_trimap(*arguments: Any) -> NDArray[np.uint8]:
    """Label unknown pixels like the nearest known pixel of nearly the same colour."""
    from ._reference_sampling import expand_trimap as expand

    return expand(*arguments)


def sample_colours(*arguments: Any) -> Floats:
    """Find every unknown pixel's best pair of a foreground and a background sample."""
    from ._reference_sampling import sample_colours as sample

    return sample(*arguments)
