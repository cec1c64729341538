"""What the kernels' tests share: every implementation, chosen the way a person chooses it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from safelight import kernels

IMPLEMENTATIONS = ("native-baseline", "native-avx2", "native-avx512", "numba")

Use = Callable[..., None]


def native() -> ModuleType | None:
    with contextlib.suppress(ImportError):
        return importlib.import_module("safelight._native")
    return None


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Use]:
    """Return ``use(implementation, threads)``: the kernels run so from then on, till the end of the test.

    `implementation` is one of IMPLEMENTATIONS, ``native`` (its best target) or ``reference``. What this machine
    does not have is skipped.
    """

    def use(implementation: str, threads: int = 2) -> None:
        name, _, target = implementation.partition("-")
        module = native()
        if name == "native" and module is None:
            pytest.skip("the compiled module is not there")
        if target and module is not None and target not in module.targets():
            pytest.skip(f"this processor does not run {target}")
        if name == "numba" and importlib.util.find_spec("numba") is None:
            pytest.skip("numba is not installed")
        monkeypatch.setenv("SAFELIGHT_KERNELS", name)
        monkeypatch.setenv("SAFELIGHT_TARGET", target)
        monkeypatch.setenv("SAFELIGHT_THREADS", str(threads))
        kernels.backend.cache_clear()
        chosen = kernels.backend()
        assert (chosen.name, chosen.threads) == (name, 1 if name == "reference" else threads)
        assert chosen.target == target or not target

    before = native()
    state = (before.target(), before.threads()) if before else None
    yield use
    kernels.backend.cache_clear()
    if before and state:
        before.set_target(state[0])
        before.set_threads(state[1])


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest, use: Use) -> str:
    """Run the test with every fast implementation."""
    name: str = request.param
    use(name)
    return name
