"""The tools people see. Importing this package declares them all."""

from . import cutout as _cutout
from . import refine as _refine
from .declaration import TOOLS, Parameter, Tool

__all__ = ["TOOLS", "Parameter", "Tool"]

del _cutout, _refine
