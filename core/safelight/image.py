"""Photo: a picture with what must be known to treat it well: opening, saving, depth, alpha, colour profile.

Arrays are sRGB-encoded, ``(height, width, 3)``, uint8 or uint16. Opening turns them upright and converts
their colours; saving writes pixels and colour profile, and no other metadata.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from safelight._image.icc import SRGB_PROFILE
from safelight._image.opening import find_source
from safelight._image.planes import Planes, round_to_uint8
from safelight._image.reading import read_picture
from safelight._image.writing import check_target, write_picture
from safelight.errors import InputError

__all__ = ["DEFAULT_MAX_PIXELS", "Photo", "check_target", "save_mask"]

DEFAULT_MAX_PIXELS = 400_000_000


@dataclass(eq=False)
class Photo:
    """A picture in memory.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3)
        sRGB-encoded colours, uint8 or uint16.
    alpha : ndarray of shape (height, width), optional
        Opacity in the same dtype; colours are straight, not premultiplied. None when everything is opaque.
    grayscale : bool
        The file was gray: saving makes a gray file again as long as the channels of `image` are equal.
    icc_profile : bytes, optional
        The sRGB profile to embed when saving; None where the file carried no profile.
    format : str, optional
        What the file was, by its content: ``"JPEG"``, ``"PNG"``, ``"TIFF"``, ...
    path : Path, optional
        Where the file was.
    notes : tuple of str
        What opening changed knowingly, such as ``"first of 6 frames"`` or ``"CMYK converted to sRGB"``.
    """

    image: NDArray[Any]
    alpha: NDArray[Any] | None = None
    grayscale: bool = False
    icc_profile: bytes | None = None
    format: str | None = None
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_arrays(self.image, self.alpha)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.image.shape[1])

    @property
    def bits(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.image.dtype.itemsize

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | bytes | BinaryIO, *, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> Photo:
        """Read a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or, with the extra ``heif``, HEIC picture.

        The content decides what it is, not the name. EXIF orientation is applied, the embedded colour profile
        is converted to sRGB, 16 bits are kept, of several frames the first is taken.

        Parameters
        ----------
        path : str, PathLike, bytes or binary file
            Where the picture is, or the picture itself.
        max_pixels : int
            Refuse larger pictures before they are decoded.

        Raises
        ------
        ImageError
            If it is missing, no picture, damaged, cut off, or too large.
        """
        source = find_source(path)
        reading = read_picture(source, max_pixels=max_pixels)
        return cls(
            reading.pixels.image,
            reading.pixels.alpha,
            reading.pixels.grayscale,
            SRGB_PROFILE if reading.had_profile else None,
            reading.format,
            source.path,
            reading.notes,
        )

    def to_uint8(self) -> NDArray[np.uint8]:
        """Return the colours at 8 bits: `image` itself, or a rounded copy of 16 bits."""
        return round_to_uint8(self.image)

    def save(self, path: str | os.PathLike[str], *, quality: int = 92) -> None:
        """Write the picture in the format that the suffix of `path` names; it appears whole or not at all.

        PNG and TIFF keep 16 bits, other formats round to 8. No metadata but the colour profile are written.

        Parameters
        ----------
        path : str or PathLike
            ``.jpg``, ``.jpeg``, ``.png``, ``.webp``, ``.tif``, ``.tiff``, ``.bmp``, ``.avif``, and with the
            extra ``heif`` ``.heic`` and ``.heif``.
        quality : int
            1 to 100, for the lossy formats.

        Raises
        ------
        InputError
            If the suffix is unknown, or the format has no alpha and the picture has.
        OutputError
            If the file cannot be written.
        """
        planes = Planes(self._colours(), self.alpha, self.icc_profile)
        write_picture(Path(path), planes, quality=quality)

    def _colours(self) -> NDArray[Any]:
        """`image`, or one channel of it where the file was gray and the channels are still equal."""
        if not self.grayscale:
            return self.image
        first = self.image[..., 0]
        same = all(np.array_equal(first, self.image[..., channel]) for channel in (1, 2))
        return self.image[..., :1] if same else self.image


def save_mask(path: str | os.PathLike[str], alpha: NDArray[np.float32], *, bits: int = 8) -> None:
    """Write an alpha matte as a gray picture: 0 is black, 1 is white, without a colour profile.

    Parameters
    ----------
    path : str or PathLike
        Where to write; the suffix names the format, as in `Photo.save`.
    alpha : ndarray of shape (height, width), float32
        Values outside [0, 1] are clipped.
    bits : int
        8, or 16 for PNG and TIFF.

    Raises
    ------
    InputError
        If `alpha` has another shape, or the format does not hold `bits`.
    OutputError
        If the file cannot be written.
    """
    if alpha.ndim != 2:
        raise InputError(f"alpha must have the shape (height, width), but has {alpha.shape}")
    if bits not in (8, 16):
        raise InputError(f"bits must be 8 or 16, but is {bits}")
    top = np.float32((1 << bits) - 1)
    values = np.clip(alpha, 0.0, 1.0)
    values = np.rint(np.nan_to_num(values) * top).astype(np.uint8 if bits == 8 else np.uint16)
    write_picture(Path(path), Planes(values[..., None], None, None), quality=100, keep_bits=True)


def _check_arrays(image: NDArray[Any], alpha: NDArray[Any] | None) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"image must have the shape (height, width, 3), but has {image.shape}")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"image must be uint8 or uint16, but is {image.dtype}")
    if alpha is None:
        return
    if alpha.shape != image.shape[:2]:
        raise InputError(f"alpha must have the image's shape {image.shape[:2]}, but has {alpha.shape}")
    if alpha.dtype != image.dtype:
        raise InputError(f"alpha must have the image's dtype {image.dtype}, but has {alpha.dtype}")
