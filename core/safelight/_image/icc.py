"""ICC profiles made of curves and a matrix: reading them, and the few that Safelight needs itself.

The layout of header and tags is that of ICC.1:2022; what is written keeps to version 2.1,
which every program reads.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ADOBE_RGB_PROFILE",
    "GRAY_PROFILE",
    "SRGB_PROFILE",
    "SRGB_TO_XYZ",
    "Shaper",
    "read_shaper",
    "srgb_decode",
    "srgb_encode",
]

Floats: TypeAlias = NDArray[np.float64]
Curve: TypeAlias = Callable[[Floats], Floats]

# sRGB primaries, adapted to the profile connection space (D50): IEC 61966-2-1 with Bradford adaptation
SRGB_TO_XYZ = np.array(
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
# Adobe RGB (1998), section 4.3.5: primaries adapted to D50, and the gamma of 2 51/256
_ADOBE_RGB_TO_XYZ = np.array(
    [
        [0.60974, 0.20528, 0.14919],
        [0.31111, 0.62567, 0.06322],
        [0.01947, 0.06087, 0.74457],
    ]
)
_ADOBE_RGB_GAMMA = struct.pack(">4s4xIHxx", b"curv", 1, 563)
_D50 = (0.9642, 1.0, 0.8249)
_LOOKUP_TAGS = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1", b"D2B2")
_CURVE_POINTS = 1024
_BLACK = 1e-4


@dataclass(frozen=True)
class Shaper:
    """A profile made of one curve per channel and, for RGB, a matrix to XYZ."""

    curves: tuple[Curve, ...]
    matrix: Floats

    def luminance(self, value: Floats) -> Floats:
        """Luminance of the gray that has this value, in [0, 1], in every channel."""
        parts = [weight * curve(value) for weight, curve in zip(self.matrix[1], self.curves, strict=True)]
        return np.sum(parts, axis=0)  # type: ignore[no-any-return]

    def is_black_at_zero(self) -> bool:
        """Tell whether zero is black; where it is not, black point compensation would change all colours."""
        return all(float(curve(np.zeros(1))[0]) < _BLACK for curve in self.curves)


def srgb_encode(linear: Floats) -> Floats:
    """Apply the sRGB curve to linear light, clipped to [0, 1]."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def srgb_decode(encoded: Floats) -> Floats:
    """Undo the sRGB curve."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


# --- reading ---


def read_shaper(profile: bytes) -> Shaper | None:
    """Read an RGB or gray profile made of curves and a matrix; None where it is anything else, or broken."""
    try:
        tags = _read_tags(profile)
        space, connection = profile[16:20], profile[20:24]
        if connection != b"XYZ " or any(tag in tags for tag in _LOOKUP_TAGS):
            return None
        if space == b"GRAY":
            return _usable(Shaper((_read_curve(tags[b"kTRC"]),), np.ones((3, 1))))
        if space != b"RGB ":
            return None
        columns = [_read_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = tuple(_read_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
    except (KeyError, ValueError, ZeroDivisionError, struct.error):
        return None
    return _usable(Shaper(curves, np.array(columns).T))


def _usable(shaper: Shaper) -> Shaper | None:
    return shaper if shaper.is_black_at_zero() else None


def _read_tags(profile: bytes) -> dict[bytes, bytes]:
    if len(profile) < 132 or profile[36:40] != b"acsp":
        raise ValueError("not an ICC profile")
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(min(count, 200))]
    return {name: profile[offset : offset + size] for name, offset, size in entries}


def _read_xyz(tag: bytes) -> Sequence[float]:
    if tag[:4] != b"XYZ ":
        raise ValueError("not an XYZ tag")
    return [value / 65536.0 for value in struct.unpack_from(">3i", tag, 8)]


def _read_curve(tag: bytes) -> Curve:
    if tag[:4] == b"para":
        return _read_formula(tag)
    if tag[:4] != b"curv":
        raise ValueError("not a curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return lambda value: value
    if count == 1:
        gamma = struct.unpack_from(">H", tag, 12)[0] / 256.0
        return lambda value: value**gamma
    points = np.frombuffer(tag, ">u2", count=count, offset=12) / 65535.0
    return lambda value: np.interp(value, np.linspace(0.0, 1.0, count), points)


def _read_formula(tag: bytes) -> Curve:
    """Read a parametric curve: ICC.1:2022 section 10.18, functions 0 to 4."""
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind > 4:
        raise ValueError("an unknown parametric curve")
    given = [value / 65536.0 for value in struct.unpack_from(f">{(1, 3, 4, 5, 7)[kind]}i", tag, 12)]
    g, a, b = [*given, 1.0, 0.0][:3]
    lifted = given[3] if kind == 2 else given[5] if kind == 4 else 0.0
    slope, start, offset = 0.0, -np.inf, 0.0
    if kind >= 3:
        slope, start = given[3], given[4]
    if kind == 4:
        offset = given[6]

    def curve(value: Floats) -> Floats:
        power = np.maximum(a * value + b, 0.0) ** g + lifted
        return np.clip(np.where(value >= start, power, slope * value + offset), 0.0, 1.0)

    return curve


# --- writing ---


def _build_profile(space: bytes, name: str, tags: dict[bytes, bytes]) -> bytes:
    """Lay out a version 2.1 display profile; its date is fixed, so that it says nothing about the day."""
    ascii_name = name.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(ascii_name)) + ascii_name + bytes(78),
        b"cprt": b"text\0\0\0\0No copyright, use freely\0",
        b"wtpt": _xyz_tag(_D50),
        **tags,
    }
    offset = 132 + 12 * len(tags)
    table, body, placed = b"", b"", dict[bytes, int]()
    for key, tag in tags.items():
        if tag not in placed:
            placed[tag] = offset + len(body)
            body += tag + bytes(-len(tag) % 4)
        table += struct.pack(">4sII", key, placed[tag], len(tag))
    header = struct.pack(
        ">I4s4s4s4s4s6H4s28s3i48x",
        *(offset + len(body), bytes(4), b"\x02\x10\0\0", b"mntr", space, b"XYZ "),
        *(2000, 1, 1, 0, 0, 0),
        *(b"acsp", bytes(28)),
        *(round(value * 65536) for value in _D50),
    )
    return header + struct.pack(">I", len(tags)) + table + body


def _xyz_tag(value: Sequence[float]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(part * 65536) for part in value))


def _srgb_curve() -> bytes:
    points = np.rint(srgb_decode(np.linspace(0.0, 1.0, _CURVE_POINTS)) * 65535).astype(">u2")
    return struct.pack(">4s4xI", b"curv", _CURVE_POINTS) + points.tobytes()


def _rgb_tags(to_xyz: Floats, curve: bytes) -> dict[bytes, bytes]:
    columns = {
        key: _xyz_tag(column.tolist()) for key, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), to_xyz.T, strict=True)
    }
    return columns | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)


SRGB_PROFILE = _build_profile(b"RGB ", "sRGB", _rgb_tags(SRGB_TO_XYZ, _srgb_curve()))
ADOBE_RGB_PROFILE = _build_profile(b"RGB ", "Adobe RGB", _rgb_tags(_ADOBE_RGB_TO_XYZ, _ADOBE_RGB_GAMMA))
GRAY_PROFILE = _build_profile(b"GRAY", "sRGB gray", {b"kTRC": _srgb_curve()})
