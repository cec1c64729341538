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
_RIM = 6  # pixels at the networks' resolution that the soft edge of a part is wide


def fill_by_agreement(main: Mask, votes: Sequence[Mask], *, unanimous: bool = False) -> Mask:
    """Fill what the main network missed, only where others agree.

    Half of a good network's error is missing body parts. The pixel-wise maximum of several networks would fill them,
    and bring every network's mistakes along; two that agree seldom err together. Near the main network's subject the
    first vote must be one of the two: coarser networks close the gaps between ears and arms.

    Parameters
    ----------
    main : ndarray of shape (height, width)
        The best network's mask.
    votes
        Masks of other networks, or of the same at another size, in the same shape, the finest first. Fewer than two
        change nothing.
    unanimous
        Average with the rule that all must agree.

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
    near = np.minimum(votes[0], np.maximum.reduce(votes[1:]))
    around = _smooth(main, 0.015 * math.hypot(*main.shape))
    away = np.clip((np.float32(0.45) - around) / np.float32(0.3), 0.0, 1.0)
    filled: Mask = np.maximum(main, _weighted(near))
    far: Mask = np.maximum(main, _weighted(ordered[-2]))
    filled = np.maximum(filled, main + away * (far - main))
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
    settled: Mask = np.clip(alpha + flatness * (decided - mean), 0.0, 1.0).astype(np.float32)
    return settled


def fill_holes(alpha: Mask, *, largest: float = 0.02) -> Mask:
    """Fill enclosed holes of up to `largest` of the picture. Real holes are filled too: a choice, not a default."""
    labels, areas = _components(alpha <= 0.5, connectivity=4)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    holes = areas <= largest * alpha.size
    holes[border] = False  # what reaches the border is background, not a hole
    return _painted(alpha, holes[labels] & (alpha <= 0.5), 1.0)


def remove_islands(alpha: Mask, *, smallest: float = 0.02) -> Mask:
    """Remove parts smaller than `smallest` of the largest one."""
    labels, areas = _components(alpha > 0.5, connectivity=8)
    islands = areas < smallest * areas[1:].max(initial=0)
    return _painted(alpha, islands[labels] & (alpha > 0.5), 0.0)


def _components(region: NDArray[np.bool_], *, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each pixel's component (0 outside) and the components' areas."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=connectivity)
    return labels, stats[:, cv2.CC_STAT_AREA]


def _painted(alpha: Mask, region: NDArray[np.bool_], value: float) -> Mask:
    """Set a region and the soft rim around it."""
    import cv2

    reach = np.ones((2 * _RIM + 1, 2 * _RIM + 1), np.uint8)
    rim = cv2.dilate(region.astype(np.uint8), reach).astype(bool) & (alpha > 0.02) & (alpha < 0.98)
    result = alpha.copy()
    result[region | rim] = value
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
