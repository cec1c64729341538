from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight import Photo
from safelight.batch import before_after, contact_sheet
from safelight.batch.sheet import BACKGROUNDS
from safelight.cli import main

GREEN = (0, 200, 0)


def photo(*, alpha: int | None = None, height: int = 64, width: int = 96, dtype: type = np.uint8) -> Photo:
    scale = 257 if dtype == np.uint16 else 1
    image = np.empty((height, width, 3), dtype)
    image[:] = np.asarray(GREEN, dtype) * dtype(scale)
    levels = None if alpha is None else np.full((height, width), alpha * scale, dtype)
    return Photo(image=image, alpha=levels)


def share(sheet: NDArray[np.uint8], colour: tuple[int, int, int]) -> float:
    return float((np.abs(sheet.astype(int) - colour).max(axis=2) <= 2).mean())


def test_what_is_transparent_is_shown_on_every_background() -> None:
    sheet = contact_sheet([("a", [photo(alpha=0)])], height=64)
    shares = [share(sheet, colour) for colour in BACKGROUNDS]
    assert min(shares) > 0.2
    assert max(shares) - min(shares) < 0.01
    assert share(sheet, GREEN) == 0  # the colours under full transparency stay hidden


def test_an_opaque_picture_is_shown_once() -> None:
    opaque, clear = (contact_sheet([("a", [photo(alpha=each)])], height=64) for each in (None, 255))
    assert opaque.shape[0] == clear.shape[0]
    assert clear.shape[1] > 2.8 * opaque.shape[1]
    assert share(opaque, GREEN) > 0.6 and share(clear, GREEN) > 0.6


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_half_transparency_mixes(dtype: type) -> None:
    sheet = contact_sheet([("a", [photo(alpha=128, dtype=dtype)])], backgrounds=[(0, 0, 255)], height=32)
    assert share(sheet, (0, 100, 127)) > 0.4


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 1, 4), (4, 2, 2), (5, 2, 3), (3, 3, 1)])
def test_rows_are_spread_over_columns(count: int, columns: int, rows: int) -> None:
    one = contact_sheet([("a", [photo()])], height=40)
    sheet = contact_sheet([(str(number), [photo()]) for number in range(count)], height=40, columns=columns)
    assert sheet.shape == (rows * one.shape[0], columns * one.shape[1], 3)


@pytest.mark.parametrize("width", [1, 7, 900])
def test_odd_shapes_and_long_labels(width: int) -> None:
    pictures = [photo(height=31, width=width), photo(height=200, width=3, alpha=9)]
    sheet = contact_sheet([("a very long name " * 9, pictures), ("", [photo()])], height=20)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3


def test_before_and_after_side_by_side() -> None:
    cut = photo(alpha=255, width=64)
    assert cut.alpha is not None
    cut.alpha[:, :32] = 0
    strip = before_after(photo(width=64), cut, height=64, colour=(1, 2, 3))
    left, middle, right = strip[:, :64], strip[:, 70:134], strip[:, 140:]
    assert share(left, GREEN) == 1
    assert np.all(middle[:, 40:] == GREEN) and np.all(right[:, 40:] == GREEN)
    assert np.all(right[:, :24] == (1, 2, 3))
    checks = {tuple(each) for each in middle[:, :24].reshape(-1, 3).tolist()}
    assert len(checks) == 2 and all(red == green == blue for red, green, blue in checks)


def test_the_command_draws_originals_beside_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, picture in {
        "in/cat.png": photo(),
        "in/cat-2.png": photo(height=32),
        "out/cat-2-cutout.png": photo(alpha=0, height=32),
        "out/dog-cutout.png": photo(alpha=0),
    }.items():
        Path(name).parent.mkdir(exist_ok=True)
        picture.save(name)
    arguments = ["sheet", "out", "-o", "sheet.png", "--originals", "in", "--height", "48"]
    assert main([*arguments, "--background", "#00f", "--background", "#102030"]) == 0
    sheet = Photo.open("sheet.png").image
    assert share(sheet, (0, 0, 255)) > 0.1 and share(sheet, (16, 32, 48)) > 0.1
    assert 0.05 < share(sheet, GREEN) < 0.4  # of cat-2 alone
    assert "2 pictures -> sheet.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        ["nowhere.png", "-o", "sheet.png"],
        ["a.png", "-o", "sheet.nonsense"],
        ["a.png", "-o", "sheet.png", "--height", "2"],
        ["a.png", "-o", "sheet.png", "--columns", "0"],
        ["a.png", "-o", "sheet.png", "--background", "blue"],
        ["a.png", "-o", "sheet.png", "--originals", "empty"],
        ["a.png", "-o", "missing/sheet.png"],
    ],
)
def test_wrong_arguments_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, wrong: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photo().save("a.png")
    Path("empty").mkdir()
    assert main(["sheet", *wrong]) == 2
    assert capsys.readouterr().err.startswith("safelight: ")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "empty"}
