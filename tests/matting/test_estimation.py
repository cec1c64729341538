from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from safelight.errors import Cancelled, InputError
from safelight.matting import estimate_alpha, make_trimap, read_trimap, soft_closed_form

Plane = NDArray[np.float32]
METHODS = ("closed_form", "sampled", "guided_filter")


def scene(dtype: str = "uint8") -> tuple[NDArray[Any], NDArray[np.uint8], Plane]:
    """A soft disc of one textured colour before another: image, trimap, alpha."""
    y, x = np.mgrid[:120, :160]
    random = np.random.default_rng(0)
    alpha = np.clip((40 - np.hypot(y - 60, x - 80)) / 16 + 0.5, 0, 1).astype(np.float32)
    front, back = np.array([0.85, 0.3, 0.15]), np.array([0.15, 0.45, 0.8]) + 0.1 * np.sin(y / 20)[..., None]
    image = alpha[..., None] * front + (1 - alpha[..., None]) * back + random.normal(0, 0.004, (120, 160, 1))
    most = 1 if dtype == "float32" else np.iinfo(dtype).max
    trimap = np.where(alpha >= 1, 255, np.where(alpha <= 0, 0, 128)).astype(np.uint8)
    values = np.clip(image, 0, 1) * most
    return (values if dtype == "float32" else np.rint(values)).astype(dtype), trimap, alpha


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(("method", "error"), [("closed_form", 0.01), ("sampled", 0.03), ("guided_filter", 0.06)])
def test_a_soft_edge_is_found(method: Any, error: float, dtype: str) -> None:
    image, trimap, alpha = scene(dtype)
    result = estimate_alpha(image, trimap, method=method)
    assert (result.dtype, result.shape) == (np.float32, alpha.shape)
    assert np.abs(result - alpha)[trimap == 128].mean() < error
    assert (result[trimap == 255] == 1).all()
    assert (result[trimap == 0] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_trimap_that_leaves_nothing_open_is_the_answer(method: Any) -> None:
    image, trimap, _ = scene()
    for known in (np.where(trimap > 0, 255, 0), np.zeros_like(trimap), np.full_like(trimap, 255)):
        assert np.array_equal(estimate_alpha(image, known.astype(np.uint8), method=method), known / 255)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("missing", "name"), [(255, "foreground"), (0, "background")])
def test_both_sides_must_be_known_somewhere(method: Any, missing: int, name: str) -> None:
    image, trimap, _ = scene()
    trimap[trimap == missing] = 128
    with pytest.raises(InputError, match=f"must hold foreground and background .* has no {name}"):
        estimate_alpha(image, trimap, method=method)


@pytest.mark.parametrize(
    ("image", "trimap", "message"),
    [
        (np.zeros((4, 5)), np.zeros((4, 5), np.uint8), r"image must have the shape \(height, width, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5), np.uint8), "and hold pixels, but has"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), np.uint8), r"shape \(4, 5\), but has \(5, 4\)"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5)), "trimap must be uint8, but is float64"),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5), 7, np.uint8), "must hold 0, 128 and 255 only, but holds 7"),
        ([1], np.zeros((4, 5), np.uint8), "image must be a NumPy array, but is a list"),
    ],
)
def test_wrong_arrays(image: Any, trimap: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate_alpha(image, trimap)


def test_numbers_must_be_numbers() -> None:
    image, trimap, _ = scene("float32")
    image[3, 4, 1] = np.nan
    with pytest.raises(InputError, match="image must be finite"):
        estimate_alpha(image, trimap)


def test_an_unknown_method() -> None:
    with pytest.raises(InputError, match=r"method must be one of closed_form, .*, but is 'knn'"):
        estimate_alpha(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8), method="knn")  # type: ignore[arg-type]


def test_progress_runs_forward_and_can_stop() -> None:
    image, trimap, _ = scene()
    seen: list[float] = []
    estimate_alpha(image, trimap, progress=lambda fraction, stage: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert 0.95 < seen[-1] <= 1

    def stop(fraction: float, stage: str) -> None:
        if fraction > 0.5:
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        estimate_alpha(image, trimap, progress=stop)


# --- the soft form ---


def test_a_soft_mask_is_pulled_to_the_picture() -> None:
    image, trimap, alpha = scene()
    y, x = np.mgrid[:120, :160]
    wrong = np.clip((40 - np.hypot(y - 62, x - 77)) / 30 + 0.5, 0, 1).astype(np.float32)
    weight = np.where(trimap == 128, 1e-4, 1).astype(np.float32)
    prior = np.where(trimap == 128, wrong, alpha).astype(np.float32)
    result = soft_closed_form(image, prior, weight, tolerance=1e-4)
    assert np.abs(result - alpha)[trimap == 128].mean() < 0.25 * np.abs(prior - alpha)[trimap == 128].mean()


def test_with_much_weight_nothing_changes() -> None:
    image, _, alpha = scene()
    result = soft_closed_form(image, alpha, np.full(alpha.shape, 1e4, np.float32))
    assert np.abs(result - alpha).max() < 0.01


def test_without_any_weight_there_is_no_answer() -> None:
    image, _, alpha = scene()
    with pytest.raises(InputError, match="weight must be above 0 somewhere"):
        soft_closed_form(image, alpha, np.zeros_like(alpha))


# --- real pictures ---


@pytest.mark.parametrize("name", ["am2k_sample5", "p3m_p_22fc0130"])
def test_real_pictures(data_folder: Path, name: str) -> None:
    folder = data_folder / "matting_composites" / name
    size = (300, 300)
    image = np.asarray(Image.open(folder / "image.jpg").convert("RGB").resize(size, Image.Resampling.BOX))
    alpha = np.asarray(Image.open(folder / "alpha.png").convert("L").resize(size, Image.Resampling.BOX)) / 255
    level = np.asarray(Image.open(folder / "trimap.png").convert("L").resize(size, Image.Resampling.NEAREST))
    trimap = read_trimap(level)
    band = trimap == 128
    errors = {method: np.abs(estimate_alpha(image, trimap, method=method) - alpha)[band].mean() for method in METHODS}  # type: ignore[arg-type]
    assert errors["closed_form"] < 0.09
    assert errors["closed_form"] < errors["guided_filter"]
    drawn = make_trimap(alpha.astype(np.float32))
    assert (np.abs(estimate_alpha(image, drawn) - alpha)).mean() < 0.02


def test_settled_pixels_keep_the_prior_s_side_and_change_little_else() -> None:
    rng = np.random.default_rng(8)
    x = np.mgrid[:60, :80][1]
    prior = np.clip((x - 30) / 20, 0, 1).astype(np.float32)
    image = (200 * prior[..., None] + rng.random((60, 80, 3)) * 20).astype(np.uint8)
    weight = np.where(np.abs(x - 40) < 15, 1e-3, 1).astype(np.float32)
    settled = np.abs(x - 40) > 22
    whole = soft_closed_form(image, prior, weight)
    part = soft_closed_form(image, prior, weight, settled=settled)
    assert (part[settled] == (prior[settled] > 0.5)).all()
    assert np.abs(part - whole).max() < 0.05
    with pytest.raises(InputError, match="settled must have the image's shape"):
        soft_closed_form(image, prior, weight, settled=settled[:3])
    sides = soft_closed_form(image, prior, weight, settled=np.ones_like(settled))
    assert np.array_equal(sides, (prior > 0.5).astype(np.float32))
