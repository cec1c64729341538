"""The kernels in numba: for platforms without the compiled module.

The same algorithms as in ``core/native``, written shorter: rows are cut into strips of fixed height, which threads take
one by one, and a strip's result depends on nothing but its rows. Nothing is compiled before it is called.
"""

from __future__ import annotations

import numpy as np

from ._numba_blur import gaussian_blur
from ._numba_closed_form import closed_form
from ._numba_sampling import expand_trimap, sample_colours
from ._numba_tools import STRIP, Array, Floats, compiled, run_strips, set_threads, threads, unit_scale, with_channels
from ._numba_windows import box_blur, lens_blur, mosaic

__all__ = [
    "STRIP",
    "Array",
    "Floats",
    "apply_coefficients",
    "area_average",
    "box_blur",
    "box_filter",
    "closed_form",
    "compiled",
    "expand_trimap",
    "foreground_multilevel",
    "gaussian_blur",
    "guided_coefficients",
    "guided_filter",
    "lens_blur",
    "mosaic",
    "run_strips",
    "sample_colours",
    "set_threads",
    "threads",
    "unit_scale",
    "with_channels",
]


@compiled
def _slide(columns: Array, radius: int, windows: Array) -> None:
    """Sum each plane's columns over the window around each of them."""
    planes, width = columns.shape
    for k in range(planes):
        total = 0.0
        for x in range(min(radius, width)):
            total += columns[k, x]
        for x in range(width):
            if x + radius < width:
                total += columns[k, x + radius]
            if x - radius > 0:
                total -= columns[k, x - radius - 1]
            windows[k, x] = total


@compiled
def _window_size(at: int, radius: int, count: int) -> int:
    return min(at + radius, count - 1) - max(at - radius, 0) + 1


# ---- Box filter and area average -------------------------------------------------------------------------------


@compiled
def _box_strip(begin: int, end: int, source: Array, radius: int, result: Floats) -> None:
    height, width, channels = source.shape
    columns, windows = np.zeros((channels, width)), np.empty((channels, width))
    for y in range(max(begin - radius, 0), min(begin + radius, height)):
        for x in range(width):
            for c in range(channels):
                columns[c, x] += source[y, x, c]
    for y in range(begin, end):
        for x in range(width):
            for c in range(channels):
                if y + radius < height:
                    columns[c, x] += source[y + radius, x, c]
                if y > begin and y - radius > 0:
                    columns[c, x] -= source[y - radius - 1, x, c]
        _slide(columns, radius, windows)
        rows = _window_size(y, radius, height)
        for x in range(width):
            for c in range(channels):
                result[y, x, c] = windows[c, x] / (rows * _window_size(x, radius, width))


def box_filter(source: Array, radius: int) -> Floats:
    """Mean over the window, in the source's own units."""
    result = np.empty(source.shape, np.float32)
    run_strips(
        _box_strip, source.shape[0], max(STRIP, 4 * radius), with_channels(source), radius, with_channels(result)
    )
    return result


@compiled
def _share(pixel: int, at: int, source_count: int, count: int) -> float:
    """Return how much of a pixel lies in [at, at + 1) * source_count / count."""
    begin, end = max(at * source_count, pixel * count), min((at + 1) * source_count, (pixel + 1) * count)
    return (end - begin) / count


@compiled
def _area_strip(begin: int, end: int, source: Array, unit: float, result: Floats) -> None:
    source_height, source_width, channels = source.shape
    height, width = result.shape[:2]
    sums = np.empty((source_width, channels))
    area = source_height / height * (source_width / width)
    for y in range(begin, end):
        sums[:] = 0
        for row in range(y * source_height // height, ((y + 1) * source_height - 1) // height + 1):
            share = _share(row, y, source_height, height)
            for x in range(source_width):
                for c in range(channels):
                    sums[x, c] += share * source[row, x, c]
        for x in range(width):
            for c in range(channels):
                total = 0.0
                for column in range(x * source_width // width, ((x + 1) * source_width - 1) // width + 1):
                    total += _share(column, x, source_width, width) * sums[column, c]
                result[y, x, c] = total * unit / area


def area_average(source: Array, height: int, width: int) -> Floats:
    """Mean over the area every pixel of the smaller picture covers."""
    result = np.empty((height, width, *source.shape[2:]), np.float32)
    run_strips(_area_strip, height, 8, with_channels(source), unit_scale(source), with_channels(result))
    return result


# ---- Guided filter ---------------------------------------------------------------------------------------------


@compiled
def _add_row(sign: float, guide: Array, source: Floats, weight: Floats, least: float, unit: float, sums: Array) -> None:
    """Add a row to the column sums: weight, source, then per channel itself and its products."""
    width, channels = guide.shape
    for x in range(width):
        w = sign * (weight[x] + least)
        p = float(source[x])
        sums[0, x] += w
        sums[1, x] += w * p
        k = 2
        for c in range(channels):
            i = w * guide[x, c] * unit
            sums[k, x] += i
            sums[k + 1, x] += i * p
            k += 2
            for d in range(c, channels):
                sums[k, x] += i * guide[x, d] * unit
                k += 1


@compiled
def _fit_row(windows: Array, eps: float, fits: Array) -> None:
    """Fit a . guide + b to each window, by an LDL^T factorisation whose pivots are never below eps."""
    channels, width = fits.shape[0] - 1, fits.shape[1]
    mean, rest, factor = np.empty(channels), np.empty(channels), np.empty((channels, channels))
    for x in range(width):
        total = windows[0, x]
        p = windows[1, x] / total
        k = 2
        for c in range(channels):
            mean[c] = windows[k, x] / total
            rest[c] = windows[k + 1, x] / total - mean[c] * p
            k += 2 + channels - c
        k = 2
        for c in range(channels):
            k += 2
            for d in range(c, channels):
                value = windows[k, x] / total - mean[c] * mean[d]
                k += 1
                for e in range(c):
                    value -= factor[c, e] * factor[d, e] * factor[e, e]
                factor[d, c] = max(value + eps, eps) if c == d else value / factor[c, c]
            for e in range(c):
                rest[c] -= factor[c, e] * rest[e]
        b = p
        for c in range(channels - 1, -1, -1):
            a = rest[c] / factor[c, c]
            for d in range(c + 1, channels):
                a -= factor[d, c] * fits[d, x]
            fits[c, x] = a
            b -= a * mean[c]
        fits[channels, x] = b


@compiled
def _guided_strip(
    begin: int,
    end: int,
    guide: Array,
    source: Floats,
    weight: Floats,
    least: float,
    radius: int,
    eps: float,
    unit: float,
    coefficients: Floats,
    result: Floats,
) -> None:
    height, width, channels = guide.shape
    planes = 2 + 2 * channels + channels * (channels + 1) // 2
    sums, windows = np.zeros((planes, width)), np.empty((planes, width))
    shape = (channels + 1, width)
    fits, means, totals = np.empty(shape), np.empty(shape), np.zeros(shape)
    ring = np.zeros((2 * radius + 1, channels + 1, width))
    first = max(begin - radius, 0)
    for y in range(max(first - radius, 0), min(first + radius, height)):
        _add_row(1.0, guide[y], source[y], weight[y % len(weight)], least, unit, sums)
    for row in range(first, end + radius):
        kept = ring[row % (2 * radius + 1)]
        totals -= kept
        kept[:] = 0
        if row < height:
            y = row + radius
            if y < height:
                _add_row(1.0, guide[y], source[y], weight[y % len(weight)], least, unit, sums)
            y = row - radius - 1
            if y >= 0 and row > first:
                _add_row(-1.0, guide[y], source[y], weight[y % len(weight)], least, unit, sums)
            _slide(sums, radius, windows)
            _fit_row(windows, eps, fits)
            kept[:] = fits
            totals += fits
        y = row - radius
        if y < begin:
            continue
        _slide(totals, radius, means)
        rows = _window_size(y, radius, height)
        for x in range(width):
            count = rows * _window_size(x, radius, width)
            value = means[channels, x]
            for c in range(channels):
                value += means[c, x] * guide[y, x, c] * unit
            if len(result):
                result[y, x] = value / count
            else:
                for c in range(channels + 1):
                    coefficients[c, y, x] = means[c, x] / count


def _guided(
    guide: Array,
    source: Floats,
    radius: int,
    eps: float,
    weight: Floats | None,
    least_weight: float,
    coefficients: Floats,
    result: Floats,
) -> None:
    weights = np.zeros((1, source.shape[1]), np.float32) if weight is None else weight
    least = 1.0 if weight is None else least_weight
    radius = min(radius, max(source.shape) - 1)
    arguments = (with_channels(guide), source, weights, least, radius, eps, unit_scale(guide), coefficients, result)
    run_strips(_guided_strip, source.shape[0], max(4 * STRIP, 8 * radius), *arguments)


def guided_coefficients(
    guide: Array, source: Floats, radius: int, eps: float, weight: Floats | None, least_weight: float
) -> Floats:
    """Mean coefficients ``(channels + 1, height, width)`` of the windows' fits."""
    coefficients = np.empty((with_channels(guide).shape[2] + 1, *source.shape), np.float32)
    _guided(guide, source, radius, eps, weight, least_weight, coefficients, np.empty((0, 0), np.float32))
    return coefficients


def guided_filter(
    guide: Array, source: Floats, radius: int, eps: float, weight: Floats | None, least_weight: float
) -> Floats:
    """Apply the mean coefficients to the guide they were fitted to."""
    result = np.empty(source.shape, np.float32)
    _guided(guide, source, radius, eps, weight, least_weight, np.empty((0, 0, 0), np.float32), result)
    return result


@compiled
def _apply_strip(
    begin: int, end: int, guide: Array, coefficients: Floats, unit: float, clip: float, result: Floats
) -> None:
    height, width, channels = guide.shape
    low_height, low_width = coefficients.shape[1:]
    row = np.empty((channels + 1, low_width), np.float32)
    for y in range(begin, end):
        v = min(max((y + 0.5) * low_height / height - 0.5, 0.0), low_height - 1.0)
        upper = int(v)
        lower = min(upper + 1, low_height - 1)
        share = np.float32(v - upper)
        for k in range(channels + 1):
            for x in range(low_width):
                above, below = coefficients[k, upper, x], coefficients[k, lower, x]
                row[k, x] = above + (below - above) * share
        for x in range(width):
            u = min(max((x + 0.5) * low_width / width - 0.5, 0.0), low_width - 1.0)
            left = int(u)
            right = min(left + 1, low_width - 1)
            share = np.float32(u - left)
            value = row[channels, left] + (row[channels, right] - row[channels, left]) * share
            for c in range(channels):
                value += (row[c, left] + (row[c, right] - row[c, left]) * share) * guide[y, x, c] * unit
            result[y, x] = min(max((value - clip) / (1.0 - 2.0 * clip), 0.0), 1.0)


def apply_coefficients(guide: Array, coefficients: Floats, clip: float) -> Floats:
    """Apply low-resolution coefficients, bilinear between pixel centres, to the guide; stretch and clip to [0, 1]."""
    result = np.empty(guide.shape[:2], np.float32)
    run_strips(_apply_strip, guide.shape[0], STRIP, with_channels(guide), coefficients, unit_scale(guide), clip, result)
    return result


def foreground_multilevel(
    image: Array,
    alpha: Floats,
    small_iterations: int,
    big_iterations: int,
    regularization: float,
    gradient_weight: float,
    return_background: bool,
    clear: bool,
) -> Array | tuple[Array, Array]:
    """Foreground, and background where asked for, of the image's shape and dtype."""
    from ._numba_foreground import estimate

    weights = (regularization, gradient_weight)
    return estimate(image, alpha, small_iterations, big_iterations, *weights, return_background, clear)
