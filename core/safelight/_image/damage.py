"""Damage the decoders do not notice, and damage that does not touch the pixels.

Pillow stops at a file that is cut off, but not at a PNG or JPEG whose data end early and in good order: the
missing rows come out black or gray. And it refuses a PNG for a comment it dislikes.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops

__all__ = ["has_gray_corner", "jpeg_ends_early", "keep_essential_chunks", "png_ends_early"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ESSENTIAL = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_PROFILE_LIMIT = 16 << 20
_PIECE = 1 << 20
_WHOLE = ((0, 0, 1, 1),)  # left, top, step across, step down
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_END_OF_IMAGE = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_SCAN = 0xDA
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_BLOCK = 8
_LAST_COLUMNS = 34  # two bytes hold three flat blocks of 8 pixels, or one of 16; chroma spreads by a pixel
_SPREAD = 2


def keep_essential_chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """Drop all of a PNG but pixels, orientation and transparency; also return its colour profile."""
    kept, profile = [_PNG_SIGNATURE], None
    for name, body, intact in _chunks(data):
        if name == b"iCCP" and intact:
            profile = _inflate_profile(body)
        if name in _ESSENTIAL and (intact or name in (b"IHDR", b"PLTE", b"IDAT")):
            kept += [struct.pack(">I", len(body)), name, body, struct.pack(">I", _crc(name, body, intact))]
    return b"".join(kept), profile


def _crc(name: bytes, body: bytes, intact: bool) -> int:
    """Return the right checksum for intact chunks and a wrong one for damaged ones, as they were."""
    return zlib.crc32(name + body) ^ (not intact)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Walk the chunks of a PNG: name, body, and whether the checksum fits."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position + 8 : position + 8 + length]
        if len(body) < length:
            return
        name = data[position + 4 : position + 8]
        position += 12 + length
        yield name, body, data[position - 4 : position] == struct.pack(">I", zlib.crc32(name + body))


def _inflate_profile(body: bytes) -> bytes | None:
    _, _, packed = body.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], _PROFILE_LIMIT)
    except zlib.error:
        return None
    return profile if inflater.eof else None


def png_ends_early(data: bytes) -> bool:
    """Tell whether the pixel data of a PNG inflate to fewer rows than its header promises."""
    expected, inflater, found = 0, zlib.decompressobj(), 0
    for name, body, _ in _chunks(data):
        if name == b"IHDR" and len(body) == 13:
            expected = _inflated_size(body)
        if name != b"IDAT":
            continue
        try:
            while body and not inflater.eof:
                found += len(inflater.decompress(body, _PIECE))
                body = inflater.unconsumed_tail
        except zlib.error:  # Pillow has read it: only the checksum at the end can be wrong
            return False
    return found < expected


def _inflated_size(header: bytes) -> int:
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(kind, 1)
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def has_gray_corner(picture: Image.Image) -> bool:
    """Tell whether the last block of a JPEG, not yet turned, is middle gray, as missing blocks are."""
    width, height = picture.size
    block = picture.crop(((width - 1) // _BLOCK * _BLOCK, (height - 1) // _BLOCK * _BLOCK, width, height))
    light = np.asarray(block.convert("YCbCr") if block.mode == "RGB" else block)
    light = light if light.ndim == 2 else light[..., 0]
    return bool(light.min() >= 127 and light.max() <= 129)


def jpeg_ends_early(data: bytes, picture: Image.Image) -> bool:
    """Tell whether rows are missing from a JPEG that has been decoded to `picture` and has a gray corner.

    Two more bytes are cut off its only scan. In a whole file that touches nothing but the last few blocks. Where
    there are several scans the first is complete, and with it, coarsely, the picture.
    """
    scans, end, progressive = _find_scans(data)
    if scans != 1 or progressive:
        return scans < 2
    try:
        with Image.open(io.BytesIO(data[: end - 2] + _END_OF_IMAGE), formats=["JPEG"]) as other:
            touched = ImageChops.difference(picture.copy(), other).getbbox()
    except Exception:  # an odd file that only opens as it is
        return False
    width, height = picture.size
    block_rows = _BLOCK * max(layer[2] for layer in getattr(picture, "layer", [(1, 1, 2)]))
    last_rows = _SPREAD + block_rows * (3 if width <= _LAST_COLUMNS else 1)
    return touched is not None and (touched[0] < width - _LAST_COLUMNS or touched[1] < height - last_rows)


def _find_scans(data: bytes) -> tuple[int, int, bool]:
    """Count the scans of the first picture in a JPEG; tell where the last one ends, and if it is progressive."""
    position, scans, progressive = 2, 0, False
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _END_OF_IMAGE[1]:
        marker = data[position + 1]
        progressive |= marker in _PROGRESSIVE
        position += 1 if marker == 0xFF else 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == _START_OF_SCAN:
            scans += 1
            found = _MARKER.search(data, position)
            position = found.start() if found else len(data)
    return scans, position, progressive
