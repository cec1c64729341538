"""What a person says belongs to the subject, or does not: strokes, or a rough mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from ._resize import fit_within, resize_image, resize_plane

__all__ = ["apply_hint", "read_hint", "shrink_hint"]

_SIDE = 448  # GrabCut's cost grows with the pixels; its borders are refined afterwards
_ROUNDS = 4
_COLOURS = 5  # a stroke's colours are summed up in this many
_ALIKE, _LEAST_SPREAD = 3.0, 4.0  # how far from them looks alike: times their own spread, which is at least this (Lab)
_RELEASED = 0.02  # of the diagonal: a rough mask is not taken at its word this near to its edge


def read_hint(image: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.int8]:
    """Turn a hint picture into what it says: 1 subject, -1 background, 0 nothing.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        White (from 200) means subject, black (to 55) background, anything between says nothing.
    alpha : ndarray of shape (height, width), uint8, optional
        Where it is below 128 nothing is said: strokes on a transparent layer.
    """
    level = image.mean(axis=2)
    said = np.where(level >= 200, 1, np.where(level <= 55, -1, 0)).astype(np.int8)
    if alpha is not None:
        said[alpha < 128] = 0
    return said


def apply_hint(
    image: NDArray[np.uint8], mask: NDArray[np.float32], said: NDArray[np.int8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Let a person's strokes correct a network's mask.

    The strokes are spread over what looks alike and is connected, by GrabCut (Rother, Kolmogorov, Blake 2004). Its
    first guess is the network's mask, where no stroke contradicts it; no network sees every object.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
    mask : ndarray of shape (any, any), float32 in [0, 1]
    said : ndarray of shape (height, width), int8
        1 subject, -1 background, 0 nothing; a mask that decides every pixel is released near its edge.

    Returns
    -------
    mask, sure : ndarrays of the mask's shape, float32
        The corrected mask, and 1 where the person has spoken, else 0.

    Raises
    ------
    InputError
        The hint has another shape than the image, or says nothing.
    """
    if said.shape != image.shape[:2]:
        raise InputError(f"the hint must have the image's size {image.shape[:2]}, but has {said.shape}")
    if not said.any():
        raise InputError("the hint must mark something white (keep) or black (remove), but marks nothing")
    height, width = fit_within(image.shape[:2], _SIDE)
    small = resize_image(image, height, width)
    strokes = _released(shrink_hint(said, height, width))
    spread = _spread(small, resize_plane(mask, height, width), strokes)
    return _at_mask(spread, mask.shape), _at_mask((strokes != 0).astype(np.float32), mask.shape)


def _at_mask(plane: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    return resize_plane(plane.astype(np.float32), shape[0], shape[1])


def shrink_hint(said: NDArray[np.int8], height: int, width: int) -> NDArray[np.int8]:
    """Make a hint small without losing thin strokes: a pixel says what most of its strokes say."""
    planes = [
        np.asarray(Image.fromarray((said == value).astype(np.float32)).resize((width, height), Image.Resampling.BOX))
        for value in (1, -1)
    ]
    keep, remove = planes
    return np.where(np.maximum(keep, remove) > 0.0, np.where(keep >= remove, 1, -1), 0).astype(np.int8)


def _released(strokes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Take back a rough mask's word near its own edge; leave strokes alone."""
    import cv2

    if (strokes == 0).mean() > 0.1:
        return strokes
    reach = max(1, round(_RELEASED * float(np.hypot(*strokes.shape))))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    sure_subject = cv2.erode((strokes == 1).astype(np.uint8), kernel)
    sure_background = cv2.erode((strokes == -1).astype(np.uint8), kernel)
    return np.asarray(sure_subject, np.int8) - np.asarray(sure_background, np.int8)


def _spread(image: NDArray[np.uint8], mask: NDArray[np.float32], strokes: NDArray[np.int8]) -> NDArray[np.float32]:
    import cv2

    cv2.setRNGSeed(0)  # clustering starts at random; the same hint must give the same mask
    labels = _first_guess(image, mask, strokes)
    for value, needed in ((1, (cv2.GC_FGD, cv2.GC_PR_FGD)), (-1, (cv2.GC_BGD, cv2.GC_PR_BGD))):
        if not np.isin(labels, needed).any():  # GrabCut wants a sample of both
            return np.full(mask.shape, 1.0 if value == -1 else 0.0, np.float32)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), labels, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    subject = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    result = mask.copy()
    # Only what changes sides: else a stroke would speak for all that its own object touches.
    result[_connected(subject & (mask < 0.98), strokes == 1)] = 1.0
    result[_connected(~subject & (mask > 0.02), strokes == -1)] = 0.0
    result[strokes == 1], result[strokes == -1] = 1.0, 0.0
    return result


def _first_guess(image: NDArray[np.uint8], mask: NDArray[np.float32], strokes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Take the network's side, but let what looks like a stroke and is connected to it change sides.

    Left where they were, those pixels would teach GrabCut that the stroke's colours belong to the other side.
    """
    import cv2

    guess = np.where(mask > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels = guess.copy()
    for value, wrong, right in ((1, cv2.GC_PR_BGD, cv2.GC_PR_FGD), (-1, cv2.GC_PR_FGD, cv2.GC_PR_BGD)):
        seeds = (strokes == value) & (guess == wrong)
        if seeds.any():
            labels[_connected((guess == wrong) & _alike(image, seeds), seeds)] = right
    labels[strokes == 1], labels[strokes == -1] = cv2.GC_FGD, cv2.GC_BGD
    return labels


def _alike(image: NDArray[np.uint8], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say which pixels have a colour like those under the seeds."""
    import cv2

    lab = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), (0, 0), 1.0).astype(np.float32)
    samples = lab[seeds]
    enough = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 0.5)
    count = min(_COLOURS, len(samples))
    _, nearest, centres = cv2.kmeans(samples, count, None, enough, 1, cv2.KMEANS_PP_CENTERS)
    spread = np.linalg.norm(samples - centres[nearest.ravel()], axis=1)
    reach = _ALIKE * max(float(spread.mean() + spread.std()), _LEAST_SPREAD)
    distance = np.min([np.linalg.norm(lab - centre, axis=2) for centre in centres], axis=0)
    alike: NDArray[np.bool_] = seeds | (distance <= reach)
    return alike


def _connected(region: NDArray[np.bool_], seeds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the parts of a region that seeds lie in: a stroke speaks for its own object only."""
    import cv2

    _, labels = cv2.connectedComponents(region.astype(np.uint8))
    touched = np.unique(labels[seeds & region])
    return np.isin(labels, touched[touched > 0])
