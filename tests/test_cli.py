from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import safelight
from safelight import Photo
from safelight.cli import main

# Ctrl-C is ignored by what a shell starts in the background, these tests among it: each program starts anew.
START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from safelight.cli import main
sys.exit(main())
"""
PROGRAM = [sys.executable, "-c", START]
QUICK = ["--model", "u2netp", "--quality", "fast"]

Run = Callable[..., int]


@pytest.fixture(scope="module")
def portrait(data_folder: Path) -> Photo:
    return Photo(
        image=Photo.open(data_folder / "matting_composites" / "p3m_p_22fc0130" / "image.jpg").image[::3, ::3].copy()
    )


@pytest.fixture
def folder(portrait: Photo, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder with one picture, a.jpg, and a place for temporary files beside it."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("TMPDIR", str(temporary))
    portrait.save("a.jpg")
    return work


def files(folder: Path) -> list[str]:
    """Return all files under a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def cutout(*arguments: str) -> int:
    return main(["cutout", *QUICK, *arguments])


# --- what goes in and what comes out ---


def test_one_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cutout("a.jpg", "-o", "new/b.png") == 0
    output = capsys.readouterr()
    assert re.match(r"a\.jpg -> new.b\.png  \(\d+\.\d s\)\n  cutout-u2netp on \w+: .+ \(\d+\.\d\d s\)\n", output.out)
    assert output.err == ""
    assert files(folder) == ["a.jpg", "new/b.png"]
    with Image.open("new/b.png") as written:
        assert written.mode == "RGBA" and written.size == (241, 300)


def test_a_folder(folder: Path, portrait: Photo, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("in/b.webp", "in/c.PNG", "in/deep/d.tif"):
        Path(name).parent.mkdir(exist_ok=True)
        portrait.save(name)
    Path("in/notes.txt").write_text("no picture", encoding="utf-8")
    assert cutout("in", "-o", "out", "--format", "webp", "--jobs", "2") == 0
    assert files(folder / "out") == ["b-cutout.webp", "c-cutout.webp"]
    assert "2 of 2 pictures done\n" in capsys.readouterr().err
    Path("in/b.webp").unlink()
    Path("in/c.PNG").unlink()
    assert cutout("in", "a.jpg", "-o", "out", "--recursive", "--output", "mask") == 0
    assert files(folder / "out") == ["a-cutout.png", "b-cutout.webp", "c-cutout.webp", "d-cutout.png"]


@pytest.mark.parametrize(
    ("output", "names"), [("cutout", ["b.png"]), ("mask", ["b.png"]), ("both", ["b-mask.png", "b.png"])]
)
def test_outputs(folder: Path, output: str, names: list[str]) -> None:
    assert cutout("a.jpg", "-o", "b.png", "--output", output) == 0
    assert files(folder) == ["a.jpg", *names]
    for name in names:
        with Image.open(name) as written:
            assert written.mode == ("RGBA" if name == "b.png" and output != "mask" else "L")


def test_one_bad_file_of_a_batch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.jpg").write_bytes(b"no picture")
    assert cutout("b.jpg", "missing.jpg", "a.jpg", "-o", "out") == 2
    output = capsys.readouterr()
    assert output.out.startswith("a.jpg -> ")
    bad, missing, summary = output.err.splitlines()
    assert bad.startswith("safelight: b.jpg must be a picture") and "but is none" in bad
    assert missing.startswith("safelight: missing.jpg must be a picture file, but does not exist")
    assert summary == "1 of 3 pictures done, 2 failed"
    assert files(folder) == ["a.jpg", "b.jpg", "out/a-cutout.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jpg", "-o", "b.jpg"], "choose one of those or a background colour"),
        (["a.jpg", "-o", "b.nonsense"], "must end in one of .jpg"),
        (["a.jpg", "-o", "b"], "must end in one of"),
        (["a.jpg", "-o", "a.jpg"], "must not replace a picture that was read"),
        (["a.jpg", "-o", "a.jpg/b.png"], "must be a folder"),
        (["a.jpg", "-o", "x" * 5000 + ".png"], "must be writable"),
        (["x" * 5000, "-o", "b.png"], "too long"),
        (["a.jpg", "a.jpg", "missing.jpg", "-o", "a.jpg"], "must name a folder"),
        (["*.webp", "-o", "out"], "a pattern must fit at least one file"),
        (["a.jpg", "-o", "b.png", "--max-pixels", "72299"], "at most 72,299 pixels, but has 72,300"),
        (["a.jpg", "-o", "b.png", "--max-pixels", "0"], "--max-pixels must be at least 1"),
        (["a.jpg", "-o", "b.png", "--jobs", "0"], "--jobs must be at least 1"),
        (["a.jpg", "-o", "b.png", "--background", "#12"], "#rrggbb"),
        (["a.jpg", "-o", "b.png", "--background", "b.jpg"], "b.jpg must be a picture file"),
        (["a.jpg", "-o", "b.png", "--hint", "b.jpg"], "b.jpg must be a picture file"),
        (["a.jpg", "-o", "b.png", "--model", "modnet"], "safelight models import"),
        (["a.jpg", "-o", "b.png", "--model", "selfie", "--provider", "cuda"], "must run on the CPU"),
    ],
)
def test_bad_input_ends_with_2_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = Path("a.jpg").read_bytes()
    assert cutout(*arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("safelight: ") and message in output.err and "Traceback" not in output.err
    assert output.out == ""
    assert files(folder.parent) == ["work/a.jpg"] and Path("a.jpg").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["cutout", "a.jpg"], "-o"),
        (["cutout", "-o", "b.png"], "IMAGE"),
        (["cutout", "a.jpg", "-o", "b.png", "--model", "magic"], "isnet"),
        (["cutout", "a.jpg", "-o", "b.png", "--quality", "superb"], "balanced"),
        (["cutout", "a.jpg", "-o", "b.png", "--format", "jpg"], "webp"),
        (["cutout", "a.jpg", "-o", "b.png", "--jobs", "many"], "--jobs"),
        (["cutout", "a.jpg", "-o", "b.png", "--nonsense"], "--nonsense"),
        (["cutup", "a.jpg"], "cutout"),
    ],
)
def test_wrong_words_end_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_the_original_is_replaced_when_asked(folder: Path) -> None:
    before = Path("a.jpg").read_bytes()
    assert cutout("a.jpg", "-o", "a.jpg", "--background", "#00ff00", "--overwrite") == 0
    assert files(folder) == ["a.jpg"] and Path("a.jpg").read_bytes() != before
    assert np.abs(Photo.open("a.jpg").image[5, 5].astype(int) - (0, 255, 0)).max() < 10


def test_a_mask_does_not_replace_an_original(folder: Path, portrait: Photo) -> None:
    portrait.save("b-mask.png")
    before = Path("b-mask.png").read_bytes()
    assert cutout("b-mask.png", "-o", "b.png", "--output", "both") == 2
    assert files(folder) == ["a.jpg", "b-mask.png"] and Path("b-mask.png").read_bytes() == before


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"safelight {safelight.__version__}\n"


# --- as a program ---


def program(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "cutout", *QUICK, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False
    )


def test_json_stands_alone_on_standard_output(folder: Path) -> None:
    Path("b.jpg").write_bytes(b"")
    done = program("a.jpg", "b.jpg", "-o", "out", "--json")
    assert done.returncode == 2
    good, bad = json.loads(done.stdout)
    assert (good["source"], good["written"]) == ("a.jpg", [str(Path("out/a-cutout.png"))])
    assert good["seconds"] > 0 and good["reason"] == "asked for by name" and good["notes"] == []
    (run,) = good["runs"]
    assert run["model"] == "cutout-u2netp" and set(run) == {"model", "provider", "reason", "seconds"}
    assert (bad["source"], bad["error"]["code"]) == ("b.jpg", "bad-image") and "empty" in bad["error"]["message"]
    assert done.stderr.startswith("safelight: b.jpg must be a picture, but is empty") and "Traceback" not in done.stderr


def test_names_the_terminal_cannot_show(folder: Path) -> None:
    name = "ünï 名前 🙂.jpg"
    Path("a.jpg").rename(name)
    done = program(name, "-o", "out/", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(r"\xfcn\xef \u540d\u524d \U0001f642.jpg -> ")
    done = program(name, "-o", "out/", "--json", PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)[0]["source"] == name
    assert files(folder) == ["out/ünï 名前 🙂-cutout.png", name]


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux")
def test_names_that_are_no_text(folder: Path) -> None:
    Path("a.jpg").rename(os.fsdecode(b"\xff.jpg"))
    done = program(b"\xff.jpg", "-o", "out/", PYTHONUTF8="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(r"\udcff.jpg -> out/\udcff-cutout.png")


def test_a_name_that_looks_like_an_option(folder: Path) -> None:
    Path("a.jpg").rename("-a.jpg")
    assert cutout("-o", "out/", "--", "-a.jpg") == 0
    assert files(folder) == ["-a.jpg", "out/-a-cutout.png"]


@pytest.mark.parametrize(("name", "value"), [("SAFELIGHT_THREADS", "0"), ("SAFELIGHT_KERNELS", "magic")])
def test_wrong_settings_are_said(folder: Path, name: str, value: str) -> None:
    done = program("a.jpg", "-o", "b.png", **{name: value})
    assert done.returncode == 2
    assert done.stderr.startswith("safelight: ") and name in done.stderr and "Traceback" not in done.stderr
    assert files(folder) == ["a.jpg"]


def test_who_reads_the_output_may_leave(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*PROGRAM, "cutout", *QUICK, "a.jpg", "-o", "b.png"]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True) as process:
        os.close(writing)
        _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors and process.returncode == 2
    assert files(folder) == ["a.jpg", "b.png"]


def test_messages_come_through_while_libraries_are_silenced(tmp_path: Path) -> None:
    script = """
import os, sys
from safelight.cli import main
from safelight._image.quiet import quiet_stderr
try:
    main(["--version"])
except SystemExit:
    pass
with quiet_stderr():
    os.write(2, b"a library complains")
    main(["cutout", "missing.jpg", "-o", "out.png", "--model", "u2netp"])
"""
    command = [sys.executable, "-W", "error", "-c", script]
    ended = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=True, timeout=60)
    assert ended.stderr.startswith("safelight: missing.jpg must be a picture file") and "complains" not in ended.stderr


# --- Ctrl-C ---


def interrupt_at(stage: str, command: list[str]) -> tuple[int, str]:
    """Run a command on a terminal, press Ctrl-C when a stage is shown; return how it ended and all that was shown."""
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    shown, sent, deadline = "", False, time.monotonic() + 120
    with subprocess.Popen(command, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 100_000).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
            if stage in shown and not sent:
                process.send_signal(signal.SIGINT)
                sent = True
        status = process.wait(30)
    os.close(ours)
    return status, shown


STAGES = ["opening", "finding the subject", "refining the edge", "cleaning edge colours", "saving"]


@pytest.mark.skipif(os.name == "nt", reason="a terminal is made with pty")
@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_leaves_nothing_half(folder: Path, portrait: Photo, stage: str) -> None:
    Photo(image=portrait.image.repeat(8, axis=0).repeat(8, axis=1)).save("large.jpg")  # so that every stage lasts
    command = [*PROGRAM, "cutout", *QUICK, "large.jpg", "a.jpg", "-o", "out"]
    status, shown = interrupt_at(stage, command)
    assert status == 130, shown
    assert shown.rstrip().endswith("safelight: stopped") and "Traceback" not in shown
    left = set(files(folder.parent)) - {"work/a.jpg", "work/large.jpg"}
    assert left <= {"work/out/large-cutout.png"}, "what was complete may stay"
    if left:
        assert stage == "saving"
        assert Photo.open("out/large-cutout.png").alpha is not None


@pytest.mark.skipif(os.name == "nt", reason="a terminal is made with pty")
def test_ctrl_c_keeps_what_is_done_of_a_batch(folder: Path, portrait: Photo) -> None:
    for number in range(12):
        portrait.save(f"in-{number:02}.png")
    command = [*PROGRAM, "cutout", *QUICK, "in-*.png", "-o", "out", "--jobs", "2"]
    status, shown = interrupt_at("-cutout.png", command)
    assert status == 130 and "Traceback" not in shown
    left = files(folder / "out")
    assert 1 <= len(left) < 12 and not files(folder.parent / "temporary")
    for name in left:
        assert re.fullmatch(r"in-\d\d-cutout\.png", name)
        assert Photo.open(folder / "out" / name).alpha is not None
