"""Safelight: offline, private photo tools.

>>> import safelight
>>> photo = safelight.Photo.open("cat.jpg")
>>> result = safelight.cutout(photo)
>>> result.photo.save("cat-cutout.png")

Names are loaded on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import errors, kernels, matting
    from .image import Photo
    from .tools.blur_background import blur_background
    from .tools.cutout import CutoutResult, cutout

__version__ = "0.1.0"

__all__ = [
    "CutoutResult",
    "Photo",
    "__version__",
    "blur_background",
    "cutout",
    "errors",
    "kernels",
    "matting",
]

_HOME = {
    "CutoutResult": "tools.cutout",
    "Photo": "image",
    "blur_background": "tools.blur_background",
    "cutout": "tools.cutout",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        value: object = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif name in __all__:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
