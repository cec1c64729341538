from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safelight import Photo
from safelight.batch import Job, Outcome, run_batch
from safelight.errors import Cancelled, ImageError, InputError, OutputError
from safelight.tools.declaration import Progress


@dataclass
class Result:
    photo: Photo

    def save(self, path: Path) -> tuple[Path, ...]:
        self.photo.save(path)
        return (path,)

    def summary(self) -> dict[str, Any]:
        return {"height": self.photo.height}


def invert(photo: Photo, *, progress: Progress) -> Result:
    progress(0.5, "inverting")
    return Result(Photo(image=255 - photo.image))


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Return jobs for five pictures, all of another height and gray level; the third is no picture."""
    made = []
    for number in range(5):
        source = tmp_path / f"{number}.png"
        Photo(image=np.full((4 + number, 6, 3), 40 * number, np.uint8)).save(source)
        made.append(Job(source, tmp_path / "new" / "results" / f"{number}-inverted.png"))
    made[2].source.write_bytes(b"no picture")
    return made


def by_number(outcomes: list[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.job.source.name)


@pytest.mark.parametrize("workers", [1, 3, 9])
def test_one_bad_file_does_not_stop_the_others(jobs: list[Job], workers: int) -> None:
    outcomes = by_number(list(run_batch(invert, jobs, workers=workers)))
    assert [outcome.job for outcome in outcomes] == jobs
    for number, outcome in enumerate(outcomes):
        if number == 2:
            assert isinstance(outcome.error, ImageError)
            assert not outcome.written and not outcome.job.target.exists()
            continue
        assert outcome.error is None
        assert outcome.written == (outcome.job.target,)
        assert outcome.result == {"height": 4 + number}
        assert np.all(Photo.open(outcome.job.target).image == 255 - 40 * number)
    assert len(list(jobs[0].target.parent.iterdir())) == 4


def test_one_worker_keeps_the_order(jobs: list[Job]) -> None:
    assert [outcome.job for outcome in run_batch(invert, jobs)] == jobs


@pytest.mark.parametrize("workers", [1, 3])
def test_at_most_as_many_as_asked_are_worked_on(jobs: list[Job], workers: int) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def watched(photo: Photo, *, progress: Progress) -> Result:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return invert(photo, progress=progress)

    list(run_batch(watched, [job for job in jobs * 2 if job != jobs[2]], workers=workers))
    assert most == workers


@pytest.mark.parametrize("workers", [1, 3])
def test_work_does_not_run_ahead_of_who_reads_the_outcomes(jobs: list[Job], workers: int) -> None:
    started: list[int] = []

    def counted(photo: Photo, *, progress: Progress) -> Result:
        started.append(photo.height)
        return invert(photo, progress=progress)

    outcomes = run_batch(counted, [jobs[0]] * 20, workers=workers)
    next(outcomes)
    time.sleep(0.2)
    assert len(started) <= 1 + workers
    outcomes.close()


def test_pictures_with_too_many_pixels_are_refused(jobs: list[Job]) -> None:
    outcomes = by_number(list(run_batch(invert, jobs, max_pixels=30)))
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, False, False]
    assert "at most 30 pixels" in str(outcomes[4].error)


def test_what_opening_changed_is_passed_on(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    (outcome,) = run_batch(invert, [Job(tmp_path / "a.jpg", tmp_path / "b.png")])
    assert any("CMYK" in note for note in outcome.notes)


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_of_every_picture_rises_to_one(jobs: list[Job], workers: int) -> None:
    seen: dict[Job, list[float]] = {}
    stages: set[str] = set()

    def report(job: Job, fraction: float, stage: str) -> None:
        seen.setdefault(job, []).append(fraction)
        stages.add(stage)

    list(run_batch(invert, jobs, workers=workers, report=report))
    assert stages == {"opening", "inverting", "saving", "done"}
    for job, fractions in seen.items():
        assert fractions == sorted(fractions)
        assert fractions[0] == 0.0 and fractions[-1] == (0.0 if job == jobs[2] else 1.0)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda folder: folder / "0.png" / "a.png", OutputError),  # a file where a folder must be
        (lambda folder: folder / "a.nonsense", InputError),
        (lambda folder: folder / ("x" * 300 + ".png"), OutputError),
        (lambda folder: folder / ("x" * 300) / "a.png", OutputError),
    ],
)
def test_results_that_cannot_be_written(
    jobs: list[Job], tmp_path: Path, make: Callable[[Path], Path], error: type[Exception]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    (outcome,) = run_batch(invert, [Job(jobs[0].source, make(tmp_path))])
    assert isinstance(outcome.error, error)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_picture_that_does_not_fit_in_memory(jobs: list[Job]) -> None:
    def hungry(photo: Photo, *, progress: Progress) -> Result:
        if photo.height == 5:
            raise MemoryError
        return invert(photo, progress=progress)

    outcomes = by_number(list(run_batch(hungry, jobs)))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True, True]
    assert "memory" in str(outcomes[1].error)


def test_workers_must_be_some(jobs: list[Job]) -> None:
    with pytest.raises(InputError, match="--jobs must be at least 1, but is 0"):
        list(run_batch(invert, jobs, workers=0))


def test_no_pictures() -> None:
    assert list(run_batch(invert, [])) == []


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_exception_of_the_reader_stops_all_work(
    jobs: list[Job], tmp_path: Path, workers: int, stop: type[BaseException]
) -> None:
    cancelled: list[float] = []

    def slow(photo: Photo, *, progress: Progress) -> Result:
        try:
            for step in range(1000):
                progress(step / 1000, "working")
                time.sleep(0.01)
                if photo.height == 4 and step == 5:
                    break
        except Cancelled:
            cancelled.append(photo.height)
            raise
        return invert(photo, progress=progress)

    before = set(threading.enumerate())
    started = time.perf_counter()
    with pytest.raises(stop):
        for _ in run_batch(slow, jobs * 3, workers=workers):
            time.sleep(0.1)
            raise stop
    assert time.perf_counter() - started < 5
    assert set(threading.enumerate()) == before
    # What was finished stays, what was begun left nothing.
    assert [path.name for path in (tmp_path / "new" / "results").iterdir()] == ["0-inverted.png"]
    assert len(cancelled) <= workers
    if workers > 1:
        assert cancelled


def test_an_exception_that_is_not_ours_is_not_hidden(jobs: list[Job]) -> None:
    def broken(photo: Photo, *, progress: Progress) -> Result:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run_batch(broken, jobs))
