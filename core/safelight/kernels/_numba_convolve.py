"""Separable convolution in numba: in float, and of bytes in 16-bit fixed point with 6 bits behind the point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._numba_lanes import half_of, times_fixed
from ._numba_tools import Array, Floats, compiled, run_strips
from ._reference_blur import edge_indices

__all__ = ["convolved"]

_STRIP = 64
_BITS = 6


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
def _add_pairs(a: Floats, b: Floats, c: Floats, d: Floats, first: float, second: float, sums: Floats) -> None:
    for i in range(len(sums)):
        sums[i] += (a[i] + b[i]) * first + (c[i] + d[i]) * second


@compiled
def _add_fixed(a: Array, b: Array, tap: np.int16, sums: NDArray[np.int16]) -> None:
    for i in range(len(sums)):
        sums[i] += times_fixed(np.int16(a[i] + b[i]), tap)


@compiled
def _add_fixed_pairs(
    a: Array, b: Array, c: Array, d: Array, first: np.int16, second: np.int16, sums: NDArray[np.int16]
) -> None:
    for i in range(len(sums)):
        sums[i] += np.int16(times_fixed(np.int16(a[i] + b[i]), first) + times_fixed(np.int16(c[i] + d[i]), second))


@compiled
def _start_fixed(line: NDArray[np.int16], tap: np.int16, sums: NDArray[np.int16]) -> None:
    for i in range(len(sums)):
        product = np.int32(np.int32(line[i]) * np.int32(tap))
        sums[i] = np.int16(np.int32(product + 0x4000) >> 15)


@compiled
def _round_fixed(sums: NDArray[np.int16], bits: int, out: Array) -> None:
    if bits == _BITS:  # a shift by what is known while compiling
        for i in range(len(out)):
            out[i] = np.int16(sums[i] + (1 << _BITS >> 1)) >> _BITS
        return
    for i in range(len(out)):
        out[i] = sums[i]


@compiled
def _convolve_strip(
    begin: int,
    end: int,
    source: Array,
    taps: Floats,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    half: float,
    result: Array,
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
    """Do the same in 16 bits; by ``bits`` the source's values, and the result's, are short of the unit."""
    width, channels = source.shape[1:]
    radius = len(taps) - 1
    count, wide = width * channels, len(columns) * channels
    height = 2 * radius + 1
    ring, down, sums = np.zeros((height, wide), np.int16), np.empty(wide, np.int16), np.empty(count, np.int16)
    for y in range(begin - radius, end + radius):
        row = rows[y + radius]
        _load_fixed(source[max(row, 0)], columns, 1 << bits if row >= 0 else 0, ring[(y - begin + radius) % height])
        at = y - radius
        if at < begin:
            continue
        _start_fixed(ring[(at - begin + radius) % height], taps[0], down)
        for j in range(1, radius, 2):
            a, b = ring[(at - j - begin + radius) % height], ring[(at + j - begin + radius) % height]
            c, d = ring[(at - j - 1 - begin + radius) % height], ring[(at + j + 1 - begin + radius) % height]
            _add_fixed_pairs(a, b, c, d, taps[j], taps[j + 1], down)
        if radius % 2:
            a, b = ring[(at - begin) % height], ring[(at + 2 * radius - begin) % height]
            _add_fixed(a, b, taps[radius], down)
        middle = radius * channels
        _start_fixed(down[middle : middle + count], taps[0], sums)
        for j in range(1, radius, 2):
            n = j * channels
            m = n + channels
            _add_fixed_pairs(
                down[middle - n : middle - n + count],
                down[middle + n : middle + n + count],
                down[middle - m : middle - m + count],
                down[middle + m : middle + m + count],
                taps[j],
                taps[j + 1],
                sums,
            )
        if radius % 2:
            _add_fixed(down[:count], down[2 * middle : 2 * middle + count], taps[radius], sums)
        _round_fixed(sums, bits, result[at].reshape(-1))


def convolved(source: Array, taps: Floats, edges: str, dtype: Any) -> Array:
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
