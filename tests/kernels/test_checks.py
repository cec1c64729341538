"""What kernels refuse, and how they say it: what must hold, then what is."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from safelight import kernels
from safelight.errors import InputError

IMAGE = np.zeros((4, 5, 3), np.uint8)
GRAY = np.zeros((4, 5), np.uint8)
PLANE = np.full((4, 5), 0.5, np.float32)
HOLED = np.where(np.eye(4, 5) > 0, np.nan, PLANE).astype(np.float32)
ENDLESS = np.where(np.eye(4, 5) > 0, np.inf, PLANE).astype(np.float32)

PIXELS = [
    ([[1, 2]], "must be a NumPy array, but is a list"),
    (None, "must be a NumPy array, but is a NoneType"),
    (np.zeros((4, 5)), "must be uint8, uint16 or float32, but is float64"),
    (np.zeros((4, 5), bool), "must be uint8, uint16 or float32, but is bool"),
    (np.zeros((4, 5), np.int8), "must be uint8, uint16 or float32, but is int8"),
    (np.zeros((0, 5), np.uint8), "must hold at least one pixel, but has the shape (0, 5)"),
    (np.zeros(5, np.uint8), ", but has (5,)"),
    (np.zeros((1, 4, 5, 3), np.uint8), ", but has (1, 4, 5, 3)"),
    (HOLED, "must be finite, but holds nan"),
    (ENDLESS, "must be finite, but holds inf"),
    (-ENDLESS, "must be finite, but holds -inf"),
]
COLOURS = [
    (np.zeros((4, 5, 1), np.uint8), "must have the shape (height, width) or (height, width, 3), but has (4, 5, 1)"),
    (np.zeros((4, 5, 4), np.uint8), "must have the shape (height, width) or (height, width, 3), but has (4, 5, 4)"),
]
PLANES = [
    ([0.5], "must be a NumPy array, but is a list"),
    (PLANE.astype(np.float64), "must be float32, but is float64"),
    (GRAY, "must be float32, but is uint8"),
    (PLANE[..., None], "must have the shape (height, width), but has (4, 5, 1)"),
    (HOLED, "must be finite, but holds nan"),
    (ENDLESS, "must be finite, but holds inf"),
]
WHOLE = [-1, 1.0, "3", None, True, np.float32(2)]
NUMBERS = [float("nan"), float("inf"), "much", None]


def refused(message: str, function: Any, *arguments: Any, **keywords: Any) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        function(*arguments, **keywords)


@pytest.mark.parametrize(("value", "problem"), PIXELS)
def test_pixels(value: Any, problem: str) -> None:
    for function, name, rest in (
        (kernels.box_filter, "source", (1,)),
        (kernels.area_average, "source", ((1, 1),)),
        (kernels.guided_filter, "guide", (PLANE, 1, 1e-3)),
        (kernels.guided_upsample, "guide", (PLANE, 1, 1e-3)),
    ):
        with pytest.raises(InputError, match=re.escape(problem) + "$") as caught:
            function(value, *rest)
        assert str(caught.value).startswith(f"{name} must ")
        assert caught.value.code == "bad-input"


@pytest.mark.parametrize(("value", "problem"), COLOURS)
def test_channels(value: Any, problem: str) -> None:
    refused(f"source {problem}", kernels.area_average, value, (1, 1))
    refused(f"guide {problem}", kernels.guided_filter, value, PLANE, 1, 1e-3)
    refused(f"guide {problem}", kernels.guided_upsample, value, PLANE, 1, 1e-3)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "must be a NumPy array, but is a NoneType"),
        (IMAGE.astype(np.float64), "must be uint8, uint16 or float32, but is float64"),
        (np.dstack([HOLED] * 3), "must be finite, but holds nan"),
        (np.zeros((4, 5, 4), np.uint8), "must have the shape (height, width, 3), but has (4, 5, 4)"),
    ],
)
def test_images(value: Any, problem: str) -> None:
    refused(f"image {problem}", kernels.foreground_multilevel, value, PLANE)


def test_a_foreground_has_three_channels() -> None:
    refused("image must have the shape (height, width, 3), but has (4, 5)", kernels.foreground_multilevel, GRAY, PLANE)


@pytest.mark.parametrize(("value", "problem"), PLANES)
def test_planes(value: Any, problem: str) -> None:
    refused(f"source {problem}", kernels.guided_filter, IMAGE, value, 1, 1e-3)
    refused(f"source {problem}", kernels.guided_upsample, IMAGE, value, 1, 1e-3)
    refused(f"weight {problem}", kernels.guided_filter, IMAGE, PLANE, 1, 1e-3, weight=value)
    refused(f"alpha {problem}", kernels.foreground_multilevel, IMAGE, value)


def test_shapes_that_must_agree() -> None:
    other = PLANE[:3].copy()
    refused("source must have the guide's shape (4, 5), but has (3, 5)", kernels.guided_filter, IMAGE, other, 1, 1e-3)
    problem = "must have the source's shape (4, 5), but has (3, 5)"
    refused(f"weight {problem}", kernels.guided_filter, IMAGE, PLANE, 1, 1e-3, weight=other)
    refused(f"weight {problem}", kernels.guided_upsample, IMAGE, PLANE, 1, 1e-3, weight=other)
    refused("alpha must have the image's shape (4, 5), but has (3, 5)", kernels.foreground_multilevel, IMAGE, other)


@pytest.mark.parametrize(("value", "shown"), [(-0.5, "-0.5"), (1.5, "1.5")])
def test_ranges(value: float, shown: str) -> None:
    wrong = PLANE.copy()
    wrong[1, 2] = value
    refused(f"alpha must lie in [0, 1], but holds {shown}", kernels.foreground_multilevel, IMAGE, wrong)
    if value < 0:
        refused("weight must be 0 or more, but holds -0.5", kernels.guided_filter, IMAGE, PLANE, 1, 1e-3, weight=wrong)


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers(value: Any) -> None:
    problem = f"radius must be a whole number of 0 or more, but is {value!r}"
    refused(problem, kernels.box_filter, IMAGE, value)
    refused(problem, kernels.guided_filter, IMAGE, PLANE, value, 1e-3)
    refused(problem, kernels.guided_upsample, IMAGE, PLANE, value, 1e-3)
    for name in ("small_iterations", "big_iterations"):
        problem = f"{name} must be a whole number from 1 to 100, but is {value!r}"
        refused(problem, kernels.foreground_multilevel, IMAGE, PLANE, **{name: value})


@pytest.mark.parametrize("value", [0, 101])
def test_iterations(value: int) -> None:
    problem = f"big_iterations must be a whole number from 1 to 100, but is {value}"
    refused(problem, kernels.foreground_multilevel, IMAGE, PLANE, big_iterations=value)


@pytest.mark.parametrize("value", [*NUMBERS, 0, -1e-3], ids=repr)
def test_numbers_above_zero(value: Any) -> None:
    refused(f"eps must be a number above 0, but is {value!r}", kernels.guided_filter, IMAGE, PLANE, 1, value)
    refused(f"eps must be a number above 0, but is {value!r}", kernels.guided_upsample, IMAGE, PLANE, 1, value)
    problem = f"regularization must be a number above 0, but is {value!r}"
    refused(problem, kernels.foreground_multilevel, IMAGE, PLANE, regularization=value)


@pytest.mark.parametrize("value", [*NUMBERS, -1e-3], ids=repr)
def test_numbers_from_zero(value: Any) -> None:
    problem = f"gradient_weight must be a number of 0 or more, but is {value!r}"
    refused(problem, kernels.foreground_multilevel, IMAGE, PLANE, gradient_weight=value)


def test_area_averages_only_shrink() -> None:
    function = kernels.area_average
    refused("the result's height must be a whole number from 1 to 4, but is 5", function, IMAGE, (5, 5))
    refused("the result's width must be a whole number from 1 to 5, but is 0", function, IMAGE, (4, 0))


def test_upsampling_only_enlarges() -> None:
    problem = "the source's width must be a whole number from 1 to 4, but is 5"
    refused(problem, kernels.guided_upsample, np.zeros((4, 4), np.uint8), PLANE, 1, 1e-3)


def test_what_may_be_given() -> None:
    """The limits themselves, and NumPy's numbers."""
    assert kernels.box_filter(IMAGE, np.int16(0)).shape == IMAGE.shape
    assert kernels.area_average(IMAGE, (4, 5)).shape == IMAGE.shape
    assert kernels.guided_filter(GRAY, PLANE, 0, np.float32(1e-6), weight=PLANE).shape == GRAY.shape
    extremes = (PLANE > 1).astype(np.float32)
    assert kernels.foreground_multilevel(IMAGE, extremes, gradient_weight=0, small_iterations=100).shape == IMAGE.shape


@pytest.mark.parametrize("value", [-0.1, 0.41, np.nan, "much"])
def test_clip(value: object) -> None:
    with pytest.raises(InputError, match="clip must be "):
        kernels.guided_upsample(IMAGE, PLANE, 1, 1e-3, clip=value)


def test_the_other_byte_order() -> None:
    for dtype in ("uint16", "float32"):
        swapped = IMAGE.astype(dtype).astype(np.dtype(dtype).newbyteorder())
        assert not swapped.dtype.isnative
        assert np.array_equal(kernels.box_filter(swapped, 1), kernels.box_filter(IMAGE.astype(dtype), 1))
    plane = PLANE.astype(np.dtype("float32").newbyteorder())
    assert np.array_equal(kernels.guided_filter(IMAGE, plane, 1, 1e-3), kernels.guided_filter(IMAGE, PLANE, 1, 1e-3))


def test_radii_beyond_all_bounds() -> None:
    assert np.array_equal(kernels.box_filter(IMAGE, 2**70), kernels.box_filter(IMAGE, 1000))
    assert kernels.guided_upsample(IMAGE, PLANE, 2**70, 1e-3).shape == PLANE.shape


@pytest.mark.parametrize("shape", [3, (3,), (3, 3, 3), None, "23"])
def test_shapes_are_pairs(shape: object) -> None:
    refused(f"shape must be a tuple (height, width), but is {shape!r}", kernels.area_average, IMAGE, shape)


@pytest.mark.parametrize("name", ["regularization", "gradient_weight"])
def test_smoothness_has_a_bound(name: str) -> None:
    with pytest.raises(InputError, match="at most 1e"):
        kernels.foreground_multilevel(IMAGE, PLANE, **{name: 1e300})
    assert np.isfinite(kernels.foreground_multilevel(IMAGE.astype(np.float32) / 255, PLANE * 0.9, **{name: 1e30})).all()
