"""From an opened Pillow picture to arrays: orientation, colour and depth, strip by strip.

Working in strips keeps the peak at Pillow's own picture plus the result, and every intermediate in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight._image.profiles import converter, gray_table
from safelight.threads import in_threads

__all__ = ["Blocks", "Pixels", "assemble", "eight_bit_blocks", "read_orientation"]

_STRIP_PIXELS = 1 << 18
_ORIENTATION_TAG = 0x0112

# what Pillow's 8-bit modes become before their colours are looked at
_TARGETS = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "HSV": "RGB",
    "YCbCr": "RGB",
    "CMYK": "CMYK",
    "LAB": "LAB",
}


@dataclass
class Blocks:
    """Rows of a picture on demand, as stored in the file (not yet turned), in sRGB or gray.

    ``rows(top, bottom)`` gives ``(bottom - top, width, channels)``: gray, gray + alpha, RGB or RGBA.
    """

    size: tuple[int, int]
    channels: int
    dtype: type[np.uint8] | type[np.uint16]
    rows: Callable[[int, int], NDArray[Any]]
    notes: tuple[str, ...] = ()


@dataclass
class Pixels:
    """The arrays of a picture, upright and in sRGB."""

    image: NDArray[Any]
    alpha: NDArray[Any] | None
    grayscale: bool


def assemble(blocks: Blocks, orientation: int) -> Pixels:
    """Fill the arrays from the blocks, turned as EXIF `orientation` 1 to 8 says."""
    width, height = blocks.size
    shape = (height, width) if orientation < 5 else (width, height)
    image = np.empty((*shape, 3), blocks.dtype)
    alpha = np.empty(shape, blocks.dtype) if blocks.channels in (2, 4) else None
    upright = _as_stored(image, orientation)
    upright_alpha = None if alpha is None else _as_stored(alpha, orientation)
    step = max(1, _STRIP_PIXELS // width)

    def fill(top: int) -> None:
        bottom = min(top + step, height)
        block = blocks.rows(top, bottom)
        _copy_colours(upright[top:bottom], block, whole=blocks.channels == 3 and orientation == 1)
        if upright_alpha is not None:
            upright_alpha[top:bottom] = block[..., -1]

    in_threads(fill, range(0, height, step))
    if alpha is not None and alpha.min() == np.iinfo(blocks.dtype).max:
        alpha = None
    return Pixels(image, alpha, blocks.channels < 3)


def _copy_colours(target: NDArray[Any], block: NDArray[Any], *, whole: bool) -> None:
    if whole:
        target[...] = block
        return
    colours = (0, 1, 2) if block.shape[-1] > 2 else (0, 0, 0)
    for channel, source in enumerate(colours):  # numpy copies one strided channel faster than triples
        target[..., channel] = block[..., source]


def _as_stored(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """View the upright `array` in the row order of a file with this EXIF orientation."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        array = array[::-1]
    if orientation in (2, 3, 7, 8):
        array = array[:, ::-1]
    return array


def read_orientation(picture: Image.Image) -> int:
    """EXIF orientation of a loaded picture; 1 where it is missing or makes no sense."""
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF must not cost the picture
        return 1
    return value if value in range(1, 9) else 1


def eight_bit_blocks(picture: Image.Image, profile: bytes | None) -> Blocks:
    """Blocks of a picture in any of Pillow's 8-bit modes.

    Raises
    ------
    ProfileError
        If the picture cannot be converted by `profile`.
    """
    target = _TARGETS[picture.mode]
    if picture.has_transparency_data:
        target = {"L": "LA", "RGB": "RGBA"}.get(target, target)
    to_srgb, notes = _colour_step(target, profile)

    def rows(top: int, bottom: int) -> NDArray[Any]:
        strip = picture.crop((0, top, picture.width, bottom))
        if strip.mode != target:
            strip = strip.convert(target)
        block = np.asarray(strip if to_srgb is None else to_srgb(strip))
        return block[..., None] if block.ndim == 2 else block

    channels = {"L": 1, "LA": 2, "RGBA": 4}.get(target, 3)
    return Blocks(picture.size, channels, np.uint8, rows, notes)


def _colour_step(
    mode: str, profile: bytes | None
) -> tuple[Callable[[Image.Image], Image.Image] | None, tuple[str, ...]]:
    if mode in ("L", "LA"):
        table = gray_table(profile, 8)
        if table is None:
            return None, ()
        values = table.tolist() + (list(range(256)) if mode == "LA" else [])
        return lambda strip: strip.point(values), ()
    if mode == "CMYK" and profile is None:
        note = "CMYK without a colour profile converted to sRGB by the plain formula"
        return lambda strip: strip.convert("RGB"), (note,)
    notes = {"CMYK": ("CMYK converted to sRGB",), "LAB": ("Lab converted to sRGB",)}.get(mode, ())
    return converter(None if mode == "LAB" else profile, mode), notes
