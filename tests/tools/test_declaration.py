from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import safelight
from safelight import Photo, cli
from safelight.tools import TOOLS, Parameter, Tool, declaration
from safelight.tools.cutout import cutout
from safelight.tools.declaration import Progress, no_progress, tool

CALLS: list[dict[str, Any]] = []


class Saved:
    def save(self, path: Path) -> tuple[Path, ...]:
        path.write_bytes(b"")
        return (path,)

    def summary(self) -> dict[str, Any]:
        return {"reason": "a sample", "runs": []}


def sample(
    photo: Photo,
    *,
    shape: Annotated[Literal["round", "square"], Parameter("Which shape.")] = "square",
    smooth_edge: Annotated[bool, Parameter("Whether to smooth.")] = True,
    grain: Annotated[bool, Parameter("Whether to add 100 % grain.")] = False,
    count: Annotated[int, Parameter("How many.", minimum=1, maximum=9)] = 3,
    strength: Annotated[float, Parameter("How strong.")] = 0.5,
    word: Annotated[str, Parameter("A word.", choices=("none",), metavar="none|WORD")] = "none",
    mask: Annotated[Path | None, Parameter("A file.")] = None,
    internal: int = 7,
    progress: Progress = no_progress,
) -> Saved:
    CALLS.append({name: value for name, value in locals().items() if name not in ("photo", "progress")})
    progress(0.5, "sampling")
    return Saved()


SAMPLE = Tool("sample", "A sample", "Do nothing at all.", sample)


def test_parameters_are_read_from_the_signature() -> None:
    assert SAMPLE.parameters == (
        Parameter("Which shape.", "shape", "choice", "square", ("round", "square")),
        Parameter("Whether to smooth.", "smooth_edge", "switch", True),
        Parameter("Whether to add 100 % grain.", "grain", "switch", False),
        Parameter("How many.", "count", "number", 3, minimum=1, maximum=9),
        Parameter("How strong.", "strength", "number", 0.5),
        Parameter("A word.", "word", "text", "none", ("none",), metavar="none|WORD"),
        Parameter("A file.", "mask", "file", None),
    )


def test_declaring_leaves_the_function_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declaration, "TOOLS", {})
    assert tool("sample", title="A sample", summary="Do nothing at all.")(sample) is sample
    assert declaration.TOOLS == {"sample": SAMPLE}


def test_every_tool_is_complete() -> None:
    assert sorted(TOOLS) == ["blur-background", "cutout", "refine"]
    for name, declared in TOOLS.items():
        signature = inspect.signature(declared.function)
        first, *others = signature.parameters.values()
        assert declared.name == name and declared.title and declared.summary.endswith(".")
        assert first.name == "photo" and first.default is inspect.Parameter.empty
        assert all(each.kind is inspect.Parameter.KEYWORD_ONLY for each in others)
        shown = {parameter.name for parameter in declared.parameters}
        assert {each.name for each in others} - shown == {"progress"}
        for parameter in declared.parameters:
            assert parameter.help.endswith(".") and parameter.help[0] != " "
            assert parameter.default == signature.parameters[parameter.name].default
            if parameter.kind == "choice":
                assert parameter.default in parameter.choices
            assert parameter.name in (inspect.getdoc(declared.function) or "")


def test_the_python_api_is_the_declared_function() -> None:
    assert TOOLS["cutout"].function is cutout is safelight.cutout


# --- the command line ---


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.setitem(TOOLS, "sample", SAMPLE)
    monkeypatch.chdir(tmp_path)
    CALLS.clear()
    Photo(image=np.zeros((4, 4, 3), np.uint8)).save("a.png")
    return ["sample", "a.png", "-o", "b.png"]


DEFAULTS = {parameter.name: parameter.default for parameter in SAMPLE.parameters} | {"internal": 7}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ("", {}),
        ("--shape round --no-smooth-edge --grain", {"shape": "round", "smooth_edge": False, "grain": True}),
        ("--count 5 --strength 0.25", {"count": 5, "strength": 0.25}),
        ("--word=anything --mask dir/m.png", {"word": "anything", "mask": Path("dir/m.png")}),
    ],
)
def test_options_arrive_as_parameters(command: list[str], options: str, changed: dict[str, Any]) -> None:
    assert cli.main([*command, *options.split()]) == 0
    (arrived,) = CALLS
    assert arrived == DEFAULTS | changed
    assert {name: type(value) for name, value in arrived.items()} == {
        name: type(value) for name, value in (DEFAULTS | changed).items()
    }


@pytest.mark.parametrize("options", ["--shape flat", "--count many", "--count 1.5", "--internal 3", "--sha round"])
def test_wrong_options_end_with_2(command: list[str], capsys: pytest.CaptureFixture[str], options: str) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([*command, *options.split()])
    assert end.value.code == 2 and not CALLS
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cutout", "sample"])
def test_every_parameter_is_in_the_help(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as end:
        cli.main([name, "--help"])
    assert end.value.code == 0
    entries = [" ".join(entry.split()) for entry in capsys.readouterr().out.split("\n  -")]
    for parameter in TOOLS[name].parameters:
        option = f"-{parameter.name.replace('_', '-')}"
        (entry,) = (entry for entry in entries if entry.partition(" ")[0].strip(",") == option)
        assert parameter.help in entry
        if parameter.kind == "switch":
            assert f"--no{option}" in entry
            assert f"(default: {'on' if parameter.default else 'off'})" in entry
        elif parameter.default is not None:
            assert f"(default: {parameter.default})" in entry
        assert all(choice in entry for choice in parameter.choices)


def test_every_tool_is_in_the_program_s_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for declared in TOOLS.values():
        assert f"{declared.name} {declared.summary}" in text
    assert all(name in text for name in ("models", "sheet", "demo"))


@pytest.mark.parametrize(
    ("number", "message"), [("0", "must be at least 1 and at most 9, but is 0"), ("ten", "must be a number")]
)
def test_numbers_stay_within_their_bounds(
    command: list[str], capsys: pytest.CaptureFixture[str], number: str, message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--count", number])
    assert ended.value.code == 2 and message in capsys.readouterr().err
    assert not CALLS


def test_formats_are_refused_before_any_work(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main([*command[:-1], "b"]) == 2
    assert "b must end in one of .jpg" in capsys.readouterr().err
    monkeypatch.setitem(TOOLS, "sample", replace(SAMPLE, leaves_transparency=lambda options: options["grain"]))
    assert cli.main([*command[:-1], "b.jpg", "--grain"]) == 2
    assert "a picture with transparency must be saved as" in capsys.readouterr().err
    assert not CALLS
    assert cli.main([*command[:-1], "b.jpg"]) == 0
