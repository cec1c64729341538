"""The closed form in NumPy: the matting Laplacian as a stencil, conjugate gradients, one colour-affine coarse space.

The compiled version has a whole hierarchy of such spaces. Here there is one, small enough to be solved directly; the
numba version shares it and brings its own loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["TAPS", "Loops", "Matrix", "closed_form", "solve"]

Array = NDArray[Any]
Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Report = Callable[[int, float], None]

# Where the taps of the symmetric stencil lead that lead forward; plane 0 is the pixel itself.
TAPS = ((0, 0), (0, 1), (0, 2), *((dy, dx) for dy in (1, 2) for dx in range(-2, 3)))
_MOST_NODES = 400
_LEAST_SPACING = 8
_ROWS = 32  # windows are made of so many rows at a time


class Matrix(Protocol):
    """What the solver asks of a matrix over all pixels of a picture."""

    diagonal: Doubles

    def product(self, values: Doubles) -> Doubles: ...

    def smooth(self, right: Doubles, start: Doubles | None) -> Doubles:
        """One sweep, from 0 or from ``start``; the two kinds are each other's transpose."""


Loops = Callable[[Array, Bytes, "Floats | None", float], tuple[Matrix, Doubles]]


def closed_form(
    image: Array, trimap: Bytes, weight: Floats | None, prior: Floats | None, eps: float,
    tolerance: float, most: int, report: Report | None,
) -> tuple[Floats, int, float, bool]:  # fmt: skip
    """Solve with NumPy alone."""
    return solve(_matrix, image, trimap, weight, prior, eps, tolerance, most, report)


def solve(
    loops: Loops, image: Array, trimap: Bytes, weight: Floats | None, prior: Floats | None, eps: float,
    tolerance: float, most: int, report: Report | None,
) -> tuple[Floats, int, float, bool]:  # fmt: skip
    """Return alpha, iterations, residual, converged. ``loops`` makes the matrix and what known pixels contribute."""
    alpha = (trimap == 255).astype(np.float32)
    unknown = trimap == 128
    if not unknown.any():
        return alpha, 0, 0.0, True
    part = _around(unknown)
    image, trimap, unknown = image[part], np.ascontiguousarray(trimap[part]), unknown[part]
    weight, prior = (None if each is None else each[part] * unknown for each in (weight, prior))
    matrix, right = loops(np.ascontiguousarray(image), trimap, weight, eps)
    start = np.zeros(unknown.shape)
    if weight is not None and prior is not None:
        right = right + weight.astype(np.float64) * prior
        start = prior.astype(np.float64)
    coarse = _CoarseSpace(image, unknown, matrix)
    values, *reached = _iterate(matrix, coarse, right, start, tolerance, most, report)
    alpha[part][unknown] = np.clip(values[unknown], 0, 1)
    return (alpha, *reached)


def _around(unknown: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that windows of unknown pixels touch; at least three of each."""
    slices = []
    for axis in (0, 1):
        lines = np.flatnonzero(unknown.any(1 - axis))
        slices.append(slice(max(0, lines[0] - 3), lines[-1] + 4))
    return slices[0], slices[1]


def _iterate(
    matrix: Matrix, coarse: _CoarseSpace, right: Doubles, x: Doubles, tolerance: float, most: int,
    report: Report | None,
) -> tuple[Doubles, int, float, bool]:  # fmt: skip
    """Preconditioned conjugate gradients."""
    r = right - matrix.product(x)
    norm = float(np.linalg.norm(right)) or float(np.linalg.norm(r)) or 1.0
    p, old, iterations = np.zeros_like(x), 1.0, 0
    while True:
        residual = float(np.linalg.norm(r)) / norm
        if report is not None:
            report(iterations, residual)
        if residual <= tolerance or iterations == most:
            return x, iterations, residual, residual <= tolerance
        z = matrix.smooth(r, None)
        z = z + coarse.correct(r - matrix.product(z))
        z = matrix.smooth(r, z)
        now = float(np.vdot(r, z))
        if now <= 0:
            return x, iterations, residual, False
        p = z + (now / old if iterations else 0.0) * p
        q = matrix.product(p)
        step = now / float(np.vdot(p, q))
        x, r, old = x + step * p, r - step * q, now
        iterations += 1


class _CoarseSpace:
    """Hats on a grid of nodes times {1, r, g, b}: what the Laplacian hardly resists, solved directly."""

    def __init__(self, image: Array, unknown: NDArray[np.bool_], matrix: Matrix) -> None:
        height, width = unknown.shape
        spacing = _LEAST_SPACING
        while -(-height // spacing + 1) * -(-width // spacing + 1) > _MOST_NODES:
            spacing += 4
        self._rows, self._columns = _hats(height, spacing), _hats(width, spacing)
        most = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
        colours = np.moveaxis(image.astype(np.float64) / most - 0.5, -1, 0)
        self._basis = np.concatenate([np.ones((1, height, width)), colours]) * unknown
        self._shape = (4, self._rows.shape[1], self._columns.shape[1])
        self._inverse = _inverse(self._coarse_matrix(matrix))

    def correct(self, residual: Doubles) -> Doubles:
        """Return the coarse space's answer to a residual."""
        return self._prolong((self._inverse @ self._restrict(residual).ravel()).reshape(self._shape))

    def _restrict(self, values: Doubles) -> Doubles:
        result: Doubles = self._rows.T @ (self._basis * values) @ self._columns
        return result

    def _prolong(self, nodes: Doubles) -> Doubles:
        result: Doubles = (self._basis * (self._rows @ nodes @ self._columns.T)).sum(0)
        return result

    def _coarse_matrix(self, matrix: Matrix) -> Doubles:
        """Galerkin: hats three nodes apart do not meet, so nine groups of them, times four, give all entries."""
        channels, rows, columns = self._shape
        result = np.zeros((channels, rows, columns, channels, rows, columns))
        y, x = np.mgrid[:rows, :columns]
        for channel in range(channels):
            for dy in range(3):
                for dx in range(3):
                    nodes = np.zeros(self._shape)
                    nodes[channel, dy::3, dx::3] = 1
                    answer = self._restrict(matrix.product(self._prolong(nodes)))
                    # The node of this group next to each node; there may be none at the edge.
                    j, i = y + (dy - y + 1) % 3 - 1, x + (dx - x + 1) % 3 - 1
                    there = (j >= 0) & (j < rows) & (i >= 0) & (i < columns)
                    result[:, y[there], x[there], channel, j[there], i[there]] = answer[:, y[there], x[there]]
        size = channels * rows * columns
        return result.reshape(size, size)


def _hats(length: int, spacing: int) -> Doubles:
    """Return shares ``(length, nodes)``; hats are flat for a pixel beside their node."""
    at = np.arange(length)
    right = np.clip((at % spacing - 0.5) / (spacing - 2), 0, 1)
    hats = np.zeros((length, -(-length // spacing) + 1))
    hats[at, at // spacing] = 1 - right
    hats[at, at // spacing + 1] += right
    return hats


def _inverse(matrix: Doubles) -> Doubles:
    """Invert a symmetric matrix that cells of one colour, or without unknown pixels, leave singular."""
    matrix = (matrix + matrix.T) / 2
    diagonal = np.diagonal(matrix)
    matrix = matrix + np.diag(diagonal * 1e-8 + np.where(diagonal > 1e-9, 1e-10, 1.0))
    inverse = np.linalg.inv(matrix)
    return (inverse + inverse.T) / 2


class _PlainMatrix:
    """The stencil's planes, and damped Jacobi sweeps."""

    def __init__(self, planes: Doubles) -> None:
        self._planes = planes
        self.diagonal = planes[0]
        self._inverse = np.where(planes[0] > 1e-12, 1 / np.maximum(planes[0], 1e-12), 0.0)
        self._damping = 1 / self._largest_eigenvalue()

    def product(self, values: Doubles) -> Doubles:
        result: Doubles = self._planes[0] * values
        for plane, (dy, dx) in zip(self._planes[1:], TAPS[1:], strict=True):
            here, there = _overlap(values.shape, dy, dx)
            result[here] += plane[here] * values[there]
            result[there] += plane[here] * values[here]
        return result

    def smooth(self, right: Doubles, start: Doubles | None) -> Doubles:
        rest = right if start is None else right - self.product(start)
        step: Doubles = self._damping * self._inverse * rest
        return step if start is None else start + step

    def _largest_eigenvalue(self) -> float:
        values = np.random.default_rng(0).random(self.diagonal.shape) - 0.5
        largest = 1.0
        for _ in range(12):
            values = self._inverse * self.product(values)
            largest = float(np.linalg.norm(values))
            if not largest:
                return 1.0
            values = values / largest
        return 1.1 * largest


def _overlap(shape: tuple[int, ...], dy: int, dx: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the pixels that have a neighbour at (dy, dx), and these neighbours."""
    height, width = shape
    here = slice(0, max(0, height - dy)), slice(max(0, -dx), width - max(0, dx))
    there = slice(min(dy, height), height), slice(max(0, dx), width + min(0, dx))
    return here, there


def _matrix(image: Array, trimap: Bytes, weight: Floats | None, eps: float) -> tuple[Matrix, Doubles]:
    planes = _laplacian(image, eps)
    known = _PlainMatrix(planes).product((trimap == 255).astype(np.float64))
    unknown = trimap == 128
    for plane, (dy, dx) in zip(planes, TAPS, strict=True):
        here, there = _overlap(trimap.shape, dy, dx)
        plane[here] *= unknown[here] & unknown[there]
    if weight is not None:
        planes[0] += weight
    return _PlainMatrix(planes), -known * unknown


def _laplacian(image: Array, eps: float) -> Doubles:
    """Return the matting Laplacian's planes, of the shape (13, height, width)."""
    height, width = image.shape[:2]
    most = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    colours = image.astype(np.float64) / most
    planes = np.zeros((len(TAPS), height, width))
    for top in range(0, height - 2, _ROWS):
        rows = colours[top : min(top + _ROWS, height - 2) + 2]
        windows = np.lib.stride_tricks.sliding_window_view(rows, (3, 3), axis=(0, 1))
        windows = np.moveaxis(windows, 2, -1).reshape(*windows.shape[:2], 9, 3)
        deviations = windows - windows.mean(-2, keepdims=True)
        covariance = np.swapaxes(deviations, -1, -2) @ deviations / 9 + eps / 9 * np.eye(3)
        entries = np.eye(9) - (1 + deviations @ np.linalg.solve(covariance, np.swapaxes(deviations, -1, -2))) / 9
        for k in range(9):
            for j in range(k, 9):
                plane = planes[TAPS.index((j // 3 - k // 3, j % 3 - k % 3))]
                place = plane[top + k // 3 :, k % 3 :][: entries.shape[0], : entries.shape[1]]
                place += entries[..., k, j]
    return planes
