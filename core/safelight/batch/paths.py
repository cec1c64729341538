"""Which pictures go in, and under which names the results come out. Nothing is read or written here."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

__all__ = ["PICTURE_SUFFIXES", "Job", "expand_inputs", "plan_outputs"]

_PICTURES = "jpg jpeg jpe mpo png apng webp tif tiff bmp dib gif avif heic heif hif"
PICTURE_SUFFIXES = frozenset(f".{name}" for name in _PICTURES.split())


@dataclass(frozen=True)
class Job:
    """One picture and where its result goes."""

    source: Path
    target: Path


def expand_inputs(names: Iterable[str | Path], *, recursive: bool = False) -> list[Path]:
    """Turn files, folders and glob patterns into a list of files, each once, in a stable order.

    A folder stands for the pictures in it, by suffix, hidden ones left out; a file named outright is taken
    whatever it is called.

    Raises
    ------
    InputError
        A name fits nothing.
    """
    found: dict[Path, None] = {}
    for name in names:
        for path in _expand(str(name), recursive=recursive):
            found.setdefault(path)
    return list(found)


def plan_outputs(
    sources: Sequence[Path],
    output: str | Path,
    *,
    label: str,
    suffix: str,
    overwrite: bool = False,
    single: bool = True,
) -> list[Job]:
    """Give every picture a target.

    Parameters
    ----------
    sources
        The pictures.
    output
        A file where there is one picture; else a folder, made when the first result is written.
    label
        Added to names in a folder: ``cat.jpg`` becomes ``cat-cutout.png``.
    suffix
        The format of files in a folder, such as ``.png``.
    overwrite
        Allow a result to replace a picture that was read.
    single
        Whether a person named one file, not a folder that happens to hold one.

    Raises
    ------
    InputError
        Two results would get the same name, or a result would replace an original unasked.
    """
    output = Path(output)
    as_file = single and len(sources) == 1 and not output.is_dir() and not str(output).endswith(("/", os.sep))
    if not as_file and output.exists() and not output.is_dir():
        raise InputError(f"-o must name a folder for {len(sources)} pictures, but {output} is a file")
    targets = [output] if as_file else _names_in(output, sources, label, suffix)
    jobs = [Job(source, target) for source, target in zip(sources, targets, strict=True)]
    if not overwrite:
        _refuse_originals(jobs)
    return jobs


def _expand(name: str, *, recursive: bool) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        inside = path.rglob("*") if recursive else path.iterdir()
        pictures = sorted(each for each in inside if _is_picture(each))
        if not pictures:
            raise InputError(f"a folder must hold pictures, but {name} holds none")
        return pictures
    if path.exists() or path.is_symlink() or not glob.has_magic(name):
        return [path]  # a missing file is reported when it is opened, and the others are still done
    matches = [Path(each) for each in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207 - a pattern may be absolute
    files = [each for each in matches if not each.is_dir()]
    if not files:
        raise InputError(f"a pattern must fit at least one file, but {name} fits none")
    return files


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _names_in(folder: Path, sources: Sequence[Path], label: str, suffix: str) -> list[Path]:
    """Name the results in a folder; pictures that differ in format or folder only keep those in their names."""
    short = [f"{source.stem}-{label}{suffix}" for source in sources]
    with_format = [f"{source.stem}-{source.suffix[1:].lower()}-{label}{suffix}" for source in sources]
    with_folder = [f"{source.parent.name}-{name}" for source, name in zip(sources, with_format, strict=True)]
    names = short
    for longer in (with_format, with_folder):
        taken = [name.casefold() for name in names]  # case does not tell files apart everywhere
        names = [longer[i] if taken.count(taken[i]) > 1 else name for i, name in enumerate(names)]
    folded = [name.casefold() for name in names]
    twice = next((name for name, fold in zip(names, folded, strict=True) if folded.count(fold) > 1), None)
    if twice:
        raise InputError(f"every result must have a name of its own, but two would be {folder / twice}")
    return [folder / name for name in names]


def _refuse_originals(jobs: Sequence[Job]) -> None:
    originals = {_identity(job.source): job.source for job in jobs if job.source.exists()}
    for job in jobs:
        if job.target.exists() and _identity(job.target) in originals:
            raise InputError(
                f"a result must not replace a picture that was read, but {job.target} would (--overwrite allows it)"
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
