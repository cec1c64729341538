"""From soft masks to cut-outs: fusing networks, refining alpha mattes, clean foreground colours, compositing."""

from .alpha import refine_alpha
from .compositing import alpha_levels, blur_background, composite
from .foreground import estimate_foreground
from .fusion import fill_by_agreement, fill_holes, remove_islands, suppress_ghosts
from .hints import apply_hint

__all__ = [
    "alpha_levels",
    "apply_hint",
    "blur_background",
    "composite",
    "estimate_foreground",
    "fill_by_agreement",
    "fill_holes",
    "refine_alpha",
    "remove_islands",
    "suppress_ghosts",
]
