"""Sixteen-bit files of every layout, written by hand, must come in exactly."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from safelight._image.icc import SRGB_PROFILE
from safelight.image import Photo

HEIGHT, WIDTH = 23, 31
RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
ALPHA = RANDOM.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
RGBA = np.dstack([COLOURS, ALPHA])
DEFLATE = 8


def plain_tiff(
    samples: NDArray[np.uint16], order: str, *, planar: bool = False, deflate: bool = False, **tags: int
) -> bytes:
    """Write a TIFF of one strip (or one per plane) with nothing but struct."""
    height, width, count = samples.shape
    planes = [samples[..., band] for band in range(count)] if planar else [samples]
    strips = [plane.astype(f"{order}u2").tobytes() for plane in planes]
    strips = [zlib.compress(strip) for strip in strips] if deflate else strips
    fields: dict[int, list[int]] = {
        256: [width],
        257: [height],
        258: [tags.pop("bits", 16)] * count,
        259: [DEFLATE if deflate else 1],
        262: [tags.pop("photometric", 2 if count > 2 else 1)],
        273: [8 + sum(map(len, strips[:index])) for index in range(len(strips))],
        277: [count],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [2 if planar else 1],
    }
    fields |= {int(name[1:]): [value] for name, value in tags.items()}
    body = b"".join(strips)
    at, extra, entries = 8 + len(body), b"", b""
    extra_at = at + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            packed, extra = struct.pack(f"{order}I", extra_at + len(extra)), extra + packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + packed
    header = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, at)
    return header + body + struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + extra


def plain_png(rows: NDArray[np.uint16], colour_type: int, **chunks: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width = rows.shape[:2]
    data = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    middle = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    parts = [chunk(b"IHDR", header), middle, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_tiff_rgb(order: str, deflate: bool, alpha: bool) -> None:
    extra = {"t338": 2} if alpha else {}
    photo = Photo.open(plain_tiff(RGBA if alpha else COLOURS, order, deflate=deflate, **extra))
    assert (photo.bits, photo.format, photo.notes) == (16, "TIFF", ())
    np.testing.assert_array_equal(photo.image, COLOURS)
    if alpha:
        np.testing.assert_array_equal(photo.alpha, ALPHA)
    else:
        assert photo.alpha is None


@pytest.mark.parametrize("order", "<>")
def test_tiff_planes(order: str) -> None:
    """Pillow alone reads these wrongly, and says nothing."""
    photo = Photo.open(plain_tiff(RGBA, order, planar=True, t338=2))
    assert photo.bits == 16
    np.testing.assert_array_equal(photo.image, COLOURS)
    np.testing.assert_array_equal(photo.alpha, ALPHA)


def test_compressed_tiff_planes_come_in_at_8_bits_and_say_so() -> None:
    photo = Photo.open(plain_tiff(COLOURS, "<", planar=True, deflate=True))
    assert photo.notes == ("16 bits per channel read as 8",)
    np.testing.assert_array_equal(photo.image, COLOURS >> 8)


@pytest.mark.parametrize("deflate", [False, True])
def test_premultiplied_tiff(deflate: bool) -> None:
    alpha = np.maximum(ALPHA, 1).astype(np.uint64)
    alpha[0] = 0
    product = (COLOURS * alpha[..., None] + 32767) // 65535
    photo = Photo.open(plain_tiff(np.dstack([product, alpha]).astype(np.uint16), "<", deflate=deflate, t338=1))
    np.testing.assert_array_equal(photo.alpha, alpha)
    clear = alpha > 256
    error = np.abs(photo.image.astype(int) - COLOURS)[clear]
    assert (error <= np.ceil(65535 / alpha[clear])[:, None]).all()
    assert not photo.image[0].any()


@pytest.mark.parametrize("order", "<>")
def test_gray_tiff(order: str) -> None:
    for photometric, wanted in ((1, ALPHA), (0, 65535 - ALPHA)):
        if (order, photometric) == (">", 0):
            continue  # Pillow does not read it
        photo = Photo.open(plain_tiff(ALPHA[..., None], order, photometric=photometric))
        assert photo.grayscale
        np.testing.assert_array_equal(photo.image, np.repeat(wanted[..., None], 3, axis=2))


@pytest.mark.parametrize(("colour_type", "rows"), [(0, ALPHA[..., None]), (2, COLOURS), (6, RGBA), (4, RGBA[..., 2:])])
def test_png(colour_type: int, rows: NDArray[np.uint16]) -> None:
    photo = Photo.open(plain_png(rows, colour_type))
    assert (photo.bits, photo.format, photo.notes) == (16, "PNG", ())
    assert photo.grayscale == (colour_type in (0, 4))
    wanted = rows[..., :3] if rows.shape[2] > 2 else np.repeat(rows[..., :1], 3, axis=2)
    np.testing.assert_array_equal(photo.image, wanted)
    if rows.shape[2] in (2, 4):
        np.testing.assert_array_equal(photo.alpha, ALPHA)


def test_png_transparent_colour() -> None:
    """The colour must fit in all its 16 bits."""
    near = COLOURS.copy()
    near[0, 0], near[0, 1] = (1, 2, 3), (1, 2, 4)
    photo = Photo.open(plain_png(near, 2, tRNS=struct.pack(">3H", 1, 2, 3)))
    assert photo.alpha is not None
    assert photo.alpha[0, 0] == 0
    assert photo.alpha[0, 1] == 65535
    gray = Photo.open(plain_png(ALPHA[..., None], 0, tRNS=struct.pack(">H", ALPHA[5, 5])))
    np.testing.assert_array_equal(gray.alpha, np.where(ALPHA[5, 5] == ALPHA, 0, 65535))


def test_a_table_profile_costs_depth_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """LittleCMS, which alone reads tables, has 8 bits in Pillow."""
    profile = SRGB_PROFILE.replace(b"rTRC", b"A2B0", 1)  # enough to look like one
    packed = b"p\0\0" + zlib.compress(profile)
    photo = Photo.open(plain_png(COLOURS, 2, iCCP=packed))
    assert any("16 bits per channel read as 8" in note or "colour profile ignored" in note for note in photo.notes)


@pytest.mark.parametrize(
    ("make", "white"),
    [(lambda v: v, "1"), (lambda v: v * 255, "255"), (lambda v: v * 65535, "65,535")],
)
def test_float_tiff(make: Callable[[NDArray[np.float32]], NDArray[np.float32]], white: str) -> None:
    values = np.linspace(0, 1, 500, dtype=np.float32).reshape(20, 25)
    file = io.BytesIO()
    Image.fromarray(make(values)).save(file, "TIFF")
    photo = Photo.open(file.getvalue())
    assert photo.notes == (f"32-bit float read as 16 bit, with white at {white}",)
    assert np.abs(photo.image[..., 0] - values * 65535.0).max() <= 1


def test_float_tiff_with_nonsense_in_it() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, -1, 0.5, 2]], np.float32)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    assert Photo.open(file.getvalue()).image[0, :, 0].tolist() == [0, 65535, 0, 0, 32768, 65535]
