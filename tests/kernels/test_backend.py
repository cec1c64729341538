"""Which implementation runs, asked of fresh processes: the choice is made once in each."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from safelight import kernels
from safelight.errors import InputError

REPORT = """
import json, sys
from safelight import kernels
before = sorted({"numba", "safelight._native", "safelight.kernels._numba"} & set(sys.modules))
chosen = kernels.backend()
print(json.dumps([chosen.name, chosen.target, chosen.threads, chosen.reason, before]))
"""
WITHOUT = "import sys\nfor name in {}: sys.modules[name] = None\n"

needs_native = pytest.mark.skipif(
    importlib.util.find_spec("safelight._native") is None, reason="the compiled module is not there"
)
needs_numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="numba is not installed")


def ask(code: str = REPORT, **environment: str) -> Any:
    """Return what a fresh process prints, with these variables and no others of Safelight's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch, use: Any) -> Any:
    """Return ``choose(**variables)``, which makes the choice anew in this process."""

    def choose(**variables: str) -> kernels.Backend:
        for name in ("SAFELIGHT_KERNELS", "SAFELIGHT_TARGET", "SAFELIGHT_THREADS"):
            monkeypatch.setenv(name, variables.get(name, ""))
        kernels.backend.cache_clear()
        return kernels.backend()

    return choose


@needs_native
def test_the_compiled_module_is_the_default() -> None:
    from safelight import _native

    name, target, threads, reason, before = ask()
    assert (name, target, reason) == ("native", _native.targets()[0], "the compiled module is there")
    assert threads >= 1
    assert before == [], "nothing is loaded, let alone compiled, before the first kernel runs"


@pytest.mark.parametrize("name", ["native", "numba", "reference"])
def test_the_one_asked_for_runs(name: str) -> None:
    needed = {"native": "safelight._native", "numba": "numba", "reference": "numpy"}[name]
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{name} is not there")
    found, _, threads, reason, before = ask(SAFELIGHT_KERNELS=name, SAFELIGHT_THREADS="3")
    assert (found, threads) == (name, 1 if name == "reference" else 3)
    assert reason == "SAFELIGHT_KERNELS asks for it"
    assert before == []


@needs_native
def test_every_target_can_be_asked_for() -> None:
    from safelight import _native

    assert _native.targets()[-1] == "baseline"
    for target in _native.targets():
        assert ask(SAFELIGHT_TARGET=target)[:2] == ["native", target]


@needs_numba
def test_numba_stands_in_for_the_compiled_module() -> None:
    name, target, _, reason, _ = ask(WITHOUT.format(["safelight._native"]) + REPORT)
    assert (name, target) == ("numba", "")
    assert reason.startswith("no native kernels (")


def test_numpy_is_the_last_resort() -> None:
    name, target, threads, reason, _ = ask(WITHOUT.format(["safelight._native", "numba"]) + REPORT)
    assert (name, target, threads) == ("reference", "", 1)
    assert "no native kernels (" in reason
    assert "no numba kernels (" in reason


def test_what_cannot_be_had_is_no_default_when_asked_for(choose: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safelight._native", None)
    with pytest.raises(InputError, match=r"^SAFELIGHT_KERNELS must name installed kernels, but native are not: "):
        choose(SAFELIGHT_KERNELS="native")


def test_kernels_that_do_not_exist(choose: Any) -> None:
    for name in ("cuda", "Native", "native "):
        message = f"^SAFELIGHT_KERNELS must be one of native, numba, reference, but is '{name}'$"
        with pytest.raises(InputError, match=message):
            choose(SAFELIGHT_KERNELS=name)


@needs_native
def test_targets_that_do_not_exist(choose: Any) -> None:
    from safelight import _native

    known = ", ".join(_native.targets())
    for name in ("sse9", "AVX2", "baseline,"):
        with pytest.raises(InputError, match=f"^SAFELIGHT_TARGET must be one of {known} .*, but is '{name}'$"):
            choose(SAFELIGHT_TARGET=name)
    with pytest.raises(ValueError, match=f"must be one of {known}, but is 'sse9'"):
        _native.set_target("sse9")


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1025", " 2", "²"])
def test_thread_counts_that_do_not_exist(choose: Any, text: str) -> None:
    with pytest.raises(InputError, match=f"^SAFELIGHT_THREADS must be a whole number from 1 to 1024, but is '{text}'$"):
        choose(SAFELIGHT_THREADS=text)


@needs_native
def test_thread_counts(choose: Any) -> None:
    from safelight import _native

    for count in (1, 5, 1024):
        assert choose(SAFELIGHT_THREADS=str(count)).threads == _native.threads() == count
    usual = choose().threads
    assert 1 <= usual <= (os.cpu_count() or 1)


def test_the_choice_is_made_once(choose: Any) -> None:
    assert choose(SAFELIGHT_KERNELS="reference") is kernels.backend()


def test_mistakes_of_the_environment_reach_the_caller() -> None:
    code = """
import json, numpy, safelight
from safelight import errors, kernels
try:
    kernels.box_filter(numpy.zeros((2, 2), numpy.uint8), 1)
except errors.InputError as error:
    print(json.dumps(str(error)))
"""
    message = "SAFELIGHT_KERNELS must be one of native, numba, reference, but is 'fast'"
    assert ask(code, SAFELIGHT_KERNELS="fast") == message
