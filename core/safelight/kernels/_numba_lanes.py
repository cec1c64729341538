"""Colours premultiplied by their alpha, and back, in numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._numba_tools import Array, Floats, compiled, run_strips, with_channels

__all__ = ["half_of", "load_lanes", "store_lanes", "times_fixed", "top_of"]

_STRIP = 64
_LEAST_ALPHA = np.float32(1e-6)


@compiled
def _premultiply(begin: int, end: int, source: Array, unit: float, last: bool, alpha: Floats, lanes: Floats) -> None:
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
    arguments = (
        with_channels(source),
        lanes,
        top_of(source),
        kind,
        divide,
        half_of(result),
        share,
        with_channels(result),
    )
    run_strips(_mixed, source.shape[0], _STRIP, *arguments)
    return result


def half_of(result: Array) -> float:
    """Return what is added before a value is cut to the result's dtype."""
    return 0.0 if result.dtype.kind == "f" else 0.5


def top_of(source: Array) -> float:
    return 1.0 if source.dtype.kind == "f" else float(np.iinfo(source.dtype).max)


@compiled
def times_fixed(a: Any, b: Any) -> Any:
    """Multiply 16-bit fractions as the processor's rounding product does.

    Every step is cast, since numba would go on in 64 bits, and then fewer of them fit a register.
    """
    product = np.int32(np.int32(a) * np.int32(b))
    return np.int16(np.int32(np.int32(product >> 14) + 1) >> 1)
