from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from safelight._image.opening import find_source, opened, sniff, translated
from safelight._image.quiet import quiet_stderr, strict_pillow
from safelight.errors import ImageError, InputError, OutputError

LIMIT = 10_000


def encoded(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, name)
    return file.getvalue()


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
def test_content_names_the_format(name: str) -> None:
    assert sniff(encoded(name)[:64]) == name


def test_heif_by_its_brand() -> None:
    assert sniff(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "HEIF"
    assert sniff(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "AVIF"
    assert sniff(b"\0\0\0\x18ftypisom\0\0\0\0isommp42") is None


@pytest.mark.parametrize("name", ["PPM", "ICO", "TGA", "PDF", "EPS", "JPEG2000", "DDS", "SGI"])
def test_other_formats_are_not_opened(name: str) -> None:
    data = encoded(name)
    with pytest.raises(ImageError, match="but is none of these"), opened(find_source(data), max_pixels=LIMIT):
        pass


def test_only_regular_files(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="must be a picture file, but does not exist"):
        find_source(tmp_path / "missing.png")
    with pytest.raises(ImageError, match="must be a picture file, but is a folder"):
        find_source(tmp_path)
    with pytest.raises(ImageError, match="cannot be reached"):
        find_source("a\0b.png")
    with pytest.raises(ImageError, match="is a device or a pipe"):
        find_source(os.devnull)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="is a device or a pipe"):
        find_source(tmp_path / "pipe.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    with pytest.raises(ImageError, match="permission is denied"), opened(find_source(path), max_pixels=LIMIT):
        pass


def test_size_is_judged_by_the_header() -> None:
    message = "must have at most 63 pixels, but has 64"
    with pytest.raises(ImageError, match=message), opened(find_source(encoded("PNG")), max_pixels=63):
        pass
    with opened(find_source(encoded("PNG")), max_pixels=64) as picture:
        assert picture.size == (8, 8)


FOREIGN = [
    OSError("broken"),
    SyntaxError("not a PNG"),
    ValueError("bad"),
    TypeError("worse"),
    KeyError(3),
    IndexError("far"),
    OverflowError("large"),
    ZeroDivisionError("by zero"),
    RecursionError("deep"),
    MemoryError(),
    EOFError(),
    AssertionError(),
    Image.DecompressionBombError("Image size (900 pixels) exceeds limit of 4 pixels"),
]


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
def test_every_exception_becomes_one_of_ours(error: Exception) -> None:
    with pytest.raises(ImageError, match=r"a\.png must .*, but ") as caught, translated("a.png", LIMIT):
        raise error
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


def test_ours_and_interruptions_pass() -> None:
    for error in (OutputError("x"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)) as caught, translated("a.png", LIMIT):
            raise error
        assert caught.value is error


def test_without_pillow_heif_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    source = find_source(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ImageError, match=r"safelight\[heif\]"), opened(source, max_pixels=LIMIT):
        pass


# --- global switches ---


def test_pillow_is_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    before = list(warnings.filters)
    with strict_pillow(1000), strict_pillow(50):
        assert Image.MAX_IMAGE_PIXELS == 500
        assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == 123
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert list(warnings.filters) == before


def test_switches_survive_overlapping_threads() -> None:
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    failed: list[str] = []

    def read() -> None:
        for _ in range(50):
            with opened(find_source(encoded("TIFF")), max_pixels=1000) as picture:
                picture.load()
                if ImageFile.LOAD_TRUNCATED_IMAGES or Image.MAX_IMAGE_PIXELS != 500:
                    failed.append("switch")

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


def test_stderr_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr(), quiet_stderr():
        os.write(2, b"lost")
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"


@pytest.mark.skipif(os.name != "posix", reason="the POSIX shell")
def test_a_process_without_stderr_can_read_tiffs(tmp_path: Path) -> None:
    """The picture itself gets descriptor 2 there."""
    (tmp_path / "a.tif").write_bytes(encoded("TIFF"))
    script = "import sys; from safelight.image import Photo; print(Photo.open(sys.argv[1]).width)"
    shell = ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, "-c", script, str(tmp_path / "a.tif")]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout == "8\n"


def test_pillows_complaints_need_a_listener() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("PIL").handlers)
