"""Global colour sampling in NumPy: every unknown pixel's best pair of a foreground and a background sample.

All pixels look at once at what their neighbours had a round before, so that the order of work means nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PROBES", "SIDES", "STEPS", "expand_trimap", "sample_colours"]

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

STEPS = (4, 2, 8, 1, 1)  # how far away the neighbours are that a round asks
PROBES = 3  # random pairs tried in a round
# Straight neighbours in even rounds, diagonal ones in odd rounds.
SIDES = (((-1, 0), (1, 0), (0, -1), (0, 1)), ((-1, -1), (1, 1), (-1, 1), (1, -1)))


def expand_trimap(image: Array, trimap: Bytes, wanted: Bytes, steps: NDArray[np.int64], limits: Floats) -> Bytes:
    """Give wanted pixels the label of the first known pixel among ``steps`` within the limits of its colour."""
    reach = int(np.abs(steps).max(initial=0))
    unit = _unit(image)
    colours = np.pad(image.astype(np.float32) * unit, ((reach, reach), (reach, reach), (0, 0)))
    labels = np.pad(trimap, reach, constant_values=128)
    y, x = np.nonzero(wanted)
    result, own = trimap.copy(), image[y, x].astype(np.float32) * unit
    for (dy, dx), limit in zip(steps, limits, strict=True):
        there = y + dy + reach, x + dx + reach
        found = (labels[there] != 128) & (_square(colours[there] - own) <= limit)
        result[y[found], x[found]] = labels[there][found]
        y, x, own = y[~found], x[~found], own[~found]
    return result


def sample_colours(
    image: Array, trimap: Bytes, distances: Floats, foreground: Floats, background: Floats, spatial: float
) -> Floats:
    """Return for each unknown pixel, in rows: alpha, colour residual, colour distance of the pair, cost.

    ``foreground`` and ``background`` are samples (count, 5): r, g, b in units of 1/255, y and x, sorted by brightness;
    ``distances`` (unknown, 2) how far the nearest known pixel of each kind is.
    """
    y, x = np.nonzero(trimap == 128)
    own = image[y, x].astype(np.float32) * _unit(image)
    places = np.stack([y, x], 1).astype(np.float32)
    numbers = np.full(trimap.shape, -1)
    numbers[y, x] = np.arange(len(y))
    sizes = len(foreground), len(background)

    def judge(pairs: Pairs, which: Any = slice(None)) -> Floats:
        return _judge(own[which], places[which], distances[which], foreground[pairs[0]], background[pairs[1]], spatial)

    pixels = np.arange(len(y), dtype=np.uint64)
    best: Pairs = _random(pixels, 0, sizes[0]), _random(pixels, 1, sizes[1])
    result = judge(best)
    for number, step in enumerate(STEPS):
        before = best
        for dy, dx in SIDES[number % 2]:
            j, i = y + dy * step, x + dx * step
            inside = (j >= 0) & (j < trimap.shape[0]) & (i >= 0) & (i < trimap.shape[1])
            other = np.where(inside, numbers[np.where(inside, j, 0), np.where(inside, i, 0)], -1)
            which = np.flatnonzero(other >= 0)
            best, result = _keep(best, result, which, (before[0][other[which]], before[1][other[which]]), judge)
        for probe in range(PROBES):
            pairs = tuple(
                _near(best[k], pixels, sizes[k], 2 + 2 * (number * PROBES + probe) + k, probe) for k in (0, 1)
            )
            best, result = _keep(best, result, np.arange(len(y)), (pairs[0], pairs[1]), judge)
    return result


def _unit(image: Array) -> np.float32:
    return np.float32(255.0 / (1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)))


def _square(vectors: Floats) -> Floats:
    """Sum of squares over the last axis, in the order of the loops."""
    result: Floats = vectors[..., 0] * vectors[..., 0]
    for k in range(1, vectors.shape[-1]):
        result = result + vectors[..., k] * vectors[..., k]
    return result


def _keep(best: Pairs, result: Floats, which: Any, pairs: Pairs, judge: Any) -> tuple[Pairs, Floats]:
    judged = judge(pairs, which)
    better = judged[:, 3] < result[which, 3]
    first, second, kept = best[0].copy(), best[1].copy(), result.copy()
    first[which[better]], second[which[better]] = pairs[0][better], pairs[1][better]
    kept[which[better]] = judged[better]
    return (first, second), kept


def _judge(
    own: Floats, places: Floats, distances: Floats, foreground: Floats, background: Floats, spatial: float
) -> Floats:
    apart = foreground[:, :3] - background[:, :3]
    off = own - background[:, :3]
    square = _square(apart)
    along = off[:, 0] * apart[:, 0] + off[:, 1] * apart[:, 1] + off[:, 2] * apart[:, 2]
    alpha = np.clip(along / np.maximum(square, np.float32(1e-6)), 0, 1)
    residual = np.sqrt(_square(off - alpha[:, None] * apart))
    far = [np.sqrt(_square(places - samples[:, 3:])) for samples in (foreground, background)]
    inverse = np.float32(1) / distances
    cost = residual + np.float32(spatial) * (far[0] * inverse[:, 0] + far[1] * inverse[:, 1])
    return np.stack([alpha, residual, np.sqrt(square), cost], 1).astype(np.float32)


def _hash(pixels: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """32 bits from a pixel's number and a salt (the finalizer of MurmurHash3)."""
    mask = np.uint64(0xFFFFFFFF)
    value = (pixels * np.uint64(0x9E3779B1) + np.uint64(salt) * np.uint64(0x85EBCA77) + np.uint64(1)) & mask
    value ^= value >> np.uint64(16)
    value = value * np.uint64(0x85EBCA6B) & mask
    value ^= value >> np.uint64(13)
    value = value * np.uint64(0xC2B2AE35) & mask
    return value ^ value >> np.uint64(16)


def _random(pixels: NDArray[np.uint64], salt: int, size: int) -> NDArray[np.int64]:
    return (_hash(pixels, salt) * np.uint64(size) >> np.uint64(32)).astype(np.int64)


def _near(index: NDArray[np.int64], pixels: NDArray[np.uint64], size: int, salt: int, probe: int) -> NDArray[np.int64]:
    """Return an index up to ``size / 4^probe`` away from the own one."""
    reach = max(1, size >> (2 * probe))
    step = (_hash(pixels, salt) * np.uint64(2 * reach + 1) >> np.uint64(32)).astype(np.int64) - reach
    return np.asarray(np.clip(index + step, 0, size - 1))
