"""Boxes, lenses and tiles: every implementation against the specification, and what they are for."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import kernels
from safelight.errors import InputError

Array = NDArray[Any]
Use = Callable[..., None]
Call = Callable[[], Array]

DTYPES = ("uint8", "uint16", "float32")
SHAPES = ((1, 1), (1, 9), (7, 1), (3, 4), (41, 67))
EDGES = ("replicate", "reflect", "wrap", "zero")


def largest(dtype: str) -> float:
    return 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)


def picture(shape: tuple[int, ...], dtype: str) -> Array:
    random = np.random.default_rng(zlib.crc32(f"{shape} {dtype}".encode()))
    values = random.random(shape) ** 3 * largest(dtype)
    return (values if dtype == "float32" else np.rint(values)).astype(dtype)


def share(shape: tuple[int, int], seed: int = 1) -> NDArray[np.float32]:
    """Nowhere less than a tenth, so that what is divided by it stays exact."""
    return np.clip(np.random.default_rng(seed).random(shape, dtype=np.float32) * 1.3, 0.1, 1)


def calls(dtype: str, shape: tuple[int, int]) -> Iterator[tuple[str, float, Call]]:
    """What is special about a call, how far it may be off in shares of the largest value, and the call."""
    alpha, mask = share(shape), share(shape, 2)
    for k, edges in enumerate(EDGES):
        source = picture((*shape, k + 1), dtype)
        keywords: dict[str, Any] = {"edges": edges, "mask": mask if k % 2 else None}
        keywords["alpha"] = "last" if k == 3 else alpha if k == 2 else None
        for radius in (0, 2, 50):
            yield (
                f"box {radius} {edges}",
                1e-5,
                lambda s=source, r=radius, w=keywords: kernels.box_filter(s, r, dtype=s.dtype, **w),  # type: ignore[misc]
            )
        for radius, blades in ((0.5, 0), (4.3, 5), (15.9, 6), (40.0, 0)):
            yield (
                f"lens {radius} {blades} {edges}",
                2e-3,
                lambda s=source, r=radius, b=blades, w=keywords: kernels.lens_blur(  # type: ignore[misc]
                    s, r, blades=b, rotation=20, highlight=2, **w
                ),
            )
        del keywords["edges"]
        for tile in (1, (3, 5), 100):
            yield f"mosaic {tile}", 1e-5, lambda s=source, t=tile, w=keywords: kernels.mosaic(s, t, **w)  # type: ignore[misc]


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("dtype", DTYPES)
def test_agrees_with_the_specification(implementation: str, use: Use, dtype: str, shape: tuple[int, int]) -> None:
    for name, allowed, call in calls(dtype, shape):
        use(implementation)
        result = call()
        use("reference")
        wanted = call()
        assert (result.shape, result.dtype) == (wanted.shape, wanted.dtype) and result.flags.c_contiguous
        step = 1 if dtype != "float32" else 0
        error = np.abs(result.astype(np.float64) - wanted.astype(np.float64)).max()
        assert error <= step + allowed * largest(dtype), f"{name}: {error}"


def many() -> list[bytes]:
    results = [call().tobytes() for _, _, call in calls("uint8", (90, 300))]
    return results + [call().tobytes() for _, _, call in calls("float32", (90, 300))]


def test_threads_change_nothing(implementation: str, use: Use) -> None:
    results = []
    for threads in (1, 2, 7):
        use(implementation, threads)
        results.append(many())
    assert results[0] == results[1] == results[2]


def test_targets_and_memory_change_nothing(use: Use) -> None:
    native = pytest.importorskip("safelight._native", exc_type=ImportError)
    results = []
    for target in native.targets():
        use(f"native-{target}")
        native.set_poison(target == "baseline")
        results.append(many())
        native.set_poison(False)
    assert all(result == results[0] for result in results)


# --- boxes ---


def test_the_specification_of_boxes_is_the_mean(use: Use) -> None:
    use("reference")
    source = picture((9, 11), "float32")
    for edges, mode in (("replicate", "edge"), ("reflect", "symmetric"), ("wrap", "wrap"), ("zero", "constant")):
        beyond = np.pad(source.astype(np.float64), 3, mode=mode)  # type: ignore[call-overload]
        wanted = [[beyond[y : y + 7, x : x + 7].mean() for x in range(11)] for y in range(9)]
        assert np.allclose(kernels.box_filter(source, 3, edges=edges), wanted, rtol=0, atol=1e-6)


def test_shrinking_windows_may_be_rounded(implementation: str) -> None:
    source = picture((30, 40, 3), "uint8")
    result = kernels.box_filter(source, 4, dtype=np.uint8)
    assert result.dtype == np.uint8
    assert np.abs(result - kernels.box_filter(source, 4)).max() <= 0.5 + 1e-3


# --- lenses ---


def test_a_point_becomes_the_aperture(implementation: str) -> None:
    source = np.zeros((81, 81), np.float32)
    source[40, 40] = 1
    y, x = np.mgrid[:81, :81] - 40.0
    for radius in (6.0, 12.0):
        disc = kernels.lens_blur(source, radius, highlight=8)
        light = np.where(disc <= 0.04045, disc / 12.92, ((disc + 0.055) / 1.055) ** 2.4)
        assert (light[np.hypot(y, x) > radius + 1] == 0).all()
        inside = light[np.hypot(y, x) < radius - 1]
        assert inside.min() > 0.5 * inside.max() > 0
    hexagon = kernels.lens_blur(source, 14.0, blades=6, highlight=8) > 0
    turned = kernels.lens_blur(source, 14.0, blades=6, rotation=90, highlight=8) > 0
    sides = np.ptp(np.nonzero(hexagon)[1]), np.ptp(np.nonzero(hexagon)[0])
    assert sides[0] < sides[1], "its corners are above and below"
    assert (hexagon != turned.T).sum() < 40, "a few pixels of its rim, which rows and columns cut differently"


def test_light_is_averaged_and_highlights_shine(implementation: str) -> None:
    source = np.zeros((60, 60, 3), np.uint8)
    source[::2] = 255
    plain = kernels.lens_blur(source, 10.0)
    assert abs(int(plain[30, 30, 0]) - 188) <= 2, "half the light of white, which is 188 and not 128"
    assert kernels.lens_blur(source, 10.0, highlight=3)[30, 30, 0] > 230
    even = np.full((40, 40, 3), 235, np.uint8)
    assert np.abs(kernels.lens_blur(even, 10.0, highlight=3).astype(int) - 235).max() <= 1


def test_the_subject_does_not_bleed(implementation: str) -> None:
    source = np.full((120, 120, 3), (20, 60, 200), np.uint8)
    subject = np.zeros((120, 120), np.float32)
    source[40:80, 40:80], subject[40:80, 40:80] = (250, 10, 10), 1
    for radius in (8.0, 30.0):
        result = kernels.lens_blur(source, radius, subject=subject, highlight=2)
        outside = result[subject == 0]
        assert np.abs(outside.astype(int) - (20, 60, 200)).max() <= 1
        assert kernels.lens_blur(source, radius)[subject == 0][:, 0].max() > 100
    everything = kernels.lens_blur(source, 8.0, subject=np.ones((120, 120), np.float32))
    assert np.array_equal(everything, source), "where nothing else is in reach the source stays"


# --- tiles ---


def test_regions_have_their_own_tiles(implementation: str) -> None:
    source = picture((50, 60, 3), "uint8")
    result = kernels.mosaic(source, [7, (4, 30)], regions=[(5, 6, 14, 14), (-3, 40, 11, 500)])
    assert np.array_equal(result[30:], source[30:]) and np.array_equal(result[:, :6], source[:, :6])
    assert (result[5:12, 6:13] == result[5, 6]).all() and not (result[5:12, 6:14] == result[5, 6]).all()
    assert np.abs(source[5:12, 6:13].mean((0, 1)) - result[5, 6]).max() <= 0.5
    assert (result[:4, 40:] == result[0, 40]).all()
    outside = kernels.mosaic(source, 5, regions=[(100, 100, 5, 5)])
    assert np.array_equal(outside, source)


def test_the_fast_guided_filter_is_near_the_full_one(implementation: str) -> None:
    y, x = np.mgrid[:180, :200] / 40.0
    guide = (0.5 + 0.4 * np.sin(3 * x) * np.cos(2 * y)).astype(np.float32)
    source = np.clip((guide - 0.3) * 2, 0, 1)
    full = kernels.guided_filter(guide, source, 16, 1e-3)
    fast = kernels.guided_filter(guide, source, 16, 1e-3, subsample=4)
    assert np.abs(np.clip(full, 0, 1) - fast).max() < 0.05
    assert np.array_equal(full, kernels.guided_filter(guide, source, 16, 1e-3, subsample=1))


# --- what is refused ---

IMAGE, PLANE = np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 0.5, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kernels.box_filter(IMAGE, 6000, edges="wrap"),
            "radius must be a whole number from 0 to 5000, but is 6000",
        ),
        (lambda: kernels.box_filter(IMAGE, 2, mask=PLANE), "edges must not be 'shrink' with alpha or a mask, but are"),
        (
            lambda: kernels.box_filter(IMAGE, 2, dtype=np.uint16),
            "dtype must be float32 or the source's uint8, but is uint16",
        ),
        (lambda: kernels.lens_blur(IMAGE, 0.2), "radius must be a number of 0.5 or more, but is 0.2"),
        (lambda: kernels.lens_blur(IMAGE, 2, blades=2), "blades must be 0 or from 3 to 32, but are 2"),
        (lambda: kernels.lens_blur(IMAGE, 2, highlight=9), "highlight must be a number of at most 8, but is 9"),
        (
            lambda: kernels.lens_blur(IMAGE, 2, subject=PLANE[:2]),
            "subject must have the source's shape (4, 5), but has (2, 5)",
        ),
        (lambda: kernels.lens_blur(IMAGE, 2, subject=PLANE * np.nan), "subject must be finite, but holds nan"),
        (lambda: kernels.lens_blur(IMAGE.astype(np.int8), 2), "source must be uint8, uint16 or float32, but is int8"),
        (lambda: kernels.mosaic(IMAGE, 0), "a tile's side must be a whole number from 1 to 16777216, but is 0"),
        (lambda: kernels.mosaic(IMAGE, [2, 3]), "tile must have one entry for each of 1 regions, but has 2"),
        (
            lambda: kernels.mosaic(IMAGE, 2, regions=[(1, 2, 3)]),  # type: ignore[list-item]
            "a region must be (top, left, height, width), but is (1, 2, 3)",
        ),
        (
            lambda: kernels.guided_filter(PLANE, PLANE, 2, 1e-3, subsample=0),
            "subsample must be a whole number of 1 or more, but is 0",
        ),
    ],
)
def test_what_is_refused(call: Call, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        call()
