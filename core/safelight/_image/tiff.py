"""Writing TIFF: 8 or 16 bits, gray or RGB, straight alpha, deflated strips with horizontal differences.

Pillow cannot write 16-bit RGB. The layout is that of TIFF 6.0 with Adobe's deflate, which all editors read.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from safelight._image.deflate import ZLIB, compressor
from safelight._image.planes import Planes
from safelight.errors import OutputError
from safelight.threads import in_threads

__all__ = ["encode_tiff"]

_STRIP_BYTES = 1 << 20
_SHORT, _LONG, _UNDEFINED = 3, 4, 7
_FORMATS = {_SHORT: "H", _LONG: "I", _UNDEFINED: "B"}
_HEADER_BYTES = 8
_ADOBE_DEFLATE, _HORIZONTAL, _STRAIGHT_ALPHA, _CONTIGUOUS = 8, 2, 2, 1
_BLACK_IS_ZERO, _RGB = 1, 2


def encode_tiff(planes: Planes) -> list[bytes]:
    """Encode a picture; the result is the file in pieces.

    Gray with alpha at 16 bits is written as RGB with alpha, because Pillow and others do not read the former.

    Raises
    ------
    OutputError
        If the result is larger than the 4 GiB a TIFF can hold.
    """
    if planes.is_gray and planes.alpha is not None and planes.bits == 16:
        planes = planes.in_colour()
    strip_rows = max(1, _STRIP_BYTES // (planes.width * planes.samples * planes.bits // 8))
    tops = [*range(0, planes.height, strip_rows), planes.height]
    strips = in_threads(lambda ends: _pack(planes, *ends), pairwise(tops))
    counts = [len(strip) for strip in strips]
    offsets = [_HEADER_BYTES + sum(counts[:index]) for index in range(len(counts))]
    directory_at = _HEADER_BYTES + sum(counts) + sum(counts) % 2
    directory = _directory(_tags(planes, strip_rows, offsets, counts), directory_at)
    if directory_at + len(directory) >= 1 << 32:
        raise OutputError(f"a TIFF must be smaller than 4 GiB, but would have {directory_at} bytes")
    header = struct.pack("<2sHI", b"II", 42, directory_at)
    return [header, *strips, bytes(sum(counts) % 2), directory]


def _pack(planes: Planes, top: int, bottom: int) -> bytes:
    rows = planes.rows(top, bottom, f"<u{planes.bits // 8}")
    rows[:, 1:] -= rows[:, :-1].copy()
    packer = compressor(ZLIB)
    return bytes(packer.compress(rows.data.cast("B")) + packer.flush())


def _tags(
    planes: Planes, strip_rows: int, offsets: list[int], counts: list[int]
) -> list[tuple[int, int, list[int] | bytes]]:
    """Tags in the order of their numbers: number, type, values."""
    tags: list[tuple[int, int, list[int] | bytes]] = [
        (256, _LONG, [planes.width]),
        (257, _LONG, [planes.height]),
        (258, _SHORT, [planes.bits] * planes.samples),
        (259, _SHORT, [_ADOBE_DEFLATE]),
        (262, _SHORT, [_BLACK_IS_ZERO if planes.is_gray else _RGB]),
        (273, _LONG, offsets),
        (277, _SHORT, [planes.samples]),
        (278, _LONG, [strip_rows]),
        (279, _LONG, counts),
        (284, _SHORT, [_CONTIGUOUS]),
        (317, _SHORT, [_HORIZONTAL]),
    ]
    if planes.alpha is not None:
        tags.append((338, _SHORT, [_STRAIGHT_ALPHA]))
    if planes.profile:
        tags.append((34675, _UNDEFINED, planes.profile))
    return tags


def _directory(tags: list[tuple[int, int, list[int] | bytes]], position: int) -> bytes:
    """Lay out the directory; values of more than four bytes follow it."""
    entries, extra = b"", b""
    extra_at = position + 2 + 12 * len(tags) + 4
    for number, kind, values in tags:
        body = struct.pack(f"<{len(values)}{_FORMATS[kind]}", *values)
        if len(body) > 4:
            place = struct.pack("<I", extra_at + len(extra))
            extra += body + bytes(len(body) % 2)
        else:
            place = body.ljust(4, b"\0")
        entries += struct.pack("<HHI", number, kind, len(values)) + place
    return struct.pack("<H", len(tags)) + entries + bytes(4) + extra
