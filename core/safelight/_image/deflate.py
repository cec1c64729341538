"""Compressing strips of a picture that become one stream.

ISA-L (package ``isal``) deflates twice as fast as zlib's quickest level, and smaller; where it is not
installed, zlib's quickest level does the work. Both let other threads run meanwhile.
"""

from __future__ import annotations

import importlib
import zlib
from functools import cache
from typing import Any

__all__ = [
    "ADLER_START",
    "RAW",
    "ZLIB",
    "adler32",
    "combine_adler32",
    "compressor",
]

RAW = -15  # no header, no checksum
ZLIB = 15
ADLER_START = 1
_ADLER_BASE = 65521
_MEMORY_LEVEL = 9


def compressor(window: int) -> Any:
    """Make an object with ``compress`` and ``flush``, as `zlib.compressobj` does."""
    isal = _isal()
    if isal is not None:
        return isal.compressobj(2, isal.DEFLATED, window)
    return zlib.compressobj(1, zlib.DEFLATED, window, _MEMORY_LEVEL)


@cache
def _isal() -> Any:
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return None


def adler32(data: Any, value: int = ADLER_START) -> int:
    """Continue the Adler-32 checksum `value` over `data`."""
    return int((_isal() or zlib).adler32(data, value))


def combine_adler32(first: int, second: int, length: int) -> int:
    """Adler-32 of two pieces together, from that of each and the second's length (RFC 1950, section 8.2)."""
    low1, high1 = first & 0xFFFF, first >> 16
    low2, high2 = second & 0xFFFF, second >> 16
    low = (low1 + low2 - 1) % _ADLER_BASE
    high = (high1 + high2 + length * (low1 - 1)) % _ADLER_BASE
    return low | high << 16
