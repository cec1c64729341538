from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from safelight._image import deflate, filters, png
from safelight._image.icc import GRAY_PROFILE, SRGB_PROFILE
from safelight._image.planes import Planes

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def noise(shape: tuple[int, ...], dtype: str = "u1", seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def planes(height: int, width: int, samples: int, dtype: str = "u1") -> Planes:
    colours = noise((height, width, 3 if samples > 2 else 1), dtype)
    alpha = noise((height, width), dtype, seed=1) if samples % 2 == 0 else None
    return Planes(colours, alpha, None)


def paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


SPECIFIED = {
    filters.up_filter: (2, lambda a, b, c: b),
    filters.average_filter: (3, lambda a, b, c: (a + b) // 2),
    filters.paeth_filter: (4, paeth),
}


def plainly(row_filter: filters.Filter, rows: NDArray[np.uint8], pixel_bytes: int) -> NDArray[np.uint8]:
    """The specification's own words, byte by byte."""
    number, predict = SPECIFIED[row_filter]
    result = []
    for y in range(1, len(rows)):
        result.append(number)
        for x in range(rows.shape[1]):
            a = int(rows[y, x - pixel_bytes]) if x >= pixel_bytes else 0
            b = int(rows[y - 1, x])
            c = int(rows[y - 1, x - pixel_bytes]) if x >= pixel_bytes else 0
            result.append((int(rows[y, x]) - predict(a, b, c)) % 256)
    return np.array(result, np.uint8).reshape(len(rows) - 1, -1)


@pytest.mark.parametrize("row_filter", filters.FILTERS)
@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 12)),
    pixel_bytes=st.sampled_from([1, 2, 3, 4, 6, 8]),
    seed=st.integers(0, 2**32),
    levels=st.integers(1, 256),
)
def test_filters_are_the_specified_ones(
    row_filter: filters.Filter, size: tuple[int, int], pixel_bytes: int, seed: int, levels: int
) -> None:
    height, width = size
    values = np.random.default_rng(seed).integers(0, levels, (height + 1, width * pixel_bytes)).astype(np.uint8)
    np.testing.assert_array_equal(row_filter(values, pixel_bytes), plainly(row_filter, values, pixel_bytes))


@pytest.mark.parametrize("row_filter", filters.FILTERS)
def test_any_filter_may_be_chosen(row_filter: filters.Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "choose_filter", lambda samples, pixel_bytes: row_filter)
    monkeypatch.setattr(png, "_STRIP_BYTES", 5000)
    monkeypatch.setattr(png, "_BLOCK_BYTES", 1000)
    picture = planes(60, 70, 4)
    with Image.open(io.BytesIO(b"".join(png.encode_png(picture)))) as read:
        np.testing.assert_array_equal(np.asarray(read), picture.rows(0, 60, "u1"))


def test_noise_and_lines_get_different_filters() -> None:
    y, x = np.mgrid[:64, :300]
    lines = (x % 50 * 5 + 0 * y).astype(np.uint8)
    assert filters.choose_filter([lines], 1) is filters.up_filter
    grainy = np.clip(100 + x / 3 + y + np.random.default_rng(0).normal(0, 6, x.shape), 0, 255).astype(np.uint8)
    assert filters.choose_filter([grainy], 1) is filters.average_filter


@pytest.mark.parametrize("samples", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (37, 41), (300, 2000)])
def test_pillow_reads_what_was_written(samples: int, size: tuple[int, int]) -> None:
    picture = planes(*size, samples)
    with Image.open(io.BytesIO(b"".join(png.encode_png(picture)))) as read:
        assert read.mode == MODES[samples]
        pixels = np.asarray(read).reshape(*size, samples)
    np.testing.assert_array_equal(pixels, picture.rows(0, size[0], "u1"))


@pytest.mark.parametrize("compressor", ["isal", "zlib"])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_compressor_and_thread_count_gives_the_same_pixels(
    compressor: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compressor == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setattr(deflate, "_isal", lambda: None)
    monkeypatch.setenv("SAFELIGHT_THREADS", str(threads))
    monkeypatch.setattr(png, "_STRIP_BYTES", 5000)  # many strips
    picture = planes(123, 77, 4)
    with Image.open(io.BytesIO(b"".join(png.encode_png(picture)))) as read:
        np.testing.assert_array_equal(np.asarray(read), picture.rows(0, 123, "u1"))


def test_the_checksum_of_the_joined_stream_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow forgives a wrong one; zlib does not."""
    monkeypatch.setattr(png, "_STRIP_BYTES", 3000)
    file = b"".join(png.encode_png(planes(60, 50, 3)))
    stream, position = b"", 8
    while position < len(file):
        length = int.from_bytes(file[position : position + 4])
        if file[position + 4 : position + 8] == b"IDAT":
            stream += file[position + 8 : position + 8 + length]
        position += 12 + length
    assert len(zlib.decompress(stream)) == 60 * (1 + 50 * 3)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_checksums_combine(first: bytes, second: bytes) -> None:
    combined = deflate.combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second))
    assert combined == zlib.adler32(first + second)


@pytest.mark.parametrize(
    ("samples", "profile"), [(3, SRGB_PROFILE), (4, SRGB_PROFILE), (1, GRAY_PROFILE), (2, GRAY_PROFILE)]
)
def test_gray_files_get_the_gray_profile(samples: int, profile: bytes) -> None:
    picture = planes(5, 5, samples)
    file = b"".join(png.encode_png(Planes(picture.colours, picture.alpha, SRGB_PROFILE)))
    with Image.open(io.BytesIO(file)) as read:
        assert read.info["icc_profile"] == profile


def test_a_cutout_is_small() -> None:
    """Half of it transparent: hardly larger than Pillow's slow default."""
    y, x = np.mgrid[:400, :600]
    smooth = 128 + 60 * np.sin(x / 40) + 50 * np.cos(y / 30)
    image = np.clip(smooth[..., None] + np.random.default_rng(0).normal(0, 3, (400, 600, 3)), 0, 255).astype(np.uint8)
    alpha = np.where(x < 300, 0, 255).astype(np.uint8)
    image[alpha == 0] = 0
    ours = sum(map(len, png.encode_png(Planes(image, alpha, None))))
    file = io.BytesIO()
    Image.fromarray(np.dstack([image, alpha])).save(file, "PNG")
    assert ours < 1.25 * file.getbuffer().nbytes
