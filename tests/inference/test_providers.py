from __future__ import annotations

import os
import subprocess
import sys

import pytest

from safelight.errors import InputError, ProviderError
from safelight.inference import providers
from safelight.inference.providers import CPU, PROVIDERS, available_providers, choose_provider, thread_count

OFFERED = available_providers()
MISSING = [row for row in PROVIDERS if row not in OFFERED]


def test_the_table() -> None:
    assert PROVIDERS[-1] is CPU
    assert CPU in OFFERED and not CPU.fixed_shapes
    for column in ("name", "short", "title"):
        assert len({getattr(row, column) for row in PROVIDERS}) == len(PROVIDERS)
    assert all(row.remedy for row in PROVIDERS)


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider", "cpuexecutionprovider"])
def test_a_name_is_that_provider_and_no_other(name: str) -> None:
    choice = choose_provider(name)
    assert choice.candidates == (CPU,) and choice.by_name and choice.reason == "asked for by name"


@pytest.mark.parametrize("row", MISSING, ids=lambda row: row.short)
def test_a_provider_that_is_not_here_is_an_error_with_a_remedy(row: providers.ExecutionProvider) -> None:
    for name in (row.short, row.name):
        with pytest.raises(ProviderError) as error:
            choose_provider(name)
        assert row.title in str(error.value) and row.remedy in str(error.value) and "cpu" in str(error.value)


@pytest.mark.parametrize("name", ["gpu", "", "Auto", "cud"])
def test_an_unknown_name_lists_the_known(name: str) -> None:
    with pytest.raises(InputError, match=f"auto, cuda, directml, coreml, openvino, cpu, but is {name!r}"):
        choose_provider(name)


def test_auto_tries_accelerators_first_and_says_what_there_is() -> None:
    choice = choose_provider()
    assert choice.candidates == OFFERED and choice.candidates[-1] is CPU and not choice.by_name
    if len(OFFERED) == 1:
        assert choice.reason == "no accelerator in this ONNX Runtime"
    else:
        assert choice.reason == f"{', '.join(row.title for row in OFFERED[:-1])} available"


@pytest.mark.parametrize("wanted", ["1", "3", "64"])
def test_threads_as_asked(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("SAFELIGHT_THREADS", wanted)
    assert thread_count() == int(wanted)


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "", "1.5", "²"])
def test_threads_must_be_a_number(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("SAFELIGHT_THREADS", wanted)
    with pytest.raises(InputError, match=f"SAFELIGHT_THREADS must be a positive whole number, but is {wanted!r}"):
        thread_count()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors can be chosen on Linux alone")
def test_threads_are_the_processors_this_process_may_use() -> None:
    code = (
        "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
        "from safelight.inference.providers import thread_count; print(thread_count())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "SAFELIGHT_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "1\n"
