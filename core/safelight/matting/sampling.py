"""Alpha by the closed form with pairs of sampled colours as a weak second opinion.

After K. He, C. Rhemann, C. Rother, X. Tang, J. Sun, "A Global Sampling Method for Alpha Matting", CVPR 2011: the trimap
is expanded to what looks like its known neighbours, every pixel left unknown looks for the pair of a foreground and a
background colour that explains it best, and where such a pair is convincing its alpha pulls the closed form gently.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import closed_form, expand_trimap, sample_colours
from .closed_form import TOLERANCE, Progress, reporter

__all__ = ["sampled_alpha"]

_SHARE = 0.3  # of the band's width that an expansion may take from either side
_GAINED = 3.0  # weight of a label that the expansion gave: it can still be outvoted
_PULL, _SIDE = 6e-3, 800.0  # weight of a perfect pair in a picture of this diagonal; larger ones carry alpha further
_WIDE, _FAR = 0.06, 0.03  # of the diagonal: far inside a wide band samples from its rim mean little
_REACH = 10
_RIM = 7  # pixels: samples are known pixels so near to the band, in a square of this side around one of its pixels
_MOST_SAMPLES = 40_000  # of a kind; more cost cache misses and find nothing better
_NOISE = 8.0  # in units of 1/255
_LEAST_APART, _ENOUGH_APART = 10.0, 60.0  # colours of a pair, in the same units


def sampled_alpha(
    image: NDArray[Any], trimap: NDArray[np.uint8], *, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Estimate alpha where a trimap with foreground and background leaves it open.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8, uint16, or float32 in [0, 1]
    trimap : ndarray of shape (height, width), uint8
        0 background, 128 unknown, 255 foreground.
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

    Returns
    -------
    ndarray of shape (height, width), float32 in [0, 1]

    Raises
    ------
    InputError
        The arrays are not what they must be.
    """
    if progress is not None:
        progress(0.0, "sampling colours")
    expanded = _expanded(image, trimap)
    prior, weight = _opinion(image, expanded)
    gained = expanded != trimap
    prior[gained], weight[gained] = expanded[gained] / np.float32(255), _GAINED
    later = None if progress is None else lambda fraction, stage: progress(0.4 + 0.6 * fraction, stage)
    report = reporter(later, TOLERANCE)
    return closed_form(image, trimap, prior=prior, weight=weight, tolerance=TOLERANCE, report=report).alpha


def _expanded(image: NDArray[Any], trimap: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Expand a trimap, but by no more than a share of its band: of a thin one, what is left decides nothing."""
    to_foreground, to_background = (_distance(trimap, value) for value in (255, 0))
    most = np.float32(_SHARE) * (to_foreground + to_background)
    near = np.minimum(to_foreground, to_background)
    result = expand_trimap(image, trimap, near <= np.minimum(most, _REACH), reach=_REACH)
    gained = trimap == 128
    refused = gained & (((result == 255) & (to_foreground > most)) | ((result == 0) & (to_background > most)))
    result[refused] = 128
    return result


def _opinion(image: NDArray[Any], trimap: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the alpha of the best pairs, and how much it is to be trusted."""
    import cv2

    unknown = trimap == 128
    rim = cv2.dilate(unknown.astype(np.uint8), np.ones((_RIM, _RIM), np.uint8)) > 0
    distances = np.stack([np.maximum(_distance(trimap, value)[unknown], 1) for value in (255, 0)], 1)
    samples = [_samples(image, rim & (trimap == value)) for value in (255, 0)]
    prior, weight = np.zeros(trimap.shape, np.float32), np.zeros(trimap.shape, np.float32)
    if unknown.any():
        alpha, residual, apart, cost = sample_colours(image, trimap, distances, *samples).T
        doubt = np.square(residual / _NOISE) + np.maximum(0, cost - residual - 4) / _NOISE
        contrast = np.clip((apart - _LEAST_APART) / (_ENOUGH_APART - _LEAST_APART), 0, 1)
        prior[unknown] = alpha
        diagonal = float(np.hypot(*trimap.shape))
        most = _PULL * min(1.0, _SIDE / diagonal) ** 2
        width, depth = distances.sum(1) / (_WIDE * diagonal), distances.min(1) / (_FAR * diagonal)
        fading = np.exp(-np.square(width) - np.square(depth))
        weight[unknown] = most * np.square(np.exp(-doubt) * contrast) * fading
    return prior, weight


def _distance(trimap: NDArray[np.uint8], value: int) -> NDArray[np.float32]:
    """Return how far each pixel is from the nearest one of a value."""
    import cv2

    return np.asarray(cv2.distanceTransform((trimap != value).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _samples(image: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return colours and places of pixels, sorted by brightness; of many, every few."""
    y, x = np.nonzero(where)
    step = -(-len(y) // _MOST_SAMPLES)
    y, x = y[::step] if step > 1 else y, x[::step] if step > 1 else x
    unit = np.float32(255.0 / (1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)))
    colours = image[y, x].astype(np.float32) * unit
    order = np.argsort(colours.sum(1), kind="stable")
    return np.concatenate([colours, y[:, None], x[:, None]], 1)[order].astype(np.float32)
