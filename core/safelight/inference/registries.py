"""Packages through the person's own ``pip download`` and ``npm pack``, watched while they run.

Nothing of a package is installed or executed: pip takes wheels alone, npm runs no scripts.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import FetchError
from .catalogue import Source

__all__ = ["download_package", "obstacle"]

_OUTPUT_LINES = 12
_POLL_SECONDS = 0.1
_NO_WINDOW = 0x08000000 if sys.platform == "win32" else 0  # no console opens beside a graphical host


def obstacle(source: Source) -> str | None:
    """Say which program must be installed before this source can be used; None if nothing is missing."""
    if source.kind == "npm" and not shutil.which("npm"):
        return (
            "npm must be installed, but is not: get Node.js from your system's packages or https://nodejs.org"
        )
    if source.kind == "pip" and not (sys.executable and importlib.util.find_spec("pip")):
        return (
            f"pip must be installed for {sys.executable or 'this Python'}, but is not: "
            "run `python -m ensurepip`, or `uv pip install pip`"
        )
    return None


def download_package(source: Source, work: Path, report: Callable[[int], None]) -> Path:
    """Let pip or npm fetch a package, and return its file.

    Parameters
    ----------
    source
        Of kind ``"pip"`` or ``"npm"``.
    work
        An empty folder. All that the program writes lies in it, so its growth is the progress.
    report
        Called ten times a second with the bytes so far. If it raises, the program and its children end.

    Raises
    ------
    FetchError
        The program failed; the message ends with the last lines it wrote.
    """
    package, log = work / "package", work / "output.log"
    package.mkdir()
    with log.open("wb") as output:
        code = _run(_COMMANDS[source.kind](source), package, output.fileno(), lambda: report(_size(work)))
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_OUTPUT_LINES:]
        raise FetchError("\n    ".join([f"{source.kind} must end well, but ended with code {code}:", *lines]))
    files = [path for path in package.iterdir() if path.is_file()]
    if len(files) != 1:
        raise FetchError(f"{source.kind} must fetch one file, but fetched {len(files)}")
    return files[0]


def _pip_command(source: Source) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", "."]
    command += ["--no-cache-dir", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    for option in ("python_version", "platform"):
        if option in source.options:
            command += [f"--{option.replace('_', '-')}", source.options[option]]
    return [*command, f"{source.package}=={source.version}"]


def _npm_command(source: Source) -> list[str]:
    npm = shutil.which("npm") or "npm"  # npm.cmd on Windows
    command = [npm, "pack", f"{source.package}@{source.version}", "--pack-destination", "."]
    command += ["--ignore-scripts", "--cache", "../cache", "--logs-max", "0", "--loglevel", "error"]
    # without these, npm tries for over a minute before it says that there is no network
    return [*command, "--fetch-retry-mintimeout", "1000", "--fetch-retry-maxtimeout", "4000"]


_COMMANDS = {"pip": _pip_command, "npm": _npm_command}


def _run(command: list[str], folder: Path, output: int, watch: Callable[[], None]) -> int:
    """Run a program in `folder`, calling `watch` until it ends; return its exit code."""
    child = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
        command,
        cwd=folder,
        env=os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder.parent)),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that Ctrl-C reaches us alone, and the whole family can be ended
        creationflags=_NO_WINDOW,
    )
    try:
        while child.poll() is None:
            watch()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_POLL_SECONDS)
    except BaseException:
        _end(child)
        raise
    return child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program and all it has started."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(child.pid)], capture_output=True, check=False)  # noqa: S603, S607
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _size(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # files come and go
                size += (Path(parent) / name).stat().st_size
    return size
