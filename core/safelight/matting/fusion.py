"""Rules that join the masks of several networks, and repair what networks are known to get wrong.

All work at the networks' resolution (about one megapixel), on float32 masks between 0 and 1.
The figures behind the constants are in ``docs/cutout.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels import box_filter

__all__ = ["fill_by_agreement", "fill_holes", "remove_islands", "suppress_ghosts"]

Mask = NDArray[np.float32]


def fill_by_agreement(main: Mask, votes: Sequence[Mask], *, unanimous: bool = False) -> Mask:
    """Fill what the main network missed, only where others agree.

    Half of a good network's error is missing body parts. The pixel-wise maximum of several networks would fill them,
    and bring every network's mistakes along; two that agree seldom err together.

    Parameters
    ----------
    main : ndarray of shape (height, width)
        The best network's mask.
    votes
        Masks of other networks, or of the same at another size, in the same shape. Fewer than two change nothing.
    unanimous
        Average the rule "two agree" with the rule "all agree".

    Returns
    -------
    ndarray of shape (height, width), float32
        Nowhere below `main`.
    """
    if any(vote.shape != main.shape for vote in votes):
        shapes = ", ".join(str(vote.shape) for vote in votes)
        raise InputError(f"votes must have the main mask's shape {main.shape}, but have {shapes}")
    if len(votes) < 2:
        return main
    ordered = np.sort(np.stack(votes), axis=0)
    filled = np.maximum(main, _weighted(ordered[-2]))
    if unanimous:
        filled += np.maximum(main, _weighted(ordered[0]))
        filled *= np.float32(0.5)
    return filled


def suppress_ghosts(alpha: Mask, *, sigma: float = 0.012) -> Mask:
    """Move wide half-transparent areas to solid or to nothing; edges and hair stay.

    A ghost is flat: its values hardly vary around, whereas an edge has both 0 and 1 near by.
    Leave this out for glass, smoke and veils.

    Parameters
    ----------
    alpha : ndarray of shape (height, width)
    sigma
        Reach, as a share of the diagonal.
    """
    reach = sigma * math.hypot(*alpha.shape)
    mean = _smooth(alpha, reach)
    deviation = np.sqrt(np.maximum(_smooth(alpha * alpha, reach) - mean * mean, 0.0))
    flatness = np.clip(1.0 - deviation / 0.18, 0.0, 1.0)
    decided = np.clip((mean - 0.45) / 0.25 + 0.5, 0.0, 1.0)
    return np.clip(alpha + flatness * (decided - mean), 0.0, 1.0).astype(np.float32)


def fill_holes(alpha: Mask, *, largest: float = 0.02) -> Mask:
    """Fill enclosed holes smaller than `largest` of the picture. Real holes are filled too: a choice, not a default."""
    return _flip_components(alpha, below=0.5, inside=False, keep=lambda area, most: area > largest * alpha.size)


def remove_islands(alpha: Mask, *, smallest: float = 0.02) -> Mask:
    """Remove parts smaller than `smallest` of the largest one."""
    return _flip_components(alpha, below=0.5, inside=True, keep=lambda area, most: area >= smallest * most)


def _flip_components(alpha: Mask, *, below: float, inside: bool, keep: object) -> Mask:
    import cv2

    chosen = (alpha > below) if inside else (alpha <= below)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(chosen.astype(np.uint8), connectivity=8 if inside else 4)
    areas = stats[:, cv2.CC_STAT_AREA]
    most = areas[1:].max(initial=0)
    touches = np.zeros(count, bool)
    if not inside:  # what reaches the border is background, not a hole
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            touches[edge] = True
    flip = np.array([i > 0 and not touches[i] and not keep(areas[i], most) for i in range(count)])  # type: ignore[operator]
    result = alpha.copy()
    region = flip[labels]
    grown = cv2.dilate(region.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ((alpha > 0.02) & (alpha < 0.98) | region)
    result[grown] = 0.0 if inside else 1.0
    return result


def _weighted(agreed: Mask) -> Mask:
    """Count agreement below 0.15 for nothing, above 0.6 in full."""
    weight: Mask = agreed * np.clip((agreed - np.float32(0.15)) / np.float32(0.45), 0.0, 1.0)
    return weight


def _smooth(plane: Mask, sigma: float) -> Mask:
    """Blur by three box filters, close to a Gaussian of this sigma."""
    radius = max(1, round((math.sqrt(4.0 * sigma * sigma + 1.0) - 1.0) / 2.0))
    for _ in range(3):
        plane = box_filter(plane, radius)
    return plane
