from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import InputError
from safelight.matting import refine_alpha
from safelight.matting.alpha import WORKING_SIDE, confidence

Plane = NDArray[np.float32]


def scene(height: int = 240, width: int = 320, hairs: int = 12) -> tuple[NDArray[np.uint8], Plane]:
    """Return a dark disc with thin hairs before a light wall, a little noisy, and its alpha."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = y - height / 2, x - width / 2
    distance, angle = np.hypot(y, x), np.arctan2(y, x)
    size = height / 4
    alpha = np.clip(size - distance + 0.5, 0, 1)
    away = np.abs((angle * hairs / (2 * np.pi)) % 1 - 0.5) / hairs * 2 * np.pi * distance
    alpha = np.maximum(alpha, np.clip(1.2 - away, 0, 1) * (distance < 1.5 * size)).astype(np.float32)
    noise = np.random.default_rng(4).normal(0, 2, (height, width, 3))
    image = 40 * alpha[..., None] + np.asarray([220, 200, 180]) * (1 - alpha[..., None]) + noise
    return np.clip(image, 0, 255).astype(np.uint8), alpha


def seen_by_a_network(alpha: Plane, side: int = 80) -> Plane:
    """Return what a network would say: small, soft, without thin things."""
    solid = Image.fromarray(alpha).resize((side, side), Image.Resampling.BOX)
    return np.asarray(solid.resize((side // 2, side // 2), Image.Resampling.BOX).resize((side, side)), np.float32)


def enlarged(mask: Plane, shape: tuple[int, ...]) -> Plane:
    return np.asarray(Image.fromarray(mask).resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def test_edges_and_hairs_come_from_the_picture() -> None:
    image, truth = scene()
    mask = seen_by_a_network(truth)
    refined = refine_alpha(image, mask)
    assert refined.shape == truth.shape and refined.dtype == np.float32
    assert refined.min() >= 0.0 and refined.max() <= 1.0
    before, after = np.abs(enlarged(mask, truth.shape) - truth), np.abs(refined - truth)
    assert after.mean() < 0.4 * before.mean()
    hairs = (truth > 0.9) & (enlarged(mask, truth.shape) < 0.5)
    assert hairs.sum() > 100
    assert refined[hairs].mean() > 1.5 * enlarged(mask, truth.shape)[hairs].mean()


def test_the_picture_at_full_resolution_counts() -> None:
    image, truth = scene(1200, 1600)  # larger than what masks are worked on at
    assert max(image.shape) > WORKING_SIDE
    mask = seen_by_a_network(truth, 320)
    before, after = np.abs(enlarged(mask, truth.shape) - truth), np.abs(refine_alpha(image, mask) - truth)
    assert after.mean() < 0.5 * before.mean()


def test_depth_does_not_matter() -> None:
    image, truth = scene()
    mask = seen_by_a_network(truth)
    wide = image.astype(np.uint16) * np.uint16(257)
    np.testing.assert_allclose(refine_alpha(wide, mask), refine_alpha(image, mask), atol=1e-4)


def test_arguments_are_left_as_they_were() -> None:
    image, truth = scene()
    mask = seen_by_a_network(truth)
    sure = np.zeros_like(mask)
    copies = image.copy(), mask.copy()
    first = refine_alpha(image, mask, sure=sure)
    np.testing.assert_array_equal(refine_alpha(image, mask), first)  # nothing said is nothing changed
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(mask, copies[1])


def test_wide_half_transparency_is_kept_only_when_asked() -> None:
    image = np.full((200, 300, 3), 128, np.uint8)
    mask = np.full((200, 300), 0.3, np.float32)
    assert refine_alpha(image, mask).max() < 0.02
    np.testing.assert_allclose(refine_alpha(image, mask, ghosts=True), (0.3 - 0.02) / 0.96, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_a_person_said_stays(value: float) -> None:
    """A small mark on a plain wall would be washed out: nothing in the picture supports it."""
    image = np.full((400, 600, 3), 200, np.uint8)
    mask, sure = np.full((400, 600), 1.0 - value, np.float32), np.zeros((400, 600), np.float32)
    mask[100:108, 200:260], sure[100:108, 200:260] = value, 1.0
    refined = refine_alpha(image, mask, sure=sure)
    np.testing.assert_array_equal(refined[100:108, 200:260], value)
    assert abs(refined[300, 400] - (1.0 - value)) < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (3, 3000), (1500, 1100)])
@pytest.mark.parametrize("mask_shape", [(64, 64), (1, 1)])
def test_odd_shapes(shape: tuple[int, int], mask_shape: tuple[int, int]) -> None:
    refined = refine_alpha(np.full((*shape, 3), 90, np.uint8), np.ones(mask_shape, np.float32))
    assert refined.shape == shape
    np.testing.assert_allclose(refined, 1.0, atol=1e-3)


def test_masks_have_two_dimensions() -> None:
    with pytest.raises(InputError, match=r"mask must have the shape \(height, width\), but has \(8, 8, 1\)"):
        refine_alpha(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 1), np.float32))


def test_almost_is_taken_for_quite() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    for almost, quite in ((0.015, 0.0), (0.985, 1.0)):
        refined = refine_alpha(image, np.full((64, 64), almost, np.float32), ghosts=True)
        np.testing.assert_array_equal(refined, quite)


def test_what_is_sure_counts_and_what_is_near_doubt_hardly() -> None:
    mask = np.zeros((200, 300), np.float32)
    mask[:, 150:] = 1.0
    mask[:, 145:155] = np.linspace(0, 1, 10)
    weight, settled = confidence(mask)
    assert settled[:, :135].all() and settled[:, 165:].all() and not settled[:, 141:159].any()
    assert (weight[:, :140] == 1).all() and (weight[:, 160:] == 1).all()
    assert (weight[:, 142:158] <= 0.0102).all() and weight[100, 149] < 0.0002
