"""Opening picture files through Pillow: what a file is, the limits, every exception turned into ImageError.

Content decides what a file is, never its name. Pillow is told which single format to expect, so none of its
other readers ever sees a file.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from safelight._image.quiet import quiet_stderr, strict_pillow
from safelight.errors import ImageError, SafelightError

__all__ = ["Source", "check_size", "find_source", "opened", "sniff", "translated"]

_HEAD = 64  # bytes that tell the format
_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706  # TIFF tags
_PREVIEW = 1
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_PLUGINS = {
    "JPEG": "PIL.JpegImagePlugin",
    "PNG": "PIL.PngImagePlugin",
    "GIF": "PIL.GifImagePlugin",
    "BMP": "PIL.BmpImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "AVIF": "PIL.AvifImagePlugin",
}


@dataclass(frozen=True)
class Source:
    """Where a picture's bytes come from: a regular file, or bytes in memory."""

    name: str
    path: Path | None = None
    data: bytes | None = None

    def open(self) -> BinaryIO:
        """Open the bytes from their beginning."""
        if self.path is not None:
            return self.path.open("rb")
        return io.BytesIO(self.data or b"")

    def read(self) -> bytes:
        """Read all bytes."""
        with self.open() as file:
            return file.read()


def find_source(origin: str | os.PathLike[str] | bytes | BinaryIO) -> Source:
    """Take a path, bytes or an open binary file as the place a picture comes from.

    Raises
    ------
    ImageError
        If a path does not lead to a regular file: pipes and devices could make the reader wait for ever.
    """
    if isinstance(origin, bytes):
        return Source("the picture", data=origin)
    if not isinstance(origin, str | os.PathLike):
        return Source("the picture", data=origin.read())
    path = Path(origin)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ImageError(f"{path} must be a picture file, but does not exist") from None
    except (OSError, ValueError) as error:
        problem = f"{path} must be a picture file, but cannot be reached: {_reason(error)}"
        raise ImageError(problem) from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
        raise ImageError(f"{path} must be a picture file, but is {kind}")
    return Source(str(path), path=path)


def sniff(head: bytes) -> str | None:
    """Name the format that a file's first bytes announce; None for anything that is not read."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] != b"ftyp":
        return None
    brands = [head[8:12]] + [head[start : start + 4] for start in range(16, min(head[3], len(head)), 4)]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if any(brand in _HEIF_BRANDS for brand in brands) else None


@contextlib.contextmanager
def opened(source: Source, *, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture as far as its header; whatever goes wrong inside the block becomes ImageError.

    Raises
    ------
    ImageError
        If the file is empty, no picture, broken, or has more than `max_pixels` pixels.
    """
    with translated(source.name, max_pixels), strict_pillow(max_pixels), source.open() as file:
        name = _known_format(file.read(_HEAD), source.name)
        file.seek(0)
        _load_plugin(name)
        with contextlib.ExitStack() as stack:
            if name == "TIFF":  # libtiff reports errors there, and Pillow does not stop it
                stack.enter_context(quiet_stderr())
            picture = stack.enter_context(Image.open(file, formats=[name]))
            check_size(picture.size, max_pixels, source.name)
            _refuse_raw(picture, source.name)
            yield picture


def check_size(size: tuple[int, int], max_pixels: int, name: str) -> None:
    """Refuse pictures without pixels and pictures with too many of them."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} must have at least one pixel, but is {width} x {height}")
    if width * height > max_pixels:
        raise _too_large(name, max_pixels, width * height)


def _too_large(name: str, max_pixels: int, pixels: int) -> ImageError:
    return ImageError(
        f"{name} must have at most {max_pixels:,} pixels, but has {pixels:,}; if you trust the file, raise --max-pixels"
    )


def _refuse_raw(picture: Image.Image, name: str) -> None:
    """Refuse raw files, which are TIFFs whose first picture is a small preview."""
    tags = getattr(picture, "tag_v2", {})
    if _DNG_VERSION in tags or (tags.get(_SUBFILE_TYPE, 0) == _PREVIEW and _SUB_DIRECTORIES in tags):
        raise ImageError(f"{name} must be a developed picture, but is a camera's raw file")


def _known_format(head: bytes, shown: str) -> str:
    if not head:
        raise ImageError(f"{shown} must be a picture, but is empty")
    name = sniff(head)
    if name is None:
        raise ImageError(
            f"{shown} must be a picture (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC), but is none of these"
        )
    return name


def _load_plugin(name: str) -> None:
    """Import the one reader that is needed: left alone, Pillow would import forty."""
    if name != "HEIF":
        importlib.import_module(_PLUGINS[name])
        return
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError:
        raise ImageError(
            "pillow-heif must be installed to read HEIC, but is not: pip install 'safelight[heif]'"
        ) from None
    heif.register_heif_opener(thumbnails=False)


@contextlib.contextmanager
def translated(name: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever a decoder raises into ImageError; this is the one place that does."""
    try:
        yield
    except SafelightError:
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_large(name, max_pixels, int(found[1]) if found else 2 * max_pixels) from error
    except MemoryError as error:
        raise ImageError(f"{name} must fit into memory, but there is not enough of it") from error
    except PermissionError as error:
        raise ImageError(f"{name} must be readable, but permission is denied") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        message = str(error).lower()
        if "truncated" in message or "end of file" in message or isinstance(error, EOFError):
            raise ImageError(f"{name} must be a complete picture, but ends early") from error
        problem = f"{name} must be an undamaged picture, but cannot be decoded: {_reason(error)}"
        raise ImageError(problem) from error


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        "its header is broken, or of a kind that is not read"
        if "cannot identify" in text
        else text.splitlines()[0][:200]
    )
