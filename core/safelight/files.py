"""Files that appear whole or not at all.

A result is written to a hidden file beside its target and renamed when it is complete, so that a full disk,
a crash or Ctrl-C never leaves half a picture where a whole one was expected.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safelight.errors import OutputError

__all__ = ["atomic_output"]

_DISK_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than the system allows",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk reported an error",
}
_REPLACE_ATTEMPTS = 20
_REPLACE_WAIT = 0.05  # seconds; a virus scanner holds a new file open for a moment


@contextmanager
def atomic_output(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces `path` when the block ends well.

    The temporary file lies in the same folder, is hidden, has an unguessable name and the suffix of `path`.
    After any exception, KeyboardInterrupt included, it is removed and `path` is as it was. A symbolic link
    stays a link: the file it points to is replaced.

    Parameters
    ----------
    path : str or PathLike
        The file to write. Its folder must exist.

    Yields
    ------
    Path
        The temporary file: it exists and is empty. Close it before the block ends.

    Raises
    ------
    OutputError
        If the folder is missing or may not be written to, if `path` is a folder or a device,
        or if the disk is full.
    """
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:
        raise _cannot_write(Path(path), error) from error
    _check_target(target, shown=Path(path))
    temporary = target.with_name(f".safelight-{secrets.token_hex(8)}{target.suffix}")
    try:
        _create(temporary, shown=Path(path))
        try:
            yield temporary
        except OSError as error:
            if error.errno in _DISK_REASONS:
                raise _cannot_write(Path(path), error) from error
            raise
        _replace(temporary, target, shown=Path(path))
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _check_target(target: Path, *, shown: Path) -> None:
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise OutputError(f"{shown} must be in an existing folder, but {shown.parent} is none") from None
        return
    except (OSError, ValueError) as error:
        raise _cannot_write(shown, error) from error
    if stat.S_ISDIR(mode):
        raise OutputError(f"{shown} must be a file name, but is a folder")
    if not stat.S_ISREG(mode):
        raise OutputError(f"{shown} must be an ordinary file, but is a device or a pipe")
    if not os.access(target, os.W_OK):
        raise OutputError(f"{shown} must be writable, but is write-protected")


def _create(temporary: Path, *, shown: Path) -> None:
    """Make the empty file now: the operating system applies the umask as for any new file."""
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (OSError, ValueError) as error:
        raise _cannot_write(shown, error) from error


def _replace(temporary: Path, target: Path, *, shown: Path) -> None:
    for attempt in range(1, _REPLACE_ATTEMPTS + 1):
        try:
            temporary.replace(target)
        except PermissionError as error:  # on Windows: somebody has one of the two files open
            if os.name != "nt" or attempt == _REPLACE_ATTEMPTS:
                raise _cannot_write(shown, error) from error
            time.sleep(_REPLACE_WAIT)
        except OSError as error:
            raise _cannot_write(shown, error) from error
        else:
            return


def _cannot_write(shown: Path, error: Exception) -> OutputError:
    number = getattr(error, "errno", None)
    if isinstance(error, PermissionError):
        return OutputError(f"{shown} must be in a folder you may write to, but permission is denied")
    reason = _DISK_REASONS.get(number) if number is not None else None
    return OutputError(f"{shown} must be writable, but {reason or getattr(error, 'strerror', None) or error}")
