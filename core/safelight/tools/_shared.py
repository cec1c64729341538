"""What several tools need: drawings that go with a photo, and the matte attached to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:  # a help text must not wait for NumPy
    import numpy as np
    from numpy.typing import NDArray

    from ..image import Photo

__all__ = ["open_drawing", "read_strokes", "transparent"]


def open_drawing(source: Path | Photo, name: str, photo: Photo) -> Photo:
    """Open what a person has drawn for a photo; it must have the photo's size."""
    from ..image import Photo as PhotoClass

    drawn = source if isinstance(source, PhotoClass) else PhotoClass.open(source)
    if (drawn.height, drawn.width) != (photo.height, photo.width):
        raise InputError(
            f"the {name} must have the photo's size {photo.width} x {photo.height}, "
            f"but has {drawn.width} x {drawn.height}"
        )
    return drawn


def read_strokes(drawn: Photo) -> NDArray[np.int8]:
    """Return what a drawing says: 1 subject, -1 background, 0 nothing."""
    from ..matting.hints import read_hint

    alpha = drawn.alpha
    levels = alpha if alpha is None or alpha.dtype != "uint16" else (alpha // 257).astype("uint8")
    return read_hint(drawn.to_uint8(), levels)


def transparent(photo: Photo, foreground: NDArray[Any], alpha: NDArray[np.float32]) -> Photo:
    """Attach the matte; under full transparency nothing of the picture is left.

    The foreground is the photo's own image, or has been cleared where alpha rounds to 0.
    """
    from ..matting import alpha_levels

    levels = alpha_levels(alpha, photo.image.dtype)
    if foreground is photo.image:
        foreground = foreground * (levels > 0)[..., None]
    return replace(photo, image=foreground, alpha=levels)
