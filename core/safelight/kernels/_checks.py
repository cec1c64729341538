"""Checks of the arguments of kernels: what must hold, then what is."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

__all__ = ["number", "pixels", "plane", "whole_number"]

_PIXEL_DTYPES = ("uint8", "uint16", "float32")


def pixels(name: str, value: object, *, channels: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Return a C-contiguous ``(height, width[, channels])`` array of uint8, uint16 or finite float32.

    ``channels`` lists the numbers of channels allowed, 0 standing for an array of two dimensions.
    """
    array = _array(name, value)
    if array.dtype.name not in _PIXEL_DTYPES:
        raise InputError(f"{name} must be uint8, uint16 or float32, but is {array.dtype}")
    last = array.shape[2] if array.ndim == 3 else 0
    if array.ndim not in (2, 3) or (channels is not None and last not in channels):
        raise InputError(f"{name} must have the shape {_shapes(channels)}, but has {array.shape}")
    _limits(name, array)
    return _native_layout(array)


def plane(
    name: str,
    value: object,
    *,
    shape: tuple[int, int] | None = None,
    whose: str = "",
    least: float = -math.inf,
    most: float = math.inf,
) -> NDArray[np.float32]:
    """Return a C-contiguous ``(height, width)`` array of finite float32 between ``least`` and ``most``.

    ``shape`` is the shape it must have, ``whose`` what has that shape too.
    """
    array = _array(name, value)
    if array.dtype.name != "float32":
        raise InputError(f"{name} must be float32, but is {array.dtype}")
    if array.ndim != 2:
        raise InputError(f"{name} must have the shape (height, width), but has {array.shape}")
    if shape is not None and array.shape != shape:
        raise InputError(f"{name} must have {whose} shape {shape}, but has {array.shape}")
    low, high = _limits(name, array)
    if low < least or high > most:
        must = f"must lie in [{least:g}, {most:g}]" if most < math.inf else f"must be {least:g} or more"
        raise InputError(f"{name} {must}, but holds {low if low < least else high:g}")
    return _native_layout(array)


def whole_number(name: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return a whole number of at least ``least`` and at most ``most``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what is no integer raises
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool) or (most is not None and number > most):
        must = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} must be a whole number {must}, but is {value!r}")
    return number


def number(
    name: str, value: object, *, above: float | None = None, least: float | None = None, most: float = math.inf
) -> float:
    """Return a finite number above ``above``, or of at least ``least``, and of at most ``most``."""
    try:
        result = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        result = math.nan
    too_small = (above is not None and result <= above) or (least is not None and result < least)
    if not math.isfinite(result) or too_small or result > most:
        must = f"above {above:g}" if above is not None else f"of {least:g} or more"
        must += f" and at most {most:g}" if most < result < math.inf else ""
        raise InputError(f"{name} must be a number {must}, but is {value!r}")
    return result


def _array(name: str, value: object) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} must be a NumPy array, but is a {type(value).__name__}")
    if value.size == 0:
        raise InputError(f"{name} must hold at least one pixel, but has the shape {value.shape}")
    return value


def _native_layout(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array C-contiguous and in this machine's byte order."""
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _limits(name: str, array: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and largest value of a float array; NaN comes through both."""
    if array.dtype.kind != "f":
        return 0.0, 0.0
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{name} must be finite, but holds {high if math.isfinite(low) else low}")
    return low, high


def _shapes(channels: tuple[int, ...] | None) -> str:
    if channels is None:
        return "(height, width) or (height, width, channels)"
    return " or ".join("(height, width)" if c == 0 else f"(height, width, {c})" for c in channels)
