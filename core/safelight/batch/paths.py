"""Which pictures go in, and under which names the results come out. Nothing is read or written here."""

from __future__ import annotations

import glob
import os
from collections import Counter
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
    found: dict[Path, Path] = {}
    for name in names:
        for path in _expand(str(name), recursive=recursive):
            found.setdefault(path.parent.resolve() / path.name, path)
    return list(found.values())


def plan_outputs(
    sources: Sequence[Path],
    output: str | Path,
    *,
    label: str,
    suffix: str,
    also: Sequence[str] = (),
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
    also
        Endings of files written beside each target: ``-mask.png`` stands for ``cat-cutout-mask.png``.
    overwrite
        Allow a result to replace a picture that was read.
    single
        Whether a person named one file, not a folder that happens to hold one.

    Raises
    ------
    InputError
        Two results would get the same name, or a result would replace an original unasked.
    """
    folder_meant = str(output).endswith(("/", os.sep))  # a Path would forget it
    output = Path(output)
    as_file = single and len(sources) == 1 and not folder_meant and not _is_folder(output)
    if not as_file and _identity(output) and not _is_folder(output):
        raise InputError(f"-o must name a folder for {len(sources)} pictures, but {output} is a file")
    targets = [output] if as_file else _names_in(output, sources, label, suffix)
    jobs = [Job(source, target) for source, target in zip(sources, targets, strict=True)]
    if not overwrite:
        _refuse_originals(jobs, also)
    return jobs


def _expand(name: str, *, recursive: bool) -> list[Path]:
    path = Path(name)
    if _is_folder(path):
        try:
            inside = path.rglob("*") if recursive else path.iterdir()
            pictures = sorted(each for each in inside if _is_picture(each))
        except OSError as error:
            raise InputError(f"a folder must be readable, but {name} is not: {error.strerror}") from error
        if not pictures:
            raise InputError(f"a folder must hold pictures, but {name} holds none")
        return pictures
    if not glob.has_magic(name) or path.exists() or path.is_symlink():
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
        taken = _count(names)
        names = [other if taken[name.casefold()] > 1 else name for name, other in zip(names, longer, strict=True)]
    taken = _count(names)
    twice = next((name for name in names if taken[name.casefold()] > 1), None)
    if twice:
        raise InputError(f"every result must have a name of its own, but two would be {folder / twice}")
    return [folder / name for name in names]


def _count(names: Sequence[str]) -> Counter[str]:
    return Counter(name.casefold() for name in names)  # case does not tell files apart everywhere


def _refuse_originals(jobs: Sequence[Job], also: Sequence[str]) -> None:
    originals = {_identity(job.source) for job in jobs} - {None}
    for job in jobs:
        for written in (job.target, *(job.target.with_name(job.target.stem + ending) for ending in also)):
            if _identity(written) in originals:
                raise InputError(
                    f"a result must not replace a picture that was read, but {written} would (--overwrite allows it)"
                )


def _identity(path: Path) -> tuple[int, int] | None:
    """Tell files apart whatever they are called; None where none can be reached, which is reported when it is used."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False
