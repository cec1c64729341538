"""Pictures with rows missing are refused; pictures with all their rows are opened, whatever else is broken."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from safelight._image.icc import ADOBE_RGB_PROFILE
from safelight.errors import ImageError
from safelight.image import Photo

SIZE = 64
NOISE = np.random.default_rng(0).integers(1, 255, (SIZE, SIZE, 3)).astype(np.uint8)
ROWS = b"".join(b"\0" + row.tobytes() for row in NOISE)
ROW_BYTES = 1 + 3 * SIZE
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, body: bytes, *, damaged: bool = False) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ damaged)


def png(data: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0))
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.mark.parametrize("rows", [0, 1, 40, SIZE - 1])
def test_a_png_that_ends_in_good_order_but_early(rows: int) -> None:
    with pytest.raises(ImageError, match="must be a complete picture, but ends early"):
        Photo.open(png(zlib.compress(ROWS[: rows * ROW_BYTES])))


def test_a_whole_png_with_a_black_end_is_whole() -> None:
    black = ROWS[: 40 * ROW_BYTES] + bytes(24 * ROW_BYTES)
    assert not Photo.open(png(zlib.compress(black))).image[40:].any()


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_black_pngs_of_every_kind_are_whole(mode: str, interlaced: bool) -> None:
    """The reckoning of the bytes there must be must hold for every depth and for odd sizes."""
    if interlaced:
        bits, kind = {"1": (1, 0), "L": (8, 0), "P": (8, 3), "RGB": (8, 2), "RGBA": (8, 6), "I;16": (16, 0)}[mode]
        total = 0
        for left, top, across, down in (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ):
            columns, rows = len(range(left, 5, across)), len(range(top, 7, down))
            channels = {0: 1, 2: 3, 3: 1, 6: 4}[kind]
            total += rows * (1 + (columns * bits * channels + 7) // 8) if columns else 0
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 7, bits, kind, 0, 0, 1))
        palette = chunk(b"PLTE", bytes(6)) if kind == 3 else b""
        end = chunk(b"IEND", b"")
        file = SIGNATURE + header + palette + chunk(b"IDAT", zlib.compress(bytes(total))) + end
        short = SIGNATURE + header + palette + chunk(b"IDAT", zlib.compress(bytes(total - 1))) + end
        with pytest.raises(ImageError):
            Photo.open(short)
    else:
        buffer = io.BytesIO()
        Image.new(mode, (5, 7)).save(buffer, "PNG")
        file = buffer.getvalue()
    assert Photo.open(file).image.shape == (7, 5, 3)


def test_text_does_not_cost_the_pixels() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000)))
    broken = chunk(b"zTXt", b"Comment\0\x07nonsense")
    damaged = chunk(b"tEXt", b"Comment\0hello", damaged=True)
    for extra in (bomb, broken, damaged):
        np.testing.assert_array_equal(Photo.open(png(zlib.compress(ROWS), extra)).image, NOISE)


def test_a_profile_survives_damaged_text() -> None:
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(ADOBE_RGB_PROFILE))
    damaged = chunk(b"tEXt", b"Comment\0hello", damaged=True)
    whole = Photo.open(png(zlib.compress(ROWS), profile))
    mended = Photo.open(png(zlib.compress(ROWS), profile, damaged))
    np.testing.assert_array_equal(whole.image, mended.image)
    assert not np.array_equal(whole.image, NOISE)
    assert mended.icc_profile is not None


def test_a_profile_of_megabytes_is_read_but_not_a_bomb() -> None:
    large = chunk(b"iCCP", b"p\0\0" + zlib.compress(ADOBE_RGB_PROFILE + bytes(3_000_000)))
    bomb = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000)))
    assert Photo.open(png(zlib.compress(ROWS), large)).icc_profile is not None
    np.testing.assert_array_equal(Photo.open(png(zlib.compress(ROWS), bomb)).image, NOISE)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_a_jpeg_that_is_cut_off(progressive: bool, subsampling: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (160, 170, 3)).astype(np.uint8)
    whole = jpeg(noise, progressive=progressive, subsampling=subsampling)
    for share in (0.3, 0.5, 0.8, 0.95):
        cut = whole[: int(len(whole) * share)]
        for end in (b"", b"\xff\xd9"):
            if progressive and end and b"\xff\xda" in cut[cut.index(b"\xff\xda") + 2 :]:
                continue  # the first scan is complete: all blocks are there, coarsely
            with pytest.raises(ImageError, match="ends early"):
                Photo.open(cut + end)


def test_a_gray_jpeg_is_whole() -> None:
    """Middle gray is what missing blocks look like."""
    half, corner = NOISE.copy(), NOISE.copy()
    half[32:] = 128
    corner[-9:, -9:] = 128
    for pixels in (np.full((SIZE, SIZE, 3), 128, np.uint8), half, half[..., 0], corner, corner[:, -8:]):
        for options in ({}, {"progressive": True}, {"subsampling": "4:4:4"}):
            assert Photo.open(jpeg(pixels, **options)).image.shape[:2] == pixels.shape[:2]


def test_a_tiff_with_strips_missing() -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "TIFF", tiffinfo={278: 8})
    data = bytearray(file.getvalue())
    directory = struct.unpack_from("<I", data, 4)[0]
    for index in range(struct.unpack_from("<H", data, directory)[0]):
        entry = directory + 2 + 12 * index
        if struct.unpack_from("<H", data, entry)[0] in (273, 279):
            assert struct.unpack_from("<I", data, entry + 4)[0] > 4
            struct.pack_into("<I", data, entry + 4, 4)
    with pytest.raises(ImageError, match="must be a complete picture, but ends early"):
        Photo.open(bytes(data))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_no_cut_is_taken_for_a_whole_file(name: str) -> None:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, name)
    data = file.getvalue()
    for length in [*range(0, 40, 3), *np.linspace(40, len(data) - 40, 25).astype(int).tolist()]:
        with pytest.raises(ImageError):
            Photo.open(data[:length])
