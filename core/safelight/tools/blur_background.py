"""Blur what is behind the subject, as a wide open lens does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..errors import InputError
from .cutout import CutoutResult, Model, cutout
from .declaration import Parameter, Progress, no_progress, tool

if TYPE_CHECKING:  # a help text must not wait for NumPy
    from ..image import Photo

__all__ = ["blur_background"]

_PERCENT = (0.05, 20.0)


@tool("blur-background", title="Blur the background", summary="Blur what is behind the subject of photos.")
def blur_background(
    photo: Photo,
    *,
    strength: Annotated[
        float,
        Parameter("Radius of the blur in percent of the picture's diagonal.", minimum=_PERCENT[0], maximum=_PERCENT[1]),
    ] = 1.5,
    aperture: Annotated[
        Literal["disc", "polygon", "gaussian"],
        Parameter("What a point of light becomes: a disc, a polygon of blades, or a soft spot without a rim."),
    ] = "disc",
    blades: Annotated[int, Parameter("Sides of the polygon.", minimum=3, maximum=32)] = 6,
    rotation: Annotated[float, Parameter("Of the polygon, in degrees.", minimum=-360, maximum=360)] = 0.0,
    highlight: Annotated[
        float,
        Parameter("By how many stops the brightest spots outshine what was recorded of them.", minimum=0, maximum=8),
    ] = 2.0,
    model: Annotated[
        Model, Parameter("The network to ask, alone; auto asks the best on this machine and lets the others help.")
    ] = "auto",
    quality: Annotated[
        Literal["fast", "balanced", "best"],
        Parameter("fast asks one network; balanced fills what it missed where others agree; best takes all there is."),
    ] = "balanced",
    hint: Annotated[
        Path | None,
        Parameter("A picture of strokes or a rough mask: white is sharp, black is blurred, gray says nothing."),
    ] = None,
    provider: Annotated[
        Literal["auto", "cpu", "cuda", "directml", "coreml", "openvino"],
        Parameter("Where the networks run; by name, it is that one or an error."),
    ] = "auto",
    progress: Progress = no_progress,
) -> CutoutResult:
    """Blur what is behind the subject of a photo.

    Parameters
    ----------
    photo
        As opened by :meth:`safelight.Photo.open`; it is not changed.
    strength, aperture, blades, rotation, highlight
        As ``safelight blur-background --help`` says.
    model, quality, hint, provider
        As for :func:`safelight.cutout`.
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

    Returns
    -------
    CutoutResult
        The photo with its background blurred and its own transparency, and the subject's matte.

    Raises
    ------
    InputError
        An argument cannot be used.
    ModelNotFound
        A model is not on this machine; the message names the command that fetches it.
    ProviderError
        The provider asked for cannot be had.
    """
    import numpy as np

    from ..matting import blur_background as blur
    from ..matting import composite, estimate_foreground

    if not _PERCENT[0] <= strength <= _PERCENT[1]:
        raise InputError(f"strength must be from {_PERCENT[0]:g} to {_PERCENT[1]:g} percent, but is {strength:g}")
    matte = cutout(
        photo,
        model=model,
        quality=quality,
        output="mask",
        hint=hint,
        provider=provider,
        progress=lambda fraction, stage: progress(0.8 * fraction, stage),
    )
    alpha, visible = matte.alpha, None
    if photo.alpha is not None:  # which is in the matte, and stays the result's own
        visible = photo.alpha.astype(np.float32) / np.float32(np.iinfo(photo.alpha.dtype).max)
        alpha = np.clip(alpha / np.maximum(visible, np.float32(1e-6)), 0.0, 1.0)
    progress(0.8, "cleaning edge colours")
    foreground = estimate_foreground(photo.image, alpha, clear=True)
    progress(0.9, "blurring the background")
    behind = blur(
        photo.image,
        alpha,
        strength=strength / 100,
        aperture=aperture,
        blades=blades,
        rotation=rotation,
        highlight=highlight,
        visible=visible,
    )
    result = replace(photo, image=composite(foreground, alpha, behind))
    progress(1.0, "done")
    return CutoutResult(result, matte.alpha, matte.runs, matte.reason, "cutout", photo.bits)
