"""Writing PNG: rows filtered with NumPy, strips deflated in threads and joined into one stream.

A cut-out of 24 million pixels takes a tenth of the time of Pillow's writer, which tries five filters on every row
and deflates in one thread.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from safelight._image.deflate import ADLER_START, RAW, adler32, combine_adler32, compressor
from safelight._image.filters import Bytes, Filter, choose_filter
from safelight._image.planes import Planes
from safelight.threads import in_threads

__all__ = ["Strip", "encode_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by samples per pixel
_STRIP_BYTES = 1 << 21
_BLOCK_BYTES = 1 << 17  # filtered at a time: with its intermediates this stays in the second-level cache
_SAMPLES = 12
_SAMPLE_BYTES = 1 << 16
_ZLIB_HEADER = b"\x78\x01"


class Strip(NamedTuple):
    """A piece of the deflate stream, with the checksum and length of what it inflates to."""

    packed: bytes
    checksum: int
    length: int


def encode_png(planes: Planes) -> list[bytes]:
    """Encode 8 or 16 bits as gray, gray + alpha, RGB or RGBA; the result is the file in pieces."""
    row_bytes = planes.width * planes.samples * planes.bits // 8
    strip_rows = max(1, _STRIP_BYTES // row_bytes)
    tops = [*range(0, planes.height, strip_rows), planes.height]
    row_filter = choose_filter(_samples(planes, row_bytes), planes.samples * planes.bits // 8)
    strips = in_threads(lambda ends: _pack(planes, row_filter, *ends), pairwise(tops))
    checksum = ADLER_START
    for strip in strips:
        checksum = combine_adler32(checksum, strip.checksum, strip.length)
    header = struct.pack(">IIBBBBB", planes.width, planes.height, planes.bits, _COLOUR_TYPES[planes.samples], 0, 0, 0)
    pieces = [_SIGNATURE, *_chunk(b"IHDR", header)]
    if planes.profile:
        pieces += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(planes.profile))
    pieces += _chunk(b"IDAT", _ZLIB_HEADER + strips[0].packed)
    for strip in strips[1:]:
        pieces += _chunk(b"IDAT", strip.packed)
    return [*pieces, *_chunk(b"IDAT", struct.pack(">I", checksum)), *_chunk(b"IEND", b"")]


def _chunk(name: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
    return struct.pack(">I", len(body)) + name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _samples(planes: Planes, row_bytes: int) -> Iterator[Bytes]:
    """Give some rows from all over the picture."""
    count = max(1, _SAMPLE_BYTES // row_bytes)
    last = max(0, planes.height - count - 1)
    for top in sorted({last * index // (_SAMPLES - 1) for index in range(_SAMPLES)}):
        yield _raw_rows(planes, top, min(top + count + 1, planes.height))


def _pack(planes: Planes, row_filter: Filter, top: int, bottom: int) -> Strip:
    """Filter and deflate some rows; the last ones end the stream, others end it on a byte."""
    packer, pieces, checksum, length = compressor(RAW), [], ADLER_START, 0
    for filtered in _filtered_blocks(planes, row_filter, top, bottom):
        checksum = adler32(filtered, checksum)
        length += filtered.size
        pieces.append(packer.compress(filtered))
    pieces.append(packer.flush(zlib.Z_FINISH if bottom == planes.height else zlib.Z_SYNC_FLUSH))
    return Strip(b"".join(pieces), checksum, length)


def _filtered_blocks(planes: Planes, row_filter: Filter, top: int, bottom: int) -> Iterator[Bytes]:
    pixel_bytes = planes.samples * planes.bits // 8
    row_bytes = planes.width * pixel_bytes
    step = max(1, _BLOCK_BYTES // row_bytes)
    above = _raw_rows(planes, top - 1, top) if top else np.zeros((1, row_bytes), np.uint8)
    for first in range(top, bottom, step):
        rows = np.concatenate([above, _raw_rows(planes, first, min(first + step, bottom))])
        yield row_filter(rows, pixel_bytes)
        above = rows[-1:]


def _raw_rows(planes: Planes, top: int, bottom: int) -> Bytes:
    rows: NDArray[Any] = planes.rows(top, bottom, f">u{planes.bits // 8}")
    return rows.view(np.uint8).reshape(bottom - top, -1)
