"""The tools people see. Importing this package declares them all."""

from . import blur_background as _blur_background
from . import cutout as _cutout
from . import refine as _refine
from .declaration import TOOLS, Parameter, Tool

__all__ = ["TOOLS", "Parameter", "Tool"]

del _blur_background, _cutout, _refine
