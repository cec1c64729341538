from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import InputError
from safelight.matting import make_trimap, read_trimap, trimap_from_scribbles

Plane = NDArray[np.float32]


def ramp(softness: float, shape: tuple[int, int] = (400, 600)) -> Plane:
    """A subject on the left half, its edge `softness` pixels wide."""
    x = np.broadcast_to(np.arange(shape[1]), shape)
    return np.clip((shape[1] / 2 - x) / max(softness, 1e-6) + 0.5, 0, 1).astype(np.float32)


def band(trimap: NDArray[np.uint8]) -> int:
    return int((trimap[200] == 128).sum())


def test_a_hard_edge_gets_a_narrow_band() -> None:
    trimap = make_trimap(ramp(0))
    assert 4 <= band(trimap) <= 8
    assert set(np.unique(trimap)) == {0, 128, 255}
    assert (trimap[:, :290] == 255).all()
    assert (trimap[:, 310:] == 0).all()


def test_the_band_grows_with_the_softness() -> None:
    widths = [band(make_trimap(ramp(softness))) for softness in (0, 8, 20, 40)]
    assert widths == sorted(widths)
    for softness, width in zip((8, 20, 40), widths[1:], strict=True):
        assert softness <= width <= 3 * softness + 8


def test_each_edge_has_its_own_band() -> None:
    alpha = np.minimum(ramp(0), ramp(30)[:, ::-1][:, np.r_[150:600, 0:150]])
    row = make_trimap(alpha)[200]
    soft, hard = row[:225] == 128, row[225:] == 128
    assert soft.sum() > 3 * hard.sum() > 0


def test_all_that_is_soft_is_unknown() -> None:
    random = np.random.default_rng(0)
    alpha = ramp(30)
    alpha[50:60, 100:110] = random.random((10, 10), dtype=np.float32) * 0.8 + 0.1
    trimap = make_trimap(alpha)
    assert (trimap[(alpha > 0.05) & (alpha < 0.95)] == 128).all()
    assert (alpha[trimap == 255] >= 0.95).all()
    assert (alpha[trimap == 0] <= 0.05).all()


def test_the_width_can_be_said() -> None:
    assert band(make_trimap(ramp(0), width=15)) in range(28, 36)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_soft_is_nothing_unknown(value: float) -> None:
    trimap = make_trimap(np.full((40, 50), value, np.float32))
    assert (trimap == 255 * value).all()


def test_a_thin_subject_keeps_a_core() -> None:
    alpha = np.zeros((100, 120), np.float32)
    alpha[:, 60:62] = 1
    trimap = make_trimap(alpha)
    assert (trimap == 255).any()
    assert (trimap == 0).any()
    dull = make_trimap(np.full((30, 40), 0.5, np.float32))
    assert (dull == 255).all() or (dull == 0).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 2)])
def test_tiny_masks(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    assert make_trimap(random.random(shape, dtype=np.float32)).shape == shape


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (np.zeros((4, 5)), "alpha must be a float32 array"),
        (np.zeros((4, 5, 3), np.float32), "alpha must be a float32 array"),
        (np.full((4, 5), 2, np.float32), r"alpha must lie in \[0, 1\], but holds 2"),
        (np.full((4, 5), np.nan, np.float32), r"alpha must lie in \[0, 1\], but holds nan"),
    ],
)
def test_wrong_masks(alpha: NDArray[np.float32], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_trimap(alpha)
    with pytest.raises(InputError, match="width must be a number above 0, but is 0"):
        make_trimap(ramp(0), width=0)


def test_scribbles_leave_the_rest_open() -> None:
    said = np.array([[1, 0, -1], [0, 0, 0]], np.int8)
    assert trimap_from_scribbles(said).tolist() == [[255, 128, 0], [128, 128, 128]]
    with pytest.raises(InputError, match="but mark no background"):
        trimap_from_scribbles(np.maximum(said, 0))
    with pytest.raises(InputError, match="but mark no foreground"):
        trimap_from_scribbles(np.minimum(said, 0))


def test_drawn_trimaps_are_read_with_a_margin() -> None:
    level = np.array([[0, 25, 26, 127, 128, 229, 230, 255]], np.uint8)
    assert read_trimap(level).tolist() == [[0, 0, 128, 128, 128, 128, 255, 255]]
    assert np.array_equal(read_trimap(level.astype(np.uint16) * 257), read_trimap(level))
    assert read_trimap(np.array([[0.0, 0.5, 1.0]], np.float32)).tolist() == [[0, 128, 255]]
    with pytest.raises(InputError, match="must have the shape"):
        read_trimap(np.zeros((2, 2, 3), np.uint8))
