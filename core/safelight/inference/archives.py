"""One file out of a package: a wheel, zip or packed npm package. Nothing of it is executed or unpacked.

Only the member that is asked for is read, as a stream; no name from the archive is ever used as a path.
"""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..errors import ModelError, SafelightError
from .catalogue import Source

__all__ = ["is_archive", "open_member"]

_MAGIC = (b"\x1f\x8b", b"PK")  # gzip, zip
_INDEX_LIMIT = 1 << 20


def is_archive(path: Path) -> bool:
    """Whether a file is a wheel, a zip file or a packed npm package, be it damaged.

    By its beginning: some TensorFlow Lite models end with a zip file of their own.
    """
    with path.open("rb") as stream:
        return stream.read(2) in _MAGIC


@contextmanager
def open_member(archive: Path, source: Source, *, limit: int) -> Iterator[IO[bytes] | None]:
    """Open the file of an archive that `source` names, or give None where it is not in there.

    Parameters
    ----------
    archive
        A wheel, a zip file or a packed npm package.
    source
        Its `member`, and `options["resources"]` where the member comes in chunks.
    limit
        The most bytes the chunks may have together; a plain member's size is for the reader to watch.

    Raises
    ------
    ModelError
        The archive is damaged.
    """
    try:
        if zipfile.is_zipfile(archive):
            with _zip_member(archive, source.member) as stream:
                yield stream
        elif "resources" in source.options:
            with _joined_chunks(archive, source, limit) as stream:
                yield stream
        else:
            with tarfile.open(archive, "r:gz") as package:
                yield _tar_member(package, source.member)
    except SafelightError:  # of the reader
        raise
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
    ) as error:
        raise ModelError(f"{archive.name} must be a whole package, but is damaged: {error}") from error
    except (NotImplementedError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{archive.name} must be a package that can be read, but is not: {error}") from error


@contextmanager
def _zip_member(archive: Path, name: str) -> Iterator[IO[bytes] | None]:
    with zipfile.ZipFile(archive) as package:
        if name not in package.namelist():
            yield None
            return
        with package.open(name) as stream:
            yield stream


def _tar_member(package: tarfile.TarFile, name: str) -> IO[bytes] | None:
    for member in package:
        if member.name == name and member.isfile():
            return package.extractfile(member)
    return None


@contextmanager
def _joined_chunks(archive: Path, source: Source, limit: int) -> Iterator[IO[bytes] | None]:
    """Put a file together from the chunks that a JSON index in the package names."""
    with tarfile.open(archive, "r:gz") as package:
        index = _tar_member(package, source.options["resources"])
        content = json.loads(index.read(_INDEX_LIMIT)) if index else {}
    if source.member not in content:
        yield None
        return
    folder = source.options["resources"].rpartition("/")[0]
    places = {f"{folder}/{chunk['hash']}": chunk["offsets"] for chunk in content[source.member]["chunks"]}
    with tempfile.TemporaryFile(dir=archive.parent) as joined:
        with tarfile.open(archive, "r:gz") as package:
            for member in package:
                if member.name in places and member.isfile():
                    _place_chunk(package, member, joined, places.pop(member.name), limit)
        if places:
            raise ValueError(f"{len(places)} chunks are missing")
        joined.seek(0)
        yield joined


def _place_chunk(
    package: tarfile.TarFile, member: tarfile.TarInfo, joined: IO[bytes], offsets: list[int], limit: int
) -> None:
    start, end = offsets
    chunk = package.extractfile(member)
    if chunk is None or not 0 <= start < end <= limit or member.size != end - start:
        raise ValueError(f"the chunk {member.name} does not fit its place")
    joined.seek(start)
    shutil.copyfileobj(chunk, joined)
