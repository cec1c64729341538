"""The way from a file's colour profile to sRGB.

Eight-bit pictures go through LittleCMS (Pillow's ImageCms). Pillow has no 16-bit RGB, so profiles made of
a matrix and curves, which nearly all RGB and gray profiles are, are applied to 16-bit pixels here.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from safelight._image.icc import SRGB_TO_XYZ, Shaper, read_shaper, srgb_encode

__all__ = ["ProfileError", "converter", "gray_table", "wide_converter"]

_ALREADY_SRGB = {8: 2.0 / 255.0, 16: 0.0005}  # largest difference left alone, by depth
_ROOT_STEPS = 1 << 18


class ProfileError(Exception):
    """A profile that is broken, or not for this kind of picture; the message says which."""


def converter(profile: bytes | None, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """Make the function that takes an 8-bit RGB, RGBA, CMYK or LAB picture to sRGB; None if it is sRGB.

    Relative colorimetric with black point compensation, as GIMP and Photoshop do by default.

    Raises
    ------
    ProfileError
        If the profile is broken or is not for pictures of this mode.
    """
    if profile is None and mode != "LAB":
        return None
    if profile is not None and mode in ("RGB", "RGBA"):
        shaper = read_shaper(profile)
        if shaper is not None and _is_srgb(shaper, _ALREADY_SRGB[8]):
            return None
    target = mode if mode in ("RGB", "RGBA") else "RGB"
    transform = _build_transform(None if mode == "LAB" else profile, mode, target)

    def convert(picture: Image.Image) -> Image.Image:
        return transform.apply_in_place(picture) if target == mode else transform.apply(picture)

    return convert


def gray_table(profile: bytes | None, bits: int) -> NDArray[Any] | None:
    """Return the sRGB gray for each of the ``2**bits`` gray values; None where nothing is to be done.

    Raises
    ------
    ProfileError
        If the profile is broken or is for neither gray nor RGB.
    """
    if profile is None:
        return None
    values = np.linspace(0.0, 1.0, 1 << bits)
    shaper = read_shaper(profile)
    if shaper is not None:
        table = srgb_encode(shaper.luminance(values))
    else:
        table = np.interp(values, np.linspace(0.0, 1.0, 256), _transformed_ramp(profile))
    if np.abs(table - values).max() <= _ALREADY_SRGB[bits]:
        return None
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.rint(table * ((1 << bits) - 1)).astype(dtype)


def wide_converter(profile: bytes | None) -> Callable[[NDArray[np.uint16]], NDArray[np.uint16]] | None:
    """Make the function that takes 16-bit RGB of shape (..., 3) to sRGB; None where nothing is to be done.

    Raises
    ------
    ProfileError
        If the profile is broken, is not for RGB, or is a table, which only LittleCMS reads (at 8 bits).
    """
    if profile is None:
        return None
    shaper = read_shaper(profile)
    if shaper is None or len(shaper.curves) != 3:
        raise ProfileError("it is not a matrix profile for RGB")
    if _is_srgb(shaper, _ALREADY_SRGB[16]):
        return None
    codes = np.linspace(0.0, 1.0, 1 << 16)
    linear = [curve(codes).astype(np.float32) for curve in shaper.curves]
    mix = (np.linalg.inv(SRGB_TO_XYZ) @ shaper.matrix).T.astype(np.float32)
    encode = _encode_by_root()

    def convert(block: NDArray[np.uint16]) -> NDArray[np.uint16]:
        light = np.stack([linear[channel][block[..., channel]] for channel in range(3)], axis=-1)
        root = np.sqrt(np.clip(light @ mix, 0.0, 1.0))
        result: NDArray[np.uint16] = encode[(root * (_ROOT_STEPS - 1) + 0.5).astype(np.int32)]
        return result

    return convert


@cache
def _encode_by_root() -> NDArray[np.uint16]:
    """Tabulate the sRGB curve by the root of the light: nearly straight, so shadows keep all 16 bits."""
    root = np.linspace(0.0, 1.0, _ROOT_STEPS)
    return np.rint(srgb_encode(root * root) * 65535.0).astype(np.uint16)


def _is_srgb(shaper: Shaper, tolerance: float) -> bool:
    if len(shaper.curves) != 3:
        return False
    steps = np.linspace(0.0, 1.0, 9)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    colours = np.concatenate([colours, np.repeat(np.linspace(0.0, 1.0, 256)[:, None], 3, axis=1)])
    light = np.stack([curve(colours[:, channel]) for channel, curve in enumerate(shaper.curves)], axis=-1)
    result = srgb_encode(light @ (np.linalg.inv(SRGB_TO_XYZ) @ shaper.matrix).T)
    return bool(np.abs(result - colours).max() <= tolerance)


def _transformed_ramp(profile: bytes) -> NDArray[np.float64]:
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    mode = "RGB" if profile[16:20] == b"RGB " else "L"
    result = _build_transform(profile, mode, "RGB").apply(ramp.convert(mode))
    green: NDArray[np.float64] = np.asarray(result.getchannel("G"), dtype=np.float64)[0]
    return green / 255.0


def _build_transform(profile: bytes | None, mode: str, target: str) -> ImageCms.ImageCmsTransform:
    """Ask LittleCMS for a transform to sRGB; None stands for CIE Lab."""
    try:
        if profile is None:
            source: Any = ImageCms.createProfile("LAB")
        else:
            source = ImageCms.getOpenProfile(io.BytesIO(profile))
    except Exception as error:  # ImageCms raises what it likes on broken profiles
        raise ProfileError("it is broken") from error
    try:
        return ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            target,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except Exception as error:
        raise ProfileError(f"it is broken or not for {mode} pictures") from error
