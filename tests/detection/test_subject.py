from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import Photo
from safelight.detection import find_subject
from safelight.detection.subject import MODEL_NAMES, QUALITIES
from safelight.errors import Cancelled, InputError, ModelError, ModelNotFound, ProviderError
from safelight.inference import pool
from safelight.tools import TOOLS
from safelight.tools.cutout import Model


def test_the_tool_offers_what_there_is() -> None:
    assert sorted(get_args(Model)) == sorted(MODEL_NAMES)
    choices = {parameter.name: parameter.choices for parameter in TOOLS["cutout"].parameters}
    assert sorted(choices["model"]) == sorted(MODEL_NAMES) and choices["quality"] == QUALITIES


@pytest.fixture(scope="module")
def portrait(data_folder: Path) -> NDArray[np.uint8]:
    return Photo.open(data_folder / "matting_composites" / "p3m_p_22fc0130" / "image.jpg").image[::3, ::3].copy()


@pytest.fixture
def only(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that leaves only the models named on this machine."""

    def only(*names: str) -> None:
        monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path))
        monkeypatch.setattr(pool, "_open", {})
        for path in models.iterdir():
            if any(path.name.startswith(f"cutout-{name}.") for name in names):
                try:
                    (tmp_path / path.name).symlink_to(path)
                except OSError:  # Windows asks for a privilege
                    shutil.copy2(path, tmp_path)

    return only


def test_a_model_by_name_is_asked_alone(models: Path, portrait: NDArray[np.uint8]) -> None:
    for quality in QUALITIES[1:]:
        subject = find_subject(portrait, model="u2netp", quality=quality)
        assert [run.model for run in subject.runs] == ["cutout-u2netp"] and subject.reason == "asked for by name"
    assert subject.mask.dtype == np.float32 and subject.mask.shape == (320, 320)
    assert 0.3 < subject.mask.mean() < 0.7


def test_balanced_asks_others_and_tells_how_far_it_is(models: Path, portrait: NDArray[np.uint8]) -> None:
    events: list[tuple[float, str]] = []
    subject = find_subject(portrait, progress=lambda fraction, stage: events.append((fraction, stage)))
    assert [run.model for run in subject.runs] == ["cutout-isnet", "cutout-isnet", "cutout-u2net", "cutout-u2netp"]
    assert subject.reason == "isnet, filled where two of isnet at 768, u2net, u2netp agree"
    assert all(run.reason for run in subject.runs)
    fractions = [fraction for fraction, _ in events]
    assert fractions == sorted(fractions) and set(fractions) == {0.0, 0.25, 0.5, 0.75}
    assert len(events) > 8, "also while a network runs"


@pytest.mark.parametrize(
    ("here", "quality", "asked", "reason"),
    [
        ("u2netp", "balanced", ["u2netp"], "u2netp alone"),
        ("u2netp", "best", ["u2netp"], "u2netp alone"),
        ("u2netp selfie", "fast", ["u2netp"], "u2netp is the best here"),
        ("u2net u2netp", "balanced", ["u2net"], "u2net alone: fewer than two others"),
    ],
)
def test_what_is_here_decides(
    only: Callable[..., None], portrait: NDArray[np.uint8], here: str, quality: str, asked: list[str], reason: str
) -> None:
    only(*here.split())
    subject = find_subject(portrait, quality=quality)
    assert [run.model for run in subject.runs] == [f"cutout-{name}" for name in asked]
    assert subject.reason.startswith(reason)


@pytest.mark.parametrize("model", ["auto", "u2netp", "cutout-u2netp", "birefnet-general"])
def test_without_models_the_command_that_mends_it_is_named(
    only: Callable[..., None], portrait: NDArray[np.uint8], model: str
) -> None:
    only()
    with pytest.raises(ModelNotFound, match="run `safelight models "):
        find_subject(portrait, model=model)


def test_a_changed_model_is_an_error_never_left_out_in_silence(
    only: Callable[..., None], portrait: NDArray[np.uint8], tmp_path: Path
) -> None:
    only("u2netp")
    (tmp_path / "cutout-u2net.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match="SHA-256"):
        find_subject(portrait, quality="fast")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"quality": "superb"}, InputError, "quality must be one of fast, balanced, best, but is 'superb'"),
        ({"model": "magic"}, InputError, "magic"),
        ({"model": "centerface"}, InputError, "model must be one of auto, "),
        ({"model": "u2netp", "provider": "abacus"}, InputError, "provider must be one of"),
        ({"model": "selfie", "provider": "directml"}, ProviderError, "must run on the CPU"),
    ],
)
def test_wrong_arguments(
    models: Path, portrait: NDArray[np.uint8], arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_subject(portrait, **arguments)


@pytest.mark.parametrize("at", [0, 1, 3])
def test_progress_stops_it(models: Path, portrait: NDArray[np.uint8], at: int) -> None:
    calls = 0

    def progress(fraction: float, stage: str) -> None:
        nonlocal calls
        calls += 1
        if calls > at:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        find_subject(portrait, quality="fast", progress=progress)
    assert calls == at + 1
