"""Means over windows, apertures and tiles in numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._aperture import TABLE_STEPS
from ._numba_lanes import half_of, load_lanes, store_lanes, top_of
from ._numba_resample import expand, padded_small
from ._numba_tools import Array, Floats, compiled, run_strips, with_channels
from ._reference_blur import edge_indices

__all__ = ["box_blur", "lens_blur", "mosaic"]

_STRIP = 64
_BAND = 512
_LEAST_ALPHA = np.float32(1e-6)
Indices = NDArray[np.int64]


# ---- Boxes ----------------------------------------------------------------------------------------------------------


@compiled
def _add_row(row: Array, sign: float, columns: NDArray[np.float64]) -> None:
    for i in range(len(columns)):
        columns[i] += row[i] * sign


@compiled
def _box_strip(
    begin: int, end: int, source: Array, radius: int, rows: Indices, columns: Indices, half: float, result: Array
) -> None:
    width, lanes = source.shape[1:]
    sums, side = np.zeros(width * lanes), 2 * radius + 1
    scale = 1.0 / (float(side) * side)
    for k in range(begin, begin + side - 1):
        if rows[k] >= 0:
            _add_row(source[rows[k]].reshape(-1), 1.0, sums)
    for y in range(begin, end):
        if rows[y + side - 1] >= 0:
            _add_row(source[rows[y + side - 1]].reshape(-1), 1.0, sums)
        for c in range(lanes):
            total = 0.0
            for k in range(side - 1):
                if columns[k] >= 0:
                    total += sums[columns[k] * lanes + c]
            for x in range(width):
                entering, leaving = columns[x + side - 1], columns[x]
                if entering >= 0:
                    total += sums[entering * lanes + c]
                result[y, x, c] = np.float32(total * scale) + np.float32(half)
                if leaving >= 0:
                    total -= sums[leaving * lanes + c]
        if rows[y] >= 0:
            _add_row(source[rows[y]].reshape(-1), -1.0, sums)


def box_blur(
    source: Array, radius: int, edges: str, last_is_alpha: bool, alpha: Floats | None, mask: Floats | None
) -> Array:
    """Mean over the window."""
    lanes = load_lanes(source, last_is_alpha, alpha)
    plain = not last_is_alpha and alpha is None and mask is None
    height, width = source.shape[:2]
    rows = edge_indices(np.arange(-radius, height + radius), height, edges)
    columns = edge_indices(np.arange(-radius, width + radius), width, edges)
    result = np.empty(lanes.shape, source.dtype if plain else np.float32)
    arguments = (lanes, radius, rows, columns, half_of(result), result)
    run_strips(_box_strip, height, max(_STRIP, 4 * radius), *arguments)
    return store_lanes(source, result, last_is_alpha, alpha, mask)


# ---- Lenses ---------------------------------------------------------------------------------------------------------


@compiled
def _looked_up(table: Floats, at: Any) -> Any:
    where = np.float32(min(max(at, 0.0), 1.0)) * np.float32(TABLE_STEPS)
    index = min(int(where), TABLE_STEPS - 1)
    return table[index] + (table[index + 1] - table[index]) * (where - np.float32(index))


@compiled
def _light_strip(
    begin: int, end: int, source: Array, decode: Floats, by_value: bool, gain: float, unit: float, last: bool,
    alpha: Floats, lanes: Floats
) -> None:  # fmt: skip
    """Colours in linear light, premultiplied."""
    width, channels = source.shape[1:]
    colours = channels - 1 if last else channels
    weighted = lanes.shape[2] > colours
    for y in range(begin, end):
        for x in range(width):
            most = np.float32(0.0)
            for c in range(colours):
                value = decode[int(source[y, x, c])] if by_value else _looked_up(decode, float(source[y, x, c]))
                lanes[y, x, c] = value
                most = max(most, lanes[y, x, c])
            fourth = (most * most) * (most * most)
            factor = np.float32(1.0) + np.float32(gain) * (fourth * fourth)
            a = np.float32(1.0)
            if weighted:
                a = np.float32(source[y, x, colours] * unit) if last else alpha[y, x]
                lanes[y, x, colours] = a
            for c in range(colours):
                lanes[y, x, c] = lanes[y, x, c] * factor * a


@compiled
def _develop_strip(begin: int, end: int, colours: int, encode: Floats, gain: float, dim: Floats, lanes: Floats) -> None:
    """Un-premultiply, and go back from linear light, in place."""
    width, count = lanes.shape[1:]
    for y in range(begin, end):
        for x in range(width):
            share = np.float32(1.0)
            if count > colours:
                a = lanes[y, x, colours]
                share = np.float32(1.0) / a if a > _LEAST_ALPHA else np.float32(0.0)
            most = np.float32(0.0)
            for c in range(colours):
                lanes[y, x, c] *= share
                most = max(most, lanes[y, x, c])
            factor = np.float32(_looked_up(dim, most / np.float32(1.0 + gain))) if gain > 0 else np.float32(1.0)
            for c in range(colours):
                lanes[y, x, c] = _looked_up(encode, lanes[y, x, c] * factor)


@compiled
def _add_run(
    before: NDArray[np.float64], after: NDArray[np.float64], leaving: Floats, entering: Floats, left: float,
    right: float, totals: Floats
) -> None:  # fmt: skip
    for i in range(len(totals)):
        totals[i] += np.float32(after[i] - before[i]) + (entering[i] * right - leaving[i] * left)


@compiled
def _aperture_strip(begin: int, end: int, padded: Floats, pad: int, runs: Floats, scale: float, result: Floats) -> None:
    """Row ``y`` of the result is centred on row ``y + radius`` of what is padded."""
    radius = len(runs) // 2
    wide, lanes = padded.shape[1:]
    width = result.shape[1]
    count, side = width * lanes, 2 * radius + 1
    ring, totals = np.zeros((side, wide * lanes)), np.empty(count, np.float32)
    for y in range(begin, end + side - 1):
        row, sums = padded[y].reshape(-1), ring[y % side]
        for i in range(lanes, wide * lanes):
            sums[i] = sums[i - lanes] + row[i - lanes]
        at = y - side + 1
        if at < begin:
            continue
        totals[:] = 0
        for k in range(side):
            if runs[k, 1] <= runs[k, 0]:
                continue
            first, last = np.floor(runs[k, 0] + np.float32(0.5)), np.floor(runs[k, 1] + np.float32(0.5))
            left, right = runs[k, 0] + np.float32(0.5) - first, runs[k, 1] + np.float32(0.5) - last
            a, b = (int(first) + pad) * lanes, (int(last) + pad) * lanes
            sums, row = ring[(at + k) % side], padded[at + k].reshape(-1)
            _add_run(
                sums[a : a + count], sums[b : b + count], row[a : a + count], row[b : b + count], left, right, totals
            )
        out = result[at].reshape(-1)
        for i in range(count):
            out[i] = totals[i] * np.float32(scale)


def _through_aperture(padded: Floats, runs: Floats) -> Floats:
    """Return what is left inside a margin of the aperture's radius and one pixel more."""
    radius = len(runs) // 2
    widths = np.maximum(runs[:, 1].astype(np.float64) - runs[:, 0], 0)
    height, wide, lanes = padded.shape
    result = np.empty((height - 2 * radius, wide - 2 * radius - 2, lanes), np.float32)
    run_strips(_aperture_strip, len(result), _STRIP, padded, radius + 1, runs, 1 / float(widths.sum()), result)
    return result


def lens_blur(
    source: Array,
    factor: int,
    runs: Floats,
    edges: str,
    last_is_alpha: bool,
    alpha: Floats | None,
    mask: Floats | None,
    decode: Floats,
    encode: Floats,
    gain: float,
    dim: Floats,
) -> Array:
    """Mean over the aperture in linear light."""
    pixels, by_value = with_channels(source), source.dtype.kind == "u"
    height, width, channels = pixels.shape
    lanes = np.empty((height, width, channels + (alpha is not None)), np.float32)
    plane = np.empty((0, 0), np.float32) if alpha is None else alpha
    arguments = (pixels, decode, by_value, gain, 1 / top_of(source), last_is_alpha, plane, lanes)
    run_strips(_light_strip, height, _STRIP, *arguments)
    result = _wide(lanes, factor, runs, edges)
    run_strips(_develop_strip, height, _STRIP, channels - last_is_alpha, encode, gain, dim, result)
    return store_lanes(source, result, last_is_alpha, alpha, mask, divide=False)


def _wide(lanes: Floats, factor: int, runs: Floats, edges: str) -> Floats:
    height, width = lanes.shape[:2]
    radius = len(runs) // 2
    if factor == 1:
        rows = edge_indices(np.arange(-radius, height + radius), height, edges)
        columns = edge_indices(np.arange(-radius - 1, width + radius + 1), width, edges)
        padded = np.ascontiguousarray(lanes[np.ix_(rows, columns)])
        padded[rows < 0] = 0
        padded[:, columns < 0] = 0
        return _through_aperture(padded, runs)
    result = np.empty(lanes.shape, np.float32)
    for begin in range(0, height, _BAND * factor):
        end = min(begin + _BAND * factor, height)
        first = begin // factor - 3
        count = (end - 1) // factor + 4 - first
        padded = padded_small(lanes, factor, radius + 4, first - radius, count + 2 * radius, edges, np.float32)
        expand(_through_aperture(padded, runs), factor, 3, first, begin, end, result)
    return result


# ---- Tiles ----------------------------------------------------------------------------------------------------------


@compiled
def _tile_strip(begin: int, end: int, lanes: Array, tall: int, wide: int, result: Floats) -> None:
    """Fill rows of tiles."""
    height, width, count = lanes.shape
    for tile in range(begin, end):
        top, bottom = tile * tall, min((tile + 1) * tall, height)
        for left in range(0, width, wide):
            right = min(left + wide, width)
            for c in range(count):
                total = 0.0
                for y in range(top, bottom):
                    for x in range(left, right):
                        total += lanes[y, x, c]
                mean = np.float32(total / ((bottom - top) * (right - left)))
                for y in range(top, bottom):
                    for x in range(left, right):
                        result[y, x, c] = mean


def mosaic(source: Array, regions: Indices, last_is_alpha: bool, alpha: Floats | None, mask: Floats | None) -> Array:
    """Tiles become their means."""
    result = source.copy()
    for top, left, height, width, tall, wide in regions.tolist():
        box = slice(top, top + height), slice(left, left + width)
        part = np.ascontiguousarray(source[box])
        planes = [None if plane is None else np.ascontiguousarray(plane[box]) for plane in (alpha, mask)]
        lanes = load_lanes(part, last_is_alpha, planes[0])
        means = np.empty(lanes.shape, np.float32)
        run_strips(_tile_strip, -(-height // tall), 1, lanes, tall, wide, means)
        result[box] = store_lanes(part, means, last_is_alpha, *planes)
    return result
