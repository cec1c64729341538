from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from safelight._image import icc, profiles
from safelight._image.icc import ADOBE_RGB_PROFILE, GRAY_PROFILE, SRGB_PROFILE
from safelight._image.profiles import ProfileError

COLOURS = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)


def little_cms(profile: bytes, pixels: NDArray[np.uint8], mode: str = "RGB") -> NDArray[np.int64]:
    """LittleCMS asked directly, as the reference."""
    transform = ImageCms.buildTransform(
        io.BytesIO(profile),
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return np.asarray(transform.apply(Image.fromarray(pixels))).astype(np.int64)


def by_formula(numbers: list[float], kind: int) -> bytes:
    return struct.pack(">4s4xHxx", b"para", kind) + struct.pack(
        f">{len(numbers)}i", *(round(n * 65536) for n in numbers)
    )


def with_curve(curve: bytes) -> bytes:
    return icc._build_profile(b"RGB ", "test", icc._rgb_tags(icc.SRGB_TO_XYZ, curve))


CURVES = {
    "linear": struct.pack(">4s4xI", b"curv", 0),
    "gamma": struct.pack(">4s4xIHxx", b"curv", 1, 0x0240),
    "table": struct.pack(">4s4xI4H", b"curv", 4, 0, 9000, 30000, 65535),
    "formula 0": by_formula([1.8], 0),
    "formula 1": by_formula([2.0, 1.1, -0.1], 1),
    "formula 2": by_formula([2.0, 1.05, -0.05, 0.0], 2),
    "formula 3": by_formula([2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045], 3),
    "formula 4": by_formula([2.2, 0.95, 0.0, 0.1, 0.05, 0.02, 0.0], 4),
}


@pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())
def test_curves_mean_what_little_cms_says(curve: bytes) -> None:
    profile = with_curve(curve)
    convert = profiles.wide_converter(profile)
    wide = COLOURS.astype(np.uint16) * 257
    ours = wide if convert is None else convert(wide)
    assert np.abs(ours / 257 - little_cms(profile, COLOURS)).max() < 1.01


def test_a_lifted_black_is_left_to_little_cms() -> None:
    """Black point compensation would move it to zero."""
    profile = with_curve(by_formula([2.0, 0.8, 0.1, 0.05], 2))
    with pytest.raises(ProfileError):
        profiles.wide_converter(profile)
    table = profiles.gray_table(profile, 8)
    assert table is not None
    assert table[0] == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_8_bits_go_through_little_cms(mode: str) -> None:
    convert = profiles.converter(ADOBE_RGB_PROFILE, mode)
    assert convert is not None
    converted = np.asarray(convert(Image.fromarray(COLOURS).convert(mode)))
    np.testing.assert_array_equal(converted[..., :3], little_cms(ADOBE_RGB_PROFILE, COLOURS))


def test_16_bits_keep_gradients_smooth() -> None:
    """A slope of single steps must not come out in the 256 steps of 8 bits."""
    convert = profiles.wide_converter(ADOBE_RGB_PROFILE)
    assert convert is not None
    ramp = np.repeat(np.arange(20000, 24000, dtype=np.uint16)[:, None], 3, axis=1)
    result = convert(ramp)[:, 0].astype(int)
    assert np.diff(result).max() <= 3
    assert len(np.unique(result)) > 3000


def test_srgb_is_left_alone() -> None:
    assert profiles.converter(SRGB_PROFILE, "RGB") is None
    assert profiles.wide_converter(SRGB_PROFILE) is None
    assert profiles.gray_table(GRAY_PROFILE, 8) is None
    assert profiles.gray_table(GRAY_PROFILE, 16) is None
    lcms = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profiles.converter(lcms, "RGB") is None


def test_our_profiles_are_what_they_say() -> None:
    assert np.abs(little_cms(SRGB_PROFILE, COLOURS) - COLOURS).max() <= 1
    gray = np.arange(256, dtype=np.uint8)[None]
    assert np.abs(little_cms(GRAY_PROFILE, gray, "L")[..., 1] - gray).max() <= 1
    for profile in (SRGB_PROFILE, GRAY_PROFILE, ADOBE_RGB_PROFILE):
        assert len(profile) == int.from_bytes(profile[:4])
        assert ImageCms.getProfileDescription(ImageCms.getOpenProfile(io.BytesIO(profile))).strip()


def test_gray_profiles() -> None:
    curve = CURVES["gamma"]
    profile = icc._build_profile(b"GRAY", "test", {b"kTRC": curve})
    ramp = np.arange(256, dtype=np.uint8)[None]
    table = profiles.gray_table(profile, 8)
    assert table is not None
    assert np.abs(table.astype(int) - little_cms(profile, ramp, "L")[0, :, 1]).max() <= 1
    wide = profiles.gray_table(profile, 16)
    assert wide is not None
    assert np.abs(wide[::257] / 257 - table).max() <= 0.51


def test_an_rgb_profile_in_a_gray_file_counts() -> None:
    table = profiles.gray_table(with_curve(CURVES["linear"]), 8)
    assert table is not None
    assert table[55] > 120  # linear 0.216 is about middle gray


BROKEN = [b"x", b"x" * 500, SRGB_PROFILE[:100], SRGB_PROFILE[:36] + b"acsp" + bytes(500), ADOBE_RGB_PROFILE[:300]]


@pytest.mark.parametrize("profile", BROKEN)
def test_broken_profiles_are_told_apart(profile: bytes) -> None:
    with pytest.raises(ProfileError):
        profiles.converter(profile, "RGB")
    with pytest.raises(ProfileError):
        profiles.wide_converter(profile)
    with pytest.raises(ProfileError):
        profiles.gray_table(profile, 8)


def test_profiles_for_other_pictures_are_refused() -> None:
    with pytest.raises(ProfileError, match="not for CMYK pictures"):
        profiles.converter(SRGB_PROFILE, "CMYK")
    with pytest.raises(ProfileError):
        profiles.wide_converter(GRAY_PROFILE)


def test_real_profiles(data_folder: Path) -> None:
    """Every profile of the test pictures: 8 bits as LittleCMS, 16 bits within one step of 8."""
    found = set()
    paths = [
        path for pattern in ("metadata/*.jpg", "metadata/*.tif", "*/sharp/p*.png") for path in data_folder.glob(pattern)
    ]
    for path in paths:
        with suppress(OSError), Image.open(path) as picture:
            if picture.mode in ("RGB", "RGBA"):
                found.add(picture.info.get("icc_profile"))
    found.discard(None)
    assert len(found) >= 5
    for profile in found:
        reference = little_cms(profile, COLOURS)
        convert = profiles.wide_converter(profile)
        wide = COLOURS.astype(np.uint16) * 257
        assert np.abs((wide if convert is None else convert(wide)) / 257 - reference).max() < 1.5
