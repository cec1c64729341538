from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from safelight import CutoutResult, Photo, cutout
from safelight.errors import Cancelled, ImageError, InputError, ModelNotFound, ProviderError
from safelight.matting import blur_background
from safelight.matting.compositing import cover
from safelight.tools.cutout import parse_colour

pytestmark = pytest.mark.usefixtures("models")

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A picture whose alpha is known exactly."""

    photo: Photo
    alpha: Plane
    band: NDArray[np.bool_]

    def error(self, alpha: Plane) -> float:
        return 1000 * float(np.abs(alpha - self.alpha).mean())

    def band_error(self, alpha: Plane) -> float:
        return float(np.abs(alpha - self.alpha)[self.band].sum()) / 1000


@pytest.fixture(scope="module")
def cases(data_folder: Path) -> dict[str, Case]:
    return {name: read_case(data_folder, name) for name in ("am2k_sample5", "p3m_p_22fc0130")}


def read_case(data_folder: Path, name: str) -> Case:
    folder = data_folder / "matting_composites" / name
    alpha, trimap = (np.asarray(Image.open(folder / f"{each}.png").convert("L")) for each in ("alpha", "trimap"))
    return Case(Photo.open(folder / "image.jpg"), np.float32(1 / 255) * alpha, (trimap > 0) & (trimap < 255))


@pytest.fixture(scope="module")
def portrait(cases: dict[str, Case]) -> Case:
    """Return one of them at a third of its size."""
    whole, small = cases["p3m_p_22fc0130"], np.s_[::3, ::3]
    return Case(Photo(image=whole.photo.image[small].copy()), whole.alpha[small].copy(), whole.band[small])


@pytest.fixture(scope="module")
def plain(portrait: Case) -> CutoutResult:
    return cut(portrait.photo)


@pytest.fixture(scope="module")
def pair(cases: dict[str, Case]) -> tuple[Photo, Plane, Plane]:
    """Return a picture with two subjects, a person and a rabbit, and the alpha of each."""
    y, x = np.mgrid[:300, :570]
    picture = np.stack([150 + 40 * x / 570, 165 + 30 * y / 300, np.full(x.shape, 190.0)], axis=2)
    alphas = []
    for name, left in (("p3m_p_22fc0130", 10), ("am2k_sample5", 190)):
        case, alpha = cases[name], np.zeros((300, 570), np.float32)
        width = round(case.photo.width / 3)
        image = Image.fromarray(case.photo.image).resize((width, 300), Image.Resampling.BOX)
        level = Image.fromarray(case.alpha).resize((width, 300), Image.Resampling.BOX)
        alpha[:, left : left + width] = np.asarray(level)[:, : 570 - left]
        colours = np.zeros_like(picture)
        colours[:, left : left + width] = np.asarray(image)[:, : 570 - left]
        picture = picture + alpha[..., None] * (colours - picture)
        alphas.append(alpha)
    return Photo(image=(picture + 0.5).astype(np.uint8)), alphas[0], alphas[1]


def cut(photo: Photo, **options: Any) -> CutoutResult:
    return cutout(photo, **{"model": "u2netp", **options})


def result_of(result: CutoutResult) -> Photo:
    assert result.photo is not None
    return result.photo


# --- how good ---


@pytest.mark.parametrize(
    ("name", "options", "most"),
    [
        ("am2k_sample5", {}, 7.5),  # measured: 4.8
        ("p3m_p_22fc0130", {}, 10.0),  # 6.9
        ("p3m_p_22fc0130", {"quality": "fast"}, 10.0),  # 6.8
        ("am2k_sample5", {"quality": "fast", "model": "u2netp"}, 10.0),  # 6.8
        ("p3m_p_22fc0130", {"quality": "fast", "model": "u2netp"}, 8.5),  # 5.5
        ("p3m_p_22fc0130", {"model": "selfie"}, 12.0),  # 8.1
    ],
)
def test_the_error_on_pictures_with_a_known_alpha(
    cases: dict[str, Case], name: str, options: dict[str, str], most: float
) -> None:
    result = cutout(cases[name].photo, **options)
    assert result.alpha.shape == cases[name].alpha.shape and result.alpha.dtype == np.float32
    assert cases[name].error(result.alpha) < most
    assert len(result.runs) == (1 if options else 4)


@pytest.mark.parametrize("name", ["am2k_sample5", "p3m_p_22fc0130"])
def test_refinement_improves_the_edge(cases: dict[str, Case], name: str) -> None:
    refined, raw = (cases[name].band_error(cut(cases[name].photo, refine=each).alpha) for each in (True, False))
    assert refined < 0.88 * raw  # measured: 0.69, 0.80


def test_what_the_network_says_is_the_result_without_refinement(portrait: Case) -> None:
    result = cut(portrait.photo, refine=False)
    assert portrait.error(result.alpha) < 15
    assert np.mean((result.alpha > 0.02) & (result.alpha < 0.98)) > 0.01, "soft as the network's mask"


# --- what comes out ---


def test_transparent(portrait: Case, plain: CutoutResult) -> None:
    photo = result_of(plain)
    assert photo.alpha is not None and photo.alpha.dtype == np.uint8 and photo.image.dtype == np.uint8
    np.testing.assert_array_equal(photo.alpha, (plain.alpha * 255 + 0.5).astype(np.uint8))
    assert np.mean(photo.alpha == 0) > 0.2 and np.mean(photo.alpha == 255) > 0.2
    assert not photo.image[photo.alpha == 0].any(), "nothing of the background is left"
    np.testing.assert_array_equal(photo.image[plain.alpha == 1], portrait.photo.image[plain.alpha == 1])


@pytest.mark.parametrize("options", [{}, {"decontaminate": False}, {"background": "#fff"}, {"background": "blur"}])
def test_the_photo_is_not_changed(portrait: Case, options: dict[str, Any]) -> None:
    image = portrait.photo.image.copy()
    result = cut(portrait.photo, **options)
    np.testing.assert_array_equal(portrait.photo.image, image)
    assert portrait.photo.alpha is None
    assert not np.shares_memory(result_of(result).image, portrait.photo.image)


def test_the_same_photo_gives_the_same_bytes(portrait: Case, plain: CutoutResult, tmp_path: Path) -> None:
    plain.save(tmp_path / "first.png")
    cut(portrait.photo).save(tmp_path / "second.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_existing_transparency_is_multiplied(portrait: Case, plain: CutoutResult) -> None:
    levels = np.full(portrait.alpha.shape, 254, np.uint8)
    levels[:, :40] = 0  # of the subject, too
    levels[:, 40:80] = 100
    assert plain.alpha[:, :80].max() == 1.0
    result = cut(replace(portrait.photo, alpha=levels))
    photo = result_of(result)
    assert photo.alpha is not None
    assert not photo.alpha[:, :40].any() and not photo.image[:, :40].any()
    assert 30 < photo.alpha[:, 40:80].max() <= 100 and photo.alpha[:, 80:].max() == 254
    inner = np.s_[60:, 130:]
    np.testing.assert_allclose(result.alpha[inner], plain.alpha[inner] * (254 / 255), atol=0.1)


def test_hidden_colours_are_not_shown_to_networks(portrait: Case) -> None:
    """The background is fully transparent already: white to the network, whatever its colours are."""
    levels = (portrait.alpha > 0.5).astype(np.uint8) * 255
    noisy = portrait.photo.image.copy()
    noisy[levels == 0] = np.random.default_rng(7).integers(0, 256, (int((levels == 0).sum()), 3))
    first, second = (cut(Photo(image=each, alpha=levels), refine=False) for each in (portrait.photo.image, noisy))
    np.testing.assert_array_equal(first.alpha, second.alpha)


def test_16_bits_stay_and_give_the_same_matte(portrait: Case, plain: CutoutResult, tmp_path: Path) -> None:
    wide = Photo(image=portrait.photo.image * np.uint16(257))
    result = cut(wide)
    np.testing.assert_allclose(result.alpha, plain.alpha, atol=1e-3)
    result.save(tmp_path / "wide.png")
    back = Photo.open(tmp_path / "wide.png")
    assert back.bits == 16 and back.alpha is not None and back.alpha.dtype == np.uint16
    assert len(np.unique(back.alpha)) > 256
    np.testing.assert_array_equal(back.image[result.alpha == 1], wide.image[result.alpha == 1])
    assert not back.image[back.alpha == 0].any()


def test_gray_stays_gray(portrait: Case, tmp_path: Path) -> None:
    Image.fromarray(portrait.photo.image).convert("L").save(tmp_path / "gray.png")
    photo = Photo.open(tmp_path / "gray.png")
    for background, mode in [("transparent", "LA"), ("blur", "L"), ("#ff0000", "RGB")]:
        cut(photo, background=background).save(tmp_path / "result.png")
        with Image.open(tmp_path / "result.png") as written:
            assert written.mode == mode


@pytest.mark.parametrize("bits", [8, 16])
def test_backgrounds_are_exact(portrait: Case, tmp_path: Path, bits: int) -> None:
    scale = np.uint16(257) if bits == 16 else np.uint8(1)
    photo = Photo(image=portrait.photo.image * scale)
    behind = np.random.default_rng(8).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    Photo(image=behind).save(tmp_path / "behind.png")
    alpha = cut(photo, output="mask").alpha
    for background, expected in {
        "#123": np.broadcast_to(np.asarray([0x11, 0x22, 0x33], np.uint8), photo.image.shape) * scale,
        "#fE00a7": np.broadcast_to(np.asarray([0xFE, 0, 0xA7], np.uint8), photo.image.shape) * scale,
        str(tmp_path / "behind.png"): cover(behind, photo.height, photo.width) * scale,
        "blur": blur_background(photo.image, alpha),
    }.items():
        result = cut(photo, background=background)
        made = result_of(result)
        assert made.alpha is None and made.bits == bits
        np.testing.assert_array_equal(result.alpha, alpha)
        np.testing.assert_array_equal(made.image[alpha == 0], expected[alpha == 0])
        np.testing.assert_array_equal(made.image[alpha == 1], photo.image[alpha == 1])
    assert np.abs(made.image.astype(float) - photo.image)[alpha == 0].mean() > 2 * scale, "it is blurred"


def test_a_transparent_background_picture_stays_transparent(portrait: Case, tmp_path: Path) -> None:
    behind = np.full((50, 90, 3), 40, np.uint8)
    seen = np.zeros((50, 90), np.uint8)
    seen[:, 45:] = 255
    Photo(image=behind, alpha=seen).save(tmp_path / "behind.png")
    result = cut(portrait.photo, background=str(tmp_path / "behind.png"))
    made = result_of(result)
    assert made.alpha is not None
    half = portrait.photo.width // 2
    left, right = np.s_[:, : half - 30], np.s_[:, half + 30 :]
    np.testing.assert_allclose(made.alpha[left], 255 * result.alpha[left], atol=0.51)
    assert not made.image[left][made.alpha[left] == 0].any()
    assert (made.alpha[right] == 255).all()
    assert (made.image[right][result.alpha[right] == 0] == 40).all()


def test_no_halo_of_the_old_background_remains(portrait: Case) -> None:
    """A reddish subject with hair before a green wall: its edge must not be green."""
    y, x = np.mgrid[: portrait.alpha.shape[0], : portrait.alpha.shape[1]]
    subject = np.stack([170 + 40 * np.sin(x / 30), 70 + 20 * np.cos(y / 25), 90 + 0.0 * x], axis=2)
    mixed = portrait.alpha[..., None] * (subject - (30, 210, 50)) + (30, 210, 50)
    photo = Photo(image=(mixed + 0.5).astype(np.uint8))

    def greenness(decontaminate: bool) -> float:
        made = result_of(cut(photo, decontaminate=decontaminate))
        assert made.alpha is not None
        edge = (made.alpha > 25) & (made.alpha < 240)
        assert edge.sum() > 1000
        red, green, _ = made.image[edge].astype(float).T
        return float(np.maximum(green - red, 0).mean())

    assert greenness(True) < 0.35 * greenness(False)


# --- hints and switches ---


def hint_of(shape: tuple[int, ...], *marks: tuple[int, tuple[slice, slice]], ground: int = 128) -> Photo:
    image = np.full((*shape[:2], 3), ground, np.uint8)
    for level, where in marks:
        image[where] = level
    return Photo(image=image)


def test_strokes_add_what_no_network_sees(pair: tuple[Photo, Plane, Plane]) -> None:
    photo, bar = replace(pair[0], image=pair[0].image.copy()), np.s_[:30, :]
    photo.image[bar] = (140, 90, 60)  # a beam above both
    before = cut(photo).alpha
    assert before[bar].max() < 0.1
    stroke = np.s_[12:17, 100:480]
    result = cut(photo, hint=hint_of(photo.image.shape, (255, stroke)))
    assert result.alpha[stroke].min() > 0.99, "what was marked is sure"
    assert result.alpha[:27].mean() > 0.95, "and its object with it"
    assert np.abs(result.alpha - before)[60:].mean() < 0.01


@pytest.mark.parametrize("refine", [True, False])
def test_strokes_remove_one_of_two_subjects(pair: tuple[Photo, Plane, Plane], tmp_path: Path, refine: bool) -> None:
    photo, person, rabbit = pair
    before = cut(photo, refine=refine).alpha
    assert before[rabbit > 0.9].mean() > 0.9 and before[person > 0.9].mean() > 0.9
    stroke = np.s_[200:210, 380:480]
    hint_of(photo.image.shape, (0, stroke)).save(tmp_path / "hint.png")
    result = cut(photo, hint=tmp_path / "hint.png", refine=refine)
    assert result.alpha[stroke].max() < 0.01
    assert result.alpha[rabbit > 0.9].mean() < 0.2
    assert result.alpha[person > 0.9].mean() > 0.9


def test_strokes_on_a_transparent_layer(pair: tuple[Photo, Plane, Plane]) -> None:
    photo, _, rabbit = pair
    stroke = np.s_[200:210, 380:480]
    layer = np.zeros(photo.image.shape, np.uint16)
    levels = np.zeros(photo.image.shape[:2], np.uint16)
    levels[stroke] = 65535
    result = cut(photo, hint=Photo(image=layer, alpha=levels))
    assert result.alpha[rabbit > 0.9].mean() < 0.2


def test_a_rough_mask_chooses(pair: tuple[Photo, Plane, Plane]) -> None:
    photo, person, rabbit = pair
    rough = np.asarray(Image.fromarray(person).resize((19, 10)).resize((570, 300), Image.Resampling.NEAREST)) > 0.3
    result = cut(photo, hint=hint_of(photo.image.shape, (255, rough), ground=0))
    assert np.abs(rough - person).mean() > 0.03
    assert np.abs(result.alpha - person).mean() < 0.015
    assert result.alpha[rabbit > 0.9].mean() < 0.01


def test_a_person_s_word_outranks_the_switches(portrait: Case) -> None:
    hint = hint_of(portrait.photo.image.shape, (255, np.s_[20:30, 20:30]))
    assert cut(portrait.photo, hint=hint, remove_islands=True).alpha[22:28, 22:28].min() > 0.99


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (hint_of((300, 240)), "the hint must have the photo's size 241 x 300, but has 240 x 300"),
        (hint_of((300, 241)), "marks nothing"),
        (Photo(image=np.zeros((300, 241, 3), np.uint8), alpha=np.zeros((300, 241), np.uint8)), "marks nothing"),
        (Path("nowhere.png"), "nowhere.png"),
    ],
)
def test_hints_that_cannot_be_used(portrait: Case, hint: Photo | Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cut(portrait.photo, hint=hint)


def discs(*discs: tuple[int, int, int, tuple[int, int, int]]) -> Photo:
    """Return coloured discs (row, column, radius, colour) before a soft gray wall."""
    y, x = np.mgrid[:320, :400]
    image = np.repeat((190 + y / 16)[..., None], 3, axis=2)
    for row, column, radius, colour in discs:
        image[np.hypot(y - row, x - column) < radius] = colour
    return Photo(image=image.astype(np.uint8))


def test_holes_are_filled_on_request() -> None:
    ring = discs((160, 200, 80, (200, 30, 30)), (160, 200, 27, (200, 200, 200)))
    hole = np.s_[150:170, 190:210]
    plain, filled = (cut(ring, model="selfie", fill_holes=each).alpha for each in (False, True))
    assert plain[hole].max() < 0.1 and filled[hole].min() > 0.95
    assert plain[110, 200] > 0.9 and filled[10, 10] < 0.05


def test_islands_are_removed_on_request() -> None:
    two = discs((150, 150, 75, (200, 30, 30)), (150, 262, 10, (200, 30, 30)))
    island = np.s_[145:155, 257:267]
    plain, removed = (cut(two, model="selfie", remove_islands=each).alpha for each in (False, True))
    assert plain[island].mean() > 0.5 and removed[island].max() < 0.05
    assert removed[150, 150] > 0.95


# --- progress ---


def stages_of(run: Callable[..., CutoutResult]) -> list[tuple[float, str]]:
    events: list[tuple[float, str]] = []
    run(progress=lambda fraction, stage: events.append((fraction, stage)))
    return events


STAGES = ["finding the subject (U2-Net small)", "refining the edge", "cleaning edge colours"]
STAGES += ["placing on the background", "done"]


def test_progress_rises_from_0_to_1(portrait: Case) -> None:
    events = stages_of(lambda progress: cut(portrait.photo, progress=progress))
    fractions = [fraction for fraction, _ in events]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 1.0
    assert list(dict.fromkeys(stage for _, stage in events)) == STAGES
    events = stages_of(lambda progress: cut(portrait.photo, progress=progress, output="mask"))
    assert list(dict.fromkeys(stage for _, stage in events)) == [*STAGES[:2], "done"]


@pytest.mark.parametrize("stage", STAGES)
def test_cancelling_at_any_stage(portrait: Case, stage: str) -> None:
    after: list[str] = []
    stopped = False

    def progress(fraction: float, seen: str, /) -> None:
        nonlocal stopped
        if stopped:
            after.append(seen)
        if seen == stage:
            stopped = True
            raise Cancelled("enough")

    def held() -> tuple[set[str], int]:
        handles = Path("/proc/self/fd")
        names = {thread.name for thread in threading.enumerate()}
        return names, len(list(handles.iterdir())) if handles.exists() else 0

    before = held()
    with pytest.raises(Cancelled, match="enough"):
        cut(portrait.photo, progress=progress)
    assert not after and held() == before


# --- saving, telling, refusing ---


def test_what_was_asked_for_is_written(portrait: Case, plain: CutoutResult, tmp_path: Path) -> None:
    for output, names in [("cutout", ["a.png"]), ("mask", ["a.png"]), ("both", ["a.png", "a-mask.png"])]:
        folder = tmp_path / output
        folder.mkdir()
        result = cut(portrait.photo, output=output)
        assert (result.photo is None) == (output == "mask")
        assert result.save(folder / "a.png") == tuple(folder / name for name in names)
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)
        with Image.open(folder / names[-1]) as written:
            assert written.mode == ("RGBA" if output == "cutout" else "L")
            if output != "cutout":
                np.testing.assert_array_equal(np.asarray(written), np.rint(plain.alpha * 255))


def test_a_mask_of_16_bits(portrait: Case, tmp_path: Path) -> None:
    cut(Photo(image=portrait.photo.image * np.uint16(257)), output="mask").save(tmp_path / "m.png")
    assert Photo.open(tmp_path / "m.png").bits == 16


def test_the_result_tells_what_ran_where_and_why(plain: CutoutResult) -> None:
    summary = plain.summary()
    assert summary["reason"] == "asked for by name"
    (run,) = summary["runs"]
    assert run["model"] == "cutout-u2netp" and run["provider"] and run["reason"] and run["seconds"] > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 3)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    photo = Photo(image=np.random.default_rng(9).integers(0, 256, (*shape, 3), dtype=np.uint8))
    for background in ("transparent", "blur"):
        result = cut(photo, background=background)
        assert result.alpha.shape == shape and np.isfinite(result.alpha).all()
        assert result_of(result).image.shape == photo.image.shape


@pytest.mark.parametrize(
    ("text", "colour"), [("#fff", (255, 255, 255)), ("#102030", (16, 32, 48)), ("#ABCDEF", (171, 205, 239))]
)
def test_colours(text: str, colour: tuple[int, int, int]) -> None:
    assert parse_colour(text) == colour


@pytest.mark.parametrize("text", ["#", "#12", "#12345", "#1234567", "#gggggg", "#12 456", "#-12345", "#१२३"])
def test_what_is_no_colour(text: str) -> None:
    with pytest.raises(InputError, match="must be written #rrggbb"):
        parse_colour(text)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"background": "#12"}, InputError, "#rrggbb"),
        ({"background": "nowhere.jpg"}, ImageError, "does not exist"),
        ({"background": ""}, ImageError, "folder"),
        ({"output": "all"}, InputError, "output must be one of cutout, mask, both, but is 'all'"),
        ({"quality": "superb"}, InputError, "quality must be one of"),
        ({"model": "magic"}, InputError, "magic"),
        ({"model": "modnet"}, ModelNotFound, "safelight models import"),
        ({"provider": "abacus"}, InputError, "provider must be one of"),
        ({"model": "selfie", "provider": "cuda"}, ProviderError, "CPU"),
    ],
)
def test_arguments_that_cannot_be_used(
    portrait: Case, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cut(portrait.photo, **options)
