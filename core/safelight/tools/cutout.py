"""Cut the subject out: background removed, replaced or blurred, with soft edges in their own colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from ..errors import InputError
from ._shared import open_drawing, read_strokes, transparent
from .declaration import Parameter, Progress, no_progress, tool

if TYPE_CHECKING:  # a help text must not wait for NumPy
    import numpy as np
    from numpy.typing import NDArray

    from ..image import Photo
    from ..inference.session import ModelRun

__all__ = ["MASK_ENDING", "CutoutResult", "cutout", "parse_colour"]

Model = Literal[
    "auto", "isnet", "u2net", "u2netp", "selfie", "birefnet-general", "birefnet-general-lite", "modnet", "rmbg-1.4"
]
Output = Literal["cutout", "mask", "both"]

MASK_ENDING = "-mask.png"  # of the second file where both are asked for


@dataclass(frozen=True)
class CutoutResult:
    """A cut-out and how it came about.

    Attributes
    ----------
    photo
        The subject on its new background, or with transparency; None if only the mask was asked for.
    alpha : ndarray of shape (height, width), float32 in [0, 1]
        The matte, the photo's own transparency included.
    runs
        Which model ran where, and why there.
    reason
        Why these models.
    """

    photo: Photo | None
    alpha: NDArray[np.float32]
    runs: tuple[ModelRun, ...]
    reason: str
    output: Output = "cutout"
    bits: int = 8

    def save(self, path: Path) -> tuple[Path, ...]:
        """Write what was asked for; with ``both``, the mask goes beside the cut-out as ``NAME-mask.png``."""
        from ..image import save_mask

        written = []
        if self.photo is not None:
            self.photo.save(path)
            written.append(path)
        if self.output != "cutout":
            mask_path = path if self.output == "mask" else path.with_name(path.stem + MASK_ENDING)
            save_mask(mask_path, self.alpha, bits=self.bits)
            written.append(mask_path)
        return tuple(written)

    def summary(self) -> dict[str, Any]:
        """Return what ran where, as plain data."""
        return {"reason": self.reason, "runs": [asdict(run) for run in self.runs]}


def _leaves_transparency(options: Mapping[str, Any]) -> bool:
    return bool(options["output"] != "mask" and options["background"] == "transparent")


@tool(
    "cutout",
    title="Cut out the subject",
    summary="Remove, replace or blur the background of photos.",
    leaves_transparency=_leaves_transparency,
)
def cutout(
    photo: Photo,
    *,
    model: Annotated[
        Model, Parameter("The network to ask, alone; auto asks the best on this machine and lets the others help.")
    ] = "auto",
    quality: Annotated[
        Literal["fast", "balanced", "best"],
        Parameter("fast asks one network; balanced fills what it missed where others agree; best takes all there is."),
    ] = "balanced",
    background: Annotated[
        str,
        Parameter(
            "What comes behind the subject: transparent, #rrggbb, blur, or a picture.",
            choices=("transparent", "blur"),
            metavar="transparent|#rrggbb|blur|IMAGE",
        ),
    ] = "transparent",
    output: Annotated[Output, Parameter("Write the cut-out, the alpha matte as a gray picture, or both.")] = "cutout",
    refine: Annotated[bool, Parameter("Refine edges and hair at full resolution.")] = True,
    decontaminate: Annotated[
        bool,
        Parameter("Estimate the subject's own colours at its edge, so that no halo of the old background remains."),
    ] = True,
    hint: Annotated[
        Path | None, Parameter("A picture of strokes or a rough mask: white keeps, black removes, gray says nothing.")
    ] = None,
    fill_holes: Annotated[bool, Parameter("Fill small enclosed holes, real ones too.")] = False,
    remove_islands: Annotated[bool, Parameter("Remove small separate parts.")] = False,
    keep_translucent: Annotated[
        bool, Parameter("Keep wide half-transparent areas such as glass, veils or smoke.")
    ] = False,
    provider: Annotated[
        Literal["auto", "cpu", "cuda", "directml", "coreml", "openvino"],
        Parameter("Where the networks run; by name, it is that one or an error."),
    ] = "auto",
    progress: Progress = no_progress,
) -> CutoutResult:
    """Cut the subject out of a photo.

    Parameters
    ----------
    photo
        As opened by :meth:`safelight.Photo.open`; it is not changed.
    model, quality, background, output, refine, decontaminate, hint, provider
        As ``safelight cutout --help`` says; `hint` is a path, or a photo of the same size.
    fill_holes, remove_islands, keep_translucent
        Switches for what is a matter of the picture, not of the method.
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

    Returns
    -------
    CutoutResult

    Raises
    ------
    InputError
        An argument cannot be used.
    ModelNotFound
        A model is not on this machine; the message names the command that fetches it.
    ProviderError
        The provider asked for cannot be had.
    """
    from ..detection.subject import find_subject
    from ..matting import estimate_foreground

    if output not in get_args(Output):
        raise InputError(f"output must be one of {', '.join(get_args(Output))}, but is {output!r}")
    make_background = _background(background, photo)
    said = _read_hint(hint, photo) if hint is not None else None
    picture = _seen_by_networks(photo)
    subject = find_subject(
        picture, model=model, quality=quality, provider=provider, progress=lambda f, s: progress(0.7 * f, s)
    )
    progress(0.7, "refining the edge")
    alpha = _alpha(
        photo,
        picture,
        subject.mask,
        said,
        refine=refine,
        switches=(fill_holes, remove_islands, keep_translucent),
        progress=lambda f, _: progress(0.7 + 0.1 * f, "refining the edge"),
    )
    if output == "mask":
        progress(1.0, "done")
        return CutoutResult(None, alpha, subject.runs, subject.reason, output, photo.bits)
    progress(0.8, "cleaning edge colours")
    foreground = estimate_foreground(photo.image, alpha, clear=True) if decontaminate else photo.image
    progress(0.95, "placing on the background")
    result = make_background(foreground, alpha)
    progress(1.0, "done")
    return CutoutResult(result, alpha, subject.runs, subject.reason, output, photo.bits)


def _alpha(
    photo: Photo,
    picture: NDArray[np.uint8],
    mask: NDArray[np.float32],
    said: NDArray[np.int8] | None,
    *,
    refine: bool,
    switches: tuple[bool, bool, bool],
    progress: Progress,
) -> NDArray[np.float32]:
    """Go from the networks' mask to the matte at full resolution."""
    import numpy as np

    from ..matting import apply_hint, fill_holes, refine_alpha, remove_islands
    from ..matting._resize import resize_plane

    holes, islands, translucent = switches
    sure = None
    if islands:
        mask = remove_islands(mask)
    if holes:
        mask = fill_holes(mask)
    if said is not None:  # last: a person's word outranks the switches
        mask, sure = apply_hint(picture, mask, said)
    if refine:
        alpha = refine_alpha(photo.image, mask, ghosts=translucent, sure=sure, progress=progress)
    else:
        alpha = np.clip(resize_plane(mask, photo.height, photo.width), 0.0, 1.0)
    if photo.alpha is not None:
        alpha = alpha * (photo.alpha.astype(np.float32) / np.float32(np.iinfo(photo.alpha.dtype).max))
    return alpha


def _background(background: str, photo: Photo) -> Any:
    """Check what was asked for before any work is done, and return the function that makes the result."""
    import numpy as np

    from ..image import Photo as PhotoClass
    from ..matting import blur_background, composite
    from ..matting.compositing import cover

    def opaque(foreground: Any, alpha: Any, behind: Any) -> Photo:
        gray = photo.grayscale and behind.ndim == 3
        return replace(photo, image=composite(foreground, alpha, behind), alpha=None, grayscale=gray)

    if background == "transparent":
        return lambda foreground, alpha: transparent(photo, foreground, alpha)
    if background == "blur":
        return lambda foreground, alpha: opaque(foreground, alpha, blur_background(photo.image, alpha))
    if background.startswith("#"):
        colour = np.asarray(parse_colour(background), photo.image.dtype) * photo.image.dtype.type(
            257 if photo.bits == 16 else 1
        )
        return lambda foreground, alpha: opaque(foreground, alpha, colour)
    behind = PhotoClass.open(Path(background))

    def on_picture(foreground: Any, alpha: Any) -> Photo:
        fitted = cover(behind.to_uint8(), photo.height, photo.width).astype(photo.image.dtype)
        fitted = fitted * photo.image.dtype.type(257) if photo.bits == 16 else fitted
        if behind.alpha is None:
            return replace(opaque(foreground, alpha, fitted), grayscale=False)
        beneath = cover(behind.alpha.astype(np.float32), photo.height, photo.width)
        beneath = np.clip(beneath / np.iinfo(behind.alpha.dtype).max, 0.0, 1.0)
        joined = alpha + (1 - alpha) * beneath  # Porter and Duff 1984: over
        share = np.divide(alpha, joined, out=np.zeros_like(alpha), where=joined > 0)
        mixed = replace(opaque(foreground, share, fitted), grayscale=False)
        shown = joined * np.float32(np.iinfo(photo.image.dtype).max) >= 0.5
        return transparent(photo, mixed.image * shown[..., None], joined)

    return on_picture


def parse_colour(text: str) -> tuple[int, int, int]:
    """Read #rgb or #rrggbb."""
    digits = text[1:]
    if len(digits) == 3:
        digits = "".join(2 * each for each in digits)
    try:
        if len(digits) != 6:
            raise ValueError
        red, green, blue = bytes.fromhex(digits)
        return red, green, blue
    except ValueError:
        raise InputError(f"a background colour must be written #rrggbb, but is {text!r}") from None


def _read_hint(hint: Path | Photo, photo: Photo) -> NDArray[np.int8]:
    said = read_strokes(open_drawing(hint, "hint", photo))
    if not said.any():
        raise InputError("the hint must mark something white (keep) or black (remove), but marks nothing")
    return said


def _seen_by_networks(photo: Photo) -> NDArray[np.uint8]:
    """Return the picture as networks know pictures: what is transparent is shown white, not as its hidden colour."""
    import numpy as np

    from ..matting import composite

    picture = photo.to_uint8()
    if photo.alpha is None:
        return picture
    top = np.float32(np.iinfo(photo.alpha.dtype).max)
    return composite(picture, photo.alpha.astype(np.float32) / top, np.full(3, 255, np.uint8))
