from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import InputError
from safelight.matting import apply_hint
from safelight.matting.hints import read_hint

LEFT, RIGHT = np.s_[60:140, 30:110], np.s_[60:140, 190:270]


def scene() -> NDArray[np.uint8]:
    """Return two squares of cloth before a wall, all three noisy."""
    noise = np.random.default_rng(5).normal(0, 6, (200, 300, 3))
    image = np.full((200, 300, 3), (200, 190, 180)) + noise
    image[LEFT] += (-120, -60, 20)
    image[RIGHT] += (10, -110, -90)
    return np.clip(image, 0, 255).astype(np.uint8)


def mask(*parts: tuple[slice, slice], shape: tuple[int, int] = (200, 300)) -> NDArray[np.float32]:
    made = np.zeros(shape, np.float32)
    for part in parts:
        made[part] = 1.0
    return made


def strokes(value: int, top: int, bottom: int, left: int, right: int) -> NDArray[np.int8]:
    said = np.zeros((200, 300), np.int8)
    said[top:bottom, left:right] = value
    return said


ON_LEFT, ON_RIGHT = (96, 102, 50, 90), (96, 102, 210, 250)


def difference(result: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(result - expected).mean())


@pytest.mark.parametrize(
    ("level", "alpha", "says"),
    [
        *[(255, None, 1), (200, None, 1), (199, None, 0), (56, None, 0), (55, None, -1), (0, None, -1)],
        *[(255, 255, 1), (255, 128, 1), (255, 127, 0), (128, 255, 0), (0, 255, -1), (0, 0, 0)],
    ],
)
def test_levels_of_a_hint(level: int, alpha: int | None, says: int) -> None:
    levels = None if alpha is None else np.full((3, 4), alpha, np.uint8)
    said = read_hint(np.full((3, 4, 3), level, np.uint8), levels)
    assert said.dtype == np.int8 and said.shape == (3, 4)
    assert np.all(said == says)


def test_a_white_stroke_adds_its_object_and_no_other() -> None:
    result, sure = apply_hint(scene(), mask(LEFT), strokes(1, *ON_RIGHT))
    assert difference(result, mask(LEFT, RIGHT)) < 0.005
    np.testing.assert_array_equal(sure > 0, strokes(1, *ON_RIGHT) != 0)


def test_a_white_stroke_where_the_network_saw_nothing() -> None:
    result, _ = apply_hint(scene(), mask(), strokes(1, *ON_LEFT))
    assert difference(result, mask(LEFT)) < 0.005


def test_a_black_stroke_removes_its_object_and_no_other() -> None:
    before = mask(LEFT, RIGHT)
    before[58:60, 30:110] = 0.4  # a soft edge
    result, _ = apply_hint(scene(), before, strokes(-1, *ON_RIGHT))
    assert difference(result, mask(LEFT)) < 0.005
    np.testing.assert_array_equal(result[:, :150], before[:, :150])


def test_both_at_once() -> None:
    result, sure = apply_hint(scene(), mask(RIGHT), strokes(-1, *ON_RIGHT) + strokes(1, *ON_LEFT))
    assert difference(result, mask(LEFT)) < 0.005
    assert sure.sum() == 2 * 6 * 40


def test_a_stroke_that_agrees_changes_little() -> None:
    soft = 0.9 * mask(LEFT) + 0.05
    result, sure = apply_hint(scene(), soft, strokes(1, *ON_LEFT))
    assert np.all(result[sure == 1] == 1.0)
    assert difference(result[:, 150:], soft[:, 150:]) == 0.0


def test_a_rough_mask_is_corrected_by_the_picture() -> None:
    rough = strokes(-1, 0, 200, 0, 300)
    rough[57:144, 26:113] = 1  # three or four pixels too large on every side
    result, sure = apply_hint(scene(), mask(RIGHT), rough)
    assert difference(result, mask(LEFT)) < 0.005 < difference((rough == 1).astype(np.float32), mask(LEFT))
    assert sure[100, 70] == 1 and sure[10, 10] == 1
    assert sure[57:144, 23:31].max() == 0, "near its edge it is not taken at its word"


def test_masks_of_another_size() -> None:
    small = np.zeros((64, 64), np.float32)
    result, sure = apply_hint(scene(), small, strokes(1, *ON_LEFT))
    assert result.shape == sure.shape == (64, 64)
    assert result[20:44, 7:23].mean() > 0.95 and result[:, 27:].max() < 0.05


def test_a_thin_line_on_a_large_picture_is_not_lost() -> None:
    image = scene().repeat(16, axis=0).repeat(16, axis=1)  # 15 megapixels
    said = np.zeros(image.shape[:2], np.int8)
    said[1600, 800:1440] = 1
    result, _ = apply_hint(image, mask(), said)
    assert difference(result, mask(LEFT)) < 0.01


def test_the_same_hint_gives_the_same_mask() -> None:
    results = [apply_hint(scene(), mask(LEFT), strokes(1, *ON_RIGHT))[0] for _ in range(3)]
    assert all(np.array_equal(each, results[0]) for each in results)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (3, 3), (1, 40), (500, 2), (9, 1200)])
@pytest.mark.parametrize("value", [1, -1])
@pytest.mark.parametrize("before", [0.0, 1.0])
def test_odd_shapes(shape: tuple[int, int], value: int, before: float) -> None:
    said = np.zeros(shape, np.int8)
    said[0, 0], said[-1, -1] = -value, value
    image = np.random.default_rng(6).integers(0, 256, (*shape, 3), dtype=np.uint8)
    result, sure = apply_hint(image, np.full(shape, before, np.float32), said)
    assert result.shape == sure.shape == shape
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    if max(shape) <= 448 and not said.all():  # what decides every pixel is a rough mask
        assert result[-1, -1] == (value > 0)


def test_a_hint_must_fit_and_say_something() -> None:
    with pytest.raises(InputError, match=r"\(200, 300\), but has \(200, 299\)"):
        apply_hint(scene(), mask(), np.ones((200, 299), np.int8))
    with pytest.raises(InputError, match="marks nothing"):
        apply_hint(scene(), mask(), np.zeros((200, 300), np.int8))
