"""What a clone holds: small text files in known places, two commands that work, and nothing to complain of."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {".ci", ".clang-format", ".gitattributes", ".github", ".gitignore", "CHANGELOG.md", "CMakeLists.txt"}
TOP |= {"CMakePresets.json", "LICENSE", "README.md", "benchmarks", "core", "docs", "plugins", "pyproject.toml", "tests"}
LARGEST = 400_000
PICTURES = re.compile(r"docs/[^/]+\.(png|jpg)")

# In pieces, so that this file holds none of them.
REGISTRIES = [f"{name}.org" for name in ("pypi", "pythonhosted", "npmjs", "debian")]
REGISTRIES += ["npmjs" + ".com", "crates" + ".io"]
FOLDERS = ("home", "root", "Users", "work")
MACHINE_PATH = re.compile(rf"(?<![\w.~)}}>*])/({'|'.join(FOLDERS)})/\w|\b[A-Z]:\\+Users\\")

COMMAND = re.compile(r"<!-- command: (\w+) -->\n+```sh\n(.+?)\n```", re.DOTALL)


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: a source distribution has no git history")
    if not (git := shutil.which("git")):
        pytest.skip("git is not installed")
    listing = _run([git, "ls-files", "-z"])
    if listing.returncode:
        pytest.skip(f"git cannot read this clone: {listing.stderr.strip()}")
    return [name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_only_known_places_are_used(tracked: list[str]) -> None:
    assert not {name.partition("/")[0] for name in tracked} - TOP


def test_no_file_is_large(tracked: list[str]) -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in tracked}
    assert not {name: size for name, size in sizes.items() if size > LARGEST}


def test_only_pictures_in_docs_are_binary(tracked: list[str]) -> None:
    assert not [name for name in tracked if _text(name) is None and not PICTURES.fullmatch(name)]


def test_no_file_names_a_machine_or_a_registry(tracked: list[str]) -> None:
    texts = {name: text for name in tracked if (text := _text(name)) is not None}
    assert "pyproject.toml" in texts
    assert not [f"{name}: {found[0]}" for name, text in texts.items() if (found := MACHINE_PATH.search(text))]
    assert not [f"{name}: {host}" for name, text in texts.items() for host in REGISTRIES if host in text]


def _text(name: str) -> str | None:
    """Return a file's text; None for a binary one."""
    content = (ROOT / name).read_bytes()
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


# --- the two commands ---


def test_the_readme_has_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = dict(COMMAND.findall(text))
    assert list(commands) == ["install", "test"] and text.count("```sh") == 2
    assert all("\n" not in command for command in commands.values())
    assert all(words in commands["install"] for words in ("-m venv ", "pip install ", "models get", "demo"))
    assert all(words in commands["test"] for words in ("[test]", "-m pytest"))


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("a source distribution has no .ci")
    text = script.read_text(encoding="utf-8")
    assert re.findall(r"^run_command (\w+)$", text, re.MULTILINE) == ["install", "test"]
    if os.name == "posix":
        assert _run(["bash", "-n", str(script)]).stderr == ""


# --- the checkers ---


@pytest.mark.parametrize(
    "command",
    [
        ["mypy", "--strict"],
        ["ruff", "check", "."],
        ["clang-format", "--dry-run", "-Werror", "core/native/*.[ch]pp"],
        ["actionlint", "-shellcheck=", "-pyflakes=", ".github/workflows/*.yml"],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/*.yml"],
        ["check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/*.yml"],
        ["zizmor", "--offline", "--no-progress", "--persona=pedantic", ".github/**/*.yml"],
    ],
    ids=lambda command: " ".join(command[:3]),
)
def test_the_checkers_have_nothing_to_say(command: list[str]) -> None:
    if ".github" in command[-1] and not (ROOT / ".github").exists():
        pytest.skip("a source distribution has no workflows")
    files = [path.relative_to(ROOT) for word in command if "*" in word for path in sorted(ROOT.glob(word))]
    words = [word for word in command[1:] if "*" not in word]
    assert files or words == command[1:]
    result = _run([_tool(command[0]), *words, *map(str, files)])
    assert result.returncode == 0, result.stdout + result.stderr


def _tool(name: str) -> str:
    """Return a program's path, this Python's own before any other."""
    path = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    return path or pytest.skip(f"{name} is not installed; the extra [test] has it for most systems")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)


# --- the fixtures of conftest.py ---


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.invalid"])
def test_no_test_reaches_another_machine(host: str, offline: list[str]) -> None:
    with pytest.raises(RuntimeError, match="must stay on this machine"):
        socket.create_connection((host, 9), timeout=0.1)
    assert offline
    offline.clear()


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            socket.create_connection(server.getsockname()[:2], timeout=5).close()
        except OSError:  # the guard itself raises RuntimeError
            pytest.skip("this machine has no loopback network")


def test_an_unknown_requirement_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_REQUIRE", "models,nonsense")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", __file__]
    result = _run(command)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "must list some of editors, models, windows, but has nonsense" in result.stderr
