"""Where a network may run: the table of ONNX Runtime's execution providers, and the choice among them.

A provider asked for by name that cannot be had is an error. ``auto`` takes the first accelerator of the table that is
in this installation and leaves the proof that it computes rightly to :mod:`safelight.inference.session`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, ProviderError
from .onnx_runtime import load_onnx_runtime

__all__ = ["CPU", "PROVIDERS", "Choice", "ExecutionProvider", "available_providers", "choose_provider", "thread_count"]


@dataclass(frozen=True)
class ExecutionProvider:
    """One row of the table.

    Attributes
    ----------
    name
        ONNX Runtime's own name.
    short
        What a person types.
    title
        What a person reads.
    remedy
        How to get it where it is missing.
    options
        Provider options of every session.
    fixed_shapes
        Whether free dimensions are fixed when a session is opened; these providers compile for a shape.
    serial
        Whether only one run at a time is safe in the whole process.
    """

    name: str
    short: str
    title: str
    remedy: str
    options: dict[str, Any] = field(default_factory=dict)
    fixed_shapes: bool = True
    serial: bool = False


CPU = ExecutionProvider(
    "CPUExecutionProvider", "cpu", "CPU", "it is part of every installation", {}, fixed_shapes=False
)

# Accelerators in the order `auto` tries them, the CPU last.
PROVIDERS = (
    ExecutionProvider(
        "CUDAExecutionProvider",
        "cuda",
        "CUDA",
        "install onnxruntime-gpu instead of onnxruntime, and NVIDIA's CUDA and cuDNN",
    ),
    ExecutionProvider(
        "DmlExecutionProvider",
        "directml",
        "DirectML",
        "on Windows 10 or 11, install onnxruntime-directml and remove other onnxruntime packages",
        {"device_id": 0},  # without it, sessions fail where DXCore is missing
        serial=True,
    ),
    ExecutionProvider("CoreMLExecutionProvider", "coreml", "CoreML", "it is part of onnxruntime for macOS"),
    ExecutionProvider(
        "OpenVINOExecutionProvider", "openvino", "OpenVINO", "install onnxruntime-openvino instead of onnxruntime"
    ),
    CPU,
)


@dataclass(frozen=True)
class Choice:
    """The providers to try in order, and why these."""

    candidates: tuple[ExecutionProvider, ...]
    by_name: bool
    reason: str


def available_providers() -> tuple[ExecutionProvider, ...]:
    """Return the rows of the table this installation of ONNX Runtime offers; whether they work is another matter."""
    offered = load_onnx_runtime().get_available_providers()
    return tuple(row for row in PROVIDERS if row.name in offered)


def choose_provider(name: str = "auto") -> Choice:
    """Turn what a person asked for into providers to try.

    Parameters
    ----------
    name
        ``auto``, or a provider's short name or ONNX Runtime name.

    Raises
    ------
    InputError
        There is no such provider.
    ProviderError
        This installation does not have it; the message says how to get it.
    """
    available = available_providers()
    if name == "auto":
        accelerators = [row.title for row in available if row is not CPU]
        reason = f"{', '.join(accelerators)} available" if accelerators else "no accelerator in this ONNX Runtime"
        return Choice(available, by_name=False, reason=reason)
    row = next((row for row in PROVIDERS if name.lower() in (row.short, row.name.lower())), None)
    if row is None:
        known = ", ".join(["auto", *(row.short for row in PROVIDERS)])
        raise InputError(f"the provider must be one of {known}, but is {name!r}")
    if row not in available:
        offered = ", ".join(each.short for each in available)
        raise ProviderError(f"{row.title} must be in this ONNX Runtime, but it offers only {offered}: {row.remedy}")
    return Choice((row,), by_name=True, reason="asked for by name")


def thread_count() -> int:
    """Return how many threads to use: ``SAFELIGHT_THREADS``, else the processors this process may run on.

    Raises
    ------
    InputError
        ``SAFELIGHT_THREADS`` is not a positive whole number.
    """
    wanted = os.environ.get("SAFELIGHT_THREADS")
    if wanted is not None:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise InputError(f"SAFELIGHT_THREADS must be a positive whole number, but is {wanted!r}")
        return int(wanted)
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
