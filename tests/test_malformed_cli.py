"""The whole of the malformed set through the command line, as one batch in a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from safelight import Photo

SECONDS = 20  # for one file
MEGABYTES = 2000
# A child's getrusage counts from the peak of the process that started it; its own is in /proc.
SCRIPT = """
import os, sys
from pathlib import Path
from safelight.cli import main
status = main()
Path(os.environ["PEAK"]).write_text(Path("/proc/self/status").read_text())
sys.exit(status)
"""
PROGRAM = [sys.executable, "-W", "default", "-c", SCRIPT]
NOT_BY_SUFFIX = (".hidden.jpg", "no_extension")  # a folder does not stand for these

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process tells its memory in /proc")


@dataclass(frozen=True)
class Ended:
    """What became of the batch."""

    status: int
    megabytes: float
    outcomes: dict[str, dict[str, Any]]
    errors: str
    results: Path
    temporary: Path


@pytest.fixture(scope="module")
def generated(data_folder: Path) -> Path:
    return data_folder / "malformed" / "generated"


@pytest.fixture(scope="module")
def ended(models: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    results, temporary = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("temporary")
    pictures = [str(generated), *(str(generated / name) for name in NOT_BY_SUFFIX)]
    command = [*PROGRAM, "cutout", *pictures, "-o", str(results), "--model", "u2netp", "--quality", "fast", "--json"]
    told = tmp_path_factory.mktemp("peak") / "status"
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(temporary), "PEAK": str(told)}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        try:
            process.wait(timeout=30 * SECONDS)
        except BaseException:  # it hangs, or the run of all tests was stopped
            process.kill()
            raise
        output.seek(0)
        errors.seek(0)
        outcomes = {Path(each["source"]).name: each for each in json.loads(output.read() or "[]")}
        line = next(line for line in told.read_text().splitlines() if line.startswith("VmHWM"))
        peak = int(line.split()[1]) / 1024
        return Ended(process.returncode, peak, outcomes, errors.read(), results, temporary)


def test_the_batch_ends_with_2_and_without_a_traceback(ended: Ended) -> None:
    assert ended.status == 2, ended.errors[-2000:]
    failed = [name for name, outcome in ended.outcomes.items() if "error" in outcome]
    lines = ended.errors.splitlines()
    assert len(lines) == len(failed) > 20
    assert all(line.startswith("safelight: ") and " must " in line for line in lines)
    assert "Traceback" not in ended.errors


def test_every_file_ends_as_a_picture_or_an_error(ended: Ended, generated: Path) -> None:
    files = {path.name for path in generated.iterdir()} - {"manifest.json"}
    assert set(ended.outcomes) == files
    for outcome in ended.outcomes.values():
        if "error" in outcome:
            assert outcome["error"]["code"] in ("bad-image", "bad-input", "cannot-write"), outcome
            continue
        (written,) = outcome["written"]
        result, original = Photo.open(written), Photo.open(outcome["source"])
        assert result.alpha is not None and result.image.shape == original.image.shape
        assert result.bits == original.bits


def test_what_must_work_works(ended: Ended, generated: Path) -> None:
    manifest = json.loads((generated / "manifest.json").read_text(encoding="utf-8"))
    for name, expected in manifest.items():
        if any(words in expected for words in ("must open", "open by content", "apply", "ignore", "filename handled")):
            assert "error" not in ended.outcomes[name], ended.outcomes[name]
        if any(words in expected for words in ("clean error", "refuse from header")):
            assert "error" in ended.outcomes[name], name


def test_time_and_memory_are_bounded(ended: Ended) -> None:
    assert {name: each["seconds"] for name, each in ended.outcomes.items() if each["seconds"] > SECONDS} == {}
    assert ended.megabytes < MEGABYTES


def test_nothing_is_left_behind(ended: Ended, generated: Path) -> None:
    written = {Path(path).name for each in ended.outcomes.values() for path in each.get("written", ())}
    assert {path.name for path in ended.results.iterdir()} == written
    assert list(ended.temporary.iterdir()) == []
    assert len(list(generated.iterdir())) == len(ended.outcomes) + 1
