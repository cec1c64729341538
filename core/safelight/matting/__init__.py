"""From soft masks to cut-outs: fusing networks, refining alpha mattes, clean foreground colours, compositing."""

from .alpha import refine_alpha, stretch_contrast
from .closed_form import soft_closed_form
from .compositing import blur_background, composite
from .estimation import estimate_alpha
from .foreground import estimate_foreground
from .fusion import fill_by_agreement, fill_holes, remove_islands, suppress_ghosts
from .hints import apply_hint
from .trimap import make_trimap, read_trimap, trimap_from_scribbles

__all__ = [
    "apply_hint",
    "blur_background",
    "composite",
    "estimate_alpha",
    "estimate_foreground",
    "fill_by_agreement",
    "fill_holes",
    "make_trimap",
    "read_trimap",
    "refine_alpha",
    "remove_islands",
    "soft_closed_form",
    "stretch_contrast",
    "suppress_ghosts",
    "trimap_from_scribbles",
]
