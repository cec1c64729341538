"""Global colour sampling in numba; see ``_reference_sampling`` for what is searched, and in which order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._numba_tools import STRIP, Array, Floats, compiled, run_strips, unit_scale
from ._reference_sampling import PROBES, SIDES, STEPS

__all__ = ["expand_trimap", "sample_colours"]

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

_PIXELS = 4096
_SIDES = np.array(SIDES, np.int64)
_ONE = np.float32(1)


def expand_trimap(image: Array, trimap: Bytes, wanted: Bytes, steps: Ints, limits: Floats) -> Bytes:
    """Give wanted pixels the label of the first known pixel among ``steps`` within the limits of its colour."""
    result = trimap.copy()
    unit = np.float32(255 * unit_scale(image))
    run_strips(_expand_strip, trimap.shape[0], STRIP, image, unit, trimap, wanted, steps, limits, result)
    return result


@compiled
def _expand_strip(
    begin: int, end: int, image: Array, unit: float, trimap: Bytes, wanted: Bytes, steps: Ints, limits: Floats,
    result: Bytes,
) -> None:  # fmt: skip
    height, width = trimap.shape
    for y in range(begin, end):
        for x in range(width):
            if wanted[y, x] == 0:
                continue
            for k in range(len(limits)):
                j, i = y + steps[k, 0], x + steps[k, 1]
                if j < 0 or i < 0 or j >= height or i >= width or trimap[j, i] == 128:
                    continue
                square = np.float32(0)
                for c in range(3):
                    apart = np.float32(image[j, i, c]) * unit - np.float32(image[y, x, c]) * unit
                    square += apart * apart
                if square <= limits[k]:
                    result[y, x] = trimap[j, i]
                    break


def sample_colours(
    image: Array, trimap: Bytes, distances: Floats, foreground: Floats, background: Floats, spatial: float
) -> Floats:
    """Return for each unknown pixel: alpha, colour residual, colour distance of the pair, cost."""
    y, x = np.nonzero(trimap == 128)
    numbers = np.full(trimap.shape, -1, np.int64)
    numbers[y, x] = np.arange(len(y))
    own = np.empty((len(y), 7), np.float32)
    own[:, :3] = image[y, x].astype(np.float32) * np.float32(255 * unit_scale(image))
    own[:, 3], own[:, 4], own[:, 5:] = y, x, _ONE / distances
    before, after = np.empty((len(y), 2), np.int64), np.empty((len(y), 2), np.int64)
    result = np.empty((len(y), 4), np.float32)
    samples = (own, foreground, background, np.float32(spatial))
    run_strips(_start, len(y), _PIXELS, *samples, after, result)
    for number, step in enumerate(STEPS):
        before, after = after, before
        salt = 2 + 2 * number * PROBES
        run_strips(
            _improve, len(y), _PIXELS, *samples, numbers, _SIDES[number % 2] * step, PROBES, salt, before, after, result
        )  # fmt: skip
    return result


@compiled
def _start(
    begin: int, end: int, own: Floats, foreground: Floats, background: Floats, spatial: float, pairs: Ints,
    result: Floats,
) -> None:  # fmt: skip
    for n in range(begin, end):
        pairs[n, 0] = _draw(n, 0, len(foreground))
        pairs[n, 1] = _draw(n, 1, len(background))
        _judge(own[n], foreground[pairs[n, 0]], background[pairs[n, 1]], spatial, result[n])


@compiled
def _improve(
    begin: int, end: int, own: Floats, foreground: Floats, background: Floats, spatial: float, numbers: Ints,
    sides: Ints, probes: int, salt: int, before: Ints, after: Ints, result: Floats,
) -> None:  # fmt: skip
    judged = np.empty(4, np.float32)
    for n in range(begin, end):
        f, b = before[n]
        for k in range(len(sides) + probes):
            if k < len(sides):
                j, i = int(own[n, 3]) + sides[k, 0], int(own[n, 4]) + sides[k, 1]
                if j < 0 or i < 0 or j >= numbers.shape[0] or i >= numbers.shape[1] or numbers[j, i] < 0:
                    continue
                one, other = before[numbers[j, i]]
            else:
                probe = k - len(sides)
                one = _near(f, n, len(foreground), salt + 2 * probe, probe)
                other = _near(b, n, len(background), salt + 2 * probe + 1, probe)
            _judge(own[n], foreground[one], background[other], spatial, judged)
            if judged[3] < result[n, 3]:
                f, b = one, other
                result[n] = judged
        after[n, 0], after[n, 1] = f, b


@compiled
def _judge(own: Floats, foreground: Floats, background: Floats, spatial: float, result: Floats) -> None:
    square, along, left = np.float32(0), np.float32(0), np.float32(0)
    for c in range(3):
        apart = foreground[c] - background[c]
        square += apart * apart
        along += (own[c] - background[c]) * apart
    alpha = min(max(along / max(square, np.float32(1e-6)), np.float32(0)), np.float32(1))
    for c in range(3):
        rest = (own[c] - background[c]) - alpha * (foreground[c] - background[c])
        left += rest * rest
    far_foreground = np.sqrt((own[3] - foreground[3]) ** 2 + (own[4] - foreground[4]) ** 2)
    far_background = np.sqrt((own[3] - background[3]) ** 2 + (own[4] - background[4]) ** 2)
    result[0], result[1], result[2] = alpha, np.sqrt(left), np.sqrt(square)
    result[3] = result[1] + spatial * (far_foreground * own[5] + far_background * own[6])


@compiled
def _draw(pixel: int, salt: int, size: int) -> int:
    """Draw a number below ``size`` from a pixel's number and a salt (the finalizer of MurmurHash3)."""
    value = (pixel * 0x9E3779B1 + salt * 0x85EBCA77 + 1) & 0xFFFFFFFF
    value ^= value >> 16
    value = (value * 0x85EBCA6B) & 0xFFFFFFFF
    value ^= value >> 13
    value = (value * 0xC2B2AE35) & 0xFFFFFFFF
    value ^= value >> 16
    return (value * size) >> 32


@compiled
def _near(index: int, pixel: int, size: int, salt: int, probe: int) -> int:
    """Return an index up to ``size / 4^probe`` away."""
    reach = max(1, size >> (2 * probe))
    return min(max(index + _draw(pixel, salt, 2 * reach + 1) - reach, 0), size - 1)
