"""What the tests share: the pictures and models they need, and the guard that keeps them offline."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDS = ("editors", "models", "windows")
REQUIRED = frozenset(os.environ.get("SAFELIGHT_REQUIRE", "").replace(",", " ").split())

Require = Callable[[str, str | None], None]


def pytest_configure() -> None:
    if unknown := REQUIRED.difference(NEEDS):
        raise pytest.UsageError(
            f"SAFELIGHT_REQUIRE must list some of {', '.join(NEEDS)}, but has {', '.join(sorted(unknown))}"
        )


@pytest.fixture(scope="session")
def require() -> Require:
    """Return ``require(need, missing)``: skip where something is missing, fail where it was asked for.

    `missing` is the reason, or None where all is there. ``SAFELIGHT_REQUIRE=models,editors`` lists the needs
    whose absence is a failure.
    """

    def require(need: str, missing: str | None) -> None:
        if need not in NEEDS:
            raise ValueError(f"a need must be one of {', '.join(NEEDS)}, but is {need!r}")
        if missing and need in REQUIRED:
            pytest.fail(f"SAFELIGHT_REQUIRE asks for {need}, but {missing}", pytrace=False)
        if missing:
            pytest.skip(missing)

    return require


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder of real pictures: ``SAFELIGHT_TEST_DATA``, else ``shared/data`` beside the clone."""
    chosen = os.environ.get("SAFELIGHT_TEST_DATA")
    folder = Path(chosen) if chosen else ROOT.parent / "shared" / "data"
    if chosen and not folder.is_dir():
        pytest.fail(f"SAFELIGHT_TEST_DATA must be a folder, but {chosen} is none", pytrace=False)
    if not folder.is_dir():
        pytest.skip("the real pictures are not here: SAFELIGHT_TEST_DATA names their folder")
    return folder


@pytest.fixture(scope="session")
def models(require: Require) -> Path:
    """Return the folder of the models, all of the default set being there."""
    from safelight.inference.models import catalogue, model_state, models_directory

    states = {info.id: model_state(info) for info in catalogue().values() if info.default}
    missing = [f"{name} is {state}" for name, state in states.items() if state != "here"]
    require("models", f"{', '.join(missing)}: run `safelight models get`" if missing else None)
    return models_directory()


# --- offline ---

# Tests that import ONNX Runtime by themselves, and programs under test, must not report to its maker either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_calls: list[str] = []  # of the test that runs now


@pytest.fixture(autouse=True)
def offline() -> Iterator[list[str]]:
    """Fail a test that tried to reach another machine, even if the code it tests hid the error."""
    _calls.clear()
    yield _calls
    assert not _calls, "nothing may leave this machine"


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    """Stop calls to other machines, whichever library makes them through Python's sockets."""
    if event not in _CALLS:
        return
    host = arguments[_CALLS[event]]
    if event not in _LOOKUPS:
        host = host[0] if isinstance(host, tuple) and host else None  # else a socket in the file system
    if _is_elsewhere(host):
        _calls.append(f"{event} {host!r}")
        raise RuntimeError(f"tests must stay on this machine, but {event} asks for {host!r}")


# Audit event -> which of its arguments is the host's name, or the address that starts with it.
_LOOKUPS = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0}
_CALLS = _LOOKUPS | {"socket.connect": 1, "socket.sendmsg": 1, "socket.sendto": 1}


def _is_elsewhere(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if not isinstance(host, str) or host in ("", "localhost"):
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True  # a name: asking for its address would already tell others
    return not (address.is_loopback or address.is_unspecified)


sys.addaudithook(_guard)
