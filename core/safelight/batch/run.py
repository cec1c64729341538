"""Running a tool on many pictures: several at a time, stoppable, one failure does not stop the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..errors import Cancelled, InputError, OutputError, SafelightError
from ..image import DEFAULT_MAX_PIXELS, Photo
from ..tools.declaration import Progress
from .paths import Job

__all__ = ["Outcome", "run_batch"]

Task = TypeVar("Task")

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

    def work(job: Job, opening: list[Future[Photo]]) -> Future[Outcome]:
        def progress(fraction: float, stage: str, /) -> None:
            if stop.is_set():
                raise Cancelled("stopped by the person")
            if report:
                report(job, fraction, stage)

        product = _make(function, job, opening, progress)
        return saver.submit(_finish, product)  # errors wait their turn, too: with one worker the order is kept

    waiting = iter(jobs)
    ahead: deque[tuple[Job, list[Future[Photo]]]] = deque()
    with (
        ThreadPoolExecutor(workers, "safelight-batch") as pool,
        ThreadPoolExecutor(1, "safelight-open") as opener,
        ThreadPoolExecutor(1, "safelight-save") as saver,
    ):

        def look_ahead() -> None:
            job = next(waiting, None)
            if job is not None:
                ahead.append((job, [opener.submit(Photo.open, job.source, max_pixels=max_pixels)]))

        making: list[Future[Future[Outcome]]] = []
        saving: list[Future[Outcome]] = []
        look_ahead()
        try:
            while making or saving or ahead:
                # One picture, no more, is decoded, and one is written, while others are worked on.
                while ahead and len(making) < workers and len(saving) < 2:
                    making.append(pool.submit(work, *ahead.popleft()))
                    look_ahead()
                pending: list[Future[Any]] = [*making, *saving]
                wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                saving += [made.result() for made in _taken(making)]
                for saved in _taken(saving):
                    yield saved.result()
        except BaseException:
            stop.set()
            opener.shutdown(wait=False, cancel_futures=True)
            wait(making)  # what they submit to be saved stops by itself
            raise


@dataclass(frozen=True)
class _Unsaved:
    """A result that is made, and what it takes to write it."""

    job: Job
    started: float
    result: Any
    notes: tuple[str, ...]
    progress: Progress

    def save(self) -> Outcome:
        try:
            self.progress(0.8, "saving")
            _make_folder(self.job.target.parent)
            written = tuple(self.result.save(self.job.target))
            self.progress(1.0, "done")
        except (SafelightError, MemoryError) as error:
            return _failed(self.job, self.started, error)
        summary = self.result.summary() if hasattr(self.result, "summary") else None
        return Outcome(self.job, time.perf_counter() - self.started, written, summary, self.notes)


def _taken(tasks: list[Future[Task]]) -> list[Future[Task]]:
    """Take the tasks that are done out of a list."""
    done = [task for task in tasks if task.done()]
    tasks[:] = [task for task in tasks if task not in done]
    return done


def _finish(product: Outcome | _Unsaved) -> Outcome:
    return product if isinstance(product, Outcome) else product.save()


def _make(
    function: Callable[..., Any], job: Job, opening: list[Future[Photo]], progress: Progress
) -> Outcome | _Unsaved:
    started = time.perf_counter()
    try:
        progress(0.0, "opening")
        photo = opening.pop().result()  # popped: the future would keep the picture in memory
        result = function(photo, progress=lambda fraction, stage: progress(0.05 + 0.75 * fraction, stage))
    except (SafelightError, MemoryError) as error:
        return _failed(job, started, error)
    # The photo ends here: a large original is not needed while its result is written.
    return _Unsaved(job, started, result, photo.notes, progress)


def _failed(job: Job, started: float, error: SafelightError | MemoryError) -> Outcome:
    if isinstance(error, MemoryError):
        error = InputError(f"a picture must fit in memory, but {job.source} did not")
    return Outcome(job, time.perf_counter() - started, error=error)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} must be a folder or become one, but cannot: {error.strerror}") from error
