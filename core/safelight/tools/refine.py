"""The tool `refine`: a matte at full resolution from what a person has drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from ..errors import InputError
from ._shared import open_drawing, read_strokes, transparent
from .cutout import CutoutResult, Output
from .declaration import Parameter, Progress, no_progress, tool

if TYPE_CHECKING:  # a help text must not wait for NumPy
    import numpy as np
    from numpy.typing import NDArray

    from ..image import Photo

__all__ = ["refine"]

Method = Literal["closed_form", "sampled", "guided_filter"]

_NAMES = {"closed_form": "closed form", "sampled": "closed form with sampled colours", "guided_filter": "guided filter"}
_SMALL_SIDE = 1024  # scribbles leave nearly all open: they are spread at this size first


def _leaves_transparency(options: Mapping[str, Any]) -> bool:
    return bool(options["output"] != "mask")


@tool(
    "refine",
    title="Refine a selection",
    summary="Make a clean matte from a trimap, a rough mask or scribbles.",
    leaves_transparency=_leaves_transparency,
)
def refine(
    photo: Photo,
    *,
    trimap: Annotated[
        Path | None,
        Parameter("A picture of the same size: white is subject, black background, gray is to be found out."),
    ] = None,
    mask: Annotated[
        Path | None, Parameter("A rough or soft mask or selection, white on black: its edge is to be found out.")
    ] = None,
    scribbles: Annotated[
        Path | None, Parameter("Strokes of the same size: white keeps, black removes, the rest is to be found out.")
    ] = None,
    method: Annotated[
        Method, Parameter("How alpha is estimated: sampled is mostly better and slower, guided_filter a preview.")
    ] = "closed_form",
    width: Annotated[
        float,
        Parameter("With a mask: how far to look on either side of its edge, in pixels; 0 decides itself.", minimum=0),
    ] = 0.0,
    output: Annotated[Output, Parameter("Write the cut-out, the alpha matte as a gray picture, or both.")] = "cutout",
    decontaminate: Annotated[
        bool,
        Parameter("Estimate the subject's own colours at its edge, so that no halo of the old background remains."),
    ] = True,
    progress: Progress = no_progress,
) -> CutoutResult:
    """Cut out by a trimap, a mask or scribbles, with every hair found at full resolution.

    Parameters
    ----------
    photo
        As opened by :meth:`safelight.Photo.open`; it is not changed.
    trimap, mask, scribbles
        One of them, as a path or a photo.
    method, width, output, decontaminate
        As ``safelight refine --help`` says.
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

    Returns
    -------
    CutoutResult
        Without runs: no network is asked.

    Raises
    ------
    InputError
        Not one of trimap, mask and scribbles is given, it has another size, or an argument cannot be used.
    """
    import numpy as np

    from ..matting import estimate_alpha, estimate_foreground

    if output not in get_args(Output):
        raise InputError(f"output must be one of {', '.join(get_args(Output))}, but is {output!r}")
    drawn = _trimap(photo, trimap, mask, scribbles, width)
    share = float((drawn == 128).mean())
    alpha = estimate_alpha(photo.image, drawn, method=method, progress=lambda f, stage: progress(0.8 * f, stage))
    if photo.alpha is not None:
        alpha = alpha * (photo.alpha.astype(np.float32) / np.float32(np.iinfo(photo.alpha.dtype).max))
    reason = f"{_NAMES[method]} over {100 * share:.1f} % of the picture"
    result = None
    if output != "mask":
        progress(0.8, "cleaning edge colours")
        foreground = estimate_foreground(photo.image, alpha, clear=True) if decontaminate else photo.image
        result = transparent(photo, foreground, alpha)
    progress(1.0, "done")
    return CutoutResult(result, alpha, (), reason, output, photo.bits)


def _trimap(photo: Photo, trimap: Any, mask: Any, scribbles: Any, width: float) -> NDArray[np.uint8]:
    """Read the one that is given."""
    from ..matting import make_trimap, read_trimap

    given = [
        name for name, value in (("trimap", trimap), ("mask", mask), ("scribbles", scribbles)) if value is not None
    ]
    if len(given) != 1:
        raise InputError(
            f"one of trimap, mask and scribbles must be given, but {' and '.join(given) or 'none of them'} "
            f"{'are' if len(given) > 1 else 'is'}"
        )
    if not width >= 0:
        raise InputError(f"width must be 0 or more, but is {width!r}")
    if trimap is not None:
        return read_trimap(_level(open_drawing(trimap, "trimap", photo)))
    if mask is not None:
        return make_trimap(_level(open_drawing(mask, "mask", photo)), width=width or None)
    return _from_scribbles(photo, open_drawing(scribbles, "scribbles", photo))


def _level(drawn: Photo) -> NDArray[np.float32]:
    """Return a drawing's brightness in [0, 1]; a cut-out's transparency instead, where it has one."""
    import numpy as np

    if drawn.alpha is not None and not (drawn.alpha == drawn.alpha.flat[0]).all():
        return drawn.alpha.astype(np.float32) / np.float32(np.iinfo(drawn.alpha.dtype).max)
    brightness = drawn.image.mean(axis=2, dtype=np.float32)
    return np.asarray(brightness / np.float32(np.iinfo(drawn.image.dtype).max))


def _from_scribbles(photo: Photo, drawn: Photo) -> NDArray[np.uint8]:
    """Spread scribbles over the picture at a small size; what is left open there is the trimap."""
    import numpy as np

    from ..kernels import area_average
    from ..matting import estimate_alpha, make_trimap, trimap_from_scribbles
    from ..matting._resize import fit_within, resize_plane
    from ..matting.hints import shrink_hint

    said = read_strokes(drawn)
    trimap_from_scribbles(said)  # both sides must be marked
    height, width = fit_within(photo.image.shape, _SMALL_SIDE)
    small = trimap_from_scribbles(shrink_hint(said, height, width))
    alpha = estimate_alpha(area_average(photo.image, (height, width)), small)
    trimap = make_trimap(np.clip(resize_plane(alpha, photo.height, photo.width), 0, 1))
    trimap[said > 0], trimap[said < 0] = 255, 0
    return trimap
