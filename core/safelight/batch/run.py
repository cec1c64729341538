"""Running a tool on many pictures: several at a time, stoppable, one failure does not stop the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError, SafelightError
from ..image import DEFAULT_MAX_PIXELS, Photo
from ..tools.declaration import Progress
from .paths import Job

__all__ = ["Outcome", "run_batch"]

_POLL_SECONDS = 0.1  # an untimed wait would keep Ctrl-C from being noticed on Windows


@dataclass(frozen=True)
class Outcome:
    """What became of one picture: what was written, or the error."""

    job: Job
    seconds: float
    written: tuple[Path, ...] = ()
    result: Any = None
    notes: tuple[str, ...] = ()
    error: SafelightError | None = None


def run_batch(
    function: Callable[..., Any],
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    report: Callable[[Job, float, str], None] | None = None,
) -> Iterator[Outcome]:
    """Open each picture, hand it to `function(photo, progress=…)`, save the result; yield outcomes as they come.

    Parameters
    ----------
    function
        A tool with its other parameters bound; its result has ``save(path) -> paths``.
    jobs
        Pictures and targets.
    workers
        Pictures worked on at a time; each needs memory of its own.
    max_pixels
        As :meth:`Photo.open`.
    report
        ``report(job, fraction, stage)``, called from several threads.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when all work has stopped; what is complete stays, nothing is half-written.
    """
    if workers < 1:
        raise InputError(f"--jobs must be at least 1, but is {workers}")
    stop = threading.Event()

    def work(job: Job) -> Outcome:
        def progress(fraction: float, stage: str, /) -> None:
            if stop.is_set():
                raise Cancelled("stopped by the person")
            if report:
                report(job, fraction, stage)

        return _run_one(function, job, max_pixels, progress)

    waiting = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="safelight-batch") as pool:
        running: set[Future[Outcome]] = set()
        try:
            while True:
                # No further ahead than needed: finished results must not pile up in memory.
                for job in _take(waiting, workers - len(running)):
                    running.add(pool.submit(work, job))
                if not running:
                    return
                done, running = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        except BaseException:
            stop.set()
            wait(running)
            raise


def _take(jobs: Iterator[Job], count: int) -> Iterator[Job]:
    for _ in range(count):
        job = next(jobs, None)
        if job is not None:
            yield job


def _run_one(function: Callable[..., Any], job: Job, max_pixels: int, progress: Progress) -> Outcome:
    started = time.perf_counter()
    try:
        progress(0.0, "opening")
        photo = Photo.open(job.source, max_pixels=max_pixels)
        result = function(photo, progress=lambda fraction, stage: progress(0.05 + 0.75 * fraction, stage))
        notes = photo.notes
        del photo  # a large original is not needed while its result is written
        progress(0.8, "saving")
        job.target.parent.mkdir(parents=True, exist_ok=True)
        written = result.save(job.target)
        progress(1.0, "done")
    except SafelightError as error:
        return Outcome(job, time.perf_counter() - started, error=error)
    except MemoryError:
        too_large = InputError(f"a picture must fit in memory, but {job.source} did not")
        return Outcome(job, time.perf_counter() - started, error=too_large)
    summary = result.summary() if hasattr(result, "summary") else None
    return Outcome(job, time.perf_counter() - started, tuple(written), summary, notes)
