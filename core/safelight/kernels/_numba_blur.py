"""The blurs in numba, with the plans and by the steps of the compiled ones.

Bytes as they are become 16-bit fixed point with 6 bits behind the point; the rest is computed in float. Where alpha is
involved the colours are premultiplied beforehand, with alpha as a lane of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._numba import Array, Floats, compiled, run_strips, with_channels
from ._reference_blur import edge_indices

__all__ = ["expand", "gaussian_blur", "half_of", "load_lanes", "padded_small", "store_lanes", "top_of"]

_STRIP = 64
_BAND = 512  # small rows at a time
_BITS = 6
_LEAST_ALPHA = np.float32(1e-6)


# ---- Lanes: colours premultiplied by alpha, and back ----------------------------------------------------------------


@compiled
def _premultiply(
    begin: int, end: int, source: Array, unit: float, last: bool, alpha: Floats, lanes: Floats
) -> None:
    width, channels = source.shape[1:]
    colours = channels - 1 if last else channels
    for y in range(begin, end):
        for x in range(width):
            a = np.float32(source[y, x, channels - 1] * unit) if last else alpha[y, x]
            for c in range(colours):
                lanes[y, x, c] = np.float32(source[y, x, c]) * a
            lanes[y, x, colours] = a


@compiled
def _mixed(
    begin: int,
    end: int,
    source: Array,
    lanes: Floats,
    top: float,
    kind: int,
    divide: bool,
    half: float,
    mask: Floats,
    result: Array,
) -> None:
    """Un-premultiply (kind 1: the last channel is alpha, 2: a plane, 0: nothing to do) and mix by the mask."""
    width, channels = source.shape[1:]
    colours = channels - 1 if kind == 1 else channels
    pixel = np.empty(channels, np.float32)
    for y in range(begin, end):
        for x in range(width):
            share = np.float32(1.0)
            if kind == 2 and lanes[y, x, colours] <= _LEAST_ALPHA:
                result[y, x] = source[y, x]
                continue
            if kind > 0 and divide:
                a = lanes[y, x, colours]
                share = np.float32(1.0) / a if a > _LEAST_ALPHA else np.float32(0.0)
            for c in range(colours):
                pixel[c] = lanes[y, x, c] * share
            m = mask[y, x] if mask.size else np.float32(1.0)
            part = m
            if kind == 1:
                pixel[colours] = lanes[y, x, colours] * np.float32(top)
                before = np.float32(source[y, x, colours]) * (np.float32(1.0) - m)
                after = pixel[colours] * m
                part = after / (before + after) if before + after > 0 else m
            for c in range(channels):
                old = np.float32(source[y, x, c])
                value = pixel[c] if not mask.size else old + (pixel[c] - old) * (m if c == colours else part)
                result[y, x, c] = value + np.float32(half)


def load_lanes(source: Array, last: bool, alpha: Floats | None) -> Array:
    """Return what is convolved: the source itself, or its premultiplied colours and alpha."""
    pixels = with_channels(source)
    if not last and alpha is None:
        return pixels
    height, width, channels = pixels.shape
    lanes = np.empty((height, width, channels + (not last)), np.float32)
    plane = np.empty((0, 0), np.float32) if alpha is None else alpha
    run_strips(_premultiply, height, _STRIP, pixels, 1.0 / top_of(source), last, plane, lanes)
    return lanes


def store_lanes(
    source: Array, lanes: Array, last: bool, alpha: Floats | None, mask: Floats | None, *, divide: bool = True
) -> Array:
    """Return the result in the source's shape and dtype; ``divide`` un-premultiplies."""
    kind = 1 if last else 2 if alpha is not None else 0
    if kind == 0 and mask is None and lanes.dtype == source.dtype:
        return lanes.reshape(source.shape)
    result = np.empty_like(source)
    share = np.empty((0, 0), np.float32) if mask is None else mask
    arguments = (with_channels(source), lanes, top_of(source), kind, divide, half_of(result), share, with_channels(result))
    run_strips(_mixed, source.shape[0], _STRIP, *arguments)
    return result


def half_of(result: Array) -> float:
    """Return what is added before a value is cut to the result's dtype."""
    return 0.0 if result.dtype.kind == "f" else 0.5


def top_of(source: Array) -> float:
    return 1.0 if source.dtype.kind == "f" else float(np.iinfo(source.dtype).max)


# ---- Convolution ----------------------------------------------------------------------------------------------------


@compiled
def _load_row(row: Array, columns: NDArray[np.int64], there: float, line: Floats) -> None:
    """Copy a row with the pixels beyond its ends; those whose column is -1 are 0."""
    channels = row.shape[1]
    left = (len(columns) - len(row)) // 2
    flat, inside = row.reshape(-1), line[left * channels : left * channels + row.size]
    for i in range(len(flat)):
        inside[i] = np.float32(flat[i]) * np.float32(there)
    for x in range(len(columns)):
        if left <= x < left + len(row):
            continue
        for c in range(channels):
            line[x * channels + c] = row[columns[x], c] * there if columns[x] >= 0 else 0.0


@compiled
def _load_fixed(row: Array, columns: NDArray[np.int64], there: int, line: NDArray[np.int16]) -> None:
    channels = row.shape[1]
    left = (len(columns) - len(row)) // 2
    flat, inside = row.reshape(-1), line[left * channels : left * channels + row.size]
    unit = np.int16(there)
    for i in range(len(flat)):
        inside[i] = np.int16(flat[i]) * unit
    for x in range(len(columns)):
        if left <= x < left + len(row):
            continue
        for c in range(channels):
            line[x * channels + c] = np.int16(row[columns[x], c]) * unit if columns[x] >= 0 else 0


@compiled
def _add_pair(a: Floats, b: Floats, tap: float, sums: Floats) -> None:
    for i in range(len(sums)):
        sums[i] += (a[i] + b[i]) * tap


@compiled
def _add_pairs(
    a: Floats, b: Floats, c: Floats, d: Floats, first: float, second: float, sums: Floats
) -> None:
    for i in range(len(sums)):
        sums[i] += (a[i] + b[i]) * first + (c[i] + d[i]) * second


@compiled
def _add_fixed(a: Array, b: Array, tap: np.int16, sums: NDArray[np.int16]) -> None:
    for i in range(len(sums)):
        pair = np.int32(np.int16(a[i] + b[i]))
        sums[i] += np.int16((((pair * np.int32(tap)) >> np.int32(14)) + np.int32(1)) >> np.int32(1))


@compiled
def _convolve_strip(
    begin: int, end: int, source: Array, taps: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64], half: float, result: Array
) -> None:
    """Convolve rows in float; ``rows`` and ``columns`` say which pixels stand for those beyond the edges."""
    width, channels = source.shape[1:]
    radius = len(taps) - 1
    count, wide = width * channels, len(columns) * channels
    height = 2 * radius + 1
    ring, down, sums = np.zeros((height, wide), np.float32), np.empty(wide, np.float32), np.empty(count, np.float32)
    for y in range(begin - radius, end + radius):
        row = rows[y + radius]
        _load_row(source[max(row, 0)], columns, 1.0 if row >= 0 else 0.0, ring[(y - begin + radius) % height])
        at = y - radius
        if at < begin:
            continue
        down[:] = ring[(at - begin + radius) % height] * taps[0]
        for j in range(1, radius, 2):
            a, b = ring[(at - j - begin + radius) % height], ring[(at + j - begin + radius) % height]
            c, d = ring[(at - j - 1 - begin + radius) % height], ring[(at + j + 1 - begin + radius) % height]
            _add_pairs(a, b, c, d, taps[j], taps[j + 1], down)
        if radius % 2:
            _add_pair(ring[(at - begin) % height], ring[(at + 2 * radius - begin) % height], taps[radius], down)
        middle = radius * channels
        sums[:] = down[middle : middle + count] * taps[0]
        for j in range(1, radius, 2):
            n = j * channels
            m = n + channels
            _add_pairs(
                down[middle - n : middle - n + count],
                down[middle + n : middle + n + count],
                down[middle - m : middle - m + count],
                down[middle + m : middle + m + count],
                taps[j],
                taps[j + 1],
                sums,
            )
        if radius % 2:
            _add_pair(down[:count], down[2 * middle : 2 * middle + count], taps[radius], sums)
        out = result[at].reshape(-1)
        for i in range(count):
            out[i] = sums[i] + np.float32(half)


@compiled
def _convolve_fixed_strip(
    begin: int,
    end: int,
    source: Array,
    taps: NDArray[np.int16],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    bits: int,
    result: Array,
) -> None:
    """The same in 16 bits; ``bits`` is by how many the source's values, and the result's, are short of the unit."""
    width, channels = source.shape[1:]
    radius = len(taps) - 1
    count, wide = width * channels, len(columns) * channels
    height = 2 * radius + 1
    ring, down, sums = np.zeros((height, wide), np.int16), np.empty(wide, np.int16), np.empty(count, np.int16)
    half = np.int16((1 << bits) >> 1)
    for y in range(begin - radius, end + radius):
        row = rows[y + radius]
        _load_fixed(source[max(row, 0)], columns, 1 << bits if row >= 0 else 0, ring[(y - begin + radius) % height])
        at = y - radius
        if at < begin:
            continue
        middle_row = ring[(at - begin + radius) % height]
        for i in range(wide):
            down[i] = np.int16((np.int32(middle_row[i]) * np.int32(taps[0]) + np.int32(0x4000)) >> np.int32(15))
        for j in range(1, radius + 1):
            a, b = ring[(at - j - begin + radius) % height], ring[(at + j - begin + radius) % height]
            _add_fixed(a, b, taps[j], down)
        middle = radius * channels
        for i in range(count):
            sums[i] = np.int16((np.int32(down[middle + i]) * np.int32(taps[0]) + np.int32(0x4000)) >> np.int32(15))
        for j in range(1, radius + 1):
            n = j * channels
            _add_fixed(down[middle - n : middle - n + count], down[middle + n : middle + n + count], taps[j], sums)
        out = result[at].reshape(-1)
        for i in range(count):
            out[i] = np.int16(sums[i] + half) >> bits


def _convolved(source: Array, taps: Floats, edges: str, dtype: Any) -> Array:
    """Convolve a (height, width, lanes) array; integers are rounded to."""
    height, width = source.shape[:2]
    reach = np.arange(-len(taps) + 1, max(height, width) + len(taps) - 1)
    rows = edge_indices(reach[: height + 2 * len(taps) - 2], height, edges)
    columns = edge_indices(reach[: width + 2 * len(taps) - 2], width, edges)
    result = np.empty(source.shape, dtype)
    if source.dtype in (np.uint8, np.int16):
        fixed = np.floor(taps * np.float32(32768) + np.float32(0.5)).astype(np.int16)
        fixed[0] = 32768 - 2 * int(fixed[1:].sum(dtype=np.int64))
        bits = _BITS if source.dtype == np.uint8 else 0
        run_strips(_convolve_fixed_strip, height, _STRIP, source, fixed, rows, columns, bits, result)
    else:
        run_strips(_convolve_strip, height, _STRIP, source, taps, rows, columns, half_of(result), result)
    return result


# ---- Shrinking and enlarging ----------------------------------------------------------------------------------------


@compiled
def _add_weighted(row: Array, up: float, down: float, rising: Floats, falling: Floats) -> None:
    for i in range(len(rising)):
        value = np.float32(row[i])
        rising[i] += value * np.float32(up)
        falling[i] += value * np.float32(down)


@compiled
def _add_four(
    a: Array, b: Array, c: Array, d: Array, up: NDArray[np.uint16], down: NDArray[np.uint16], rising: Floats, falling: Floats
) -> None:
    """Four rows of bytes, whose weighted sums fit 16 bits."""
    u0, u1, u2, u3 = up[0], up[1], up[2], up[3]
    d0, d1, d2, d3 = down[0], down[1], down[2], down[3]
    for i in range(len(rising)):
        p, q, r, s = np.uint16(a[i]), np.uint16(b[i]), np.uint16(c[i]), np.uint16(d[i])
        rising[i] += np.float32(np.uint16(np.uint16(p * u0) + np.uint16(q * u1) + np.uint16(r * u2) + np.uint16(s * u3)))
        falling[i] += np.float32(np.uint16(np.uint16(p * d0) + np.uint16(q * d1) + np.uint16(r * d2) + np.uint16(s * d3)))


@compiled
def _sum_group(
    source: Array, rows: NDArray[np.int64], group: int, factor: int, exact: bool, rising: Floats, falling: Floats
) -> None:
    """Add ``factor`` rows to the sums of the two small rows they lie in; ``rows`` begin with those of group 0."""
    rising[:] = 0
    step = 4 if exact else 1
    up, down = np.zeros(4, np.uint16), np.zeros(4, np.uint16)
    for j in range(0, factor, step):
        first = group * factor + j
        if step == 4 and rows[first] >= 0 and rows[first + 3] >= 0:
            for k in range(4):
                up[k], down[k] = 2 * (j + k) + 1, 2 * (factor - j - k) - 1
            a, b = source[rows[first]].reshape(-1), source[rows[first + 1]].reshape(-1)
            c, d = source[rows[first + 2]].reshape(-1), source[rows[first + 3]].reshape(-1)
            _add_four(a, b, c, d, up, down, rising, falling)
            continue
        for k in range(step):
            if rows[first + k] >= 0:
                weights = 2.0 * (j + k) + 1, 2.0 * (factor - j - k) - 1
                _add_weighted(source[rows[first + k]].reshape(-1), weights[0], weights[1], rising, falling)


@compiled
def _reduce_row(line: Floats, columns: NDArray[np.int64], factor: int, scale: float, half: float, small: Array) -> None:
    """Across: like down, but a pixel at a time."""
    lanes = small.shape[1]
    for x in range(len(small)):
        first = x * factor
        inside = columns[first] >= 0 and columns[first + 2 * factor - 1] == columns[first] + 2 * factor - 1
        for c in range(lanes):
            total = np.float32(0.0)
            if inside:
                at = columns[first] * lanes + c
                other = at + (2 * factor - 1) * lanes
                for j in range(factor):
                    total += (line[at + j * lanes] + line[other - j * lanes]) * np.float32(2 * j + 1)
            else:
                for j in range(2 * factor):
                    if columns[first + j] >= 0:
                        weight = 2 * min(j, 2 * factor - 1 - j) + 1
                        total += line[columns[first + j] * lanes + c] * np.float32(weight)
            small[x, c] = total * np.float32(scale) + np.float32(half)


@compiled
def _reduce_strip(
    begin: int, end: int, source: Array, rows: NDArray[np.int64], columns: NDArray[np.int64], factor: int, exact: bool, scale: float, half: float, small: Array
) -> None:
    count = source.shape[1] * source.shape[2]
    current, following = np.zeros(count, np.float32), np.zeros(count, np.float32)
    _sum_group(source, rows, begin, factor, exact, current, following)
    for y in range(begin, end):
        _sum_group(source, rows, y + 1, factor, exact, following, current)
        _reduce_row(current, columns, factor, scale, half, small[y])
        current, following = following, current


def padded_small(source: Array, factor: int, pad: int, first: int, count: int, edges: str, dtype: Any) -> Array:
    """Shrink by tents: ``count`` rows from ``first`` on, and ``pad`` pixels more on both sides."""
    height, width, lanes = source.shape
    across = -(-width // factor) + 2 * pad
    rows = edge_indices(np.arange(first * factor - factor // 2, (first + count + 1) * factor), height, edges)
    columns = edge_indices(np.arange(-pad * factor - factor // 2, (across - pad + 1) * factor), width, edges)
    small = np.empty((count, across, lanes), dtype)
    exact = source.dtype == np.uint8 and 4 <= factor <= 32
    scale = (64.0 if small.dtype == np.int16 else 1.0) / (4.0 * float(factor) ** 4)
    arguments = (source, rows, columns, factor, exact, scale, half_of(small), small)
    run_strips(_reduce_strip, count, max(1, min(16, count // 16)), *arguments)
    return small


@compiled
def _weigh_floats(a: Floats, b: Floats, c: Floats, d: Floats, weights: Floats, half: float, result: Array) -> None:
    w, x, y, z = weights[0], weights[1], weights[2], weights[3]
    for i in range(len(result)):
        result[i] = (a[i] * w + b[i] * x) + (c[i] * y + d[i] * z) + np.float32(half)


@compiled
def _times(a: np.int16, b: np.int16) -> np.int16:
    return np.int16((((np.int32(a) * np.int32(b)) >> np.int32(14)) + np.int32(1)) >> np.int32(1))


@compiled
def _weigh_fixed(a: Array, b: Array, c: Array, d: Array, weights: NDArray[np.int16], result: Array) -> None:
    w, x, y, z = weights[0], weights[1], weights[2], weights[3]
    for i in range(len(result)):
        total = np.int16(_times(a[i], w) + _times(b[i], x) + _times(c[i], y) + _times(d[i], z))
        result[i] = np.int16(total + np.int16(32)) >> np.int16(6)


@compiled
def _widen(cells: Array, factor: int, pad: int, weights: Array, half: float, wide: Array) -> None:
    """A small row at full width; the weights are floats for both kinds of cells."""
    lanes = cells.shape[1]
    width = len(wide) // lanes
    for x in range(width):
        cell = (x + factor - factor // 2) // factor - 1
        phase = x - factor // 2 - cell * factor
        at = cell + pad - 1
        for c in range(lanes):
            total = np.float32(cells[at, c]) * weights[phase, 0] + np.float32(cells[at + 1, c]) * weights[phase, 1]
            total += np.float32(cells[at + 2, c]) * weights[phase, 2] + np.float32(cells[at + 3, c]) * weights[phase, 3]
            wide[x * lanes + c] = total + np.float32(half)


@compiled
def _expand_strip(
    begin: int,
    end: int,
    small: Array,
    factor: int,
    pad: int,
    first: int,
    weights: Floats,
    fixed_weights: NDArray[np.int16],
    fixed: bool,
    half: float,
    result: Array,
) -> None:
    wide = np.empty((4, result.shape[1] * result.shape[2]), small.dtype)
    known = -(1 << 60)
    for y in range(begin, end):
        cell = (y + factor - factor // 2) // factor - 1
        for k in range(cell - 1, cell + 3):
            if k > known:
                _widen(small[k - first], factor, pad, weights, 0.5 if fixed else 0.0, wide[k & 3])
                known = k
        phase = y - factor // 2 - cell * factor
        a, b, c, d = wide[(cell - 1) & 3], wide[cell & 3], wide[(cell + 1) & 3], wide[(cell + 2) & 3]
        if fixed:
            _weigh_fixed(a, b, c, d, fixed_weights[phase], result[y].reshape(-1))
        else:
            _weigh_floats(a, b, c, d, weights[phase], half, result[y].reshape(-1))


def expand(small: Array, factor: int, pad: int, first: int, begin: int, end: int, result: Array) -> None:
    """Enlarge by cubic B-splines to the result's rows from ``begin`` to ``end``."""
    t = (np.arange(factor) + 0.5) / factor
    s = 1 - t
    weights = np.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], axis=1) / 6
    fixed = np.floor(weights * 32768 + 0.5).astype(np.int16)
    rest = (32768 - fixed.sum(1, dtype=np.int64)).astype(np.int16)
    fixed[np.arange(factor), np.where(t < 0.5, 1, 2)] += rest
    arguments = (small, factor, pad, first, weights.astype(np.float32), fixed, small.dtype == np.int16, half_of(result), result)

    def strip(top: int, bottom: int, *rest: object) -> None:
        _expand_strip(begin + top, begin + bottom, *rest)

    run_strips(strip, end - begin, max(_STRIP, 4 * factor), *arguments)


def gaussian_blur(
    source: Array,
    _sigma: float,
    factor: int,
    taps: Floats,
    edges: str,
    last_is_alpha: bool,
    alpha: Floats | None,
    mask: Floats | None,
) -> Array:
    """Directly, or on a smaller picture."""
    lanes = load_lanes(source, last_is_alpha, alpha)
    plain = not last_is_alpha and alpha is None and mask is None
    dtype = source.dtype if plain else np.dtype(np.float32)
    if not plain and lanes.dtype == np.uint8:
        lanes = lanes.astype(np.float32)
    blurred = _convolved(lanes, taps, edges, dtype) if factor == 1 else _small(lanes, factor, taps, edges, dtype)
    return store_lanes(source, blurred, last_is_alpha, alpha, mask)


def _small(lanes: Array, factor: int, taps: Floats, edges: str, dtype: Any) -> Array:
    height, pad = lanes.shape[0], len(taps) + 2
    result = np.empty(lanes.shape, dtype)
    middle = np.int16 if dtype == np.uint8 else np.float32
    for begin in range(0, height, _BAND * factor):
        end = min(begin + _BAND * factor, height)
        first = begin // factor - pad
        count = (end - 1) // factor + pad + 1 - first
        small = padded_small(lanes, factor, pad, first, count, edges, middle)
        expand(_convolved(small, taps, "replicate", middle), factor, pad, first, begin, end, result)
    return result
