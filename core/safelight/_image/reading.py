"""The way from a picture file to arrays in sRGB."""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from safelight._image.damage import (
    has_gray_corner,
    jpeg_ends_early,
    keep_essential_chunks,
    png_ends_early,
)
from safelight._image.icc import ADOBE_RGB_PROFILE
from safelight._image.opening import Source, check_size, opened
from safelight._image.pixels import Blocks, Pixels, assemble, eight_bit_blocks, read_orientation
from safelight._image.profiles import ProfileError, converter
from safelight._image.sixteen import gray_blocks, is_wide_gray, set_raw_modes, wide_blocks, wide_layout
from safelight.errors import ImageError

__all__ = ["Reading", "read_picture"]

_PIXEL_BOX = re.compile(rb"pixi.{5}(.)", re.DOTALL)  # ISO/IEC 23008-12: bits of the first channel
_HEADER_BYTES = 1 << 16
_PNG_START = b"\x89PNG"
_INTEROPERABILITY = 0xA005  # EXIF directory


class Reading(NamedTuple):
    """What was read from a file."""

    pixels: Pixels
    format: str
    had_profile: bool
    notes: tuple[str, ...]


def read_picture(source: Source, *, max_pixels: int) -> Reading:
    """Read a picture; where only its metadata are damaged, without them.

    Raises
    ------
    ImageError
        If the file is no picture, is damaged or cut off, or is larger than `max_pixels`.
    """
    try:
        return _read(source, None, max_pixels)
    except ImageError as error:
        repaired, profile = _repair(source)
        if repaired is None:
            raise
        with contextlib.suppress(ImageError):
            return _read(repaired, profile, max_pixels)
        raise error


def _repair(source: Source) -> tuple[Source | None, bytes | None]:
    """Give the essential chunks of a PNG as a new source, and its colour profile; None where nothing can be done."""
    with contextlib.suppress(OSError, MemoryError):
        with source.open() as file:
            if file.read(len(_PNG_START)) != _PNG_START:
                return None, None
        data = source.read()
        repaired, profile = keep_essential_chunks(data)
        if len(repaired) < len(data):
            return Source(source.name, data=repaired), profile
    return None, None


def _read(source: Source, profile: bytes | None, max_pixels: int) -> Reading:
    with contextlib.ExitStack() as stack:
        picture = stack.enter_context(opened(source, max_pixels=max_pixels))
        _check_coverage(picture, source.name)
        profile, found = (profile, ()) if profile else _find_profile(picture)
        blocks, loaded, notes = _decode(stack, source, picture, profile, max_pixels)
        check_size(loaded.size, max_pixels, source.name)
        _check_complete(loaded, source)
        pixels = assemble(blocks, read_orientation(loaded))
        notes = (*found, *notes, *blocks.notes)
        if blocks.dtype is np.uint8 and not any("read as 8" in note for note in notes):
            notes += _depth_note(loaded, source)
        notes += _frames_note(loaded)
        name = "JPEG" if picture.format == "MPO" else str(picture.format)
        return Reading(pixels, name, profile is not None, notes)


def _find_profile(picture: Image.Image) -> tuple[bytes | None, tuple[str, ...]]:
    profile = picture.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return profile, ()
    if _is_adobe_rgb(picture):
        return ADOBE_RGB_PROFILE, ("Adobe RGB converted to sRGB, as EXIF says",)
    return None, ()


def _is_adobe_rgb(picture: Image.Image) -> bool:
    """Tell whether a camera marked its JPEG as Adobe RGB by EXIF alone (DCF 2.0, optional files)."""
    if picture.format not in ("JPEG", "MPO") or picture.mode != "RGB":
        return False
    try:
        return str(picture.getexif().get_ifd(_INTEROPERABILITY).get(1, "")).startswith("R03")
    except Exception:  # broken EXIF must not cost the picture
        return False


def _decode(
    stack: contextlib.ExitStack, source: Source, picture: Image.Image, profile: bytes | None, max_pixels: int
) -> tuple[Blocks, Image.Image, tuple[str, ...]]:
    """Decode at the file's own depth; give blocks, the loaded Pillow picture, and notes."""
    layout = wide_layout(picture)
    ignored: tuple[str, ...] = ()
    if layout is not None:
        try:
            return *stack.enter_context(wide_blocks(source, layout, profile, max_pixels=max_pixels)), ()
        except ProfileError:
            problem = _profile_problem(profile)
        if problem is not None:
            blocks, loaded = stack.enter_context(wide_blocks(source, layout, None, max_pixels=max_pixels))
            return blocks, loaded, (problem,)
        ignored = ("16 bits per channel read as 8, because the colour profile is a table",)
        if layout.planar:
            set_raw_modes(picture, layout.high)
    picture.load()
    make_blocks = gray_blocks if is_wide_gray(picture) else eight_bit_blocks
    try:
        return make_blocks(picture, profile), picture, ignored
    except ProfileError as error:
        return make_blocks(picture, None), picture, (f"colour profile ignored: {error}",)


def _profile_problem(profile: bytes | None) -> str | None:
    """Return None if LittleCMS can use the RGB profile, and what is wrong with it otherwise."""
    try:
        converter(profile, "RGB")
    except ProfileError as error:
        return f"colour profile ignored: {error}"
    return None


# --- what Pillow lets pass ---


def _check_coverage(picture: Image.Image, name: str) -> None:
    """Refuse a TIFF with fewer tiles than its size needs: Pillow would leave the rest black."""
    tiles = getattr(picture, "tile", [])
    if picture.format != "TIFF" or any(tile[0] == "libtiff" for tile in tiles):
        return
    covered = sum((right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in tiles)
    if covered < picture.width * picture.height:
        raise ImageError(f"{name} must be a complete picture, but ends early")


def _check_complete(picture: Image.Image, source: Source) -> None:
    """Refuse pictures whose last rows were never in the file; look closely only where there is a sign."""
    early = False
    if picture.format == "PNG" and (picture.info.get("interlace") or _last_row_is_empty(picture)):
        early = png_ends_early(source.read())
    elif picture.format in ("JPEG", "MPO") and has_gray_corner(picture):
        early = jpeg_ends_early(source.read(), picture)
    if early:
        raise ImageError(f"{source.name} must be a complete picture, but ends early")


def _last_row_is_empty(picture: Image.Image) -> bool:
    width, height = picture.size
    return not np.asarray(picture.crop((0, height - 1, width, height))).any()


# --- what the user is told ---


def _depth_note(picture: Image.Image, source: Source) -> tuple[str, ...]:
    """Tell when a file holds more than the 8 bits per channel that could be had."""
    bits = 8
    if picture.format in ("AVIF", "HEIF"):
        with source.open() as file:
            found = _PIXEL_BOX.search(file.read(_HEADER_BYTES))
        bits = found[1][0] if found else 8
    elif picture.format == "TIFF":
        bits = max(getattr(picture, "tag_v2", {}).get(258, (8,)))
    return (f"{bits} bits per channel read as 8",) if bits > 8 else ()


def _frames_note(picture: Image.Image) -> tuple[str, ...]:
    """Tell when the file holds more than the picture that was read."""
    try:
        frames = int(getattr(picture, "n_frames", 1))
    except Exception:  # counting walks through the file, and later frames may be broken
        return ("first of several frames",)
    return (f"first of {frames} frames",) if frames > 1 else ()
