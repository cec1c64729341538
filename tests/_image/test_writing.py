from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safelight._image.icc import GRAY_PROFILE, SRGB_PROFILE
from safelight.errors import InputError, OutputError
from safelight.image import Photo, save_mask

SMOOTH = np.fromfunction(lambda y, x, c: 40 + 2 * y + 2 * x + 20 * c, (32, 48, 3)).astype(np.uint8)
RAMP = np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
LOSSLESS = (".png", ".tif", ".tiff", ".bmp")
LOSSY = (".jpg", ".jpeg", ".webp", ".avif")


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_round_trips(tmp_path: Path, suffix: str) -> None:
    for gray, alpha in ((False, None), (True, None), (False, RAMP), (True, RAMP)):
        if alpha is not None and suffix == ".bmp":
            continue
        image = np.repeat(RAMP[..., None], 3, axis=2) if gray else SMOOTH
        Photo(image, alpha, grayscale=gray).save(tmp_path / f"a{suffix}")
        again = Photo.open(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(again.image, image)
        assert again.grayscale == gray
        assert (again.alpha is None) == (alpha is None)
        assert alpha is None or np.array_equal(again.alpha, alpha)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_round_trips(tmp_path: Path, suffix: str) -> None:
    Photo(SMOOTH, icc_profile=SRGB_PROFILE).save(tmp_path / f"a{suffix}")
    again = Photo.open(tmp_path / f"a{suffix}")
    assert np.abs(again.image.astype(int) - SMOOTH).max() <= 12
    assert again.icc_profile == SRGB_PROFILE
    if suffix in (".webp", ".avif"):
        Photo(SMOOTH, RAMP).save(tmp_path / f"b{suffix}")
        alpha = Photo.open(tmp_path / f"b{suffix}").alpha
        assert alpha is not None
        assert np.abs(alpha.astype(int) - RAMP).max() <= 4


@pytest.mark.parametrize("suffix", [".heic", ".heif"])
def test_heic_round_trips(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pillow_heif")
    Photo(SMOOTH, RAMP).save(tmp_path / f"a{suffix}", quality=95)
    again = Photo.open(tmp_path / f"a{suffix}")
    assert again.format == "HEIF"
    assert np.abs(again.image.astype(int) - SMOOTH)[RAMP > 100].mean() < 8
    assert again.alpha is not None


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_16_bits_stay_exact(tmp_path: Path, suffix: str, gray: bool, alpha: bool) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    image = np.repeat(image[..., :1], 3, axis=2) if gray else image
    opacity = random.integers(0, 65536, (40, 50)).astype(np.uint16) if alpha else None
    Photo(image, opacity, gray, SRGB_PROFILE).save(tmp_path / f"a{suffix}")
    again = Photo.open(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.image, image)
    assert (again.alpha is None) if opacity is None else np.array_equal(again.alpha, opacity)  # type: ignore[arg-type]
    assert again.icc_profile == SRGB_PROFILE
    assert again.notes == ()


def test_16_bits_are_rounded_for_8_bit_formats(tmp_path: Path) -> None:
    wide = np.arange(0, 65536, 32, dtype=np.uint16).reshape(32, 64, 1).repeat(3, axis=2)
    photo = Photo(wide)
    assert photo.bits == 16
    np.testing.assert_array_equal(photo.to_uint8(), np.rint(wide / 257))
    photo.save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(Photo.open(tmp_path / "a.bmp").image, photo.to_uint8())


def test_to_uint8_copies_nothing_needlessly() -> None:
    photo = Photo(SMOOTH)
    assert photo.to_uint8() is photo.image


def test_a_gray_photo_that_was_coloured_is_saved_in_colour(tmp_path: Path) -> None:
    Photo(SMOOTH, grayscale=True).save(tmp_path / "a.png")
    np.testing.assert_array_equal(Photo.open(tmp_path / "a.png").image, SMOOTH)


def test_gray_files_carry_a_gray_profile(tmp_path: Path) -> None:
    image = np.repeat(RAMP[..., None], 3, axis=2)
    for suffix in (".png", ".tif", ".jpg"):
        Photo(image, grayscale=True, icc_profile=SRGB_PROFILE).save(tmp_path / f"a{suffix}")
        with Image.open(tmp_path / f"a{suffix}") as read:
            assert (read.mode, read.info["icc_profile"]) == ("L", GRAY_PROFILE)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif", ".bmp"])
def test_no_metadata_are_written(tmp_path: Path, data_folder: Path, suffix: str) -> None:
    """Secrets planted in every corner of a file must not come through."""
    canaries = (data_folder / "metadata" / "canary" / "canaries.json").read_text(encoding="utf-8")
    secrets = {value for value in _strings(json.loads(canaries)) if len(value) > 5}
    for path in sorted((data_folder / "metadata" / "canary").glob("all.*")):
        target = tmp_path / f"{path.name}{suffix}"
        Photo.open(path).save(target)
        data = target.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in data or secret.encode("utf-16-le") in data]
        with Image.open(target) as read:
            read.load()
            assert not dict(read.getexif()) or suffix == ".tif"
            assert not {"exif", "xmp", "comment", "photoshop", "Software"} & set(read.info)


def _strings(node: object) -> list[str]:
    if isinstance(node, dict):
        return [text for value in node.values() for text in _strings(value)]
    if isinstance(node, list):
        return [text for value in node for text in _strings(value)]
    return [node] if isinstance(node, str) else []


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exiftool_finds_nothing(tmp_path: Path, suffix: str) -> None:
    Photo(SMOOTH, icc_profile=SRGB_PROFILE).save(tmp_path / f"a{suffix}")
    command = ["exiftool", "-G", "-EXIF:all", "-XMP:all", "-IPTC:all", "-PNG-tEXt:all", str(tmp_path / f"a{suffix}")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    assert not [
        line for line in found.splitlines() if any(word in line for word in ("Software", "Date", "Comment", "Make"))
    ]


def test_unknown_suffixes_list_the_known(tmp_path: Path) -> None:
    for name in ("a.xyz", "a", "a.gif"):
        with pytest.raises(InputError, match=r"must end in one of \.jpg .*\.png"):
            Photo(SMOOTH).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_alpha_needs_a_format_that_has_it(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.bmp", "A.JPEG"):
        with pytest.raises(InputError, match=r"must be saved as \.png, \.webp, \.tif or \.avif"):
            Photo(SMOOTH, RAMP).save(tmp_path / name)


@pytest.mark.parametrize(("name", "side"), [("a.webp", 16384), ("a.jpg", 65501)])
def test_formats_with_a_longest_side(tmp_path: Path, name: str, side: int) -> None:
    with pytest.raises(InputError, match=rf"must have at most {side - 1} pixels a side"):
        Photo(np.zeros((1, side, 3), np.uint8)).save(tmp_path / name)


def test_failures_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    monkeypatch.setattr("safelight._image.png.in_threads", lambda *_: 1 / 0)
    with pytest.raises(OutputError, match=r"must be writable as PNG, but the encoder says"):
        Photo(SMOOTH).save(target)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_quality_matters_and_is_checked(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for quality in (20, 92):
        Photo(noise).save(tmp_path / f"{quality}.jpg", quality=quality)
    assert (tmp_path / "20.jpg").stat().st_size < 0.5 * (tmp_path / "92.jpg").stat().st_size
    with pytest.raises(InputError, match="quality must be 1 to 100, but is 101"):
        Photo(noise).save(tmp_path / "a.jpg", quality=101)


# --- masks and arrays ---


@pytest.mark.parametrize(
    ("suffix", "bits"), [(".png", 8), (".png", 16), (".tif", 16), (".webp", 8), (".jpg", 8), (".bmp", 8)]
)
def test_masks(tmp_path: Path, suffix: str, bits: int) -> None:
    alpha = np.linspace(-0.1, 1.1, 30 * 40, dtype=np.float32).reshape(30, 40)
    save_mask(tmp_path / f"m{suffix}", alpha, bits=bits)
    photo = Photo.open(tmp_path / f"m{suffix}")
    assert photo.bits == bits
    assert photo.icc_profile is None
    tolerance = 3 if suffix == ".jpg" else 0.5
    top = 2**bits - 1
    assert np.abs(photo.image[..., 0] - np.clip(alpha.astype(np.float64), 0, 1) * top).max() <= tolerance + 0.01


def test_masks_are_checked(tmp_path: Path) -> None:
    alpha = np.zeros((4, 4), np.float32)
    with pytest.raises(InputError, match="alpha must have the shape"):
        save_mask(tmp_path / "m.png", alpha[..., None])
    with pytest.raises(InputError, match="bits must be 8 or 16, but is 12"):
        save_mask(tmp_path / "m.png", alpha, bits=12)
    with pytest.raises(InputError, match=r"16 bits must be saved as PNG or TIFF, but m\.jpg is JPEG"):
        save_mask(tmp_path / "m.jpg", alpha, bits=16)
