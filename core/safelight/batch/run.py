"""Running a tool on many pictures: several at a time, stoppable, one failure does not stop the others."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
    with (
        ThreadPoolExecutor(1, "safelight-save") as saver,
        ThreadPoolExecutor(1, "safelight-open") as opener,
        ThreadPoolExecutor(workers, "safelight-batch") as pool,
    ):
        batch = _Batch(function, report, saver)
        waiting = iter(jobs)
        ahead: deque[tuple[Job, list[Future[Photo]]]] = deque()

        def look_ahead() -> None:
            job = next(waiting, None)
            if job is not None:
                ahead.append((job, [opener.submit(Photo.open, job.source, max_pixels=max_pixels)]))

        try:
            look_ahead()
            while batch.busy or ahead:
                # One picture, no more, is decoded, and one is written, while others are worked on.
                while ahead and batch.making < workers and batch.saving < 2:
                    pool.submit(batch.work, *ahead.popleft())
                    batch.making += 1
                    look_ahead()
                outcome = batch.next_event()
                if outcome is not None:
                    yield outcome
        except BaseException:
            batch.stop.set()
            opener.shutdown(wait=False, cancel_futures=True)
            raise


class _Batch:
    """What the threads of a batch share. `making` and `saving` are counted in the thread that reads the events."""

    def __init__(
        self,
        function: Callable[..., Any],
        report: Callable[[Job, float, str], None] | None,
        saver: ThreadPoolExecutor,
    ) -> None:
        self._function, self._report, self._saver = function, report, saver
        # A queue, not futures to wait for: Ctrl-C amid `concurrent.futures.wait` can leave their locks held for ever.
        self._events: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.making = self.saving = 0

    @property
    def busy(self) -> bool:
        return bool(self.making or self.saving)

    def work(self, job: Job, opening: list[Future[Photo]]) -> None:
        """Make a result and hand it over to be saved; errors wait their turn too, so one worker keeps the order."""

        def progress(fraction: float, stage: str, /) -> None:
            if self.stop.is_set():
                raise Cancelled("stopped by the person")
            if self._report:
                self._report(job, fraction, stage)

        try:
            self._saver.submit(self._finish, _make(self._function, job, opening, progress))
            self._events.put(None)
        except BaseException as error:
            self._events.put(error)

    def _finish(self, product: Outcome | _Unsaved) -> None:
        try:
            self._events.put(product if isinstance(product, Outcome) else product.save())
        except BaseException as error:
            self._events.put(error)

    def next_event(self) -> Outcome | None:
        """Wait a moment for something to happen; return what is finished."""
        try:
            event = self._events.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None
        if isinstance(event, BaseException):
            raise event
        if event is None:
            self.making, self.saving = self.making - 1, self.saving + 1
        else:
            self.saving -= 1
        return event


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
