"""The arrays of a picture on their way to a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight._image.icc import GRAY_PROFILE

__all__ = ["Planes", "round_to_uint8"]

_TO_UINT8 = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)


def round_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring uint16 to uint8 by rounding; uint8 is returned as it is."""
    return values if values.dtype == np.uint8 else _TO_UINT8[values]


@dataclass(frozen=True)
class Planes:
    """Colours ``(height, width, 1 or 3)``, alpha ``(height, width)`` or None, and an sRGB profile or None."""

    colours: NDArray[Any]
    alpha: NDArray[Any] | None
    srgb_profile: bytes | None

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.colours.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.colours.shape[1])

    @property
    def bits(self) -> int:
        """Bits per sample."""
        return 8 * self.colours.dtype.itemsize

    @property
    def is_gray(self) -> bool:
        """Whether there is one colour channel."""
        return bool(self.colours.shape[2] == 1)

    @property
    def samples(self) -> int:
        """Samples per pixel, alpha included."""
        return int(self.colours.shape[2]) + (self.alpha is not None)

    @property
    def profile(self) -> bytes | None:
        """The profile for a file with these channels: a gray file needs a gray one."""
        return GRAY_PROFILE if self.srgb_profile and self.is_gray else self.srgb_profile

    def rows(self, top: int, bottom: int, dtype: str) -> NDArray[Any]:
        """Interleave some rows: ``(bottom - top, width, samples)`` of this dtype, contiguous."""
        block = np.empty((bottom - top, self.width, self.samples), dtype)
        for channel in range(self.colours.shape[2]):  # one channel at a time: numpy copies triples slowly
            block[..., channel] = self.colours[top:bottom, :, channel]
        if self.alpha is not None:
            block[..., -1] = self.alpha[top:bottom]
        return block

    def at_8_bits(self) -> Planes:
        """Round to 8 bits per sample."""
        alpha = None if self.alpha is None else round_to_uint8(self.alpha)
        return replace(self, colours=round_to_uint8(self.colours), alpha=alpha)

    def in_colour(self) -> Planes:
        """Three colour channels, whether gray or not."""
        shape = (self.height, self.width, 3)
        return replace(self, colours=np.broadcast_to(self.colours, shape))
