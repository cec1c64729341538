"""The closed form against a sparse direct solve of the same equations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import kernels
from safelight.errors import Cancelled, InputError

sparse = pytest.importorskip("scipy.sparse")
linalg = pytest.importorskip("scipy.sparse.linalg")

Array = NDArray[Any]
Use = Callable[..., None]

TIGHT = 1e-7
SHAPES = ((3, 3), (3, 11), (9, 4), (24, 33), (61, 70))


def laplacian(image: Array, eps: float) -> Any:
    """The matting Laplacian, written as in the paper."""
    height, width = image.shape[:2]
    most = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    numbers = np.arange(height * width).reshape(height, width)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, (3, 3)).reshape(-1, 9)
    colours = (image.astype(np.float64) / most).reshape(-1, 3)[windows]
    off = colours - colours.mean(1, keepdims=True)
    covariance = np.einsum("nki,nkj->nij", off, off) / 9 + eps / 9 * np.eye(3)
    entries = np.eye(9) - (1 + off @ np.linalg.inv(covariance) @ np.swapaxes(off, 1, 2)) / 9
    rows, columns = np.repeat(windows, 9, 1), np.tile(windows, (1, 9))
    return sparse.csr_matrix((entries.ravel(), (rows.ravel(), columns.ravel())), (numbers.size, numbers.size))


def solved(image: Array, trimap: Array, weight: Array | None = None, prior: Array | None = None) -> Array:
    matrix = laplacian(image, 1e-7)
    unknown = trimap.ravel() == 128
    alpha = (trimap.ravel() == 255).astype(np.float64)
    system, right = matrix[unknown][:, unknown], -(matrix[unknown] @ alpha)
    if weight is not None and prior is not None:
        weights = weight.ravel()[unknown].astype(np.float64)
        system = system + sparse.diags(weights)
        right = right + weights * prior.ravel()[unknown]
    alpha[unknown] = linalg.spsolve(system.tocsc(), right)
    return np.asarray(np.clip(alpha, 0, 1).reshape(trimap.shape))


def scene(shape: tuple[int, int], dtype: str = "uint8") -> tuple[Array, Array]:
    """A soft disc over a background, both with a texture; a ring, and some specks, are unknown."""
    height, width = shape
    random = np.random.default_rng(height * 1000 + width)
    y, x = np.mgrid[:height, :width]
    far = np.hypot((y - 0.45 * height) / height, (x - 0.55 * width) / width)
    alpha = np.clip((0.36 - far) * 8, 0, 1)[..., None]
    front = [0.8, 0.4, 0.2] + 0.05 * np.sin(x / 3)[..., None] + 0.03 * random.random((height, width, 3))
    back = [0.2, 0.5, 0.7] + 0.1 * np.cos(y / 4)[..., None] + 0.03 * random.random((height, width, 3))
    image = alpha * front + (1 - alpha) * back
    trimap = np.where(far < 0.2, 255, np.where(far > 0.42, 0, 128)).astype(np.uint8)
    trimap[random.random(shape) < 0.02] = 128
    trimap[0, 0], trimap[height // 2, width // 2] = 0, 255
    most = 1 if dtype == "float32" else np.iinfo(dtype).max
    values = np.clip(image, 0, 1) * most
    return (values if dtype == "float32" else np.rint(values)).astype(dtype), trimap


def data_of(shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(3)
    weight = np.where(random.random(shape) < 0.3, random.random(shape) * 0.1, 0).astype(np.float32)
    return weight, random.random(shape).astype(np.float32)


@functools.cache
def specified(shape: tuple[int, int], dtype: str, data: bool) -> Array:
    image, trimap = scene(shape, dtype)
    return solved(image, trimap, *(data_of(shape) if data else (None, None)))


@pytest.fixture(params=["native-baseline", "native-avx2", "native-avx512", "numba", "reference"])
def version(request: pytest.FixtureRequest, use: Use) -> str:
    name: str = request.param
    use(name)
    return name


@pytest.mark.parametrize("data", [False, True], ids=["trimap", "data"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("shape", SHAPES, ids="{0[0]}x{0[1]}".format)
def test_agrees_with_a_direct_solve(version: str, shape: tuple[int, int], dtype: str, data: bool) -> None:
    image, trimap = scene(shape, dtype)
    weight, prior = data_of(shape) if data else (None, None)
    result = kernels.closed_form(image, trimap, weight=weight, prior=prior, tolerance=TIGHT, max_iterations=2000)
    assert result.alpha.dtype == np.float32
    assert result.converged
    assert result.residual <= TIGHT
    assert np.abs(result.alpha - specified(shape, dtype, data)).max() <= 1e-3
    assert np.abs(result.alpha - specified(shape, dtype, data)).mean() <= 2e-5


def test_a_matte_of_two_colours_is_found(version: str) -> None:
    y, x = np.mgrid[:80, :90]
    alpha = np.clip((30 - np.hypot(y - 40, x - 45)) / 20 + 0.5, 0, 1)
    image = (alpha[..., None] * [0.9, 0.2, 0.1] + (1 - alpha[..., None]) * [0.1, 0.6, 0.9]).astype(np.float32)
    trimap = np.where(alpha == 1, 255, np.where(alpha == 0, 0, 128)).astype(np.uint8)
    assert np.abs(kernels.closed_form(image, trimap).alpha - alpha).max() < 0.02


def test_without_a_trimap_the_weight_decides(version: str) -> None:
    image, trimap = scene((61, 70))
    everything = np.full_like(trimap, 128)
    prior = (trimap / np.float32(255)).astype(np.float32)
    weight = np.where(trimap == 128, 0, 1).astype(np.float32)
    result = kernels.closed_form(image, everything, prior=prior, weight=weight, tolerance=TIGHT, max_iterations=2000)
    assert np.abs(result.alpha - solved(image, everything, weight, prior)).max() <= 1e-3


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (20, 30)])
def test_nothing_unknown_is_the_trimap(version: str, shape: tuple[int, int], value: int) -> None:
    result = kernels.closed_form(np.zeros((*shape, 3), np.uint8), np.full(shape, value, np.uint8))
    assert result.converged
    assert (result.alpha == value / 255).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (7, 2), (3, 3)], ids="{0[0]}x{0[1]}".format)
def test_tiny_pictures(version: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (*shape, 3), np.uint8)
    trimap = random.choice(np.array([0, 128, 255], np.uint8), shape)
    result = kernels.closed_form(image, trimap)
    assert result.alpha.shape == shape
    assert np.isfinite(result.alpha).all()
    assert (result.alpha[trimap == 255] == 1).all()
    assert (result.alpha[trimap == 0] == 0).all()


def test_a_flat_picture_is_smooth_and_finite(version: str) -> None:
    _, trimap = scene((61, 70))
    alpha = kernels.closed_form(np.full((61, 70, 3), 99, np.uint8), trimap).alpha
    assert np.isfinite(alpha).all()
    assert 0.2 < alpha[trimap == 128].mean() < 0.8


def test_threads_and_targets_change_nothing(use: Use) -> None:
    native = pytest.importorskip("safelight._native", exc_type=ImportError)
    image, trimap = scene((233, 307))
    weight, prior = data_of(trimap.shape)
    results = set()
    for target in native.targets():
        for threads in (1, 2, 7):
            use(f"native-{target}", threads)
            results.add(kernels.closed_form(image, trimap).alpha.tobytes())
            results.add(kernels.closed_form(image, trimap, weight=weight, prior=prior).alpha.tobytes())
    assert len(results) == 2


def test_numba_threads_change_nothing(use: Use) -> None:
    image, trimap = scene((150, 141))
    results = set()
    for threads in (1, 3):
        use("numba", threads)
        results.add(kernels.closed_form(image, trimap).alpha.tobytes())
    assert len(results) == 1


def test_no_result_hangs_on_what_was_in_memory(use: Use) -> None:
    native = pytest.importorskip("safelight._native", exc_type=ImportError)
    use("native")
    image, trimap = scene((150, 141))
    clean = kernels.closed_form(image, trimap).alpha
    native.set_poison(True)
    try:
        assert np.array_equal(kernels.closed_form(image, trimap).alpha, clean)
    finally:
        native.set_poison(False)


# --- how far it is ---


def test_iterations_are_reported(version: str) -> None:
    image, trimap = scene((61, 70))
    seen: list[tuple[int, float]] = []
    result = kernels.closed_form(image, trimap, report=lambda *reached: seen.append(reached))
    assert [count for count, _ in seen if count] == list(range(1, result.iterations + 1))
    assert seen[-1] == (result.iterations, result.residual)
    assert result.residual <= 3e-5 < seen[-2][1]


def test_iterations_can_be_limited(version: str) -> None:
    image, trimap = scene((61, 70))
    result = kernels.closed_form(image, trimap, max_iterations=2)
    assert (result.iterations, result.converged) == (2, False)
    assert np.isfinite(result.alpha).all()


@pytest.mark.parametrize("when", [0, 3])
def test_it_can_be_stopped(version: str, when: int) -> None:
    image, trimap = scene((61, 70))

    def stop(iterations: int, residual: float) -> None:
        if iterations == when:
            raise Cancelled(f"stopped at {iterations}")

    with pytest.raises(Cancelled, match=f"stopped at {when}"):
        kernels.closed_form(image, trimap, report=stop)
    assert kernels.closed_form(image, trimap).converged


# --- what cannot be ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((8, 9), np.uint8)}, r"image must have the shape \(height, width, 3\), but has \(8, 9\)"),
        ({"image": np.full((8, 9, 3), np.nan, np.float32)}, "image must be finite"),
        ({"trimap": np.zeros((8, 9))}, "trimap must be a NumPy array of uint8, but is float64"),
        ({"trimap": np.zeros((8, 8), np.uint8)}, r"trimap must have the image's shape \(8, 9\), but has \(8, 8\)"),
        ({"trimap": np.full((8, 9), 127, np.uint8)}, "trimap must hold 0 .* only, but holds 127"),
        ({"weight": np.zeros((8, 9), np.float32)}, "prior and weight must be given together"),
        ({"weight": -np.ones((8, 9), np.float32), "prior": np.zeros((8, 9), np.float32)}, "weight must be 0 or more"),
        ({"eps": 0}, "eps must be a number above 0"),
        ({"tolerance": -1}, "tolerance must be a number above 0"),
        ({"max_iterations": 0}, "max_iterations must be a whole number of 1 or more"),
    ],
)
def test_wrong_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"image": np.zeros((8, 9, 3), np.uint8), "trimap": np.zeros((8, 9), np.uint8)} | change
    with pytest.raises(InputError, match=message):
        kernels.closed_form(arguments.pop("image"), arguments.pop("trimap"), **arguments)
