"""Resizing of arrays, with Pillow's filters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["fit_within", "resize_image", "resize_plane"]


def fit_within(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return the size at which the longer side of a picture's shape is at most `side`; nothing is enlarged."""
    height, width = shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_plane(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize one float plane: averaging when it shrinks, bilinear when it grows."""
    if plane.shape == (height, width):
        return plane
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def resize_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize an RGB picture by averaging."""
    if image.shape[:2] == (height, width):
        return image
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(small)
