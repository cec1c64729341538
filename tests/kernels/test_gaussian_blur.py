"""The Gaussian blur: every implementation against the specification, and what it is for."""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import kernels
from safelight.errors import InputError
from safelight.kernels import _reference as reference

Array = NDArray[Any]
Use = Callable[..., None]

DTYPES = ("uint8", "uint16", "float32")
EDGES = ("replicate", "reflect", "wrap", "zero")
SHAPES = ((1, 1), (1, 9), (7, 1), (3, 4), (37, 61), (131, 97))
SIGMAS = (0.3, 0.8, 3.99, 4.0, 8.0, 21.0, 64.0, 500.0)


def largest(dtype: str) -> float:
    return 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)


def picture(shape: tuple[int, ...], dtype: str) -> Array:
    """Black and white noise, the hardest there is, beside a soft slope and hard edges."""
    random = np.random.default_rng(zlib.crc32(f"{shape} {dtype}".encode()))
    values = random.integers(0, 2, shape).astype(np.float64)
    height, width = shape[:2]
    values[height // 2 :, : width // 2] = np.linspace(0, 1, max(1, width // 2)).reshape(-1, *(1,) * (len(shape) - 2))
    values[: height // 3, width // 2 :] = 1
    values *= largest(dtype)
    return (values if dtype == "float32" else np.rint(values)).astype(dtype)


def plane(shape: tuple[int, int], seed: int = 1) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    values[: (shape[0] + 1) // 2] = 0
    return values


@functools.cache
def exact(shape: tuple[int, ...], dtype: str, sigma: float, edges: str) -> Array:
    """The convolution itself, not rounded."""
    values = (picture(shape, dtype) / largest(dtype)).astype(np.float64)
    rows, columns = (reference.gaussian_matrix(count, sigma, edges) for count in shape[:2])
    return np.einsum("yi,ij...,xj->yx...", rows, values, columns, optimize=True)


@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_error_is_within_what_is_promised(implementation: str, dtype: str, shape: tuple[int, int]) -> None:
    allowed = 1 / 255 if dtype == "uint8" else 2e-3
    for k, sigma in enumerate(SIGMAS):
        whole = (*shape, (k + shape[0]) % 4 + 1)
        result = kernels.gaussian_blur(picture(whole, dtype), sigma, edges=EDGES[k % 4])
        assert (result.shape, result.dtype) == (whole, dtype) and result.flags.c_contiguous
        error = np.abs(result / largest(dtype) - exact(whole, dtype, sigma, EDGES[k % 4])).max()
        assert error <= allowed, f"sigma {sigma}: {error * 255:.3f}/255"


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize("sigma", [1.5, 5.0, 30.0])
def test_all_edges(implementation: str, sigma: float, edges: str) -> None:
    result = kernels.gaussian_blur(picture((90, 75), "float32"), sigma, edges=edges)
    assert np.abs(result - exact((90, 75), "float32", sigma, edges)).max() <= 2e-3


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_alpha_and_mask(implementation: str, use: Use, dtype: str, channels: int) -> None:
    source, alpha, mask = picture((70, 83, channels), dtype), plane((70, 83)), plane((70, 83), 2)
    calls: list[dict[str, Any]] = [{"mask": mask}, {"alpha": alpha}, {"alpha": alpha, "mask": mask}]
    if channels in (2, 4):
        calls += [{"alpha": "last"}, {"alpha": "last", "mask": mask}]
    for keywords in calls:
        for sigma, edges in ((2.5, "zero"), (6.0, "replicate"), (40.0, "wrap")):
            use(implementation)
            result = kernels.gaussian_blur(source, sigma, edges=edges, **keywords).astype(np.float64)
            use("reference")
            wanted = kernels.gaussian_blur(source, sigma, edges=edges, **keywords).astype(np.float64)
            # Where little alpha is left, its errors are divided by it.
            left = np.ones((70, 83, 1))
            if "alpha" in keywords:
                shares = source[..., -1] / np.float32(largest(dtype)) if isinstance(keywords["alpha"], str) else alpha
                left = reference.gaussian_blur(shares.astype(np.float32), sigma, 1, alpha, edges, False, None, None)
                left = np.clip(left, 1e-6, 1)[..., None]
            step = 1.0 if dtype != "float32" else 0.0
            error = np.maximum(np.abs(result - wanted) - step, 0) * left / largest(dtype)
            assert error.max() <= 2e-3, f"{sorted(keywords)}, sigma {sigma}: {error.max():.2g}"


# --- the same bits ---


def many() -> list[bytes]:
    source, alpha = picture((260, 531, 4), "uint8"), plane((260, 531))
    results = [kernels.gaussian_blur(source, sigma) for sigma in (1.0, 5.0, 9.0, 100.0)]
    results += [kernels.gaussian_blur(source, sigma, alpha="last", mask=alpha) for sigma in (2.0, 7.0, 33.0)]
    results += [kernels.gaussian_blur(picture((260, 531, 3), "float32"), sigma) for sigma in (2.0, 7.0, 33.0)]
    results += [kernels.gaussian_blur(picture((260, 531), "uint16"), 6.0, alpha=alpha)]
    return [result.tobytes() for result in results]


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
        results.append(many())
        native.set_poison(True)
        try:
            results.append(many())
        finally:
            native.set_poison(False)
    assert all(result == results[0] for result in results)


def test_bands_leave_no_seams(use: Use) -> None:
    """More rows than are worked through at a time."""
    use("native")
    source = picture((2300, 40), "float32")
    result = kernels.gaussian_blur(source, 5.0)
    rows, columns = (reference.gaussian_matrix(count, 5.0, "replicate") for count in source.shape)
    assert np.abs(result - rows @ source.astype(np.float64) @ columns.T).max() <= 2e-3


# --- what it is for ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sigma", [0.7, 5.0, 17.0])
def test_one_colour_stays(implementation: str, dtype: str, sigma: float) -> None:
    for value in (largest(dtype), largest(dtype) // 3 + (dtype == "float32") * 0.3):
        source = np.full((50, 40, 3), value, dtype)
        for edges in ("replicate", "reflect", "wrap"):
            result = kernels.gaussian_blur(source, sigma, edges=edges)
            assert np.abs(result.astype(np.float64) - source).max() <= (1e-6 if dtype == "float32" else 0)


def test_no_fringe_where_alpha_ends(implementation: str) -> None:
    """A red disc on black that is transparent: no black may come in, whether alpha is a channel or a plane."""
    y, x = np.mgrid[:120, :120]
    inside = np.hypot(y - 60, x - 60) < 30
    source = np.zeros((120, 120, 4), np.uint8)
    source[inside] = (230, 20, 10, 255)
    for sigma in (2.0, 6.0, 12.0):
        result = kernels.gaussian_blur(source, sigma, alpha="last", edges="zero")
        seen = result[..., 3] >= 8
        assert np.abs(result[seen][:, :3].astype(int) - (230, 20, 10)).max() <= 1
        plain = kernels.gaussian_blur(source, sigma)
        assert plain[seen][:, 0].min() < 100, "which a blur of the colours alone lets in"
        filled = kernels.gaussian_blur(source[..., :3].copy(), sigma, alpha=inside.astype(np.float32))
        assert np.abs(filled[seen].astype(int) - (230, 20, 10)).max() <= 1


def test_the_mask_keeps_what_it_covers(implementation: str) -> None:
    source = picture((60, 70, 3), "uint8")
    mask = np.zeros((60, 70), np.float32)
    mask[:, 35:] = 1
    result = kernels.gaussian_blur(source, 5.0, mask=mask)
    assert np.array_equal(result[:, :35], source[:, :35])
    whole = kernels.gaussian_blur(source, 5.0)
    assert np.abs(result[:, 35:].astype(int) - whole[:, 35:]).max() <= 1


# --- what is refused ---

IMAGE, PLANE = np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 0.5, np.float32)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        ((IMAGE, 0.2), {}, "sigma must be a number of 0.3 or more, but is 0.2"),
        ((IMAGE, "wide"), {}, "sigma must be a number of 0.3 or more, but is 'wide'"),
        ((IMAGE, 6000), {}, "sigma must be a number of at most 5000, but is 6000"),
        ((IMAGE.astype(np.float64), 2), {}, "source must be uint8, uint16 or float32, but is float64"),
        ((PLANE * np.nan, 2), {}, "source must be finite, but holds nan"),
        ((IMAGE, 2), {"edges": "mirror"}, "edges must be one of replicate, reflect, wrap, zero, but is 'mirror'"),
        ((IMAGE, 2), {"alpha": PLANE[:3]}, "alpha must have the source's shape (4, 5), but has (3, 5)"),
        ((IMAGE, 2), {"alpha": 2 * PLANE + 1}, "alpha must lie in [0, 1], but holds 2"),
        ((IMAGE, 2), {"alpha": "first"}, "alpha must be an array or 'last', but is 'first'"),
        (
            (IMAGE, 2),
            {"alpha": "last"},
            "a source whose last channel is alpha must have 2 or 4, but has the shape (4, 5, 3)",
        ),
        ((IMAGE, 2), {"mask": PLANE * np.nan}, "mask must be finite, but holds nan"),
        ((IMAGE, 2), {"mask": IMAGE}, "mask must be float32, but is uint8"),
    ],
)
def test_what_is_refused(arguments: tuple[Any, ...], keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        kernels.gaussian_blur(*arguments, **keywords)


def test_five_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"source must have the shape .* but has \(4, 5, 5\)"):
        kernels.gaussian_blur(np.zeros((4, 5, 5), np.uint8), 2)
