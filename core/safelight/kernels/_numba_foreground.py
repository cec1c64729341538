"""The foreground of a matte in numba: the pyramid and the red-black sweeps, every level held whole."""

from __future__ import annotations

import numpy as np

from ._numba import STRIP, Array, Floats, compiled, run_strips, unit_scale
from ._reference import OVER_RELAXATION, sweeps_at

__all__ = ["estimate"]


@compiled
def _halve_strip(begin: int, end: int, values: Array, unit: float, result: Floats) -> None:
    height, width, channels = values.shape
    for y in range(begin, end):
        lower = min(2 * y + 1, height - 1)
        for x in range(result.shape[1]):
            right = min(2 * x + 1, width - 1)
            for c in range(channels):
                upper_sum = float(values[2 * y, 2 * x, c]) + float(values[2 * y, right, c])
                lower_sum = float(values[lower, 2 * x, c]) + float(values[lower, right, c])
                result[y, x, c] = (upper_sum + lower_sum) * 0.25 * unit


def _halved(values: Array, unit: float) -> Floats:
    result = np.empty((-(-values.shape[0] // 2), -(-values.shape[1] // 2), values.shape[2]), np.float32)
    run_strips(_halve_strip, result.shape[0], STRIP, values, unit, result)
    return result


@compiled
def _start_strip(
    begin: int, end: int, image: Array, unit: float, alpha: Array, known: float, coarse: Floats, result: Floats
) -> None:
    """First colours of a level: its parents', and the image's own where alpha is the known value."""
    for y in range(begin, end):
        for x in range(image.shape[1]):
            for c in range(3):
                own = alpha[y, x, 0] == known
                result[y, x, c] = image[y, x, c] * unit if own else coarse[y // 2, x // 2, c]


def _start(image: Array, unit: float, alpha: Array, known: float, coarse: Floats) -> Floats:
    result = np.empty(image.shape, np.float32)
    run_strips(_start_strip, image.shape[0], STRIP, image, unit, alpha, known, coarse, result)
    return result


@compiled
def _relax_strip(
    begin: int,
    end: int,
    image: Array,
    unit: float,
    alpha: Array,
    regularization: float,
    gradient_weight: float,
    colour: int,
    relaxation: float,
    foreground: Floats,
    background: Floats,
) -> None:
    """One sweep over the red (0) or black (1) unknown pixels."""
    height, width = alpha.shape[:2]
    for y in range(begin, end):
        for x in range((y + colour) % 2, width, 2):
            a = alpha[y, x, 0]
            if a <= 0 or a >= 1:
                continue
            total, gain = 0.0, a * a + (1 - a) * (1 - a)
            f, b = np.zeros(3), np.zeros(3)
            for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
                j, i = y + dy, x + dx
                if j < 0 or j >= height or i < 0 or i >= width:
                    continue
                weight = regularization + gradient_weight * abs(a - alpha[j, i, 0])
                total += weight
                for c in range(3):
                    f[c] += weight * foreground[j, i, c]
                    b[c] += weight * background[j, i, c]
            for c in range(3):
                mean_f, mean_b = f[c] / total, b[c] / total
                error = (image[y, x, c] * unit - a * mean_f - (1 - a) * mean_b) / (gain + total)
                old_f, old_b = foreground[y, x, c], background[y, x, c]
                foreground[y, x, c] = min(max(old_f + relaxation * (mean_f + a * error - old_f), 0.0), 1.0)
                background[y, x, c] = min(max(old_b + relaxation * (mean_b + (1 - a) * error - old_b), 0.0), 1.0)


@compiled
def _finish_strip(begin: int, end: int, colours: Floats, most: float, result: Array) -> None:
    for y in range(begin, end):
        for x in range(result.shape[1]):
            for c in range(3):
                result[y, x, c] = int(colours[y, x, c] * most + 0.5)


def _finish(colours: Floats, like: Array) -> Array:
    if like.dtype.kind == "f":
        return colours
    result = np.empty_like(like)
    run_strips(_finish_strip, like.shape[0], STRIP, colours, 1.0 / unit_scale(like), result)
    return result


def estimate(
    image: Array,
    alpha: Floats,
    small_iterations: int,
    big_iterations: int,
    regularization: float,
    gradient_weight: float,
    return_background: bool,
    clear: bool,
) -> Array | tuple[Array, Array]:
    """Foreground, and background where asked for, of the image's shape and dtype. Holds every level whole."""
    levels: list[tuple[Array, float, Array]] = [(image, unit_scale(image), alpha[..., None])]
    while levels[-1][2].size > 1:
        levels.append((_halved(*levels[-1][:2]), 1.0, _halved(levels[-1][2], 1.0)))
    foreground = (levels[-1][0] * levels[-1][1]).astype(np.float32)
    background = foreground.copy()
    for level in range(len(levels) - 2, -1, -1):
        level_image, unit, level_alpha = levels[level]
        foreground = _start(level_image, unit, level_alpha, 1.0, foreground)
        background = _start(level_image, unit, level_alpha, 0.0, background)
        sweeps = sweeps_at(level, small_iterations, big_iterations)
        for sweep in range(sweeps):
            relaxation = OVER_RELAXATION if sweep + 1 < sweeps else 1.0
            for colour in (0, 1):
                weights = (regularization, gradient_weight, colour, relaxation)
                run_strips(
                    _relax_strip, level_image.shape[0], STRIP,
                    level_image, unit, level_alpha, *weights, foreground, background,
                )  # fmt: skip
    result = _finish(foreground, image)
    if clear:
        most = np.float32(1.0 / unit_scale(image))
        result[alpha <= 0 if image.dtype.kind == "f" else alpha * most + np.float32(0.5) < 1] = 0
    return (result, _finish(background, image)) if return_background else result
