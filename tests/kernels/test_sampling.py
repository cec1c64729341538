"""Expanding trimaps and sampling colours: every version finds the same, whatever the threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import kernels
from safelight.errors import InputError
from safelight.matting import estimate_alpha

Array = NDArray[Any]
Use = Callable[..., None]

DTYPES = ("uint8", "uint16", "float32")


def scene(shape: tuple[int, int], dtype: str = "uint8") -> tuple[Array, Array, Array]:
    """Two textured sides and a soft edge between them: image, trimap, alpha."""
    height, width = shape
    random = np.random.default_rng(height + width)
    x = np.broadcast_to(np.arange(width), shape)
    alpha = np.clip((width / 2 - x) / (width / 4) + 0.5, 0, 1)
    front = [0.8, 0.3, 0.1] + 0.02 * random.standard_normal((*shape, 3))
    back = [0.1, 0.4, 0.8] + 0.02 * random.standard_normal((*shape, 3))
    image = np.clip(alpha[..., None] * front + (1 - alpha[..., None]) * back, 0, 1)
    trimap = np.where(x < width // 5, 255, np.where(x >= width - width // 5, 0, 128)).astype(np.uint8)
    most = 1 if dtype == "float32" else np.iinfo(dtype).max
    return (image * most if dtype == "float32" else np.rint(image * most)).astype(dtype), trimap, alpha


def samples(image: Array, trimap: Array, value: int) -> NDArray[np.float32]:
    unit = 255 / (1 if image.dtype.kind == "f" else np.iinfo(image.dtype).max)
    y, x = np.nonzero(trimap == value)
    colours = image[y, x].astype(np.float32) * np.float32(unit)
    return np.concatenate([colours, y[:, None], x[:, None]], 1).astype(np.float32)


def sampled(image: Array, trimap: Array) -> NDArray[np.float32]:
    _, x = np.nonzero(trimap == 128)
    known = [np.flatnonzero((trimap == value).any(0)) for value in (255, 0)]
    distances = np.stack([np.abs(x[:, None] - columns).min(1) for columns in known], 1).astype(np.float32)
    return kernels.sample_colours(image, trimap, distances, samples(image, trimap, 255), samples(image, trimap, 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_spread_to_like_colours(implementation: str, use: Use, dtype: str) -> None:
    image, trimap, alpha = scene((40, 90), dtype)
    wanted = trimap == 128
    wanted[:5] = False
    result = kernels.expand_trimap(image, trimap, wanted, colour=25)
    use("reference")
    specified = kernels.expand_trimap(image, trimap, wanted, colour=25)
    assert (result != specified).sum() <= 2
    gained = result != trimap
    assert gained.sum() > 100
    assert not gained[:5].any()
    assert np.abs(result[gained] / 255 - alpha[gained]).mean() < 0.1
    assert not (gained & (np.abs(alpha - 0.5) < 0.3)).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_pairs_explain_their_pixels(implementation: str, use: Use, dtype: str) -> None:
    image, trimap, alpha = scene((40, 90), dtype)
    result = sampled(image, trimap)
    assert (result.shape, result.dtype) == ((int((trimap == 128).sum()), 4), np.float32)
    assert np.abs(result[:, 0] - alpha[trimap == 128]).mean() < 0.03
    use("reference")
    specified = sampled(image, trimap)
    different = np.abs(result - specified).max(1) > 1e-2
    assert different.mean() < 0.01, "ties may fall either way"
    assert abs(float(result[:, 3].mean() - specified[:, 3].mean())) < 0.01


def test_threads_and_targets_change_nothing(use: Use) -> None:
    native = pytest.importorskip("safelight._native", exc_type=ImportError)
    image, trimap, _ = scene((150, 210))
    results = set()
    for target in native.targets():
        for threads in (1, 2, 7):
            use(f"native-{target}", threads)
            results.add(sampled(image, trimap).tobytes())
            results.add(kernels.expand_trimap(image, trimap, trimap == 128).tobytes())
            results.add(estimate_alpha(image, trimap, method="sampled").tobytes())
    assert len(results) == 3


def test_nothing_unknown_is_nothing_to_do(implementation: str) -> None:
    image, trimap, _ = scene((12, 20))
    trimap[trimap == 128] = 0
    assert sampled_shape(image, trimap) == (0, 4)
    assert np.array_equal(kernels.expand_trimap(image, trimap, trimap == 128), trimap)


def sampled_shape(image: Array, trimap: Array) -> tuple[int, ...]:
    nothing = np.ones((1, 2), np.float32)
    lists = samples(image, trimap, 255), samples(image, trimap, 0)
    return kernels.sample_colours(image, trimap, nothing, *lists).shape


def test_wrong_arguments() -> None:
    image, trimap, _ = scene((12, 20))
    few = np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match="distances must have"):
        kernels.sample_colours(image, trimap, few, samples(image, trimap, 255), samples(image, trimap, 0))
    with pytest.raises(InputError, match="wanted must be a boolean array"):
        kernels.expand_trimap(image, trimap, np.ones((2, 2), bool))
    with pytest.raises(InputError, match="reach must be a whole number from 1 to 100"):
        kernels.expand_trimap(image, trimap, trimap == 128, reach=0)
    many = np.ones((int((trimap == 128).sum()), 2), np.float32)
    with pytest.raises(InputError, match="foreground must have the shape"):
        kernels.sample_colours(image, trimap, many, many, samples(image, trimap, 0))
