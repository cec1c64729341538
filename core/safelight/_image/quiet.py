"""Process-wide switches, set while a picture is being read and put back by the last reader.

Pillow's limits and Python's warnings are global, and libtiff writes its complaints straight to the terminal.
Several threads may read pictures at once, so both switches count their users.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageFile

__all__ = ["quiet_stderr", "strict_pillow"]

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or its errors would go to the terminal unasked

_lock = threading.Lock()
_limits: list[int] = []
_before: list[tuple[int | None, bool, warnings.catch_warnings[Any]]] = []
_stderr_users: list[int | None] = []


@contextlib.contextmanager
def strict_pillow(max_pixels: int) -> Iterator[None]:
    """Make Pillow refuse pictures beyond `max_pixels` and incomplete ones, and keep its warnings quiet."""
    with _lock:
        if not _limits:
            _begin_strict()
        _limits.append(max_pixels)
        _apply_limit()
    try:
        yield
    finally:
        with _lock:
            _limits.remove(max_pixels)
            _apply_limit() if _limits else _end_strict()


def _begin_strict() -> None:
    filters = warnings.catch_warnings()
    filters.__enter__()
    for library in ("PIL", "pillow_heif"):
        warnings.filterwarnings("ignore", module=rf"{library}\b")
    _before.append((Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, filters))
    ImageFile.LOAD_TRUNCATED_IMAGES = False


def _apply_limit() -> None:
    Image.MAX_IMAGE_PIXELS = (max(_limits) + 1) // 2  # Pillow refuses at twice this number


def _end_strict() -> None:
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, filters = _before.pop()
    filters.__exit__(None, None, None)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what C libraries write to the process's standard error to nowhere."""
    with _lock:
        _stderr_users.append(_silence() if not _stderr_users else None)
    try:
        yield
    finally:
        with _lock:
            saved = _stderr_users[0]
            _stderr_users.pop()
            if not _stderr_users and saved is not None:
                os.dup2(saved, 2)
                os.close(saved)


def _silence() -> int | None:
    """Point file descriptor 2 at the null device; return a copy of the old one, None if there is none."""
    if sys.__stderr__ is None:  # started without one: descriptor 2 may be any file
        return None
    try:
        sys.__stderr__.flush()
        saved = os.dup(2)
    except (OSError, ValueError):
        return None
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    return saved
