"""The tools people see. Importing this package declares them all."""

from . import blur_background as _blur_background
from . import cutout as _cutout
from .declaration import TOOLS, Parameter, Tool

__all__ = ["TOOLS", "Parameter", "Tool"]

del _blur_background, _cutout
