"""The closed form in numba: loops over the stencil, one Gauss-Seidel sweep before and after each coarse correction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._numba_tools import STRIP, Array, Floats, compiled, run_strips, unit_scale
from ._reference_closed_form import Matrix, solve

__all__ = ["closed_form"]

Doubles = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Report = Callable[[int, float], None]


def closed_form(
    image: Array, trimap: Bytes, weight: Floats | None, prior: Floats | None, eps: float,
    tolerance: float, most: int, report: Report | None,
) -> tuple[Floats, int, float, bool]:  # fmt: skip
    """Solve with compiled loops."""
    return solve(_matrix, image, trimap, weight, prior, eps, tolerance, most, report)


class _CompiledMatrix:
    """Planes of shape (height, width, 13), each pixel's taps side by side."""

    def __init__(self, taps: Doubles) -> None:
        self._taps = taps
        self.diagonal = taps[..., 0]

    def product(self, values: Doubles) -> Doubles:
        result = np.empty_like(values)
        run_strips(_product_strip, values.shape[0], STRIP, self._taps, values, result)
        return result

    def smooth(self, right: Doubles, start: Doubles | None) -> Doubles:
        values = np.zeros_like(right) if start is None else start.copy()
        _sweep(self._taps, right, values, start is not None)
        return values


def _matrix(image: Array, trimap: Bytes, weight: Floats | None, eps: float) -> tuple[Matrix, Doubles]:
    height, width = trimap.shape
    taps = np.zeros((height, width, 13))
    least = 9.0 * eps / unit_scale(image) ** 2
    for first in (0, STRIP):  # a strip's windows reach into the next one
        for top in range(first, height, 2 * STRIP):
            _assemble_rows(top, min(top + STRIP, height), image, trimap, least, taps)
    known = np.empty((height, width))
    run_strips(_product_strip, height, STRIP, taps, (trimap == 255).astype(np.float64), known)
    run_strips(_cut_strip, height, STRIP, trimap, taps)
    if weight is not None:
        taps[..., 0] += weight
    return _CompiledMatrix(taps), -known * (trimap == 128)


@compiled
def _assemble_rows(begin: int, end: int, image: Array, trimap: Bytes, least: float, taps: Doubles) -> None:
    """Add the windows around the pixels of some rows."""
    height, width = trimap.shape
    colours = np.empty((9, 3))
    white = np.empty((9, 3))
    for y in range(max(begin, 1), min(end, height - 1)):
        for x in range(1, width - 1):
            needed = False
            for k in range(9):
                needed = needed or trimap[y + k // 3 - 1, x + k % 3 - 1] == 128
            if not needed:
                continue
            for c in range(3):
                total = 0.0
                for k in range(9):
                    colours[k, c] = image[y + k // 3 - 1, x + k % 3 - 1, c]
                    total += colours[k, c]
                for k in range(9):
                    colours[k, c] = 9.0 * colours[k, c] - total
            covariance = np.zeros((3, 3))
            for a in range(3):
                for b in range(a + 1):
                    for k in range(9):
                        covariance[a, b] += colours[k, a] * colours[k, b]
                    covariance[a, b] /= 9.0
                covariance[a, a] += least
            _whiten(covariance, least, colours, white)
            for k in range(9):
                for j in range(k, 9):
                    dot = white[k, 0] * white[j, 0] + white[k, 1] * white[j, 1] + white[k, 2] * white[j, 2]
                    dy, dx = j // 3 - k // 3, j % 3 - k % 3
                    plane = dx if dy == 0 else 5 * dy + dx
                    own = 1.0 if k == j else 0.0
                    taps[y + k // 3 - 1, x + k % 3 - 1, plane] += own - (1.0 + dot) / 9.0


@compiled
def _whiten(covariance: Doubles, least: float, colours: Doubles, white: Doubles) -> None:
    """Set ``white`` to the colours times the inverse of the covariance's Cholesky factor."""
    a = np.sqrt(covariance[0, 0])
    b, c = covariance[1, 0] / a, covariance[2, 0] / a
    d = np.sqrt(max(covariance[1, 1] - b * b, least))
    e = (covariance[2, 1] - b * c) / d
    f = np.sqrt(max(covariance[2, 2] - c * c - e * e, least))
    for k in range(9):
        white[k, 0] = colours[k, 0] / a
        white[k, 1] = (colours[k, 1] - b * white[k, 0]) / d
        white[k, 2] = (colours[k, 2] - c * white[k, 0] - e * white[k, 1]) / f


@compiled
def _cut_strip(begin: int, end: int, trimap: Bytes, taps: Doubles) -> None:
    """Take away the taps with a known end."""
    height, width = trimap.shape
    for y in range(begin, end):
        for x in range(width):
            for plane in range(13):
                dy = 0 if plane < 3 else 1 if plane < 8 else 2
                dx = plane - 5 * dy
                i, j = y + dy, x + dx
                inside = i < height and 0 <= j < width
                if trimap[y, x] != 128 or not inside or trimap[i, j] != 128:
                    taps[y, x, plane] = 0.0


@compiled
def _product_strip(begin: int, end: int, taps: Doubles, values: Doubles, result: Doubles) -> None:
    height, width = values.shape
    for y in range(begin, end):
        for x in range(width):
            total = taps[y, x, 0] * values[y, x]
            if taps[y, x, 0] == 0:  # known, or in no window: all its taps are 0
                result[y, x] = 0.0
                continue
            for dy in range(3):
                for dx in range(1 if dy == 0 else -2, 3):
                    plane = 5 * dy + dx
                    if y + dy < height and 0 <= x + dx < width:
                        total += taps[y, x, plane] * values[y + dy, x + dx]
                    if y - dy >= 0 and 0 <= x - dx < width:
                        total += taps[y - dy, x - dx, plane] * values[y - dy, x - dx]
            result[y, x] = total


@compiled
def _sweep(taps: Doubles, right: Doubles, values: Doubles, backward: bool) -> None:
    """One Gauss-Seidel sweep over all pixels, by rows; backward is the transpose of forward."""
    height, width = values.shape
    for k in range(height):
        y = height - 1 - k if backward else k
        for i in range(width):
            x = width - 1 - i if backward else i
            own = taps[y, x, 0]
            if own <= 1e-12:
                continue
            rest = right[y, x]
            for dy in range(3):
                for dx in range(1 if dy == 0 else -2, 3):
                    plane = 5 * dy + dx
                    if y + dy < height and 0 <= x + dx < width:
                        rest -= taps[y, x, plane] * values[y + dy, x + dx]
                    if y - dy >= 0 and 0 <= x - dx < width:
                        rest -= taps[y - dy, x - dx, plane] * values[y - dy, x - dx]
            values[y, x] = rest / own
