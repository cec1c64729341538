"""Sixteen-bit pictures, and 32-bit gray ones brought to 16 bit.

Pillow has no 16-bit RGB: its PNG and TIFF decoders keep one byte of each sample. Which byte is a matter of
the raw mode they are given, so two decodes, side by side in two threads, give all 16 bits, with every
compression, tiling and error check that Pillow has.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight._image.opening import Source, opened
from safelight._image.pixels import Blocks
from safelight._image.profiles import gray_table, wide_converter

__all__ = ["Layout", "gray_blocks", "is_wide_gray", "set_raw_modes", "wide_blocks", "wide_layout"]

_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR_CONFIGURATION, _EXTRA_SAMPLES = 258, 262, 284, 338
_WHITE_IS_ZERO = 0
_ASSOCIATED_ALPHA = 1
_SEPARATE = 2

Wide = NDArray[np.uint16]


class Layout(NamedTuple):
    """How the samples of a 16-bit picture lie in its file: the raw modes of the two decodes, tile by tile."""

    high: list[str]
    low: list[str] | None  # None: the first decode gives both bytes
    planar: bool = False
    premultiplied: bool = False


def wide_layout(picture: Image.Image) -> Layout | None:
    """Tell how to decode 16-bit RGB(A) or gray + alpha; None for all others. Ask before loading."""
    tiles = getattr(picture, "tile", [])
    raw_modes = [tile[3] if isinstance(tile[3], str) else str(tile[3][0]) for tile in tiles if tile[3]]
    if not raw_modes or len(raw_modes) != len(tiles):
        return None
    if raw_modes == ["LA;16B"]:
        return Layout(["RGBA"], None)
    tags: Any = getattr(picture, "tag_v2", {})
    premultiplied = _ASSOCIATED_ALPHA in tags.get(_EXTRA_SAMPLES, ())
    if set(raw_modes) <= set("RGBAaX") and set(tags.get(_BITS_PER_SAMPLE, ())) == {16}:
        little = tags.prefix == b"II"
        bands = [raw.upper() for raw in raw_modes]
        return Layout(_byte(bands, little), _byte(bands, not little), True, premultiplied)
    match = re.fullmatch(r"(RGB|RGBA|RGBa|RGBX);16([BLN])", raw_modes[0])
    if not match or (tiles[0][0] == "libtiff" and tags.get(_PLANAR_CONFIGURATION) == _SEPARATE):
        return None  # Pillow takes the high bytes of compressed planes whatever raw mode it is given
    little = match[2] == "L" or (match[2] == "N" and sys.byteorder == "little")
    bands = [match[1].replace("a", "A")] * len(raw_modes)
    return Layout(_byte(bands, little), _byte(bands, not little), False, premultiplied)


def _byte(bands: list[str], last: bool) -> list[str]:
    """Raw modes that take the last (or the first) byte of each two-byte sample."""
    return [f"{band};16{'L' if last else 'B'}" for band in bands]


def set_raw_modes(picture: Any, raw_modes: list[str]) -> None:
    """Have the decoder of a picture that is not loaded yet read its tiles by these raw modes."""
    picture.tile = [
        type(tile)(tile[0], tile[1], tile[2], raw if isinstance(tile[3], str) else (raw, *tile[3][1:]))
        for tile, raw in zip(picture.tile, raw_modes, strict=True)
    ]


@contextlib.contextmanager
def wide_blocks(
    source: Source, layout: Layout, profile: bytes | None, *, max_pixels: int
) -> Iterator[tuple[Blocks, Image.Image]]:
    """Decode a 16-bit colour picture; give its blocks and a Pillow picture to ask for the orientation.

    Raises
    ------
    ProfileError
        If `profile` can only be applied at 8 bits.
    """
    gray = layout.low is None
    to_srgb: Any = _table_step(gray_table(profile, 16)) if gray else wide_converter(profile)
    with contextlib.ExitStack() as stack:
        planes: list[Image.Image] = []
        for raw_modes in filter(None, (layout.high, layout.low)):
            plane = stack.enter_context(opened(source, max_pixels=max_pixels))
            set_raw_modes(plane, raw_modes)
            planes.append(plane)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda plane: plane.load(), planes))
        key = cast("tuple[int, ...] | None", planes[0].info.get("transparency"))
        channels = 2 if gray else len(planes[0].getbands()) + (key is not None)

        def rows(top: int, bottom: int) -> Wide:
            block = _joined(planes, top, bottom)
            opacity = None if key is None else _unless(block, key)
            if layout.premultiplied:
                _divide_by_alpha(block)
            colours = slice(0, 1) if gray else slice(0, 3)
            if to_srgb is not None:
                block[..., colours] = to_srgb(block[..., colours])
            return block if opacity is None else np.concatenate([block, opacity], axis=-1)

        yield Blocks(planes[0].size, channels, np.uint16, rows), planes[0]


def _joined(planes: list[Image.Image], top: int, bottom: int) -> Wide:
    strips = [np.asarray(plane.crop((0, top, plane.width, bottom))) for plane in planes]
    if len(strips) == 1:
        return strips[0].view(">u2").astype(np.uint16)
    high: Wide = strips[0].astype(np.uint16)
    high <<= 8
    high |= strips[1]
    return high


def _divide_by_alpha(block: Wide) -> None:
    """Make premultiplied colours straight; where nothing shows the colour is unknown and becomes black."""
    alpha = block[..., 3:].astype(np.uint32)
    straight = (block[..., :3].astype(np.uint64) * 65535 + alpha // 2) // np.maximum(alpha, 1)
    block[..., :3] = np.minimum(straight, 65535)


def _unless(block: Wide, key: Any) -> Wide:
    """Opacity by a transparent colour: 0 where the pixel is `key`, 65535 elsewhere."""
    shown = (block != np.asarray(key, dtype=np.int64)).any(axis=-1, keepdims=True)
    opaque: Wide = shown.astype(np.uint16) * np.uint16(65535)
    return opaque


def _table_step(table: Wide | None) -> Callable[[Wide], Wide] | None:
    return None if table is None else lambda block: table[block]


# --- gray of 12, 16 and 32 bits ---


def is_wide_gray(picture: Image.Image) -> bool:
    """Tell whether Pillow's mode holds more than 8 bits of gray."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def gray_blocks(picture: Image.Image, profile: bytes | None) -> Blocks:
    """Blocks of a loaded picture in one of Pillow's gray modes of 16 or 32 bits.

    Raises
    ------
    ProfileError
        If `profile` is broken or not for gray.
    """
    to_srgb = _table_step(gray_table(profile, 16))
    key = picture.info.get("transparency")
    read, notes = _integer_reader(picture) if picture.mode.startswith("I;16") else _scaled_reader(picture)

    def rows(top: int, bottom: int) -> Wide:
        strip = np.asarray(picture.crop((0, top, picture.width, bottom)))[..., None]
        block = read(strip)
        if to_srgb is not None:
            block = to_srgb(block)
        return np.concatenate([block, _unless(strip, key)], axis=-1) if isinstance(key, int) else block

    return Blocks(picture.size, 2 if isinstance(key, int) else 1, np.uint16, rows, notes)


def _integer_reader(picture: Image.Image) -> tuple[Callable[[NDArray[Any]], Wide], tuple[str, ...]]:
    tags = getattr(picture, "tag_v2", {})
    twelve = 12 in tags.get(_BITS_PER_SAMPLE, ())
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO

    def read(strip: NDArray[Any]) -> Wide:
        values: Wide = strip.astype(np.uint16)
        if twelve:
            values = ((values << 4) | (values >> 8)).astype(np.uint16)
        return np.asarray(np.uint16(65535) - values) if inverted else values

    return read, ()


def _scaled_reader(picture: Image.Image) -> tuple[Callable[[NDArray[Any]], Wide], tuple[str, ...]]:
    """Guess what number stands for white, as no tag says it, and tell the user."""
    values = np.asarray(picture)
    finite = values[np.isfinite(values)]
    if picture.mode == "F":
        level, kind, whites = float(finite.mean()) if finite.size else 0.0, "float", (1.0, 255.0, 65535.0)
    else:
        level, kind, whites = float(finite.max()), "integer", (255.0, 65535.0, 2.0**31 - 1)
    white = next((white for white in whites if level <= white), whites[-1])

    def read(strip: NDArray[Any]) -> Wide:
        values = np.nan_to_num(strip.astype(np.float64), nan=0.0, posinf=white, neginf=0.0)
        return np.rint(np.clip(values, 0.0, white) * (65535.0 / white)).astype(np.uint16)

    return read, (f"32-bit {kind} read as 16 bit, with white at {white:,.0f}",)
