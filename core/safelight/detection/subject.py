"""The subject of a picture: which networks are asked, and how their answers are joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelNotFound
from ..inference.models import ModelInfo, catalogue, model_info, model_state
from ..inference.pool import open_session
from ..inference.saliency import predict_saliency
from ..inference.session import ModelRun
from ..matting import fill_by_agreement
from ..matting._resize import resize_plane

__all__ = ["MODEL_NAMES", "QUALITIES", "Subject", "find_subject"]

QUALITIES = ("fast", "balanced", "best")
_MAIN = ("cutout-isnet", "cutout-u2net", "cutout-u2netp")
_MAIN_AT_BEST = ("cutout-birefnet-general", "cutout-birefnet-general-lite", *_MAIN)
# Who is asked whether IS-Net missed something: itself on a smaller picture, where it sees more of large objects, and
# two networks of another family.
_VOTERS = (("cutout-isnet", 768), ("cutout-u2net", None), ("cutout-u2netp", None))


def _model_names() -> tuple[str, ...]:
    return ("auto", *(info.short_name for info in catalogue().values() if info.task == "cutout"))


MODEL_NAMES = _model_names()


@dataclass(frozen=True)
class Subject:
    """Where the subject is, at the networks' resolution.

    Attributes
    ----------
    mask : ndarray of shape (rows, columns), float32 in [0, 1]
        A soft mask, stretched over the whole picture.
    runs
        What ran where.
    reason
        Why these models.
    """

    mask: NDArray[np.float32]
    runs: tuple[ModelRun, ...]
    reason: str


def find_subject(
    image: NDArray[np.uint8],
    *,
    model: str = "auto",
    quality: str = "balanced",
    provider: str = "auto",
    progress: Callable[[float, str], None] | None = None,
) -> Subject:
    """Find what a picture is of.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        sRGB.
    model
        A model of the task ``cutout``, asked alone; or ``auto``: the best that is on this machine, helped by the
        others as `quality` says.
    quality
        ``fast`` asks one network. ``balanced`` fills what it missed where two others agree. ``best`` weighs that
        against where all agree, and prefers a BiRefNet a person has brought.
    provider
        As :class:`safelight.inference.session.Session`.
    progress
        ``progress(fraction, stage)``; may raise ``Cancelled``.

    Raises
    ------
    InputError
        There is no such model or quality.
    ModelNotFound
        No model is on this machine; the message names the command that fetches it.
    ProviderError
        The provider cannot be had or failed.
    """
    if quality not in QUALITIES:
        raise InputError(f"quality must be one of {', '.join(QUALITIES)}, but is {quality!r}")
    asked, reason = _choose(model, quality)
    report = progress or _no_progress
    masks, runs = [], []
    for step, (name, side) in enumerate(asked):
        fraction, stage = step / len(asked), f"finding the subject ({model_info(name).title})"
        report(fraction, stage)
        session = open_session(name, provider=provider, size=(side, side) if side else model_info(name).preprocess.size)
        mask, run = predict_saliency(
            session,
            image,
            size=side,
            check=lambda fraction=fraction, stage=stage: report(fraction, stage),  # type: ignore[misc]
        )
        masks.append(mask)
        runs.append(run)
    votes = [resize_plane(mask, *masks[0].shape) for mask in masks[1:]]
    return Subject(fill_by_agreement(masks[0], votes, unanimous=quality == "best"), tuple(runs), reason)


def _choose(model: str, quality: str) -> tuple[list[tuple[str, int | None]], str]:
    """Return the networks to ask, the main one first, and why these."""
    if model != "auto":
        info = model_info(model)
        if info.task != "cutout":
            raise InputError(f"model must be one of {', '.join(MODEL_NAMES)}, but is {model!r}")
        return [(info.id, None)], "asked for by name"
    here = [info for info in catalogue().values() if info.task == "cutout" and model_state(info) != "not here"]
    main = _first(_MAIN_AT_BEST if quality == "best" else _MAIN, here)
    if quality == "fast":
        return [(main, None)], f"{model_info(main).short_name} is the best here"
    voters = [(name, side) for name, side in _VOTERS if any(info.id == name for info in here)]
    voters = [(name, side) for name, side in voters if (name, side) != (main, None)]
    if len(voters) < 2:
        return [(main, None)], f"{model_info(main).short_name} alone: fewer than two others are here to agree"
    names = ", ".join(f"{model_info(name).short_name}{f' at {side}' if side else ''}" for name, side in voters)
    return [(main, None), *voters], f"{model_info(main).short_name}, filled where two of {names} agree"


def _first(wanted: tuple[str, ...], here: list[ModelInfo]) -> str:
    for name in wanted:
        if any(info.id == name for info in here):
            return name
    raise ModelNotFound("a model for cutting out must be on this machine, but none is: run `safelight models get`")


def _no_progress(fraction: float, stage: str) -> None:
    pass
