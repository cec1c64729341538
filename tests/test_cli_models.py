from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from safelight import cli
from safelight.inference import catalogue as catalogue_module
from safelight.inference import models

CONTENT, OTHER = b"network " * 1000, b"other " * 1000


def row(content: bytes, member: str, **changes: Any) -> dict[str, Any]:
    source = {
        "kind": "pip",
        "package": "tiny-models",
        "version": "1.0",
        "member": member,
        "archive_size": 1000,
    }
    return {
        "task": "test",
        "title": "A test",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "runtime": "onnx",
        "inputs": {"x": [1, 3, "free", "free"]},
        "outputs": ["y"],
        "preprocess": {"channels": "RGB", "scale": "255", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "licence": "MIT",
        "licence_source": "nowhere",
        "commercial": True,
        "default": True,
        "sources": [source],
    } | changes


NPM_SOURCE = {"kind": "npm", "package": "t", "version": "1", "member": "x", "archive_size": 1}
ROWS = {
    "test-net": row(CONTENT, "tiny/net.onnx"),
    "test-other": row(OTHER, "tiny/other.onnx", default=False, commercial=False, licence="theirs"),
    "test-npm": row(b"x", "x", needs="npm", sources=[NPM_SOURCE]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty models' folder, a small catalogue, a package that pip finds, and no npm."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "bin").mkdir()
    with zipfile.ZipFile(tmp_path / "shelf" / "tiny_models-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/net.onnx", CONTENT)
        wheel.writestr("tiny/other.onnx", OTHER)
        wheel.writestr(
            "tiny_models-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-models\nVersion: 1.0\n"
        )
        wheel.writestr("tiny_models-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_models-1.0.dist-info/RECORD", "")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(catalogue_module, "_read_tables", lambda: {"models": ROWS, "samples": {}})
    catalogue_module.catalogue.cache_clear()
    yield tmp_path / "models"
    catalogue_module.catalogue.cache_clear()


@pytest.fixture
def safelight(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run ``safelight models …``; give the exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["models", *arguments])
        return (code, *capsys.readouterr())

    return run


def put(name: str, content: bytes) -> Path:
    path = models.models_directory() / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_list_is_a_table(safelight: Any, folder: Path) -> None:
    put("test-net", CONTENT)
    put("test-other", b"damaged")
    code, out, err = safelight("list")
    assert (code, err) == (0, "")
    assert out.splitlines()[:4] == [
        "   MODEL         SIZE  STATE     LICENCE",
        "*  test-net    0.0 MB  here      MIT",
        "   test-other  0.0 MB  changed   theirs, non-commercial",
        "*  test-npm    0.0 MB  not here  MIT",
    ]
    assert str(folder) in out


def test_list_as_json(safelight: Any, folder: Path) -> None:
    code, out, _ = safelight("list", "--json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0 and list(rows) == list(ROWS)
    assert rows["test-net"]["state"] == "not here" and rows["test-net"]["short_name"] == "net"
    assert rows["test-net"]["sources"] == ["pip tiny-models 1.0"]
    assert rows["test-other"]["commercial"] is False
    assert rows["test-npm"]["needs"] == "npm"


def test_get_fetches_the_default_set_and_leaves_out_what_needs_npm(safelight: Any, folder: Path) -> None:
    code, out, err = safelight("get")
    assert code == 0
    assert out.splitlines()[0] == "test-net, 0.0 MB: MIT; from pip tiny-models 1.0"
    assert out.splitlines()[1].startswith("1 fetched")
    assert "test-npm is left out: npm must be installed, but is not: get Node.js" in err
    assert "cutout-u2net serves" in err
    assert models.find_model("net").read_bytes() == CONTENT
    assert not (folder / "test-other.onnx").exists()
    assert safelight("get", "net")[1].startswith("0 fetched")


def test_get_by_name(safelight: Any, folder: Path) -> None:
    code, out, err = safelight("get", "other", "test-net", "net")
    assert (code, err) == (0, "")
    assert [line.split(",")[0] for line in out.splitlines()[:2]] == ["test-net", "test-other"]
    assert "theirs, non-commercial" in out
    code, out, err = safelight("get", "npm")
    assert code == 2 and "npm must be installed" in err
    code, out, err = safelight("get", "cat")
    assert code == 2 and "a model must be one of net, other, npm, but is 'cat'" in err


def test_import(safelight: Any, folder: Path, tmp_path: Path) -> None:
    code, out, err = safelight("import", str(next((tmp_path / "shelf").iterdir())))
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["test-net", "test-other"]
    code, out, err = safelight("import", str(tmp_path / "nowhere"))
    assert code == 2 and "must be a file that can be read" in err
    (tmp_path / "x.onnx").write_bytes(b"x")
    assert safelight("import", str(tmp_path / "x.onnx"))[:2] == (
        0,
        f"test-npm taken from {tmp_path / 'x.onnx'}: MIT\n",
    )


def test_import_of_an_unknown_hash_warns(
    safelight: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safelight.inference import importing

    (tmp_path / "x.onnx").write_bytes(b"unknown")
    monkeypatch.setattr(importing, "check_tensors", lambda info, path: None)
    code, out, err = safelight("import", str(tmp_path / "x.onnx"), "--as", "net")
    assert code == 0 and out.startswith("test-net taken from")
    assert "warning: the SHA-256 of" in err and "is unknown" in err
    assert safelight("verify")[0] == 0


def test_verify_names_what_is_wrong(safelight: Any, folder: Path) -> None:
    assert safelight("verify") == (0, "", "")
    put("test-net", CONTENT)
    assert safelight("verify") == (0, "test-net is what it must be\n", "")
    put("test-other", b"damaged")
    code, out, err = safelight("verify")
    assert code == 2 and "test-net is what it must be" in out
    assert "test-other.onnx must have the SHA-256" in err


def test_remove(safelight: Any, folder: Path) -> None:
    put("test-net", CONTENT)
    assert safelight("remove", "net", "other") == (
        0,
        "test-net removed (0.0 MB)\ntest-other was not here\n",
        "",
    )
    put("test-net", CONTENT)
    put("test-other", OTHER)
    assert safelight("remove", "--all")[1] == "test-net removed (0.0 MB)\ntest-other removed (0.0 MB)\n"
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.parametrize("arguments", [["remove"], ["remove", "--all", "net"], [], ["fetch"], ["import"]])
def test_wrong_arguments_are_told_by_the_parser(arguments: list[str], safelight: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        safelight(*arguments)
    assert ended.value.code == 2


def test_the_parser_costs_next_to_nothing() -> None:
    script = (
        "import argparse, sys; from safelight import cli_models\n"
        "cli_models.add_parser(argparse.ArgumentParser().add_subparsers())\n"
        "heavy = {'numpy', 'onnxruntime', 'tqdm', 'urllib.request', 'subprocess', 'zipfile'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.skipif(os.name == "nt", reason="a terminal is made with pty")
def test_a_terminal_shows_a_bar(folder: Path) -> None:
    import pty
    import termios

    script = (
        "import argparse, json, sys\n"
        "from safelight import cli_models; from safelight.inference import catalogue\n"
        "catalogue._read_tables = lambda: {'models': json.loads(sys.argv[1]), 'samples': {}}\n"
        "parser = argparse.ArgumentParser(); cli_models.add_parser(parser.add_subparsers())\n"
        "sys.exit(cli_models.run(parser.parse_args(['models', 'get', 'net', 'other'])))"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, "-c", script, json.dumps(ROWS)]
    result = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, text=True, check=True)
    assert select.select([ours], [], [], 5)[0], "nothing was shown"
    shown = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "test-net" in shown and "%|" in shown and "/1.00k" in shown.replace(" ", "")
    assert "test-net, 0.0 MB: MIT; from pip tiny-models 1.0" in result.stdout
