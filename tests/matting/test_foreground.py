from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import InputError
from safelight.matting import composite, estimate_foreground


def soft_disc(size: int) -> NDArray[np.float32]:
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - size / 2, x - size / 2)
    return np.clip((size / 3 - distance) / 8, 0, 1).astype(np.float32)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)])
def test_the_old_background_leaves_the_edge(dtype: type, top: float) -> None:
    alpha = soft_disc(96)
    subject = np.empty((96, 96, 3), dtype)
    subject[:] = (np.asarray([0.8, 0.3, 0.2]) * top).astype(dtype)
    image = composite(subject, alpha, (np.asarray([0.0, 0.9, 0.1]) * top).astype(dtype))
    foreground = estimate_foreground(image, alpha)
    assert foreground.dtype == image.dtype and foreground.shape == image.shape
    edge = (alpha > 0.1) & (alpha < 0.95)
    before = np.abs(image[edge].astype(float) - subject[edge]).mean() / top
    after = np.abs(foreground[edge].astype(float) - subject[edge]).mean() / top
    assert before > 0.15 and after < 0.03


def test_sure_subject_keeps_its_colours() -> None:
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    original, alpha = image.copy(), np.zeros((60, 80), np.float32)
    alpha[10:40, 10:40] = 1.0
    alpha[40:50, 10:40] = 0.5
    foreground = estimate_foreground(image, alpha)
    np.testing.assert_array_equal(foreground[10:40, 10:40], original[10:40, 10:40])
    np.testing.assert_array_equal(image, original)
    np.testing.assert_array_equal(estimate_foreground(image, np.ones((60, 80), np.float32)), original)


def test_there_is_one_method() -> None:
    image, alpha = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
    with pytest.raises(InputError, match="method must be one of multilevel, but is 'magic'"):
        estimate_foreground(image, alpha, method="magic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="alpha"):
        estimate_foreground(image, alpha[:3])
