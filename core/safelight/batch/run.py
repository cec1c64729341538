"""Running a tool on many pictures: several at a time, stoppable, one failure does not stop the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InputError, OutputError, SafelightError
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

    def work(job: Job, opening: list[Future[Photo]]) -> Outcome:
        def progress(fraction: float, stage: str, /) -> None:
            if stop.is_set():
                raise Cancelled("stopped by the person")
            if report:
                report(job, fraction, stage)

        return _run_one(function, job, opening, progress)

    waiting = iter(jobs)
    ahead: deque[tuple[Job, list[Future[Photo]]]] = deque()
    with ThreadPoolExecutor(workers, "safelight-batch") as pool, ThreadPoolExecutor(1, "safelight-open") as opener:

        def look_ahead() -> None:
            job = next(waiting, None)
            if job is not None:
                ahead.append((job, [opener.submit(Photo.open, job.source, max_pixels=max_pixels)]))

        running: set[Future[Outcome]] = set()
        look_ahead()
        try:
            while running or ahead:
                while ahead and len(running) < workers:
                    running.add(pool.submit(work, *ahead.popleft()))
                    look_ahead()  # one picture, no more, is decoded while others are worked on
                done, running = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        except BaseException:
            stop.set()
            opener.shutdown(wait=False, cancel_futures=True)
            wait(running)
            raise


def _run_one(function: Callable[..., Any], job: Job, opening: list[Future[Photo]], progress: Progress) -> Outcome:
    started = time.perf_counter()
    try:
        progress(0.0, "opening")
        photo = opening.pop().result()  # popped: the future would keep the picture in memory
        result = function(photo, progress=lambda fraction, stage: progress(0.05 + 0.75 * fraction, stage))
        notes = photo.notes
        del photo  # a large original is not needed while its result is written
        progress(0.8, "saving")
        _make_folder(job.target.parent)
        written = result.save(job.target)
        progress(1.0, "done")
    except SafelightError as error:
        return Outcome(job, time.perf_counter() - started, error=error)
    except MemoryError:
        too_large = InputError(f"a picture must fit in memory, but {job.source} did not")
        return Outcome(job, time.perf_counter() - started, error=too_large)
    summary = result.summary() if hasattr(result, "summary") else None
    return Outcome(job, time.perf_counter() - started, tuple(written), summary, notes)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} must be a folder or become one, but cannot: {error.strerror}") from error
