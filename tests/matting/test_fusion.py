from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import InputError
from safelight.matting import fill_by_agreement, fill_holes, remove_islands, suppress_ghosts

Mask = NDArray[np.float32]


def mask(*boxes: tuple[int, int, int, int], size: int = 100, value: float = 1.0) -> Mask:
    """Return a mask of boxes: top, bottom, left, right."""
    made = np.zeros((size, size), np.float32)
    for top, bottom, left, right in boxes:
        made[top:bottom, left:right] = value
    return made


BODY, LIMB, OTHER = (10, 60, 30, 70), (60, 90, 40, 50), (5, 20, 80, 95)


def test_what_two_see_is_filled() -> None:
    filled = fill_by_agreement(mask(BODY), [mask(BODY, LIMB), mask(LIMB), mask(BODY)])
    np.testing.assert_array_equal(filled, mask(BODY, LIMB))


def test_what_one_sees_is_not() -> None:
    filled = fill_by_agreement(mask(BODY), [mask(BODY, OTHER), mask(BODY, LIMB), mask(BODY)])
    np.testing.assert_array_equal(filled, mask(BODY))


def test_nothing_is_taken_away() -> None:
    rng = np.random.default_rng(1)
    main, *votes = rng.random((4, 30, 40), dtype=np.float32)
    for unanimous in (False, True):
        filled = fill_by_agreement(main, votes, unanimous=unanimous)
        assert filled.dtype == np.float32
        assert np.all(filled >= main - 1e-7) and filled.max() <= 1.0


def test_unanimous_fills_by_half_what_only_two_see() -> None:
    two, three = [mask(BODY, LIMB), mask(LIMB), mask()], [mask(LIMB)] * 3
    assert fill_by_agreement(mask(BODY), two, unanimous=True)[75, 45] == 0.5
    assert fill_by_agreement(mask(BODY), three, unanimous=True)[75, 45] == 1.0


def test_weak_agreement_counts_for_nothing() -> None:
    votes = [mask(LIMB, value=0.14)] * 2
    np.testing.assert_array_equal(fill_by_agreement(mask(BODY), votes), mask(BODY))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_change_nothing(count: int) -> None:
    np.testing.assert_array_equal(fill_by_agreement(mask(BODY), [mask(LIMB)] * count), mask(BODY))


def test_votes_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\(100, 100\), but have \(100, 100\), \(50, 50\)"):
        fill_by_agreement(mask(), [mask(), mask(size=50)])


@pytest.mark.parametrize(("ghost", "decided"), [(0.3, 0.0), (0.65, 1.0)])
def test_ghosts_are_decided(ghost: float, decided: float) -> None:
    alpha = mask(BODY, size=400) + mask((150, 350, 100, 300), size=400, value=ghost)
    settled = suppress_ghosts(alpha)
    assert abs(settled[250, 200] - decided) < 0.02
    assert settled.min() >= 0.0 and settled.max() <= 1.0


def test_edges_and_hair_are_no_ghosts() -> None:
    columns = np.arange(400)
    edge = np.clip((columns - 195) / 10, 0, 1).astype(np.float32)  # ten pixels soft
    hair = np.where((columns > 210) & (columns < 260), 0.5 + 0.5 * np.cos(columns * 1.3), edge).astype(np.float32)
    for row in (edge, hair):
        alpha = np.tile(row, (400, 1))
        assert np.abs(suppress_ghosts(alpha) - alpha).max() < 0.05


def test_enclosed_holes_are_filled_with_their_rim() -> None:
    alpha = mask((20, 80, 20, 80))
    alpha[40:50, 40:50] = 0.0
    alpha[39:51, 39] = alpha[39:51, 50] = 0.4
    np.testing.assert_array_equal(fill_holes(alpha), mask((20, 80, 20, 80)))


@pytest.mark.parametrize(
    "gap",
    [
        (30, 70, 30, 70),  # large: sixteen in a hundred
        (40, 50, 20, 50),  # a bay, open to the left
    ],
)
def test_other_gaps_stay(gap: tuple[int, int, int, int]) -> None:
    alpha = mask((20, 80, 20, 80)) - mask(gap)
    np.testing.assert_array_equal(fill_holes(alpha), alpha)


def test_a_hole_closed_only_by_corners_is_closed() -> None:
    alpha = mask((20, 80, 20, 80))
    alpha[40:45, 40:45] = alpha[45:50, 45:50] = 0.0
    assert fill_holes(alpha).sum() == 3600


def test_islands_go_with_their_rim() -> None:
    alpha = mask(BODY)
    alpha[80:86, 80:86] = 0.5
    alpha[81:85, 81:85] = 1.0
    np.testing.assert_array_equal(remove_islands(alpha), mask(BODY))


def test_parts_of_some_size_stay() -> None:
    np.testing.assert_array_equal(remove_islands(mask(BODY, OTHER)), mask(BODY, OTHER))
    touching = mask(BODY, (60, 63, 70, 73))  # corner to corner
    np.testing.assert_array_equal(remove_islands(touching), touching)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (3, 3)])
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_odd_shapes_and_plain_masks(shape: tuple[int, int], value: float) -> None:
    alpha = np.full(shape, value, np.float32)
    for rule in (suppress_ghosts, fill_holes, remove_islands):
        result = rule(alpha)
        assert result.shape == shape and result.dtype == np.float32
        assert np.isfinite(result).all()
        assert np.all(alpha == value), "the argument is left as it was"
    np.testing.assert_array_equal(fill_holes(alpha), alpha)
    np.testing.assert_array_equal(remove_islands(alpha), alpha)
