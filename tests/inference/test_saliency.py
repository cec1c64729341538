from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import Photo
from safelight.errors import Cancelled
from safelight.inference.models import catalogue, model_info
from safelight.inference.pool import open_session
from safelight.inference.saliency import network_input, predict_saliency


def picture(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // width, 255 * y // height, np.full_like(x, 51)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (2000, 1), (100, 150), (900, 700)])
@pytest.mark.parametrize("name", [info.id for info in catalogue().values() if info.task == "cutout"])
def test_any_picture_becomes_what_the_network_takes(name: str, shape: tuple[int, int]) -> None:
    info = model_info(name)
    made = network_input(info, picture(*shape))
    assert made.dtype == np.float32 and made.flags.c_contiguous
    assert made.shape == (1, 3, *(info.preprocess.size or (1024, 1024)))
    lowest, highest = -np.asarray(info.preprocess.mean), 1 - np.asarray(info.preprocess.mean)
    for channel in range(3):
        std = info.preprocess.std[channel]
        assert made[0, channel].min() >= lowest[channel] / std - 1e-5
        assert made[0, channel].max() <= highest[channel] / std + 1e-5


@pytest.mark.parametrize(
    ("scale", "channels", "expected"),
    [
        ("255", "RGB", (1.0, 0.4, 0.2)),
        ("255", "BGR", (0.2, 0.4, 1.0)),
        ("1", "RGB", (255, 102, 51)),
        ("max", "RGB", (1.0, 0.4, 0.2)),
    ],
)
def test_pixels_are_scaled_as_the_catalogue_says(scale: str, channels: str, expected: tuple[float, ...]) -> None:
    info = model_info("u2netp")
    how = replace(info.preprocess, scale=scale, channels=channels, mean=(0.5, 0.25, 0.0), std=(1.0, 2.0, 4.0))
    colour = np.full((9, 9, 3), (255, 102, 51), np.uint8)
    made = network_input(replace(info, preprocess=how), colour, size=32)
    assert made.shape == (1, 3, 32, 32)
    normalised = (np.asarray(expected) - (0.5, 0.25, 0.0)) / (1.0, 2.0, 4.0)
    np.testing.assert_allclose(made[0, :, 16, 16], normalised, rtol=1e-6)


def test_a_dark_picture_is_scaled_by_its_own_maximum() -> None:
    info = model_info("u2netp")
    assert info.preprocess.scale == "max"
    dark, bright = (network_input(info, np.full((8, 8, 3), level, np.uint8)) for level in (20, 200))
    np.testing.assert_allclose(dark, bright, atol=1e-6)
    assert np.isfinite(network_input(info, np.zeros((8, 8, 3), np.uint8))).all()


def test_small_things_in_large_pictures_leave_a_trace() -> None:
    image = np.zeros((1500, 2400, 3), np.uint8)
    image[700:720] = 255  # four pixels of 320 high
    made = network_input(model_info("selfie"), image, size=320)
    bright = made[0, 0] > 0.5
    assert 2 <= bright.any(axis=1).sum() <= 6


@pytest.mark.parametrize("name", ["u2netp", "selfie"])
def test_a_person_is_found(data_folder: Path, models: Path, name: str) -> None:
    folder = data_folder / "matting_composites" / "p3m_p_22fc0130"
    image = Photo.open(folder / "image.jpg").image
    truth = Photo.open(folder / "alpha.png").image[..., 0] / 255
    mask, run = predict_saliency(open_session(name), image)
    assert run.model == f"cutout-{name}"
    assert mask.dtype == np.float32 and mask.ndim == 2
    assert mask.min() >= 0.0 and mask.max() <= 1.0
    rows, columns = (np.linspace(0, truth.shape[axis] - 1, mask.shape[axis]).astype(int) for axis in (0, 1))
    assert np.abs(mask - truth[np.ix_(rows, columns)]).mean() < 0.03


def test_a_network_that_is_free_in_its_size_takes_any(models: Path) -> None:
    mask, _ = predict_saliency(open_session("isnet"), picture(80, 90), size=192)
    assert mask.shape == (192, 192)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_nothing_has_no_subject_out_of_range(models: Path, level: int) -> None:
    mask, _ = predict_saliency(open_session("u2netp"), np.full((50, 70, 3), level, np.uint8))
    assert np.isfinite(mask).all() and mask.min() >= 0 and mask.max() <= 1


def test_a_check_that_raises_stops_it(models: Path) -> None:
    def check() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        predict_saliency(open_session("isnet"), picture(80, 90), size=512, check=check)
