"""ONNX Runtime, imported so that it reports to nobody. No other module imports it.

From 1.29 on, its builds send what models they run to their maker and leave a device's id and a store of events in the
user's cache folder, unless they are told not to before they start.
"""

from __future__ import annotations

import functools
import os
from typing import Any

__all__ = ["load_onnx_runtime"]


@functools.cache
def load_onnx_runtime() -> Any:
    """Return the module ``onnxruntime``, its telemetry off."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read once, when the library is loaded
    import onnxruntime

    # For older builds on Windows, and where somebody else in this process has loaded it before.
    onnxruntime.disable_telemetry_events()
    return onnxruntime
