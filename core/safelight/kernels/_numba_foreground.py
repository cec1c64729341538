"""The foreground of a matte in numba: the pyramid and the red-black sweeps, every level held whole."""

from __future__ import annotations

import numpy as np

from ._numba_tools import STRIP, Array, Floats, compiled, run_strips, unit_scale
from ._reference import OVER_RELAXATION, sweeps_at

__all__ = ["estimate"]

_DOWN, _RIGHT = (0, 0, -1, 1), (-1, 1, 0, 0)  # to the four neighbours


@compiled
def _halve_strip(begin: int, end: int, values: Array, unit: float, result: Floats) -> None:
    height, width, channels = values.shape
    share = np.float32(0.25 * unit)
    for y in range(begin, end):
        lower = min(2 * y + 1, height - 1)
        for x in range(result.shape[1]):
            right = min(2 * x + 1, width - 1)
            for c in range(channels):
                upper_sum = np.float32(values[2 * y, 2 * x, c]) + np.float32(values[2 * y, right, c])
                lower_sum = np.float32(values[lower, 2 * x, c]) + np.float32(values[lower, right, c])
                result[y, x, c] = (upper_sum + lower_sum) * share


def _halved(values: Array, unit: float) -> Floats:
    result = np.empty((-(-values.shape[0] // 2), -(-values.shape[1] // 2), values.shape[2]), np.float32)
    run_strips(_halve_strip, result.shape[0], STRIP, values, unit, result)
    return result


@compiled
def _start_strip(
    begin: int,
    end: int,
    image: Array,
    unit: float,
    alpha: Array,
    coarse_foreground: Floats,
    coarse_background: Floats,
    foreground: Floats,
    background: Floats,
) -> None:
    """First colours of a level: its parents', and the image's own where they are known."""
    scale = np.float32(unit)
    for y in range(begin, end):
        for x in range(image.shape[1]):
            a = alpha[y, x, 0]
            for c in range(3):
                own = image[y, x, c] * scale
                foreground[y, x, c] = own if a >= 1 else coarse_foreground[y // 2, x // 2, c]
                background[y, x, c] = own if a <= 0 else coarse_background[y // 2, x // 2, c]


def _start(image: Array, unit: float, alpha: Array, foreground: Floats, background: Floats) -> tuple[Floats, Floats]:
    started = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    run_strips(_start_strip, image.shape[0], STRIP, image, unit, alpha, foreground, background, *started)
    return started


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
    base, slope = np.float32(regularization), np.float32(gradient_weight)
    scale, speed, zero, one = np.float32(unit), np.float32(relaxation), np.float32(0), np.float32(1)
    for y in range(begin, end):
        for x in range((y + colour) % 2, width, 2):
            a = alpha[y, x, 0]
            if a <= 0 or a >= 1:
                continue
            total = np.float32(0)
            f0 = f1 = f2 = b0 = b1 = b2 = np.float32(0)
            for k in range(4):
                j, i = y + _DOWN[k], x + _RIGHT[k]
                if j < 0 or j >= height or i < 0 or i >= width:
                    continue
                weight = base + slope * abs(a - alpha[j, i, 0])
                total += weight
                f0 += weight * foreground[j, i, 0]
                f1 += weight * foreground[j, i, 1]
                f2 += weight * foreground[j, i, 2]
                b0 += weight * background[j, i, 0]
                b1 += weight * background[j, i, 1]
                b2 += weight * background[j, i, 2]
            share, rest = np.float32(1) / total, np.float32(1) - a
            gain = np.float32(1) / (a * a + rest * rest + total)
            for c in range(3):
                f = share * (f0 if c == 0 else f1 if c == 1 else f2)
                b = share * (b0 if c == 0 else b1 if c == 1 else b2)
                error = gain * (image[y, x, c] * scale - a * f - rest * b)
                old_f, old_b = foreground[y, x, c], background[y, x, c]
                foreground[y, x, c] = min(max(old_f + speed * (f + a * error - old_f), zero), one)
                background[y, x, c] = min(max(old_b + speed * (b + rest * error - old_b), zero), one)


@compiled
def _finish_strip(
    begin: int, end: int, colours: Floats, most: float, alpha: Floats, clear: bool, result: Array
) -> None:
    """Round to whole numbers; clear what alpha, rounded in the same way, hides."""
    top, half = np.float32(most), np.float32(0.5)
    for y in range(begin, end):
        for x in range(result.shape[1]):
            hidden = clear and alpha[y, x] * top + half < 1
            for c in range(3):
                result[y, x, c] = 0 if hidden else int(colours[y, x, c] * top + half)


def _finish(colours: Floats, like: Array, alpha: Floats, clear: bool) -> Array:
    if like.dtype.kind == "f":
        if clear:
            colours[alpha <= 0] = 0
        return colours
    result = np.empty_like(like)
    run_strips(_finish_strip, like.shape[0], STRIP, colours, 1.0 / unit_scale(like), alpha, clear, result)
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
        foreground, background = _start(level_image, unit, level_alpha, foreground, background)
        sweeps = sweeps_at(level, small_iterations, big_iterations)
        for sweep in range(sweeps):
            relaxation = OVER_RELAXATION if sweep + 1 < sweeps else 1.0
            for colour in (0, 1):
                weights = (regularization, gradient_weight, colour, relaxation)
                run_strips(
                    _relax_strip, level_image.shape[0], STRIP,
                    level_image, unit, level_alpha, *weights, foreground, background,
                )  # fmt: skip
    result = _finish(foreground, image, alpha, clear)
    return (result, _finish(background, image, alpha, False)) if return_background else result
