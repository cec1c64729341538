from __future__ import annotations

import os
from pathlib import Path

import pytest

from safelight.batch import Job, expand_inputs, plan_outputs
from safelight.errors import InputError

LONG = "x" * 5000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a folder of files whose content does not matter here."""
    for name in ["b.jpg", "a.PNG", "c.txt", ".hidden.jpg", "inner/d.webp", "inner/.e/f.jpg", "empty/g.txt", "[1].jpg"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["."], "[1].jpg a.PNG b.jpg"),
        (["c.txt"], "c.txt"),  # named outright, whatever it is called
        ([".hidden.jpg"], ".hidden.jpg"),
        (["b.jpg", "a.PNG"], "b.jpg a.PNG"),  # in the order named
        (["missing.jpg", "b.jpg"], "missing.jpg b.jpg"),  # said when it is opened; the others are still done
        (["b.jpg", ".", "./b.jpg", "inner/../b.jpg"], "b.jpg [1].jpg a.PNG"),  # each once
        (["*.jpg"], "[1].jpg b.jpg"),
        (["?.*"], "a.PNG b.jpg c.txt"),
        (["**/*.webp"], "inner/d.webp"),
        (["[1].jpg"], "[1].jpg"),  # a file, not a pattern
        ([LONG], LONG),
    ],
)
def test_names_become_files(folder: Path, names: list[str], found: str) -> None:
    assert expand_inputs(names) == [Path(each) for each in found.split()]


def test_an_absolute_name_is_the_same_file(folder: Path) -> None:
    assert expand_inputs(["b.jpg", folder / "b.jpg", folder]) == [Path("b.jpg"), folder / "[1].jpg", folder / "a.PNG"]


def test_folders_of_folders_are_entered_only_when_asked(folder: Path) -> None:
    assert Path("inner/d.webp") not in expand_inputs(["."])
    assert {path.name for path in expand_inputs(["."], recursive=True)} >= {"a.PNG", "b.jpg", "d.webp", "f.jpg"}
    assert expand_inputs(["inner"], recursive=True) == [Path("inner/.e/f.jpg"), Path("inner/d.webp")]


@pytest.mark.parametrize("name", ["empty", "*.gif", "folder.jp?"])
def test_what_fits_nothing_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="must"):
        expand_inputs(["b.jpg", name])


def plan(sources: list[str], output: str | Path, **options: object) -> list[str]:
    jobs = plan_outputs([Path(each) for each in sources], output, label="cutout", suffix=".png", **options)
    assert [job.source for job in jobs] == [Path(each) for each in sources]
    return [job.target.as_posix() for job in jobs]


@pytest.mark.parametrize(
    ("output", "single", "target"),
    [
        ("result.webp", True, "result.webp"),
        ("new/result.png", True, "new/result.png"),
        ("inner", True, "inner/b-cutout.png"),  # it is a folder
        ("new/", True, "new/b-cutout.png"),
        ("new", False, "new/b-cutout.png"),
    ],
)
def test_one_picture_goes_to_a_file_or_into_a_folder(folder: Path, output: str, single: bool, target: str) -> None:
    assert plan(["b.jpg"], output, single=single) == [target]


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a.jpg", "b.jpg"], ["a-cutout.png", "b-cutout.png"]),
        (["a.jpg", "a.png", "b.jpg"], ["a-jpg-cutout.png", "a-png-cutout.png", "b-cutout.png"]),
        (["a.jpg", "A.JPG"], None),
        (["a.jpg", "A.png"], ["a-jpg-cutout.png", "A-png-cutout.png"]),  # one file on Windows and macOS else
        (["x/a.jpg", "y/a.jpg", "y/b.jpg"], ["x-a-jpg-cutout.png", "y-a-jpg-cutout.png", "b-cutout.png"]),
        (["x/a.jpg", "X/a.jpg"], None),
        (["1/x/a.jpg", "2/x/a.jpg"], None),
        (["x/a.jpg", "x/a.png", "x/a-jpg.gif"], ["x-a-jpg-cutout.png", "a-png-cutout.png", "x-a-jpg-gif-cutout.png"]),
        (["noname", "noname.jpg"], ["noname--cutout.png", "noname-jpg-cutout.png"]),
    ],
)
def test_names_in_a_folder_never_meet(folder: Path, sources: list[str], names: list[str] | None) -> None:
    if names is None:
        with pytest.raises(InputError, match="name of its own"):
            plan(sources, "out")
    else:
        assert plan(sources, "out") == [f"out/{name}" for name in names]


def test_many_pictures_are_named_quickly(folder: Path) -> None:
    targets = plan([f"{number:05}.jpg" for number in range(20_000)], "out")  # with a quadratic search: minutes
    assert len(set(targets)) == 20_000


def test_a_file_cannot_hold_many_pictures(folder: Path) -> None:
    with pytest.raises(InputError, match=r"folder for 2 pictures, but b\.jpg is a file"):
        plan(["b.jpg", "a.PNG"], "b.jpg", overwrite=True)


def link(path: Path, target: Path) -> Path:
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("symbolic links may not be made here")
    return path


def replace_by_path(folder: Path) -> Path:
    return folder / "inner" / ".." / "b.jpg"


def replace_by_symlink(folder: Path) -> Path:
    return link(folder / "link.png", folder / "b.jpg")


def replace_by_hard_link(folder: Path) -> Path:
    os.link(folder / "b.jpg", folder / "hard.png")
    return folder / "hard.png"


def replace_by_linked_folder(folder: Path) -> Path:
    return link(folder / "door", folder) / "b.jpg"


@pytest.mark.parametrize("make", [replace_by_path, replace_by_symlink, replace_by_hard_link, replace_by_linked_folder])
def test_an_original_is_not_replaced_unasked(folder: Path, make: object) -> None:
    target = make(folder)  # type: ignore[operator]
    with pytest.raises(InputError, match="--overwrite"):
        plan(["b.jpg"], target)
    assert plan(["b.jpg"], target, overwrite=True) == [target.as_posix()]


def test_another_picture_of_the_batch_is_an_original_too(folder: Path) -> None:
    (folder / "b-cutout.png").write_bytes(b"")
    assert plan(["b.jpg"], ".") == ["b-cutout.png"]  # an earlier result may be replaced
    with pytest.raises(InputError, match=r"b-cutout\.png"):
        plan(["b.jpg", "b-cutout.png"], ".")


def test_a_file_written_beside_the_result_does_not_replace_an_original(folder: Path) -> None:
    for name in ("cat-mask.png", "b-cutout-mask.png"):
        (folder / name).write_bytes(b"")
    assert plan(["cat-mask.png"], "cat.png") == ["cat.png"]
    with pytest.raises(InputError, match=r"cat-mask\.png"):
        plan(["cat-mask.png"], "cat.png", also=["-mask.png"])
    with pytest.raises(InputError, match=r"b-cutout-mask\.png"):
        plan(["b.jpg", "b-cutout-mask.png"], ".", also=["-mask.png"])


def test_names_that_cannot_exist_are_left_to_be_reported_when_used(folder: Path) -> None:
    assert plan([LONG], "out.png") == ["out.png"]
    assert plan(["b.jpg"], LONG) == [LONG]
    assert plan_outputs([Path("b.jpg")], "o", label="l", suffix=".png") == [Job(Path("b.jpg"), Path("o"))]
