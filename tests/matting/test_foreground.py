from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import InputError
from safelight.matting import composite, estimate_foreground
from safelight.matting.foreground import Method


def soft_disc(size: int) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2, x - size / 2)
    return np.clip((size / 3 - distance) / 8, 0, 1).astype(np.float32)


METHODS = ["multilevel", "blur_fusion"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_the_old_background_leaves_the_edge(dtype: type, top: float, method: Method) -> None:
    alpha = soft_disc(96)
    subject = np.empty((96, 96, 3), dtype)
    subject[:] = (np.asarray([0.8, 0.3, 0.2]) * top).astype(dtype)
    image = composite(subject, alpha, (np.asarray([0.0, 0.9, 0.1]) * top).astype(dtype))
    foreground = estimate_foreground(image, alpha, method=method)
    assert foreground.dtype == image.dtype and foreground.shape == image.shape
    edge = (alpha > 0.1) & (alpha < 0.95)
    before = np.abs(image[edge].astype(float) - subject[edge]).mean() / top
    after = np.abs(foreground[edge].astype(float) - subject[edge]).mean() / top
    assert before > 0.15 and after < 0.03


@pytest.mark.parametrize("method", METHODS)
def test_sure_subject_keeps_its_colours(method: Method) -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    original, alpha = image.copy(), np.zeros((60, 80), np.float32)
    alpha[10:40, 10:40] = 1.0
    alpha[40:50, 10:40] = 0.5
    foreground = estimate_foreground(image, alpha, method=method)
    np.testing.assert_array_equal(foreground[10:40, 10:40], original[10:40, 10:40])
    np.testing.assert_array_equal(image, original)
    np.testing.assert_array_equal(estimate_foreground(image, np.ones((60, 80), np.float32), method=method), original)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_background_too_and_nothing_where_it_is_not_seen(method: Method, dtype: type) -> None:
    alpha = soft_disc(96)
    alpha[:4] = 0.001
    top = 255 if dtype == np.uint8 else 1
    image = (np.random.default_rng(5).random((96, 96, 3)) * top).astype(dtype)
    foreground, background = estimate_foreground(image, alpha, method=method, clear=True, return_background=True)
    hidden = alpha < 0.5 / 255 if dtype == np.uint8 else alpha == 0
    assert hidden[0, 0] == (dtype == np.uint8)
    assert not foreground[hidden].any() and foreground[~hidden].any(axis=-1).mean() > 0.9
    np.testing.assert_array_equal(estimate_foreground(image, alpha, method=method, clear=True), foreground)
    assert background.dtype == dtype and background.shape == image.shape
    if method == "blur_fusion":  # its background is a mean
        return
    np.testing.assert_array_equal(background[alpha == 0], image[alpha == 0])
    again = composite(foreground.astype(np.float32), alpha, background.astype(np.float32))
    assert np.abs(again - image)[~hidden].mean() < 0.06 * top


def test_blur_fusion_is_what_its_author_wrote() -> None:
    rng = np.random.default_rng(6)
    image, alpha = rng.random((40, 50, 3), dtype=np.float32), soft_disc(50)[:40]

    def mean(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
        padded = np.pad(values, [(radius, radius), (radius, radius), (0, 0)], mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1), axis=(0, 1))
        return windows.mean(axis=(-2, -1))

    a = alpha[..., None].astype(np.float64)
    foreground = background = image.astype(np.float64)
    for radius in (90, 6):
        blurred, rest = mean(a, radius), mean(1 - a, radius)
        foreground = mean(foreground * a, radius) / np.maximum(blurred, 1e-9)
        background = mean(background * (1 - a), radius) / np.maximum(rest, 1e-9)
        foreground = np.clip(foreground + a * (image - a * foreground - (1 - a) * background), 0, 1)
    ours = estimate_foreground(image, alpha, method="blur_fusion")
    seen = alpha > 0.05
    np.testing.assert_allclose(ours[seen], foreground[seen], atol=2e-3)


def test_there_are_no_other_methods() -> None:
    image, alpha = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
    with pytest.raises(InputError, match="method must be one of multilevel, blur_fusion, but is 'magic'"):
        estimate_foreground(image, alpha, method="magic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="alpha"):
        estimate_foreground(image, alpha[:3])
