from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from safelight.errors import OutputError
from safelight.files import atomic_output

POSIX = os.name == "posix"
needs_posix = pytest.mark.skipif(not POSIX, reason="file modes, links and pipes of POSIX")
needs_user = pytest.mark.skipif(POSIX and os.geteuid() == 0, reason="the administrator may write anywhere")


def write(path: Path, data: bytes = b"new") -> None:
    with atomic_output(path) as temporary:
        temporary.write_bytes(data)


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "result.png"
    with atomic_output(target) as temporary:
        temporary.write_bytes(b"new")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".png"
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["result.png"]


def test_names_cannot_be_guessed(tmp_path: Path) -> None:
    with atomic_output(tmp_path / "a.png") as first, atomic_output(tmp_path / "a.png") as second:
        assert first != second
        assert len(first.stem) >= 16


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_any_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "result.png"
    target.write_bytes(b"old")
    with pytest.raises(type(error)), atomic_output(target) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.png"]


@needs_posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "result.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "result.png").stat().st_mode) == 0o666 & ~umask


@needs_posix
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "real.png"
    target.write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"must be in an existing folder, but .*nowhere is none"):
        write(tmp_path / "nowhere" / "result.png")


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="must be a file name, but is a folder"):
        write(tmp_path)


@needs_posix
def test_devices_and_pipes_are_no_targets(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for target in (Path(os.devnull), tmp_path / "pipe.png"):
        with pytest.raises(OutputError, match="must be an ordinary file, but is a device or a pipe"):
            write(target)


def test_odd_paths_are_errors_of_ours(tmp_path: Path) -> None:
    for name in ("a\0b.png", "x" * 300 + ".png", "a.png/b.png"):
        (tmp_path / "a.png").touch()
        with pytest.raises(OutputError):
            write(tmp_path / name)


@needs_posix
@needs_user
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission is denied"):
            write(tmp_path / "result.png")
    finally:
        tmp_path.chmod(0o700)


@needs_posix
@needs_user
def test_a_write_protected_file_stays(tmp_path: Path) -> None:
    target = tmp_path / "result.png"
    target.write_bytes(b"old")
    target.chmod(0o400)
    with pytest.raises(OutputError, match="is write-protected"):
        write(target)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the disk is read-only")]
)
def test_disk_errors_in_the_block_become_ours(tmp_path: Path, number: int, reason: str) -> None:
    with pytest.raises(OutputError, match=reason), atomic_output(tmp_path / "result.png"):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


def test_other_errors_in_the_block_stay(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path / "result.png"):
        (tmp_path / "input.png").read_bytes()


@needs_posix
def test_a_full_disk(tmp_path: Path) -> None:
    """A size limit on files stands for a full disk: the real error, from the real write."""
    script = """
import resource, signal, sys
from pathlib import Path
from safelight.errors import OutputError
from safelight.files import atomic_output
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_output(sys.argv[1]) as temporary:
        temporary.write_bytes(bytes(5000))
except OutputError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "result.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "larger than the system allows" in done.stdout
    assert not list(tmp_path.iterdir())
