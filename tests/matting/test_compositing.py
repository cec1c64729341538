from __future__ import annotations

import numpy as np
import pytest

from safelight.errors import InputError
from safelight.matting import alpha_levels, blur_background, composite
from safelight.matting.compositing import cover

RNG = np.random.default_rng(3)
KINDS = [(np.uint8, 255), (np.uint16, 65535)]


@pytest.mark.parametrize("height", [1, 255, 256, 600])
@pytest.mark.parametrize(("dtype", "top"), KINDS)
def test_integers_are_mixed_and_rounded(dtype: type, top: int, height: int) -> None:
    front, back = RNG.integers(0, top + 1, (2, height, 7, 3)).astype(dtype)
    alpha = RNG.random((height, 7), dtype=np.float32)
    alpha[0, :3] = 0.0
    alpha[-1, 3:] = 1.0
    mixed = composite(front, alpha, back)
    exact = alpha[..., None].astype(float) * front + (1 - alpha[..., None].astype(float)) * back
    assert mixed.dtype == dtype
    assert np.abs(mixed - exact).max() <= 0.5 + top * 1e-6
    np.testing.assert_array_equal(mixed[alpha == 0], back[alpha == 0])
    np.testing.assert_array_equal(mixed[alpha == 1], front[alpha == 1])


def test_one_colour_is_a_plain_picture() -> None:
    front = RNG.random((300, 5, 3), dtype=np.float32)
    alpha = RNG.random((300, 5), dtype=np.float32)
    colour = np.asarray([0.1, 0.5, 0.9], np.float32)
    mixed = composite(front, alpha, colour)
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed, composite(front, alpha, np.broadcast_to(colour, front.shape)))
    np.testing.assert_allclose(mixed, colour + alpha[..., None] * (front - colour), atol=1e-6)


@pytest.mark.parametrize(
    ("alpha", "background", "message"),
    [
        (np.zeros((4, 5), np.float32), np.zeros(3, np.uint8), r"alpha must .*\(4, 4\), but has \(4, 5\)"),
        (np.zeros((4, 4), np.float32), np.zeros((4, 5, 3), np.uint8), r"background must .*but has \(4, 5, 3\)"),
        (np.zeros((4, 4), np.float32), np.zeros(4, np.uint8), r"background must .*but has \(4,\)"),
        (np.zeros((4, 4), np.float32), np.zeros(3, np.uint16), "dtype uint8, but has uint16"),
    ],
)
def test_what_does_not_fit_is_refused(alpha: np.ndarray, background: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        composite(np.zeros((4, 4, 3), np.uint8), alpha, background)


@pytest.mark.parametrize(("dtype", "top"), KINDS)
def test_the_subject_does_not_bleed_into_the_blur(dtype: type, top: int) -> None:
    image = np.zeros((240, 320, 3), dtype)
    image[..., 2] = top // 2  # a blue wall
    image[60:180, 100:220] = (top, 0, 0)  # a red subject
    alpha = np.zeros((240, 320), np.float32)
    alpha[60:180, 100:220] = 1.0
    blurred = blur_background(image, alpha)
    assert blurred.dtype == dtype and blurred.shape == image.shape
    assert blurred[..., 0].max() < 0.03 * top, "no red, behind the subject neither"
    assert np.abs(blurred[..., 2].astype(int) - top // 2).max() < 0.03 * top


@pytest.mark.parametrize("aperture", ["disc", "polygon", "gaussian"])
def test_the_blur_blurs_and_keeps_the_mean(aperture: str) -> None:
    image = RNG.integers(90, 170, (200, 300, 3), dtype=np.uint8)
    nobody = np.zeros((200, 300), np.float32)
    blurred = blur_background(image, nobody, strength=0.03, aperture=aperture, highlight=0)
    assert blurred.std() < 0.15 * image.std()
    assert abs(blurred.mean() - image.mean()) < 3.0, "the mean of light is a little above that of values"
    wide = blur_background(image, nobody, strength=0.08, aperture=aperture, highlight=0)
    assert wide.std() < blurred.std()


def test_what_is_transparent_gives_no_colour() -> None:
    image = np.full((80, 90, 3), (10, 200, 30), np.uint8)
    image[:, 45:] = (255, 0, 255)
    visible = np.zeros((80, 90), np.float32)
    visible[:, :45] = 1
    blurred = blur_background(image, np.zeros((80, 90), np.float32), strength=0.05, visible=visible)
    assert np.abs(blurred[:, :45].astype(int) - (10, 200, 30)).max() <= 2


def test_a_light_becomes_a_disc_behind_the_subject() -> None:
    image = np.full((200, 200, 3), 20, np.uint8)
    image[95:105, 95:105] = 255
    alpha = np.zeros((200, 200), np.float32)
    alpha[:, 110:] = 1.0
    disc = blur_background(image, alpha, strength=0.1, highlight=4)[..., 0]
    soft = blur_background(image, alpha, strength=0.1, aperture="gaussian")[..., 0]
    assert disc[100, 90] > 2 * soft[100, 90], "bright, and even out to its rim"
    assert abs(int(disc[100, 78]) - int(disc[100, 92])) < 30
    assert disc[100, 60] < 30


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"strength": 0.0}, "strength must be above 0 and at most 0.2, but is 0"),
        ({"strength": 0.3}, "strength must be above 0 and at most 0.2, but is 0.3"),
        ({"aperture": "star"}, "aperture must be one of disc, polygon, gaussian, but is 'star'"),
        ({"aperture": "polygon", "blades": 1}, "blades must be 0 or from 3 to 32, but are 1"),
    ],
)
def test_blurs_that_are_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        blur_background(np.zeros((40, 40, 3), np.uint8), np.zeros((40, 40), np.float32), **keywords)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2000, 3)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_odd_shapes_and_subjects_that_hide_all(shape: tuple[int, int], value: float) -> None:
    image = np.full((*shape, 3), 77, np.uint8)
    blurred = blur_background(image, np.full(shape, value, np.float32))
    assert blurred.shape == image.shape
    if value == 0.0:
        assert np.abs(blurred.astype(int) - 77).max() <= 1


@pytest.mark.parametrize("shape", [(50, 50), (200, 60), (31, 500), (100, 200)])
def test_a_picture_is_cropped_about_its_centre(shape: tuple[int, int]) -> None:
    height, width = 100, 200
    y, x = np.mgrid[:height, :width]
    picture = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    fitted = cover(picture, *shape).astype(float)
    assert fitted.shape == (*shape, 3)
    scale = max(shape[0] / height, shape[1] / width)
    top, left = shape[0] // 4, shape[1] // 4
    inner = fitted[top : shape[0] - top, left : shape[1] - left]
    assert abs(inner[..., 0].mean() - (width - 1) / 2) < 1 and abs(inner[..., 1].mean() - (height - 1) / 2) < 1
    across, down = np.diff(inner[..., 0], axis=1).mean(), np.diff(inner[..., 1], axis=0).mean()
    assert across == pytest.approx(1 / scale, rel=0.1) and down == pytest.approx(1 / scale, rel=0.1)
    if shape == (height, width):
        np.testing.assert_array_equal(fitted, picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("height", [1, 255, 530])
def test_levels_are_rounded(dtype: type, height: int) -> None:
    alpha = RNG.random((height, 40), dtype=np.float32)
    alpha[0, :3] = 0.0, 1.0, 0.4 / np.iinfo(dtype).max
    levels = alpha_levels(alpha, dtype)
    assert levels.dtype == dtype and list(levels[0, :3]) == [0, np.iinfo(dtype).max, 0]
    np.testing.assert_array_equal(levels, np.floor(alpha * np.float32(np.iinfo(dtype).max) + np.float32(0.5)))
