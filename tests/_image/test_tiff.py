from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from safelight._image import tiff
from safelight._image.icc import GRAY_PROFILE, SRGB_PROFILE
from safelight._image.planes import Planes

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def planes(height: int, width: int, samples: int, dtype: str = "u1", profile: bytes | None = None) -> Planes:
    random = np.random.default_rng(samples)
    colours = random.integers(0, np.iinfo(dtype).max, (height, width, 3 if samples > 2 else 1)).astype(dtype)
    alpha = random.integers(0, np.iinfo(dtype).max, (height, width)).astype(dtype) if samples % 2 == 0 else None
    return Planes(colours, alpha, profile)


@pytest.mark.parametrize("samples", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (43, 57)])
def test_pillow_reads_what_was_written(samples: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "_STRIP_BYTES", 2000)
    picture = planes(*size, samples)
    with Image.open(io.BytesIO(b"".join(tiff.encode_tiff(picture)))) as read:
        assert read.mode == MODES[samples]
        np.testing.assert_array_equal(np.asarray(read).reshape(*size, samples), picture.rows(0, size[0], "u1"))


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_opencv_reads_all_16_bits(samples: int) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = planes(40, 30, samples, "u2")
    data = np.frombuffer(b"".join(tiff.encode_tiff(picture)), np.uint8)
    read = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples]
    pixels = read.reshape(40, 30, samples)[..., order]
    np.testing.assert_array_equal(pixels, picture.rows(0, 40, "u2"))


def test_profiles_are_embedded() -> None:
    for samples, profile in ((3, SRGB_PROFILE), (1, GRAY_PROFILE)):
        file = b"".join(tiff.encode_tiff(planes(4, 4, samples, profile=SRGB_PROFILE)))
        with Image.open(io.BytesIO(file)) as read:
            assert read.info["icc_profile"] == profile


def test_tags_are_sorted_and_say_nothing_else() -> None:
    file = b"".join(tiff.encode_tiff(planes(4, 4, 4)))
    (directory,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, directory)
    tags = [struct.unpack_from("<H", file, directory + 2 + 12 * index)[0] for index in range(count)]
    assert tags == sorted(tags)
    assert set(tags) == {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 338}
