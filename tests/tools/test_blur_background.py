from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from safelight import Photo, cutout
from safelight.cli import main
from safelight.errors import InputError
from safelight.tools.blur_background import blur_background


@pytest.fixture(scope="module")
def portrait(data_folder: Path) -> Photo:
    whole = Photo.open(data_folder / "matting_composites" / "p3m_p_22fc0130" / "image.jpg")
    return Photo(image=whole.image[::3, ::3].copy())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"strength": 0.01}, "strength must be from 0.05 to 20 percent, but is 0.01"),
        ({"strength": 30.0}, "strength must be from 0.05 to 20 percent, but is 30"),
    ],
)
def test_what_is_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        blur_background(Photo(image=np.zeros((20, 20, 3), np.uint8)), **keywords)


@pytest.mark.usefixtures("models")
def test_the_subject_stays_and_the_rest_is_blurred(portrait: Photo) -> None:
    result = blur_background(portrait, quality="fast")
    assert result.photo is not None and result.photo.alpha is None and result.runs
    inside, outside = result.alpha == 1, result.alpha == 0
    assert np.array_equal(result.photo.image[inside], portrait.image[inside])
    rough, smooth = (np.abs(np.diff(image.astype(float), axis=1)) for image in (portrait.image, result.photo.image))
    assert smooth[outside[:, 1:]].mean() < 0.4 * rough[outside[:, 1:]].mean()


@pytest.mark.usefixtures("models")
def test_cutout_blurs_by_the_same_code(portrait: Photo) -> None:
    ours, theirs = blur_background(portrait, quality="fast"), cutout(portrait, quality="fast", background="blur")
    assert ours.photo is not None and theirs.photo is not None
    assert np.array_equal(ours.photo.image, theirs.photo.image)


@pytest.mark.usefixtures("models")
def test_transparency_is_kept(portrait: Photo) -> None:
    alpha = np.full(portrait.image.shape[:2], 255, np.uint8)
    alpha[:, :20] = 0
    result = blur_background(Photo(image=portrait.image, alpha=alpha), quality="fast", aperture="gaussian").photo
    assert result is not None and result.alpha is not None
    assert np.array_equal(result.alpha, alpha)


@pytest.mark.usefixtures("models")
def test_the_command_writes_a_picture(portrait: Photo, tmp_path: Path) -> None:
    portrait.save(tmp_path / "in.png")
    options = ["--quality", "fast", "--aperture", "polygon", "--blades", "5", "--strength", "3"]
    assert main(["blur-background", str(tmp_path / "in.png"), "-o", str(tmp_path / "out.png"), *options]) == 0
    with Image.open(tmp_path / "out.png") as written:
        assert written.size == (portrait.width, portrait.height) and written.mode == "RGB"
