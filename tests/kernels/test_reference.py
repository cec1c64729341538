"""The specification itself, against what its words mean, written down in another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import kernels
from safelight.errors import InputError

Array = NDArray[Any]


@pytest.fixture(autouse=True)
def specification(use: Callable[..., None]) -> None:
    use("reference")


def noise(*shape: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def window(values: Array, y: int, x: int, radius: int) -> Array:
    return values[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1]


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
def test_box_filter_is_the_mean_of_the_window(radius: int) -> None:
    source = noise(6, 8, 3)
    wanted = [[window(source, y, x, radius).mean((0, 1), dtype=np.float64) for x in range(8)] for y in range(6)]
    assert np.allclose(kernels.box_filter(source, radius), wanted, rtol=0, atol=1e-6)


def test_box_filter_keeps_the_units() -> None:
    assert (kernels.box_filter(np.full((4, 5), 200, np.uint8), 2) == 200).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (5, 7), (6, 11)])
def test_area_average_is_the_mean_of_the_area(shape: tuple[int, int]) -> None:
    """Cut into parts that fall whole into one pixel of both pictures."""
    source = noise(6, 11, 3)
    parts = source.repeat(shape[0], 0).repeat(shape[1], 1)
    wanted = parts.reshape(shape[0], 6, shape[1], 11, 3).mean((1, 3), dtype=np.float64)
    assert np.allclose(kernels.area_average(source, shape), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_area_average_scales_to_one(dtype: Any, most: int) -> None:
    assert (kernels.area_average(np.full((4, 6), most, dtype), (2, 5)) == 1).all()


def fit(colours: Array, target: Array, weight: Array, eps: float) -> Array:
    """Return the a and b with the least weighted mean of (a . colour + b - target)^2, plus eps |a|^2."""
    root = np.sqrt(weight / weight.sum())[:, None]
    count = colours.shape[1]
    rows = np.vstack([np.hstack([colours, np.ones((len(colours), 1))]) * root, np.eye(count, count + 1) * np.sqrt(eps)])
    values: Array = np.linalg.lstsq(rows, np.append(target * root[:, 0], np.zeros(count)), rcond=None)[0]
    return values


def guided(guide: Array, source: Array, radius: int, eps: float, weight: Array) -> Array:
    height, width = source.shape
    weight = weight + 1e-6 * weight.max()
    colours = guide.reshape(height, width, -1).astype(np.float64)
    fits = np.array(
        [
            [
                fit(
                    window(colours, y, x, radius).reshape(-1, colours.shape[2]),
                    window(source, y, x, radius).ravel().astype(np.float64),
                    window(weight, y, x, radius).ravel().astype(np.float64),
                    eps,
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
    )
    means = np.array([[window(fits, y, x, radius).mean((0, 1)) for x in range(width)] for y in range(height)])
    result: Array = (means[..., :-1] * colours).sum(-1) + means[..., -1]
    return result


@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("radius", "eps"), [(0, 1e-2), (1, 1e-4), (2, 1e-2), (9, 1e-6)])
def test_guided_filter_is_the_mean_of_the_fits(
    radius: int, eps: float, weighted: bool, channels: tuple[int, ...]
) -> None:
    guide, source = noise(7, 9, *channels), noise(7, 9, seed=4)
    weight = noise(7, 9, seed=5) if weighted else np.ones((7, 9), np.float32)
    result = kernels.guided_filter(guide, source, radius, eps, weight=weight if weighted else None)
    assert np.abs(result - guided(guide, source, radius, eps, weight)).max() < 1e-5


def test_a_line_of_the_guide_is_kept() -> None:
    guide = noise(12, 15, 3)
    source = (guide @ np.array([0.2, 0.5, 0.1]) + 0.1).astype(np.float32)
    assert np.abs(kernels.guided_filter(guide, source, 3, 1e-9) - source).max() < 1e-5


def test_pixels_without_weight_do_not_count() -> None:
    guide, source, weight = noise(20, 20), noise(20, 20, seed=4), np.ones((20, 20), np.float32)
    weight[8:12, 8:12] = 0
    other = source.copy()
    other[8:12, 8:12] = 1 - other[8:12, 8:12]
    results = [kernels.guided_filter(guide, plane, 4, 1e-2, weight=weight) for plane in (source, other)]
    assert np.abs(results[0] - results[1]).max() < 1e-4
    results = [kernels.guided_filter(guide, plane, 4, 1e-2) for plane in (source, other)]
    assert np.abs(results[0] - results[1]).max() > 1e-2


@pytest.mark.parametrize("channels", [(), (3,)])
def test_upsampling_to_the_same_size_is_filtering(channels: tuple[int, ...]) -> None:
    guide, source, weight = noise(13, 17, *channels), noise(13, 17, seed=4), noise(13, 17, seed=5)
    filtered = kernels.guided_filter(guide, source, 2, 1e-2, weight=weight)
    result = kernels.guided_upsample(guide, source, 2, 1e-2, weight=weight)
    assert np.abs(result - np.clip(filtered, 0, 1)).max() < 1e-6


def test_upsampling_without_edges_is_bilinear() -> None:
    source, flat = noise(4, 5), np.full((13, 12), 99, np.uint8)
    result = kernels.guided_upsample(flat, source, 0, 1e-2)
    rows, columns = (np.arange(13) + 0.5) * 4 / 13 - 0.5, (np.arange(12) + 0.5) * 5 / 12 - 0.5
    across = np.array([np.interp(columns, np.arange(5), row) for row in source])
    wanted = np.array([np.interp(rows, np.arange(4), column) for column in across.T]).T
    assert np.abs(result - wanted).max() < 1e-6


def test_upsampling_follows_the_guide() -> None:
    guide = np.full((60, 60, 3), 30, np.uint8)
    guide[:, 31:] = 200
    fine = (guide[..., 0] > 100).astype(np.float32)
    coarse = kernels.area_average(fine, (10, 10))
    result = kernels.guided_upsample(guide, coarse, 2, 1e-4)
    assert np.abs(result - fine).max() < 0.06
    bilinear = kernels.guided_upsample(np.full_like(guide, 30), coarse, 0, 1e-4)
    assert np.abs(bilinear - fine).max() > 0.3


def energy(image: Array, alpha: Array, foreground: Array, background: Array) -> float:
    """What the paper minimises."""
    a = alpha[..., None].astype(np.float64)
    total = float(((a * foreground + (1 - a) * background - image) ** 2).sum())
    for axis in (0, 1):
        weight = 1e-5 + np.abs(np.diff(a, axis=axis))
        for colours in (foreground, background):
            total += float((weight * np.diff(colours.astype(np.float64), axis=axis) ** 2).sum())
    return total


def test_sweeps_lower_what_is_minimised() -> None:
    image = noise(24, 24, 3)
    y, x = np.mgrid[:24, :24]
    alpha = np.clip((8 - np.hypot(y - 12, x - 12)) / 6 + 0.5, 0, 1).astype(np.float32)
    few, many = (
        kernels.foreground_multilevel(
            image, alpha, small_iterations=count, big_iterations=count, return_background=True
        )
        for count in (1, 50)
    )
    assert energy(image, alpha, *many) < energy(image, alpha, *few) < energy(image, alpha, image, image)
    again = kernels.foreground_multilevel(
        image, alpha, small_iterations=100, big_iterations=100, return_background=True
    )
    assert np.abs(again[0] - many[0]).max() < 1e-3, "the sweeps come to an end"


def test_a_guide_shrunk_before_gives_the_same() -> None:
    guide = np.random.default_rng(2).integers(0, 256, (31, 44, 3), dtype=np.uint8)
    source = np.random.default_rng(3).random((9, 13), dtype=np.float32)
    small = kernels.area_average(guide, (9, 13))
    given = kernels.guided_upsample(guide, source, 2, 1e-4, small_guide=small)
    np.testing.assert_array_equal(given, kernels.guided_upsample(guide, source, 2, 1e-4))
    for wrong in (small[:-1], small.astype(np.float64), small[..., 0]):
        with pytest.raises(InputError, match="small_guide must"):
            kernels.guided_upsample(guide, source, 2, 1e-4, small_guide=wrong)
