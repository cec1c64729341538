from __future__ import annotations

import io
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from safelight._image import icc
from safelight._image.icc import ADOBE_RGB_PROFILE, SRGB_PROFILE
from safelight.errors import ImageError, InputError
from safelight.image import Photo

QUARTERS = np.zeros((32, 48, 3), np.uint8)
QUARTERS[:16, :24], QUARTERS[:16, 24:], QUARTERS[16:, :24], QUARTERS[16:, 24:] = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
)
SMOOTH = np.fromfunction(lambda y, x, c: 40 + 2 * y + 2 * x + 20 * c, (32, 48, 3)).astype(np.uint8)
RAMP = np.linspace(0, 255, 32 * 48).reshape(32, 48).astype(np.uint8)
HOLDS = {
    "TIFF": "1 L LA P RGB RGBA CMYK YCbCr RGBX I;16",
    "PNG": "1 L LA P RGB RGBA I;16",
    "BMP": "1 L P RGB RGBA",
    "GIF": "1 L LA P RGB RGBA",
    "WEBP": "1 L LA P RGB RGBA",
}


def encoded(picture: Image.Image, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


# --- opening ---


@pytest.mark.parametrize("orientation", [*range(11), 65535])
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_once(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = Photo.open(encoded(Image.fromarray(QUARTERS), name, exif=exif, quality=95))
    tagged = Image.fromarray(QUARTERS)
    tagged.getexif()[0x0112] = orientation
    wanted = np.asarray(ImageOps.exif_transpose(tagged)).astype(int)
    assert photo.image.shape == wanted.shape
    assert np.median(np.abs(photo.image - wanted)) < 4


def test_orientation_of_tiff_strips_of_16_bits(tmp_path: Path) -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
        photo = Photo.open(encoded(wide, "TIFF", exif=exif, compression="tiff_lzw"))
        upright = Photo.open(encoded(Image.fromarray(RAMP), "TIFF", exif=exif))
        np.testing.assert_array_equal(photo.to_uint8(), upright.image)


def test_real_orientations(data_folder: Path) -> None:
    """The same scene in nine orientations must come out the same way up."""
    for kind in ("Landscape", "Portrait"):
        paths = sorted((data_folder / "metadata" / "orientation").glob(f"{kind}_[1-8].jpg"))
        assert len(paths) == 8
        small = [np.asarray(Image.fromarray(Photo.open(path).image).resize((16, 16))).astype(int) for path in paths]
        for other in small[1:]:
            assert np.abs(other - small[0]).mean() < 25, kind


def test_a_heic_of_a_phone_is_upright(data_folder: Path) -> None:
    """The file is rotated by its container; EXIF says the same and must not be applied again."""
    pytest.importorskip("pillow_heif")
    photo = Photo.open(data_folder / "metadata" / "me_IMG_2927.HEIC")
    assert (photo.width, photo.height, photo.format) == (3024, 4032, "HEIF")
    assert photo.image[200:400, 500:1000].mean() < photo.image[2000:3000, 1000:2000].mean()


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, modes in HOLDS.items() for mode in modes.split()])
def test_every_mode_of_every_format(name: str, mode: str) -> None:
    picture = Image.fromarray(np.dstack([SMOOTH, np.maximum(RAMP, 1)])).convert(mode if mode != "I;16" else "L")
    picture = picture.convert(mode)
    data = encoded(picture, name, lossless=True, exact=True)
    with Image.open(io.BytesIO(data)) as reread:
        wide = reread.mode == "I;16"
        wanted = np.asarray(reread.convert("RGB" if reread.mode == "CMYK" else "RGBA")) if not wide else None
        gray = reread.mode in ("1", "L", "LA", "I;16")
    photo = Photo.open(data)
    assert photo.grayscale == gray
    assert photo.bits == (16 if wide else 8)
    if wanted is None:
        np.testing.assert_array_equal(photo.image[..., 0], np.asarray(picture))
        return
    np.testing.assert_array_equal(photo.image, wanted[..., :3])
    alpha = np.full(photo.image.shape[:2], 255) if photo.alpha is None else photo.alpha
    np.testing.assert_array_equal(alpha, wanted[..., 3] if wanted.shape[2] == 4 else 255)


@pytest.mark.parametrize("gray", [False, True])
def test_premultiplied_alpha_becomes_straight(tmp_path: Path, gray: bool) -> None:
    image = np.repeat(RAMP[..., None], 3, axis=2) if gray else SMOOTH
    alpha = np.full_like(RAMP, 128)
    Photo((image // 2 + 0).astype(np.uint8), alpha, gray).save(tmp_path / "a.tif")
    straight, associated = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    data = (tmp_path / "a.tif").read_bytes()
    assert straight in data
    photo = Photo.open(data.replace(straight, associated))
    np.testing.assert_array_equal(photo.alpha, alpha)
    assert np.abs(photo.image.astype(int) - image).max() <= 2


def test_transparency_of_palettes_and_key_colours() -> None:
    palette = Image.fromarray(QUARTERS).quantize(4)
    index = palette.getpixel((0, 0))
    for transparency in (index, bytes(0 if entry == index else 128 for entry in range(4))):
        photo = Photo.open(encoded(palette, "PNG", transparency=transparency))
        assert photo.alpha is not None
        assert photo.alpha[0, 0] == 0
        assert photo.alpha[-1, -1] in (128, 255)
    keyed = Photo.open(encoded(Image.fromarray(QUARTERS), "PNG", transparency=(255, 0, 0)))
    assert keyed.alpha is not None
    np.testing.assert_array_equal(keyed.alpha == 0, (QUARTERS == (255, 0, 0)).all(axis=-1))


def test_an_opaque_alpha_is_none() -> None:
    assert Photo.open(encoded(Image.fromarray(SMOOTH).convert("RGBA"), "PNG")).alpha is None


def test_profiles_are_converted_as_by_little_cms() -> None:
    photo = Photo.open(encoded(Image.fromarray(SMOOTH), "PNG", icc_profile=ADOBE_RGB_PROFILE))
    transform = ImageCms.buildTransform(
        io.BytesIO(ADOBE_RGB_PROFILE),
        ImageCms.createProfile("sRGB"),
        "RGB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    np.testing.assert_array_equal(photo.image, np.asarray(transform.apply(Image.fromarray(SMOOTH))))
    assert photo.icc_profile == SRGB_PROFILE


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_broken_profile_is_noted(name: str) -> None:
    photo = Photo.open(encoded(Image.fromarray(SMOOTH), name, icc_profile=b"not a profile" * 20))
    assert any(note.startswith("colour profile ignored: ") for note in photo.notes)


def test_adobe_rgb_by_exif_alone() -> None:
    """As cameras write it: DCF optional files carry no profile."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    marked = Photo.open(encoded(Image.fromarray(SMOOTH), "JPEG", exif=exif, quality=95))
    assert marked.notes == ("Adobe RGB converted to sRGB, as EXIF says",)
    embedded = Photo.open(encoded(Image.fromarray(SMOOTH), "JPEG", icc_profile=ADOBE_RGB_PROFILE, quality=95))
    np.testing.assert_array_equal(marked.image, embedded.image)


def cmyk_profile() -> bytes:
    """Build the smallest printer profile: Lab at the 16 corners of the ink cube (a lut8 tag, ICC.1:2022 10.11)."""
    corners = bytearray()
    for corner in range(16):
        cyan, magenta, yellow, black = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        light = (100 - 25 * cyan - 30 * magenta - 8 * yellow) * (1 - black)
        corners += bytes(
            [round(light * 2.55), 128 + 50 * (magenta - cyan) * (1 - black), 128 + 70 * yellow * (1 - black)]
        )
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4 + corners + bytes(range(256)) * 3
    profile = bytearray(icc._build_profile(b"CMYK", "inks", {b"A2B0": table}))
    profile[12:16], profile[20:24] = b"prtr", b"Lab "
    return bytes(profile)


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk_with_its_profile(name: str) -> None:
    inks = Image.fromarray(SMOOTH).convert("CMYK")
    data = encoded(inks, name, icc_profile=cmyk_profile(), quality=100)
    photo = Photo.open(data)
    assert photo.notes == ("CMYK converted to sRGB",)
    assert photo.icc_profile == SRGB_PROFILE
    transform = ImageCms.buildTransform(
        io.BytesIO(cmyk_profile()),
        ImageCms.createProfile("sRGB"),
        "CMYK",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    with Image.open(io.BytesIO(data)) as reread:
        np.testing.assert_array_equal(photo.image, np.asarray(transform.apply(reread)))


def test_cmyk_without_a_profile(data_folder: Path) -> None:
    path = data_folder / "malformed" / "generated" / "mode_cmyk.jpg"
    photo = Photo.open(path)
    assert photo.notes == ("CMYK without a colour profile converted to sRGB by the plain formula",)
    plain = Photo.open(data_folder / "malformed" / "generated" / "mode_ycbcr444.jpg")
    assert np.abs(photo.image.astype(int) - plain.image).mean() < 8  # not inverted


def test_bytes_and_open_files_are_sources_too(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(SMOOTH), "PNG")
    (tmp_path / "no suffix").write_bytes(data)
    with (tmp_path / "no suffix").open("rb") as file:
        for photo in (Photo.open(data), Photo.open(file), Photo.open(tmp_path / "no suffix")):
            np.testing.assert_array_equal(photo.image, SMOOTH)
    assert Photo.open(str(tmp_path / "no suffix")).path == tmp_path / "no suffix"


def test_many_threads_may_open_at_once() -> None:
    files = [encoded(Image.fromarray(SMOOTH), name) for name in ("PNG", "TIFF", "BMP")]
    wrong: list[object] = []

    def read(data: bytes) -> None:
        for _ in range(20):
            if not np.array_equal(Photo.open(data).image, SMOOTH):
                wrong.append(data)

    threads = [threading.Thread(target=read, args=(data,)) for data in files * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- arrays ---


BAD: list[tuple[NDArray[np.generic], NDArray[np.generic] | None, str]] = [
    (np.zeros((4, 4), np.uint8), None, r"image must have the shape \(height, width, 3\), but has \(4, 4\)"),
    (np.zeros((0, 4, 3), np.uint8), None, "image must have the shape"),
    (np.zeros((4, 4, 3), np.float32), None, "image must be uint8 or uint16, but is float32"),
    (np.zeros((6, 8, 3), np.uint8), np.zeros((3, 4), np.uint8), r"image's shape \(6, 8\), but has \(3, 4\)"),
    (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16), "image's dtype uint8, but has uint16"),
]


@pytest.mark.parametrize(("image", "alpha", "message"), BAD)
def test_arrays_are_checked(image: NDArray[np.generic], alpha: NDArray[np.generic] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Photo(image, alpha)


def test_max_pixels() -> None:
    data = encoded(Image.fromarray(SMOOTH), "PNG")
    assert Photo.open(data, max_pixels=32 * 48).width == 48
    with pytest.raises(ImageError, match="must have at most 1,535 pixels, but has 1,536"):
        Photo.open(data, max_pixels=32 * 48 - 1)
