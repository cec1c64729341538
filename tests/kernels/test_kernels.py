"""Every implementation against the specification, on every CPU target, and whatever the number of threads."""

from __future__ import annotations

import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import kernels
from safelight.kernels import _reference as reference

Array = NDArray[Any]
Use = Callable[..., None]
Call = Callable[[], Any]

DTYPES = ("uint8", "uint16", "float32")
SHAPES = ((1, 1), (1, 7), (5, 1), (3, 4), (17, 23), (64, 65), (130, 97))
RADII = (0, 1, 3, 200)
KERNELS = ("area_average", "box_filter", "foreground_multilevel", "guided_filter", "guided_upsample")
TOLERANCES = {
    "area_average": 1e-6,
    "box_filter": 1e-6,
    "foreground_multilevel": 1e-4,
    "guided_filter": 1e-5,
    "guided_upsample": 1e-4,
}


def largest(dtype: str) -> float:
    return 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)


def picture(shape: tuple[int, ...], dtype: str) -> Array:
    """Soft shapes with noise, flat in one corner, with a black and a white pixel at the least."""
    random = np.random.default_rng(zlib.crc32(f"{shape} {dtype}".encode()))
    y, x = np.mgrid[: shape[0], : shape[1]] / 16
    colours = [0.5 + 0.3 * np.sin(x * (c + 1)) * np.cos(y * (c + 2)) for c in range(shape[2] if len(shape) > 2 else 1)]
    values = np.stack(colours, -1).reshape(shape) + random.normal(0, 0.05, shape)
    values[: shape[0] // 3, : shape[1] // 3] = 0.25
    values[0, 0], values[-1, -1] = 0, 1
    values = np.clip(values, 0, 1) * largest(dtype)
    return (values if dtype == "float32" else np.rint(values)).astype(dtype)


def matte(shape: tuple[int, int]) -> NDArray[np.float32]:
    """A disc with a soft edge: about a third of the pixels are 0, a third 1."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    far = np.hypot(y - shape[0] / 2 + 0.3, x - shape[1] / 2) / max(shape)
    return np.clip((0.42 - far) * 6, 0, 1).astype(np.float32)


def weight_of(kind: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    if kind == "none":
        return None
    values = np.random.default_rng(5).random(shape, dtype=np.float32)
    if kind == "zero regions":
        values[: (shape[0] + 1) // 2] = 0
        values[:, : shape[1] // 3] = 0
    return values


def calls(kernel: str, shape: tuple[int, int], dtype: str) -> Iterator[tuple[str, Call]]:
    """The calls of a kernel on a shape: what is special about each, and the call."""
    for channels in ((3,) if kernel == "foreground_multilevel" else (0, 3)):
        pixels = picture((*shape, channels) if channels else shape, dtype)
        for name, call in calls_on(kernel, pixels):
            yield f"{channels} channels, {name}", call


def calls_on(kernel: str, pixels: Array) -> Iterator[tuple[str, Call]]:
    height, width = shape = pixels.shape[:2]
    if kernel == "box_filter":
        for radius in RADII:
            yield f"radius {radius}", functools.partial(kernels.box_filter, pixels, radius)
    elif kernel == "area_average":
        heights, widths = {1, (height + 1) // 2, max(1, height - 1), height}, {1, max(1, width * 2 // 5), width}
        for small in itertools.product(sorted(heights), sorted(widths)):
            yield f"to {small}", functools.partial(kernels.area_average, pixels, small)
    elif kernel == "guided_filter":
        for radius, kind in itertools.product(RADII, ("none", "random", "zero regions")):
            eps = 1e-2 if kind == "random" else 1e-6
            keywords = {"weight": weight_of(kind, shape)}
            call = functools.partial(kernels.guided_filter, pixels, matte(shape), radius, eps, **keywords)
            yield f"radius {radius}, weights {kind}, eps {eps}", call
    elif kernel == "guided_upsample":
        sizes = sorted({shape, ((height + 2) // 3, (width + 1) // 2), (1, 1)})
        for small, kind in itertools.product(sizes, ("none", "random")):
            for clip in (0.0, 0.05):
                keywords = {"weight": weight_of(kind, small), "clip": clip}
                call = functools.partial(kernels.guided_upsample, pixels, matte(small), 2, 1e-5, **keywords)
                yield f"from {small}, weights {kind}, clip {clip}", call
    else:
        for small, big, gradient in ((10, 2, 1.0), (1, 1, 0.0), (3, 5, 0.1)):
            keywords = {"small_iterations": small, "big_iterations": big, "gradient_weight": gradient}
            keywords["clear"] = small == 3
            call = functools.partial(kernels.foreground_multilevel, pixels, matte(shape), **keywords)
            yield f"{small} and {big} sweeps, gradients {gradient}", functools.partial(call, return_background=True)


def as_tuple(result: Any) -> tuple[Array, ...]:
    return result if isinstance(result, tuple) else (result,)


@functools.cache
def specified(kernel: str, shape: tuple[int, int], dtype: str) -> list[tuple[Array, ...]]:
    """The specification's results, in the order of `calls`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFELIGHT_KERNELS", "reference")
        kernels.backend.cache_clear()
        assert kernels.backend().kernels is reference
        results = [as_tuple(call()) for _, call in calls(kernel, shape, dtype)]
    kernels.backend.cache_clear()
    return results


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_agrees_with_the_specification(
    implementation: str, use: Use, kernel: str, dtype: str, shape: tuple[int, int]
) -> None:
    wanted = specified(kernel, shape, dtype)
    use(implementation)
    tolerance = TOLERANCES[kernel]
    if kernel == "box_filter":
        tolerance *= largest(dtype)
    if kernel == "foreground_multilevel" and dtype != "float32":
        tolerance = max(1.0, 1e-4 * largest(dtype))
    for (name, call), expected in zip(calls(kernel, shape, dtype), wanted, strict=True):
        for result, right in zip(as_tuple(call()), expected, strict=True):
            assert (result.shape, result.dtype) == (right.shape, right.dtype), name
            assert result.flags.c_contiguous
            difference = np.abs(result.astype(np.float64) - right.astype(np.float64))
            assert difference.max() <= tolerance, f"{name}: {difference.max():.3g}"  # False for NaN, too


# --- the same bits ---


def many(shape: tuple[int, int] = (530, 611)) -> list[bytes]:
    """Results on a picture of several tiles, strips and odd ends."""
    pixels, alpha = picture((*shape, 3), "uint8"), matte(shape)
    results: list[Any] = [
        kernels.box_filter(pixels, 4),
        kernels.area_average(pixels, (shape[0] * 3 // 13, shape[1] * 5 // 9)),
        kernels.guided_filter(pixels, alpha, 5, 1e-4, weight=weight_of("zero regions", shape)),
        kernels.guided_upsample(pixels, np.ascontiguousarray(alpha[::3, ::2]), 3, 1e-4),
        *kernels.foreground_multilevel(pixels, alpha, return_background=True),
        kernels.foreground_multilevel(pixels, alpha, clear=True),
    ]
    return [result.tobytes() for result in results]


def test_threads_change_nothing(implementation: str, use: Use) -> None:
    results = []
    for threads in (1, 2, 7):
        use(implementation, threads)
        results.append(many())
    assert results[0] == results[1] == results[2]


def test_targets_change_nothing(use: Use) -> None:
    native = pytest.importorskip("safelight._native", exc_type=ImportError)
    results = []
    for target in native.targets():
        use(f"native-{target}")
        results.append(many())
    assert all(result == results[0] for result in results)


def test_callers_do_not_disturb_each_other(implementation: str) -> None:
    alone = many((150, 141))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: many((150, 141)), range(8))) == [alone] * 8


def test_no_result_hangs_on_what_was_in_memory(use: Use) -> None:
    native = pytest.importorskip("safelight._native", exc_type=ImportError)
    for target in native.targets():
        use(f"native-{target}")
        clean = many((150, 141))
        native.set_poison(True)
        try:
            assert many((150, 141)) == clean
        finally:
            native.set_poison(False)


# --- layouts, sizes ---


@pytest.mark.parametrize("name", ["native", "numba", "reference"])
def test_any_layout_will_do(use: Use, name: str) -> None:
    use(name)
    pixels, alpha = picture((40, 60, 3), "uint8"), matte((40, 60))
    views = (pixels[::-1, ::2], np.asfortranarray(pixels[:, :30]), pixels[:, :30, ::-1])
    for view in views:
        there = view.copy()
        assert np.array_equal(kernels.box_filter(view, 2), kernels.box_filter(there, 2))
        plane = alpha[:, ::2]
        assert np.array_equal(
            kernels.guided_filter(view, plane, 2, 1e-3), kernels.guided_filter(there, plane.copy(), 2, 1e-3)
        )


def test_arguments_may_be_read_only_and_stay_as_they_are(use: Use) -> None:
    use("native")
    pixels, alpha = picture((40, 60, 3), "uint8"), matte((40, 60))
    kept = pixels.copy(), alpha.copy()
    pixels.flags.writeable = alpha.flags.writeable = False
    kernels.foreground_multilevel(pixels, alpha, return_background=True)
    kernels.guided_filter(pixels, alpha, 2, 1e-3, weight=alpha)
    kernels.guided_upsample(pixels, alpha, 2, 1e-3)
    assert np.array_equal(pixels, kept[0])
    assert np.array_equal(alpha, kept[1])


def test_any_number_of_channels_is_averaged(implementation: str, use: Use) -> None:
    pixels = picture((19, 31, 5), "uint8")
    result = kernels.box_filter(pixels, 3)
    use("reference")
    assert np.allclose(result, kernels.box_filter(pixels, 3), rtol=0, atol=255e-6)


def test_a_big_picture(use: Use) -> None:
    """More than two megapixels, of every kind of tile; the specification would take too long."""
    shape = (1357, 1601)
    pixels, alpha = picture((*shape, 3), "uint8"), matte(shape)
    use("numba")
    wanted = as_tuple(kernels.foreground_multilevel(pixels, alpha, return_background=True))
    filtered = kernels.guided_filter(pixels, alpha, 20, 1e-4)
    use("native")
    for result, right in zip(
        as_tuple(kernels.foreground_multilevel(pixels, alpha, return_background=True)), wanted, strict=True
    ):
        assert np.abs(result.astype(int) - right).max() <= 1
    assert np.abs(kernels.guided_filter(pixels, alpha, 20, 1e-4) - filtered).max() <= 1e-5


# --- the foreground ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_left_where_alpha_rounds_to_zero(implementation: str, use: Use, dtype: str) -> None:
    use(implementation)
    pixels, alpha = np.maximum(picture((140, 151, 3), dtype), 1), matte((140, 151))
    alpha[40:50, 20:60] = 0.4 / largest(dtype)
    alpha[60:70, 20:60] = 0.6 / largest(dtype)
    hidden = alpha <= 0 if dtype == "float32" else np.floor(alpha * largest(dtype) + 0.5) == 0
    foreground = kernels.foreground_multilevel(pixels, alpha, clear=True)
    assert hidden[45, 30] == (dtype != "float32") and not hidden[65, 30]
    assert not foreground[hidden].any()
    kept = kernels.foreground_multilevel(pixels, alpha)
    assert np.array_equal(foreground[~hidden], kept[~hidden])


@pytest.mark.parametrize("dtype", DTYPES)
def test_known_pixels_keep_their_colours(implementation: str, dtype: str) -> None:
    pixels, alpha = picture((140, 150, 3), dtype), matte((140, 150))
    foreground, background = kernels.foreground_multilevel(pixels, alpha, return_background=True)
    assert np.array_equal(foreground[alpha == 1], pixels[alpha == 1])
    assert np.array_equal(background[alpha == 0], pixels[alpha == 0])
    assert np.array_equal(foreground, kernels.foreground_multilevel(pixels, alpha))
    for colours in (foreground, background):
        assert 0 <= colours.min() <= colours.max() <= largest(dtype)


@pytest.mark.parametrize("shape", [(1, 1), (20, 31), (140, 150)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_side_only(implementation: str, dtype: str, shape: tuple[int, int]) -> None:
    pixels = picture((*shape, 3), dtype)
    nothing, everything = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    foreground, background = kernels.foreground_multilevel(pixels, everything, return_background=True)
    assert np.array_equal(foreground, pixels)
    assert np.isfinite(background).all()
    foreground, background = kernels.foreground_multilevel(pixels, nothing, return_background=True)
    assert np.array_equal(background, pixels)
    assert np.isfinite(foreground).all()
    assert (foreground == foreground[0, 0]).all(), "with no foreground anywhere it is the mean of all"


def test_two_colours_are_told_apart(implementation: str) -> None:
    alpha = matte((140, 150))
    front, back = np.array([0.9, 0.25, 0.1]), np.array([0.1, 0.3, 0.8])
    pixels = (alpha[..., None] * front + (1 - alpha[..., None]) * back).astype(np.float32)
    foreground, background = kernels.foreground_multilevel(pixels, alpha, return_background=True)
    assert np.abs(foreground - front)[alpha > 0.05].max() < 0.02
    assert np.abs(background - back)[alpha < 0.95].max() < 0.02
    again = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    assert np.abs(again - pixels).max() < 0.002
    assert np.abs(pixels - front)[(alpha > 0.05) & (alpha < 0.95)].max() > 0.4, "which the picture itself is far from"


# --- hard numbers ---


@pytest.mark.parametrize(
    ("regularization", "gradient_weight"), [(1e-5, 1.0), (1e-30, 0.0), (1e-50, 1.0), (1e30, 0.0), (1e-5, 1e30)]
)
def test_any_smoothness_gives_colours(implementation: str, regularization: float, gradient_weight: float) -> None:
    result = kernels.foreground_multilevel(
        picture((33, 47, 3), "float32"),
        matte((33, 47)),
        regularization=regularization,
        gradient_weight=gradient_weight,
    )
    assert np.isfinite(result).all()
    assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("eps", [1e-30, 1e-9, 1e30])
def test_any_eps_gives_numbers(implementation: str, eps: float) -> None:
    for channels in ((), (3,)):
        flat = np.full((40, 50, *channels), 0.5, np.float32)
        assert np.allclose(kernels.guided_filter(flat, np.full((40, 50), 0.7, np.float32), 3, eps), 0.7, atol=1e-5)
        noisy = picture((40, 50, *channels), "uint8")
        assert np.isfinite(kernels.guided_filter(noisy, matte((40, 50)), 3, eps)).all()


@pytest.mark.parametrize("most", [1e-42, 1e-30, 1e30])
def test_only_the_proportions_of_weights_matter(implementation: str, most: float) -> None:
    weight = weight_of("zero regions", (40, 50))
    assert weight is not None
    pixels, source = picture((40, 50, 3), "uint8"), matte((40, 50))
    plain = kernels.guided_filter(pixels, source, 3, 1e-3, weight=np.sign(weight))
    scaled = kernels.guided_filter(pixels, source, 3, 1e-3, weight=np.sign(weight) * np.float32(most))
    assert np.abs(scaled - plain).max() <= 1e-4


def test_no_weight_anywhere_is_no_weight_at_all(implementation: str) -> None:
    pixels, source = picture((40, 50, 3), "uint8"), matte((40, 50))
    plain = kernels.guided_filter(pixels, source, 3, 1e-3)
    assert np.abs(kernels.guided_filter(pixels, source, 3, 1e-3, weight=np.zeros_like(source)) - plain).max() <= 1e-5
