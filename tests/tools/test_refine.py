from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from safelight import Photo
from safelight.cli import main
from safelight.errors import Cancelled, InputError
from safelight.tools.refine import refine

Plane = NDArray[np.float32]


@pytest.fixture(scope="module")
def scene() -> tuple[NDArray[np.uint8], Plane]:
    y, x = np.mgrid[:180, :240]
    alpha = np.clip((60 - np.hypot(y - 90, x - 120)) / 12 + 0.5, 0, 1).astype(np.float32)
    front, back = np.array([220, 90, 40]), np.array([40, 110, 200]) + 20 * np.sin(y / 25)[..., None]
    image = alpha[..., None] * front + (1 - alpha[..., None]) * back
    return np.rint(image).astype(np.uint8), alpha


def gray(level: NDArray[Any]) -> Photo:
    return Photo(image=np.repeat(level.astype(np.uint8)[..., None], 3, 2))


def trimap_of(alpha: Plane) -> NDArray[np.uint8]:
    return np.where(alpha == 1, 255, np.where(alpha == 0, 0, 128)).astype(np.uint8)


def scribbles_of(alpha: Plane) -> NDArray[np.uint8]:
    strokes = np.full(alpha.shape, 128, np.uint8)
    strokes[85:95, 90:150] = 255
    strokes[5:10], strokes[-10:-5] = 0, 0
    return strokes


def drawn(kind: str, alpha: Plane) -> NDArray[np.uint8]:
    if kind == "trimap":
        return trimap_of(alpha)
    return scribbles_of(alpha) if kind == "scribbles" else np.where(alpha > 0.5, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(("kind", "error"), [("trimap", 0.003), ("mask", 0.01), ("scribbles", 0.01)])
def test_every_kind_of_drawing(scene: tuple[NDArray[np.uint8], Plane], kind: str, error: float) -> None:
    image, alpha = scene
    options: dict[str, Any] = {kind: gray(drawn(kind, alpha))}
    result = refine(Photo(image=image), **options, **({"width": 8.0} if kind == "mask" else {}))
    assert np.abs(result.alpha - alpha).mean() < error
    assert result.photo is not None
    assert result.photo.alpha is not None
    assert "closed form over" in result.reason
    half = (alpha > 0.3) & (alpha < 0.9)
    assert np.abs(result.photo.image[half].astype(int) - [220, 90, 40]).mean() < 12
    assert np.abs(image[half].astype(int) - [220, 90, 40]).mean() > 25, "the old background is in the edge"


def test_exactly_one_drawing(scene: tuple[NDArray[np.uint8], Plane]) -> None:
    image, alpha = scene
    photo, trimap = Photo(image=image), gray(trimap_of(alpha))
    with pytest.raises(InputError, match="must be given, but none of them is"):
        refine(photo)
    with pytest.raises(InputError, match="must be given, but trimap and mask are"):
        refine(photo, trimap=trimap, mask=trimap)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["trimap", "mask", "scribbles"])
def test_the_size_must_be_the_photos(scene: tuple[NDArray[np.uint8], Plane], kind: str) -> None:
    image, alpha = scene
    options: dict[str, Any] = {kind: gray(drawn(kind, alpha)[:-1])}
    with pytest.raises(InputError, match=f"the {kind} must have the photo's size 240 x 180, but has 240 x 179"):
        refine(Photo(image=image), **options)


def test_the_photos_own_transparency_stays(scene: tuple[NDArray[np.uint8], Plane]) -> None:
    image, alpha = scene
    own = np.full(alpha.shape, 255, np.uint8)
    own[:, :120] = 0
    result = refine(Photo(image=image, alpha=own), trimap=gray(trimap_of(alpha)))  # type: ignore[arg-type]
    assert (result.alpha[:, :120] == 0).all()
    assert (result.alpha[85:95, 125:150] == 1).all()


def test_a_cut_out_may_be_the_mask(scene: tuple[NDArray[np.uint8], Plane]) -> None:
    image, alpha = scene
    levels = np.rint(alpha * 255).astype(np.uint8)
    result = refine(Photo(image=image), mask=Photo(image=image, alpha=levels))  # type: ignore[arg-type]
    assert np.abs(result.alpha - alpha).mean() < 0.003


def test_it_can_be_stopped(scene: tuple[NDArray[np.uint8], Plane]) -> None:
    image, alpha = scene

    def stop(fraction: float, stage: str) -> None:
        if fraction > 0.3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        refine(Photo(image=image), trimap=gray(trimap_of(alpha)), progress=stop)  # type: ignore[arg-type]


@pytest.mark.parametrize("output", ["cutout", "mask", "both"])
def test_from_the_command_line(scene: tuple[NDArray[np.uint8], Plane], tmp_path: Path, output: str) -> None:
    image, alpha = scene
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(trimap_of(alpha)).save(tmp_path / "trimap.png")
    target = tmp_path / "out.png"
    options = ["--trimap", str(tmp_path / "trimap.png"), "--output", output]
    assert main(["refine", str(tmp_path / "a.png"), "-o", str(target), *options]) == 0
    written = Image.open(target)
    assert written.mode == ("L" if output == "mask" else "RGBA")
    assert (tmp_path / "out-mask.png").exists() == (output == "both")
    level = np.asarray(written if output == "mask" else written.getchannel("A")) / 255
    assert np.abs(level - alpha).mean() < 0.005


def test_from_the_command_line_without_a_drawing(
    scene: tuple[NDArray[np.uint8], Plane], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(scene[0]).save(tmp_path / "a.png")
    assert main(["refine", str(tmp_path / "a.png"), "-o", str(tmp_path / "b.png")]) == 2
    assert "one of trimap, mask and scribbles must be given" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()
