"""The shape of a lens's aperture row by row, and the tables to linear light and back."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "TABLE_STEPS",
    "AperturePlan",
    "dim_table",
    "dimming",
    "from_linear",
    "light_tables",
    "plan_aperture",
    "to_linear",
]

TABLE_STEPS = 16384
_SHRINK_FROM = 16.0  # radius at which the picture is shrunk: the rim is softened by less than a tenth of it
_SAMPLES = 32  # lines a row's share of the aperture is measured on

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class AperturePlan:
    """What the fast kernels do.

    Attributes
    ----------
    factor : int
        By how much the picture is shrunk, a power of two.
    runs : ndarray of shape (2 radius + 1, 2), float32
        Where each row of the aperture begins and ends, at that size, from its middle; pixels are 1 wide.
    """

    factor: int
    runs: Floats


def plan_aperture(radius: float, blades: int, rotation: float) -> AperturePlan:
    """Choose the factor, and measure the aperture there."""
    factor = 1
    while radius / factor >= _SHRINK_FROM:
        factor *= 2
    radius /= factor
    reach = math.ceil(radius - 0.5)
    lines = np.arange(-reach * _SAMPLES, (reach + 1) * _SAMPLES) - _SAMPLES / 2 + 0.5
    begin, end = _extent(lines / _SAMPLES, radius, blades, math.radians(rotation))
    width = np.maximum(end - begin, 0).reshape(-1, _SAMPLES)
    middle = ((begin + end) / 2).reshape(-1, _SAMPLES)
    total = width.sum(1)
    centre = (middle * width).sum(1) / np.where(total > 0, total, 1)
    half = total / _SAMPLES / 2
    return AperturePlan(factor, np.stack([centre - half, centre + half], axis=1).astype(np.float32))


def _extent(y: Doubles, radius: float, blades: int, rotation: float) -> tuple[Doubles, Doubles]:
    """Return where horizontal lines enter and leave a disc, or the regular polygon inscribed in it."""
    if blades == 0:
        half = np.sqrt(np.maximum(radius * radius - y * y, 0))
        return -half, half
    begin, end = np.full_like(y, -radius), np.full_like(y, radius)
    inner = radius * math.cos(math.pi / blades)
    for k in range(blades):
        across, down = math.cos(rotation + 2 * math.pi * k / blades), math.sin(rotation + 2 * math.pi * k / blades)
        rest = inner - y * down  # across * x <= rest
        if across > 1e-9:
            end = np.minimum(end, rest / across)
        elif across < -1e-9:
            begin = np.maximum(begin, rest / across)
        else:
            end = np.where(rest < 0, begin, end)
    return begin, end


def to_linear(values: Doubles) -> Doubles:
    """Return the light of sRGB values in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((np.maximum(values, 0) + 0.055) / 1.055) ** 2.4)


def from_linear(light: Doubles) -> Doubles:
    """Return the sRGB values of light; what is brighter than white is white."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


@functools.cache
def light_tables(dtype: np.dtype[Any]) -> tuple[Floats, Floats]:
    """Return the tables from a dtype's values to light, and from light to them."""
    points = np.arange(TABLE_STEPS + 1) / TABLE_STEPS
    if dtype.kind == "f":
        return to_linear(points).astype(np.float32), from_linear(points).astype(np.float32)
    most = int(np.iinfo(dtype).max)
    there = to_linear(np.arange(most + 1) / most).astype(np.float32)
    return there, (from_linear(points) * most).astype(np.float32)


def dimming(bright: Doubles, gain: float) -> Doubles:
    """Return ``m / bright`` for the ``m`` with ``m (1 + gain m^8) = bright``, by Newton's method from above."""
    m = np.minimum(np.maximum(bright, 0), (np.maximum(bright, 1e-12) / max(gain, 1e-12)) ** (1 / 9))
    for _ in range(40):
        m = m - (m + gain * m**9 - bright) / (1 + 9 * gain * m**8)
    return 1 / (1 + gain * m**8)


@functools.lru_cache(maxsize=16)
def dim_table(gain: float) -> Floats:
    """Return `dimming` at the table's points of [0, 1 + gain]."""
    return dimming(np.arange(TABLE_STEPS + 1) / TABLE_STEPS * (1 + gain), gain).astype(np.float32)
