"""Strips of a picture in as many threads as there are processors: all libraries used here allow it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads", "worker_count"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do `work` on all items, several at a time, results in order."""
    items = list(items)
    workers = min(worker_count(), len(items))
    if workers < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers) as threads:
        return list(threads.map(work, items))


def worker_count() -> int:
    """Processors this process may use, or ``SAFELIGHT_THREADS``."""
    wanted = os.environ.get("SAFELIGHT_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
