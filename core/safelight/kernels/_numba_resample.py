"""Shrinking by tents and enlarging by cubic B-splines in numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._numba_lanes import half_of, times_fixed
from ._numba_tools import Array, Floats, compiled, run_strips
from ._reference_blur import edge_indices

__all__ = ["expand", "padded_small"]

_STRIP = 64


@compiled
def _add_weighted(row: Array, up: float, down: float, rising: Floats, falling: Floats) -> None:
    for i in range(len(rising)):
        value = np.float32(row[i])
        rising[i] += value * np.float32(up)
        falling[i] += value * np.float32(down)


@compiled
def _add_four(
    a: Array,
    b: Array,
    c: Array,
    d: Array,
    up: NDArray[np.uint16],
    down: NDArray[np.uint16],
    rising: Floats,
    falling: Floats,
) -> None:
    """Four rows of bytes, whose weighted sums fit 16 bits."""
    u0, u1, u2, u3 = up[0], up[1], up[2], up[3]
    d0, d1, d2, d3 = down[0], down[1], down[2], down[3]
    for i in range(len(rising)):
        p, q, r, s = np.uint16(a[i]), np.uint16(b[i]), np.uint16(c[i]), np.uint16(d[i])
        rising[i] += np.float32(
            np.uint16(np.uint16(p * u0) + np.uint16(q * u1) + np.uint16(r * u2) + np.uint16(s * u3))
        )
        falling[i] += np.float32(
            np.uint16(np.uint16(p * d0) + np.uint16(q * d1) + np.uint16(r * d2) + np.uint16(s * d3))
        )


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
def _reduce_row(
    line: Floats, columns: NDArray[np.int64], factor: int, pad: int, scale: float, half: float, small: Array
) -> None:
    """Reduce across: like down, but a pixel at a time; pixels inside are left to `_halve_inside` where that can be."""
    lanes = small.shape[1]
    for x in range(len(small)):
        first = x * factor
        if factor == 2 and x > pad and columns[first] == 2 * (x - pad) - 1 and columns[first + 3] == columns[first] + 3:
            continue
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
def _sum_four(p: Floats, q: Floats, r: Floats, s: Floats, sums: Floats) -> None:
    for i in range(len(sums)):
        sums[i] = (p[i] + s[i]) + np.float32(3.0) * (q[i] + r[i])


@compiled
def _halve_inside(line: Floats, pad: int, scale: float, half: float, sums: Floats, small: Array) -> None:
    """Reduce by 2 where the tents lie inside: their sums at every pixel, of which every second is taken."""
    lanes = small.shape[1]
    count = len(line) - 3 * lanes
    if count <= 0:
        return
    _sum_four(line, line[lanes:], line[2 * lanes :], line[3 * lanes :], sums[:count])
    for x in range(1, count // lanes // 2 + 1):
        at = (2 * x - 1) * lanes
        for c in range(lanes):
            small[pad + x, c] = sums[at + c] * np.float32(scale) + np.float32(half)


@compiled
def _reduce_strip(
    begin: int,
    end: int,
    source: Array,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    factor: int,
    pad: int,
    exact: bool,
    scale: float,
    half: float,
    small: Array,
) -> None:
    count = source.shape[1] * source.shape[2]
    current, following = np.zeros(count, np.float32), np.zeros(count, np.float32)
    sums = np.empty(count, np.float32)
    _sum_group(source, rows, begin, factor, exact, current, following)
    for y in range(begin, end):
        _sum_group(source, rows, y + 1, factor, exact, following, current)
        _reduce_row(current, columns, factor, pad, scale, half, small[y])
        if factor == 2:
            _halve_inside(current, pad, scale, half, sums, small[y])
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
    arguments = (source, rows, columns, factor, pad, exact, scale, half_of(small), small)
    run_strips(_reduce_strip, count, max(1, min(16, count // 16)), *arguments)
    return small


@compiled
def _weigh_floats(a: Floats, b: Floats, c: Floats, d: Floats, weights: Floats, half: float, result: Array) -> None:
    w, x, y, z = weights[0], weights[1], weights[2], weights[3]
    for i in range(len(result)):
        result[i] = (a[i] * w + b[i] * x) + (c[i] * y + d[i] * z) + np.float32(half)


@compiled
def _weigh_fixed(a: Array, b: Array, c: Array, d: Array, weights: NDArray[np.int16], result: Array) -> None:
    w, x, y, z = weights[0], weights[1], weights[2], weights[3]
    for i in range(len(result)):
        upper = np.int16(times_fixed(a[i], w) + times_fixed(b[i], x))
        lower = np.int16(times_fixed(c[i], y) + times_fixed(d[i], z))
        result[i] = np.int16(np.int16(np.int16(upper + lower) + 32) >> 6)


@compiled
def _weigh_cells(cells: Array, step: int, weights: Floats, half: float, result: Floats) -> None:
    w, x, y, z = weights[0], weights[1], weights[2], weights[3]
    for i in range(len(result)):
        total = np.float32(cells[i]) * w + np.float32(cells[i + step]) * x
        result[i] = total + np.float32(cells[i + 2 * step]) * y + np.float32(cells[i + 3 * step]) * z + np.float32(half)


@compiled
def _widen(cells: Array, factor: int, pad: int, weights: Floats, half: float, line: Floats, wide: Array) -> None:
    """Write a small row at full width: all pixels of a phase at once, then to their places."""
    lanes = cells.shape[1]
    width = len(wide) // lanes
    flat = cells.reshape(-1)[(pad - 2) * lanes :]
    count = width // factor + 2
    for phase in range(factor):
        _weigh_cells(flat, lanes, weights[phase], half, line[: count * lanes])
        for k in range(count):
            x = (k - 1) * factor + factor // 2 + phase
            if 0 <= x < width:
                for c in range(lanes):
                    wide[x * lanes + c] = line[k * lanes + c]


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
    line = np.empty(small.shape[1] * small.shape[2], np.float32)
    known = -(1 << 60)
    for y in range(begin, end):
        cell = (y + factor - factor // 2) // factor - 1
        for k in range(cell - 1, cell + 3):
            if k > known:
                _widen(small[k - first], factor, pad, weights, 0.5 if fixed else 0.0, line, wide[k & 3])
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
    arguments = (
        small,
        factor,
        pad,
        first,
        weights.astype(np.float32),
        fixed,
        small.dtype == np.int16,
        half_of(result),
        result,
    )

    def strip(top: int, bottom: int, *rest: Any) -> None:
        _expand_strip(begin + top, begin + bottom, *rest)

    run_strips(strip, end - begin, max(_STRIP, 4 * factor), *arguments)
