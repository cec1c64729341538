from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from safelight.errors import Cancelled, InputError, ModelNotFound, ProviderError
from safelight.inference import pool, session
from safelight.inference.pool import close_sessions, open_session
from safelight.inference.providers import CPU, PROVIDERS, Choice, ExecutionProvider, available_providers
from safelight.inference.session import Session

Arrays = list[NDArray[np.float32]]
Check = Callable[[], None]

# An accelerator as far as the code can tell, in truth the CPU: what it computes is changed by `Faulty`.
SECOND = ExecutionProvider("SecondExecutionProvider", "second", "Second", "nowhere")
ACCELERATORS = [row.short for row in available_providers() if row is not CPU]
MISSING = next(row for row in PROVIDERS if row not in available_providers())

pytestmark = pytest.mark.usefixtures("models")


# The smallest network here; free in its input's size.
SMALL = "text-ppocrv6-det-tiny"


def feeds(side: int = 64, name: str = "x") -> dict[str, NDArray[np.float32]]:
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    disc = (np.hypot(y - 0.5, x - 0.5) < 0.3).astype(np.float32)
    return {name: np.stack([disc * 2 - 1, disc, y])[None]}


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "safelight-inference"]


def test_a_run_tells_what_ran_where_and_why() -> None:
    opened = Session("u2netp")
    outputs, run = opened.run(feeds(320, "input.1"))
    assert [each.shape for each in outputs] == [(1, 1, 320, 320)], "only what the catalogue names"
    assert (run.model, run.provider, run.reason) == ("cutout-u2netp", opened.provider.short, opened.reason)
    if not ACCELERATORS:
        assert (run.provider, run.reason) == ("cpu", "no accelerator in this ONNX Runtime")
    assert 0 < run.seconds < 60
    assert str(run).startswith(f"cutout-u2netp on {run.provider} ({run.reason}), ")
    assert not threads()


def test_runs_repeat_exactly_also_side_by_side() -> None:
    opened = open_session(SMALL, provider="cpu")
    expected, results = opened.run(feeds())[0][0], []
    workers = [threading.Thread(target=lambda: results.append(opened.run(feeds())[0][0])) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 3
    for result in results:
        np.testing.assert_array_equal(result, expected)


# --- cancelling ---


def test_a_run_ends_soon_after_its_check_raises() -> None:
    """IS-Net runs for seconds; one that ended by itself would show."""
    opened, big = open_session("isnet", provider="cpu"), feeds(768, "input")
    _, run = opened.run(big)
    begin, raised = time.perf_counter(), 0.0

    def check() -> None:
        nonlocal raised
        if time.perf_counter() - begin > 0.1 * run.seconds:
            raised = time.perf_counter()
            raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        opened.run(big, check=check)
    end = time.perf_counter()
    assert end - raised < max(0.3, 0.4 * run.seconds) and end - raised < 1.5
    assert not threads(), "nothing works on behind the error"
    outputs, _ = opened.run(feeds(64, "input"))
    assert np.isfinite(outputs[0]).all()


@pytest.mark.parametrize("error", [Cancelled("no"), KeyboardInterrupt(), ZeroDivisionError()], ids=repr)
@pytest.mark.parametrize("model", ["isnet", "selfie"])
def test_whatever_the_check_raises_arrives(model: str, error: BaseException) -> None:
    opened = open_session(model, provider="cpu")
    name = next(iter(opened.info.inputs))
    large, small = (feeds(512, name), feeds(64, name)) if model == "isnet" else 2 * (feeds(256, name),)

    def check() -> None:
        raise error

    with pytest.raises(type(error)):
        opened.run(large, check=check)
    assert not threads()
    assert np.isfinite(opened.run(small)[0][0]).all()


# --- choosing and trusting a provider ---


def test_a_provider_by_name_is_that_one_or_an_error() -> None:
    assert open_session(SMALL, provider="cpu").reason == "asked for by name"
    with pytest.raises(ProviderError, match=MISSING.title):
        Session(SMALL, provider=MISSING.short)
    with pytest.raises(InputError, match="the provider must be one of"):
        Session(SMALL, provider="abacus")
    with pytest.raises(ProviderError, match="TensorFlow Lite"):
        Session("selfie", provider="cuda")


@pytest.mark.skipif(not ACCELERATORS, reason="this ONNX Runtime has no accelerator")
@pytest.mark.parametrize("name", ACCELERATORS)
@pytest.mark.parametrize("model", ["u2netp", "isnet"])
def test_an_accelerator_agrees_or_is_refused(name: str, model: str) -> None:
    try:
        opened = Session(model, provider=name, size=(320, 320))
    except ProviderError as error:
        assert " must " in str(error)
        return
    data = feeds(320, next(iter(opened.info.inputs)))
    ours, theirs = (each.run(data)[0][0] for each in (opened, open_session(model, provider="cpu")))
    assert np.abs(ours - theirs).max() < 0.1


class Faulty:
    """A real runtime whose answers go wrong."""

    def __init__(self, runtime: session._Runtime, spoil: Callable[[int, Arrays], Arrays]) -> None:
        self.runtime, self.spoil, self.runs = runtime, spoil, 0

    def run(self, feeds: session.Feeds, check: Check) -> Arrays:
        self.runs += 1
        return self.spoil(self.runs, self.runtime.run(feeds, check))


class SessionWithSecond(Session):
    spoil: Callable[[int, Arrays], Arrays]

    def _open_on(self, row: ExecutionProvider) -> session._Runtime:
        runtime = super()._open_on(CPU)
        return Faulty(runtime, type(self).spoil) if row is SECOND else runtime


def open_with_second(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, Arrays], Arrays], *, by_name: bool = False
) -> Session:
    candidates = (SECOND,) if by_name else (SECOND, CPU)
    reason = "asked for by name" if by_name else "Second available"
    monkeypatch.setattr(session, "choose_provider", lambda name: Choice(candidates, by_name, reason))
    monkeypatch.setattr(SessionWithSecond, "spoil", staticmethod(spoil), raising=False)
    return SessionWithSecond(SMALL, provider="second" if by_name else "auto", size=(64, 64))


def shifted(run: int, outputs: Arrays) -> Arrays:
    return [np.roll(each, 16, axis=-1) for each in outputs]


def slightly_off(run: int, outputs: Arrays) -> Arrays:
    return [each + np.float32(0.005) for each in outputs]


def garbage(run: int, outputs: Arrays) -> Arrays:
    return [np.full_like(each, np.nan) for each in outputs]


def zeros(run: int, outputs: Arrays) -> Arrays:
    return [np.zeros_like(each) for each in outputs]


def failing(run: int, outputs: Arrays) -> Arrays:
    raise ProviderError("Second must run the model, but failed: device lost")


def later(spoil: Callable[[int, Arrays], Arrays]) -> Callable[[int, Arrays], Arrays]:
    """Return the fault from the second run on: the first is the check."""
    return lambda run, outputs: spoil(run, outputs) if run > 1 else outputs


@pytest.mark.parametrize("spoil", [shifted, garbage, zeros, failing])
def test_a_provider_that_computes_wrongly_is_refused(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, Arrays], Arrays]
) -> None:
    opened = open_with_second(monkeypatch, spoil)
    assert opened.provider is CPU and opened.reason.startswith("Second refused: ")
    _, run = opened.run(feeds())
    assert (run.provider, run.reason) == ("cpu", opened.reason)
    with pytest.raises(ProviderError, match="Second must"):
        open_with_second(monkeypatch, spoil, by_name=True)


def test_a_provider_that_agrees_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_with_second(monkeypatch, slightly_off)
    assert opened.provider is SECOND and opened.reason == "Second passed the check against the CPU"
    assert opened.run(feeds())[1].provider == "second"
    assert open_with_second(monkeypatch, slightly_off, by_name=True).reason == "asked for by name"


@pytest.mark.parametrize("spoil", [garbage, failing])
def test_a_provider_that_fails_later_gives_way_unless_named(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[int, Arrays], Arrays]
) -> None:
    opened = open_with_second(monkeypatch, later(spoil))
    assert opened.provider is SECOND
    outputs, run = opened.run(feeds())
    assert np.isfinite(outputs[0]).all()
    assert run.provider == "cpu" and run.reason.startswith("Second failed in the run (")
    named = open_with_second(monkeypatch, later(spoil), by_name=True)
    with pytest.raises(ProviderError):
        named.run(feeds())


def test_numbers_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(ProviderError, match=f"{SMALL} must give finite numbers, but did not on CPU"):
        open_session(SMALL, provider="cpu").run({"x": np.full((1, 3, 64, 64), np.nan, np.float32)})


def test_input_of_another_shape_is_an_error() -> None:
    with pytest.raises(ProviderError, match="CPU must run the model, but failed"):
        open_session("u2netp", provider="cpu").run(feeds(64, "input.1"))


# --- opening ---


@pytest.mark.parametrize("wanted", ["0", "many"])
def test_a_wrong_number_of_threads_is_said(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv("SAFELIGHT_THREADS", wanted)
    with pytest.raises(InputError, match="SAFELIGHT_THREADS"):
        Session(SMALL)


def test_a_model_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFELIGHT_MODELS", str(tmp_path))
    for name, command in [("u2netp", "models get u2netp"), ("modnet", "models import FILE --as cutout-modnet")]:
        with pytest.raises(ModelNotFound, match=command):
            Session(name)
    with pytest.raises(InputError):
        Session("nonsense")
    assert not list(tmp_path.iterdir())


def test_sessions_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_open", {})
    first = open_session(SMALL, provider="cpu", size=(96, 96))
    assert open_session(SMALL, provider="cpu", size=(96, 96)) is first
    assert open_session(SMALL, provider="cpu", size=(64, 64)) is first, "on the CPU all sizes share one"
    assert open_session(SMALL, provider="cpu") is first
    close_sessions()
    assert open_session(SMALL, provider="cpu") is not first
    found: list[Session] = []
    workers = [threading.Thread(target=lambda: found.append(open_session("selfie"))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(map(id, found))) == 1


def test_sizes_have_sessions_of_their_own_where_shapes_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_open", {})
    monkeypatch.setattr(pool, "Session", SessionWithSecond)
    open_with_second(monkeypatch, slightly_off)
    large, small = (open_session(SMALL, size=(side, side)) for side in (96, 64))
    assert large is not small and large.provider is SECOND
    assert open_session(SMALL, size=(96, 96)) is large
    assert open_session(SMALL, size=(64, 64)) is small
