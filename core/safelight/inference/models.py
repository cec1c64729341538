"""Models on this machine: where they lie, whether they are the right ones. Never uses the network.

A model's file lies in :func:`models_directory` with a small stamp beside it (``<file>.json``: its hash, size
and time of change when it was hashed), so that it is hashed again only when it may have changed.
Fetching is the business of :mod:`safelight.inference.fetch`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

from ..errors import ModelError, ModelNotFound, OutputError
from ..files import atomic_output
from .catalogue import ModelInfo, Preprocess, Sample, Source, catalogue, model_info, samples

__all__ = [
    "ModelInfo",
    "Preprocess",
    "Sample",
    "Source",
    "catalogue",
    "copy_checked",
    "find_model",
    "install_model",
    "load_model",
    "lock_models",
    "model_info",
    "model_state",
    "models_directory",
    "remove_model",
    "samples",
    "verify_model",
]

_CHUNK = 1 << 20


def models_directory() -> Path:
    """Return the folder models are kept in: ``SAFELIGHT_MODELS``, else the user's data folder."""
    if chosen := os.environ.get("SAFELIGHT_MODELS"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("safelight", appauthor=False) / "models"


def find_model(name: str) -> Path:
    """Return the path of a model's file on this machine, known to be the right one.

    Raises
    ------
    InputError
        There is no such model.
    ModelNotFound
        It is not on this machine; the message names the command that fetches it.
    ModelError
        The file is not the one the catalogue names.
    """
    info = model_info(name)
    path = _present(info)
    stamp, status = _read_stamp(path), path.stat()
    unchanged = (stamp.get("size"), stamp.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    if unchanged and stamp.get("sha256") == _trusted_hash(info, stamp):
        return path
    return verify_model(info)


def verify_model(info: ModelInfo) -> Path:
    """Hash a model's file again, whatever its stamp says, and return its path.

    Raises
    ------
    ModelNotFound
        It is not on this machine.
    ModelError
        The file is not the one the catalogue names, or the one a person brought.
    """
    path = _present(info)
    stamp = _read_stamp(path)
    must, found = _trusted_hash(info, stamp), _hash_file(path)
    if found != must:
        raise ModelError(
            f"{path} must have the SHA-256 {must or '(none is known)'}, but has {found}: "
            f"it was changed or is another file; run `{_remedy(info)}`"
        )
    with contextlib.suppress(OutputError):  # in a folder that cannot be written it is hashed every time
        _write_stamp(path, found, brought=bool(stamp.get("brought")))
    return path


def model_state(info: ModelInfo) -> Literal["here", "not here", "changed"]:
    """Say whether a model is on this machine, and whether its file is still the right one."""
    try:
        find_model(info.id)
    except ModelNotFound:
        return "not here"
    except ModelError:
        return "changed"
    return "here"


def load_model(name: str) -> bytes | Path:
    """Return a model ready to be opened: its path, or its edited content where the catalogue asks for edits.

    Raises
    ------
    InputError, ModelNotFound, ModelError
        As :func:`find_model`.
    """
    info = model_info(name)
    path = find_model(name)
    if not info.edits:
        return path
    from .onnx_edit import apply_edits

    return apply_edits(path.read_bytes(), info.edits, outputs=info.outputs)


def install_model(info: ModelInfo, source: Path | IO[bytes], *, unknown_hash_ok: bool = False) -> Path:
    """Copy a model's file into the models' folder, checked, in one step.

    Parameters
    ----------
    info
        The row of the catalogue it must fit.
    source
        A file, or a binary stream that is read to its end.
    unknown_hash_ok
        Take a file whose hash the catalogue does not know; the caller has checked its tensors.

    Raises
    ------
    ModelError
        The file is not the one the catalogue names.
    OutputError
        It cannot be written.
    """
    path = models_directory() / info.file_name
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return install_model(info, stream, unknown_hash_ok=unknown_hash_ok)
    must, limit = (None, 0) if unknown_hash_ok else (info.sha256 or "(none is known)", info.size)
    _make_folder(path.parent)
    found = copy_checked(source, path, sha256=must, limit=limit)
    _write_stamp(path, found, brought=found != info.sha256)
    return path


def remove_model(info: ModelInfo) -> bool:
    """Delete a model's file and its stamp; return whether there was one."""
    path = models_directory() / info.file_name
    was_there = path.exists()
    try:
        path.unlink(missing_ok=True)
        _stamp_path(path).unlink(missing_ok=True)
        for prepared in path.parent.glob(f"{path.name}.prepared-*"):  # see prepared.py
            prepared.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} must be removable, but is not: {error.strerror}") from error
    return was_there


@contextlib.contextmanager
def lock_models(waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Keep other processes from changing the models' folder; `waiting` is called until it is free.

    The system gives the lock back when a process ends, however it ends.
    """
    directory = models_directory()
    _make_folder(directory)
    try:
        handle = (directory / ".lock").open("ab")
    except OSError as error:
        raise OutputError(f"{directory} must be writable, but is not: {error.strerror}") from error
    with handle:
        while not _try_lock(handle):
            if waiting:
                waiting()
            time.sleep(0.1)
        yield


def copy_checked(source: IO[bytes], path: Path, *, sha256: str | None, limit: int = 0) -> str:
    """Copy a stream to `path` in one step, and return its SHA-256.

    Parameters
    ----------
    source
        Read to its end.
    path
        Appears only when all of it is written and checked; its folder must exist.
    sha256
        What the content must hash to; None takes anything.
    limit
        The most bytes it may have (0: any number); more are refused while copying.

    Raises
    ------
    ModelError
        The content is too long, or another than `sha256` names.
    OutputError
        The file cannot be written.
    """
    with atomic_output(path) as incoming:
        found = _copy(source, incoming, limit=limit, what=path.name)
        if sha256 and found != sha256:
            raise ModelError(f"{path.name} must have the SHA-256 {sha256}, but has {found}")
    return found


def _present(info: ModelInfo) -> Path:
    path = models_directory() / info.file_name
    if not path.is_file():
        raise ModelNotFound(
            f"the model {info.short_name} must be on this machine, but is not: run `{_remedy(info)}`"
        )
    return path


def _remedy(info: ModelInfo) -> str:
    if info.sources:
        return f"safelight models get {info.short_name}"
    return f"safelight models import FILE --as {info.id}"


def _trusted_hash(info: ModelInfo, stamp: dict[str, Any]) -> str | None:
    """Return the hash a file must have: the catalogue's, or the one it came with when a person brought it."""
    return stamp.get("sha256") if stamp.get("brought") else info.sha256


def _stamp_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_stamp(path: Path) -> dict[str, Any]:
    try:
        stamp = json.loads(_stamp_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _write_stamp(path: Path, sha256: str, *, brought: bool) -> None:
    status = path.stat()
    stamp = {"sha256": sha256, "size": status.st_size, "mtime_ns": status.st_mtime_ns, "brought": brought}
    with atomic_output(_stamp_path(path)) as incoming:
        incoming.write_text(json.dumps(stamp), encoding="utf-8")


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copy(source: IO[bytes], path: Path, *, limit: int, what: str) -> str:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if limit and size > limit:
                raise ModelError(f"{what} must have {limit} bytes, but has more")
            digest.update(chunk)
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())  # the stamp must not outlive a power cut that the content did not
    return digest.hexdigest()


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} must be a folder that can be made, but is not: {error.strerror}"
        ) from error


if sys.platform == "win32":

    def _try_lock(handle: IO[bytes]) -> bool:
        import msvcrt

        try:
            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def _try_lock(handle: IO[bytes]) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
