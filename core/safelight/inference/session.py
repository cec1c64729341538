"""A model opened for running: which provider, proof that it computes rightly, cancellable runs.

What ran, where and why is returned as a :class:`ModelRun` with every result.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, ProviderError
from .models import ModelInfo, find_model, load_model, model_info
from .onnx_runtime import load_onnx_runtime
from .prepared import find_prepared, keep_prepared, worth_preparing
from .providers import CPU, Choice, ExecutionProvider, choose_provider, thread_count

__all__ = ["ModelRun", "Session"]

Feeds = dict[str, NDArray[np.float32]]
_POLL_SECONDS = 0.05
_TOLERANCE = 0.02  # of a matte or a probability: far above rounding in float16, far below an error worth the name
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class ModelRun:
    """What ran, where and why.

    Attributes
    ----------
    model
        The model's id in the catalogue.
    provider
        Short name of the execution provider that computed the result.
    reason
        Why this provider.
    seconds
        Wall time of the run.
    """

    model: str
    provider: str
    reason: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.model} on {self.provider} ({self.reason}), {self.seconds:.2f} s"


class _Runtime(Protocol):
    def run(self, feeds: Feeds, check: Callable[[], None]) -> list[NDArray[np.float32]]: ...


class Session:
    """A model opened on the provider asked for.

    Parameters
    ----------
    name
        A model of the catalogue.
    provider
        ``auto`` or a provider's name. By name, that provider or an error; ``auto`` tries the accelerators of this
        installation, checks each against the CPU on a known input, and says why it chose what it chose.
    size
        Height and width the model's free input dimensions are fixed to, on providers that compile for a shape.

    Raises
    ------
    ModelNotFound, ModelError
        The model is not here, or cannot be opened.
    ProviderError
        The provider cannot be had, or computes wrongly.
    """

    def __init__(self, name: str, *, provider: str = "auto", size: tuple[int, int] | None = None) -> None:
        self.info: ModelInfo = model_info(name)
        self._size = size
        self._by_name = provider != "auto"
        find_model(name)  # a model that is not here is said before anything else
        if self.info.runtime == "tflite":
            self._runtime, self.provider, self.reason = _open_tflite(self.info, provider)
        else:
            self._runtime, self.provider, self.reason = self._open(provider)

    def run(
        self, feeds: Feeds, *, check: Callable[[], None] | None = None
    ) -> tuple[list[NDArray[np.float32]], ModelRun]:
        """Run the model and return the outputs the catalogue names, and what ran where.

        Parameters
        ----------
        feeds
            Input name to float32 array.
        check
            Called about twenty times a second; whatever it raises stops the run and is raised here.

        Raises
        ------
        ProviderError
            The run failed, or gave numbers that are not finite.
        """
        started = time.perf_counter()
        try:
            outputs = self._checked_run(feeds, check or _no_check)
        except ProviderError as error:
            if self._by_name or self.provider.name == CPU.name:
                raise
            reason = f"{self.provider.title} failed in the run ({error})"
            self._runtime, self.provider, self.reason = self._open_on(CPU), CPU, reason
            outputs = self._checked_run(feeds, check or _no_check)
        return outputs, ModelRun(self.info.id, self.provider.short, self.reason, time.perf_counter() - started)

    def _checked_run(self, feeds: Feeds, check: Callable[[], None]) -> list[NDArray[np.float32]]:
        outputs = self._runtime.run(feeds, check)
        if not all(np.isfinite(each).all() for each in outputs):
            raise ProviderError(f"{self.info.id} must give finite numbers, but did not on {self.provider.title}")
        return outputs

    def _open(self, name: str) -> tuple[_Runtime, ExecutionProvider, str]:
        choice = choose_provider(name)
        refused: list[str] = []
        for row in choice.candidates:
            try:
                runtime = self._open_on(row)
                if row is not CPU:
                    self._known_answer_check(runtime, row)
            except ProviderError as error:
                if choice.by_name or row is CPU:
                    raise
                refused.append(f"{row.title} refused: {error}")
                continue
            return runtime, row, _why(choice, row, refused)
        raise ProviderError("ONNX Runtime must offer at least the CPU provider, but does not")

    def _open_on(self, row: ExecutionProvider) -> _Runtime:
        if row is CPU and worth_preparing(self.info):
            return self._open_prepared()
        return _OnnxRuntime(self.info, load_model(self.info.id), row, self._size)

    def _open_prepared(self) -> _Runtime:
        prepared = find_prepared(self.info)
        if prepared is not None:
            with contextlib.suppress(ModelError):  # a damaged cache is made again
                return _OnnxRuntime(self.info, prepared, CPU, self._size, prepared=True)
        with keep_prepared(self.info) as target:
            return _OnnxRuntime(self.info, load_model(self.info.id), CPU, self._size, write_to=target)

    def _known_answer_check(self, runtime: _Runtime, row: ExecutionProvider) -> None:
        """Compare with the CPU on a fixed input: drivers exist that return garbage without an error."""
        probe = _probe(self.info, self._size)
        got = runtime.run(probe, _no_check)
        expected = self._open_on(CPU).run(probe, _no_check)
        for ours, theirs in zip(got, expected, strict=True):
            scale = max(1.0, float(np.abs(theirs).max()))
            if not np.isfinite(ours).all() or float(np.abs(ours - theirs).max()) > _TOLERANCE * scale:
                raise ProviderError(f"{row.title} must agree with the CPU on a known input, but does not")


class _OnnxRuntime:
    """An ONNX Runtime session on one provider; its exceptions are translated here and nowhere else."""

    def __init__(
        self,
        info: ModelInfo,
        model: bytes | Path,
        row: ExecutionProvider,
        size: tuple[int, int] | None,
        *,
        prepared: bool = False,
        write_to: Path | None = None,
    ) -> None:
        onnxruntime = load_onnx_runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # every failure arrives as an exception; warnings would spoil the terminal
        options.intra_op_num_threads = thread_count()
        # The memory pattern doubles the peak (2.1 GB instead of 1.35 GB for IS-Net) and makes no run faster.
        options.enable_mem_pattern = False
        if row.fixed_shapes and size:
            for name, value in _free_dimensions(info, size).items():
                options.add_free_dimension_override_by_name(name, value)
        if prepared:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if write_to:
            options.optimized_model_filepath = str(write_to)
        self._row, self._outputs = row, list(info.outputs)
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(
                source, options, providers=[(row.name, row.options)], **({} if row is CPU else {"enable_fallback": 0})
            )
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types
            kind = ModelError if row is CPU else ProviderError
            raise kind(f"{info.id} must open on {row.title}, but does not: {_last_line(error)}") from error
        if row.name not in self._session.get_providers():
            raise ProviderError(f"{row.title} must be in the session, but ONNX Runtime left it out without a word")

    def run(self, feeds: Feeds, check: Callable[[], None]) -> list[NDArray[np.float32]]:
        options = load_onnx_runtime().RunOptions()
        lock = _one_at_a_time if self._row.serial else threading.Lock()
        with lock:
            task = _in_thread(lambda: self._session.run(self._outputs, feeds, options))
            _wait(task, check, stop=lambda: setattr(options, "terminate", True))
        try:
            outputs: list[NDArray[np.float32]] = task.result()
        except Exception as error:
            raise ProviderError(f"{self._row.title} must run the model, but failed: {_last_line(error)}") from error
        return outputs


class _OpenCVRuntime:
    """A TensorFlow Lite model read by OpenCV, on the CPU."""

    def __init__(self, info: ModelInfo, model: bytes | Path) -> None:
        import cv2

        try:
            # As bytes: on Windows, OpenCV cannot open paths outside the system's code page.
            source = np.frombuffer(model.read_bytes() if isinstance(model, Path) else model, np.uint8)
            # The newer engine of OpenCV 5 does not give the landmark model's second output.
            classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
            engine = () if classic is None else (classic,)
            self._net = cv2.dnn.readNetFromTFLite(source, *engine)
        except cv2.error as error:
            raise ModelError(f"{info.id} must open in OpenCV, but does not: {_last_line(error)}") from error
        self._outputs = list(info.outputs)
        self._lock = threading.Lock()

    def run(self, feeds: Feeds, check: Callable[[], None]) -> list[NDArray[np.float32]]:
        import cv2

        check()
        with self._lock:
            for name, value in feeds.items():
                self._net.setInput(value, name if len(feeds) > 1 else "")
            try:
                outputs: list[NDArray[np.float32]] = list(self._net.forward(self._outputs))
            except cv2.error as error:
                raise ProviderError(f"OpenCV must run the model, but failed: {_last_line(error)}") from error
        check()
        return outputs


def _why(choice: Choice, row: ExecutionProvider, refused: list[str]) -> str:
    if choice.by_name:
        return choice.reason
    if row is CPU:
        return "; ".join(refused) or choice.reason
    return "; ".join([*refused, f"{row.title} passed the check against the CPU"])


def _open_tflite(info: ModelInfo, provider: str) -> tuple[_Runtime, ExecutionProvider, str]:
    if provider not in ("auto", CPU.short, CPU.name):
        raise ProviderError(
            f"{info.id} is a TensorFlow Lite model and must run on the CPU, but {provider} was asked for"
        )
    row = replace(CPU, title="CPU (OpenCV)")
    return _OpenCVRuntime(info, load_model(info.id)), row, "TensorFlow Lite models run in OpenCV"


def _in_thread(function: Callable[[], Any]) -> Future[Any]:
    task: Future[Any] = Future()

    def body() -> None:
        try:
            task.set_result(function())
        except BaseException as error:
            task.set_exception(error)

    threading.Thread(target=body, daemon=True, name="safelight-inference").start()
    return task


def _wait(task: Future[Any], check: Callable[[], None], *, stop: Callable[[], None]) -> None:
    """Wait for a run; when `check` raises, end the run first, so that nothing works on behind the error."""
    finished = threading.Event()
    task.add_done_callback(lambda _: finished.set())
    try:
        while not finished.wait(_POLL_SECONDS):
            check()
    except BaseException:
        stop()
        finished.wait()
        raise


def _free_dimensions(info: ModelInfo, size: tuple[int, int]) -> dict[str, int]:
    names = {"batch": 1, "height": size[0], "width": size[1]}
    free = any(not isinstance(each, int) for shape in info.inputs.values() for each in shape)
    return names if free else {}


def _probe(info: ModelInfo, size: tuple[int, int] | None) -> Feeds:
    """Return a fixed input with structure: smooth waves and a bright block, in the range of a normalised picture."""
    feeds: Feeds = {}
    for name, shape in info.inputs.items():
        *_, channels, height, width = [each if isinstance(each, int) else 0 for each in shape]
        height, width = (height, width) if height and width else (size or (320, 320))
        y, x = np.mgrid[:height, :width].astype(np.float32)
        wave = 0.5 * np.sin(x / 17.0) * np.cos(y / 23.0)
        wave[height // 4 : height // 2, width // 4 : width // 2] += 1.0
        feeds[name] = np.ascontiguousarray(np.stack([wave * (1 + 0.1 * c) for c in range(channels or 3)])[None])
    return feeds


def _last_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[-1][-300:] if text else type(error).__name__


def _no_check() -> None:
    pass
