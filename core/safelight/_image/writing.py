"""The way from arrays to a picture file: which suffix means what, and what each format can hold."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from safelight._image.planes import Planes
from safelight._image.png import encode_png
from safelight._image.tiff import encode_tiff
from safelight.errors import InputError, OutputError, SafelightError
from safelight.files import atomic_output

__all__ = ["Format", "check_target", "write_picture"]

Encoder = Callable[[Planes, int], list[bytes]]


class Format(NamedTuple):
    """What a file format can hold and who writes it."""

    name: str
    encode: Encoder
    alpha: bool
    wide: bool = False  # 16 bits
    longest_side: int = 2**31 - 1


def write_picture(path: Path, planes: Planes, *, quality: int, keep_bits: bool = False) -> None:
    """Write `planes` to `path` in the format its suffix names.

    Raises
    ------
    InputError
        If the suffix is unknown or the format cannot hold the picture; with `keep_bits` also if 16 bits would
        be lost.
    OutputError
        If the file cannot be written.
    """
    form = _format_for(path)
    _check_fits(path, form, planes)
    if not form.wide and planes.bits == 16:
        if keep_bits:
            raise InputError(f"16 bits must be saved as PNG or TIFF, but {path.name} is {form.name}")
        planes = planes.at_8_bits()
    if not 1 <= quality <= 100:
        raise InputError(f"quality must be 1 to 100, but is {quality}")
    with atomic_output(path) as temporary:
        pieces = _encoded(path, form, planes, quality)
        with temporary.open("wb") as file:
            file.writelines(pieces)


def _encoded(path: Path, form: Format, planes: Planes, quality: int) -> list[bytes]:
    try:
        return form.encode(planes, quality)
    except SafelightError:
        raise
    except Exception as error:  # encoders raise OSError, ValueError, RuntimeError, ...
        raise OutputError(f"{path} must be writable as {form.name}, but the encoder says: {error}") from error


def _format_for(path: Path) -> Format:
    suffix = path.suffix.lower()
    form = _FORMATS.get(suffix)
    if form is None:
        known = " ".join(_FORMATS)
        ending = suffix or "nothing"
        raise InputError(f"{path.name or path} must end in one of {known}, but ends in {ending}")
    return form


def check_target(path: Path, *, alpha: bool) -> None:
    """Refuse a path whose suffix names no format, or one that cannot hold what is to be written."""
    form = _format_for(path)
    if alpha and not form.alpha:
        raise InputError(
            f"a picture with transparency must be saved as .png, .webp, .tif or .avif, but {path.name} is "
            f"{form.name}; choose one of those or a background colour"
        )


def _check_fits(path: Path, form: Format, planes: Planes) -> None:
    check_target(path, alpha=planes.alpha is not None)
    if max(planes.width, planes.height) > form.longest_side:
        raise InputError(
            f"a {form.name} must have at most {form.longest_side} pixels a side, but the picture is "
            f"{planes.width} x {planes.height}; choose .png or .tif"
        )


# --- encoders ---


def _jpeg(planes: Planes, quality: int) -> list[bytes]:
    return _by_pillow("JPEG", planes, quality=quality, subsampling="4:4:4")


def _webp(planes: Planes, quality: int) -> list[bytes]:
    if quality == 100:
        return _by_pillow("WEBP", planes.in_colour(), lossless=True, quality=0, method=0)
    return _by_pillow("WEBP", planes.in_colour(), quality=quality, method=2)


def _bmp(planes: Planes, _quality: int) -> list[bytes]:
    return _by_pillow("BMP", planes)


def _avif(planes: Planes, quality: int) -> list[bytes]:
    return _by_pillow("AVIF", planes.in_colour(), quality=quality, subsampling="4:4:4", speed=9)


def _heif(planes: Planes, quality: int) -> list[bytes]:
    try:
        importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)
    except ImportError:
        raise InputError(
            "pillow-heif must be installed to write HEIC, but is not: pip install 'safelight[heif]'"
        ) from None
    return _by_pillow("HEIF", planes.in_colour(), quality=quality, chroma=444)


def _by_pillow(name: str, planes: Planes, **options: Any) -> list[bytes]:
    rows = planes.rows(0, planes.height, "u1") if planes.alpha is not None else planes.colours
    picture = Image.fromarray(np.ascontiguousarray(rows[..., 0] if planes.samples == 1 else rows))
    if planes.profile and name != "BMP":
        options["icc_profile"] = planes.profile
    file = io.BytesIO()
    picture.save(file, name, **options)
    return [file.getvalue()]


def _png(planes: Planes, _quality: int) -> list[bytes]:
    return encode_png(planes)


def _tiff(planes: Planes, _quality: int) -> list[bytes]:
    return encode_tiff(planes)


_JPEG = Format("JPEG", _jpeg, alpha=False, longest_side=65500)
_TIFF = Format("TIFF", _tiff, alpha=True, wide=True)
_HEIF = Format("HEIC", _heif, alpha=True, longest_side=16384)
_FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": Format("PNG", _png, alpha=True, wide=True),
    ".webp": Format("WebP", _webp, alpha=True, longest_side=16383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", _bmp, alpha=False),
    ".avif": Format("AVIF", _avif, alpha=True, longest_side=65535),
    ".heic": _HEIF,
    ".heif": _HEIF,
}
