"""Models in the form ONNX Runtime brings them into, kept so that the work is done once.

Opening IS-Net costs half a run: its float16 weights are widened and laid out for the processor every time. What comes
out is written beside the model, for this version of ONNX Runtime and this kind of processor, and opened from then on.
It is a cache: where it cannot be written nothing is lost but time, and `models remove` deletes it with its model.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..kernels import backend
from .models import ModelInfo, models_directory
from .onnx_runtime import load_onnx_runtime

__all__ = ["find_prepared", "keep_prepared", "worth_preparing"]

_LARGE = 32_000_000  # bytes; smaller models open at once


def worth_preparing(info: ModelInfo) -> bool:
    """Return whether opening a model costs enough: large, and edited or widened when it is opened."""
    return info.size > _LARGE and bool(info.edits)


def find_prepared(info: ModelInfo) -> Path | None:
    """Return the prepared form of a model, if it is here and unchanged since it was written."""
    path = _path(info)
    try:
        stamp: dict[str, Any] = json.loads(_stamp(path).read_text(encoding="utf-8"))
        status = path.stat()
    except (OSError, ValueError):
        return None
    unchanged = (stamp.get("size"), stamp.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    return path if unchanged else None


@contextlib.contextmanager
def keep_prepared(info: ModelInfo) -> Iterator[Path | None]:
    """Give a path for ONNX Runtime to write to, None where it cannot; what it wrote is kept if the block ends well."""
    path = _path(info)
    if not os.access(path.parent, os.W_OK) or shutil.disk_usage(path.parent).free < 8 * info.size:
        yield None
        return
    partial = path.with_name(f".incoming-{secrets.token_hex(4)}-{path.name}")
    try:
        yield partial
        with contextlib.suppress(OSError):
            for older in path.parent.glob(f"{info.file_name}.prepared-*"):
                older.unlink()
            partial.replace(path)
            status = path.stat()
            stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
            _stamp(path).write_text(json.dumps(stamp), encoding="utf-8")
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _path(info: ModelInfo) -> Path:
    kind = f"{(info.sha256 or '')[:8]}-{load_onnx_runtime().__version__}-{backend().target or 'any'}"
    return models_directory() / f"{info.file_name}.prepared-{kind}.onnx"


def _stamp(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
