"""Broken, hostile and odd files, opened in child processes: a photo or an error of ours, and nothing else.

Every child opens many files and reports each one's outcome, time and peak memory. A child that dies or hangs is
told by the file it did not report.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS = 20
MEGABYTES = 2000
BATCH = 100

CHILD = """
import json, sys, time
from pathlib import Path
from safelight.errors import SafelightError
from safelight.image import Photo
try:
    import resource
except ImportError:
    resource = None
else:
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
status = Path("/proc/self/status")
for path in json.load(sys.stdin):
    begin, report = time.perf_counter(), {"path": path}
    try:
        photo = Photo.open(path)
        report |= {"shape": photo.image.shape, "bits": photo.bits, "format": photo.format, "notes": photo.notes}
        report |= {"gray": photo.grayscale, "alpha": photo.alpha is not None, "outcome": "photo"}
        del photo
    except SafelightError as error:
        report |= {"outcome": "error", "message": str(error)}
    except BaseException as error:
        report |= {"outcome": repr(error)}
    report["seconds"] = time.perf_counter() - begin
    if status.exists():  # not getrusage: its peak counts from the process that started this one
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        report["megabytes"] = int(peak.split()[1]) / 1024
    print(json.dumps(report), flush=True)
"""

Report = dict[str, Any]


def open_in_child(paths: list[Path]) -> list[Report]:
    command = [sys.executable, "-W", "default", "-c", CHILD]
    names = json.dumps([str(path) for path in paths])
    try:
        done = subprocess.run(command, input=names, capture_output=True, text=True, timeout=120, check=False)
        output, errors, how = done.stdout, done.stderr, f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as expired:
        output, errors, how = (expired.stdout or b"").decode(), (expired.stderr or b"").decode(), "timeout"
    reports: list[Report] = [json.loads(line) for line in output.splitlines()]
    assert len(reports) == len(paths), f"{paths[len(reports)]}: {how}\n{errors[-2000:]}"
    assert errors == ""
    return reports


def batches(paths: list[Path]) -> Iterator[list[Path]]:
    for start in range(0, len(paths), BATCH):
        yield paths[start : start + BATCH]


def check(report: Report) -> None:
    assert report["outcome"] in ("photo", "error"), report
    assert report["seconds"] < SECONDS, report
    assert report.get("megabytes", 0) < MEGABYTES, report
    if report["outcome"] == "error":
        assert " must " in report["message"], report
        assert ", but " in report["message"], report


@pytest.fixture(scope="module")
def folder(data_folder: Path) -> Path:
    return data_folder / "malformed"


@pytest.fixture(scope="module")
def generated(folder: Path) -> dict[str, Report]:
    paths = sorted(path for path in (folder / "generated").iterdir() if path.name != "manifest.json")
    return {Path(report["path"]).name: report for batch in batches(paths) for report in open_in_child(batch)}


def test_every_malformed_file_is_a_photo_or_an_error(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "generated")
    assert len(paths) > 600
    opened = 0
    for batch in batches(paths):
        for report in open_in_child(batch):
            check(report)
            opened += report["outcome"] == "photo"
    assert opened > 350


def test_the_generated_files(folder: Path, generated: dict[str, Report]) -> None:
    manifest = json.loads((folder / "generated" / "manifest.json").read_text(encoding="utf-8"))
    assert set(manifest) <= set(generated)
    must_open = ("must open", "open by content", "opens first", "apply", "ignore", "filename handled")
    must_fail = ("clean error", "error or partial", "refuse")
    for name, expected in manifest.items():
        report = generated[name]
        check(report)
        if any(words in expected for words in must_open):
            assert report["outcome"] == "photo", report
        if any(words in expected for words in must_fail) and "or refuse" not in expected:
            assert report["outcome"] == "error", report


EXPECTED = {
    "mode_gray.png": (8, True, False),
    "mode_la.png": (8, True, True),
    "mode_1bit.png": (8, True, False),
    "mode_p_trns.png": (8, False, True),
    "mode_i16.png": (16, True, False),
    "mode_cmyk.jpg": (8, False, False),
    "mode_lab.tif": (8, False, False),
    "mode_float.tif": (16, True, False),
    "mode_gray.jpg": (8, True, False),
    "mode_rgb16.png": (16, False, False),
    "mode_rgb16.tif": (16, False, False),
    "mode_anim6.gif": (8, False, False),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_modes(name: str, generated: dict[str, Report]) -> None:
    report = generated[name]
    assert (report["bits"], report["gray"], report["alpha"]) == EXPECTED[name]


@pytest.mark.parametrize("name", ["bomb_png_ztxt_200MB.png", "bomb_png_iccp_100MB.png"])
def test_bombs_in_metadata_leave_the_picture(name: str, generated: dict[str, Report]) -> None:
    assert generated[name]["outcome"] == "photo"


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("bomb_png_30000x30000_1bit.png", "900,000,000"),
        ("bomb_png_header_100000x100000.png", "10,000,000,000"),
        ("jpeg_header_65500x65500.jpg", "4,290,250,000"),
    ],
)
def test_bombs_of_pixels_are_refused_by_size(name: str, pixels: str, generated: dict[str, Report]) -> None:
    assert f"must have at most 400,000,000 pixels, but has {pixels}" in generated[name]["message"]


def test_frames_are_counted(generated: dict[str, Report]) -> None:
    for name in ("mode_anim6.gif", "mode_anim6.png", "mode_anim6.webp", "mode_anim6.tif"):
        assert generated[name]["notes"] == ["first of 6 frames"]


def test_metadata_samples(data_folder: Path) -> None:
    """Real files of many cameras: none may fail in another way, nearly all must open."""
    kinds = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".avif", ".bmp"}
    paths = sorted(path for path in (data_folder / "metadata").rglob("*") if path.suffix.lower() in kinds)
    reports = [report for batch in batches(paths) for report in open_in_child(batch)]
    for report in reports:
        check(report)
    assert sum(report["outcome"] == "photo" for report in reports) > 0.95 * len(reports)
