"""Networks that mark the salient object of a picture: picture in, soft mask out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..kernels import area_average
from .models import ModelInfo
from .session import ModelRun, Session

__all__ = ["network_input", "predict_saliency"]

_GAP = 2


def predict_saliency(
    session: Session,
    image: NDArray[np.uint8],
    *,
    size: int | None = None,
    check: Callable[[], None] | None = None,
) -> tuple[NDArray[np.float32], ModelRun]:
    """Ask a network what belongs to the subject.

    Parameters
    ----------
    session
        A model of the task ``cutout``.
    image : ndarray of shape (height, width, 3), uint8
        sRGB.
    size
        Side of the square the picture is stretched to, for networks that are free in it; None is the network's own.
    check
        As :meth:`Session.run`.

    Returns
    -------
    ndarray of shape (size, size), float32
        Between 0 (background) and 1 (subject), at the network's resolution.
    ModelRun
        What ran where.
    """
    name = next(iter(session.info.inputs))
    feeds = {name: network_input(session.info, image, size)}
    outputs, run = session.run(feeds, check=check)
    return _as_mask(session.info, outputs[0]), run


def network_input(info: ModelInfo, image: NDArray[np.uint8], size: int | None = None) -> NDArray[np.float32]:
    """Stretch, scale and normalise a picture as the catalogue says.

    LANCZOS matters: with BILINEAR the band error of IS-Net grows by a tenth on pictures smaller than its input.

    Returns
    -------
    ndarray of shape (1, 3, size, size), float32
    """
    how = info.preprocess
    height, width = (size, size) if size else (how.size or (1024, 1024))
    small = Image.fromarray(_averaged(image, _GAP * height, _GAP * width))
    small = small.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, dtype=np.float32)
    if how.channels == "BGR":
        pixels = pixels[..., ::-1]
    divisor = {"max": max(float(pixels.max()), 1.0), "255": 255.0, "1": 1.0}[how.scale]
    mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
    normalised = (pixels / np.float32(divisor) - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def _averaged(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Average a large picture down first, still well above what the network takes: as good, and many times faster."""
    height, width = min(height, image.shape[0]), min(width, image.shape[1])
    if (height, width) == image.shape[:2]:
        return image
    return (area_average(image, (height, width)) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _as_mask(info: ModelInfo, output: NDArray[np.float32]) -> NDArray[np.float32]:
    mask = output.reshape(output.shape[-2:]) if output.shape[-1] != 1 else output.reshape(output.shape[-3:-1])
    if info.postprocess == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-mask)), np.float32)
    if info.postprocess == "stretch":
        low, high = float(mask.min()), float(mask.max())
        # A picture without contrast in the answer has no subject: stretching it would invent one.
        mask = (mask - low) / np.float32(high - low) if high - low > 1e-3 else np.zeros_like(mask)
    return np.asarray(np.clip(mask, 0.0, 1.0), np.float32)
