"""Contact sheets and before/after strips: results side by side on backgrounds that show every fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..image import Photo
from ..matting import composite

__all__ = ["BACKGROUNDS", "before_after", "contact_sheet"]

BACKGROUNDS = (
    (0, 0, 0),
    (255, 255, 255),
    (226, 0, 116),
)  # a dark halo shows on white, a light one on black, both on this
_GAP, _LABEL = 6, 18
_PAPER, _INK = (46, 46, 46), (230, 230, 230)
_CHECKS = (255, 204)

Picture = NDArray[np.uint8]


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Photo]]],
    *,
    backgrounds: Sequence[tuple[int, int, int]] = BACKGROUNDS,
    height: int = 320,
    columns: int = 1,
) -> Picture:
    """Draw pictures in rows; what is transparent is shown on each background.

    Parameters
    ----------
    rows
        A label, and the pictures of that row: an original, one or more results.
    backgrounds
        Colours behind transparent pictures, 0 to 255.
    height
        Of every picture, in pixels.
    columns
        Rows side by side.

    Returns
    -------
    ndarray of shape (rows, columns, 3), uint8
    """
    strips = [_strip(label, _views(photos, backgrounds, height), height) for label, photos in rows]
    per_column = -(-len(strips) // columns)
    stacks = [_stack(strips[first : first + per_column]) for first in range(0, len(strips), per_column)]
    sheet = Image.new("RGB", (sum(each.width for each in stacks), max(each.height for each in stacks)), _PAPER)
    left = 0
    for each in stacks:
        sheet.paste(each, (left, 0))
        left += each.width
    return np.asarray(sheet)


def before_after(
    before: Photo, after: Photo, *, height: int = 480, colour: tuple[int, int, int] = (24, 120, 150)
) -> Picture:
    """Draw the original, the cut-out on the usual checks, and on a colour, side by side."""
    views = [_scaled(before, height), _on_checks(_scaled_with_alpha(after, height)), _on_colour(after, colour, height)]
    width = sum(view.shape[1] for view in views) + _GAP * (len(views) - 1)
    result = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for view in views:
        result[:, left : left + view.shape[1]] = view
        left += view.shape[1] + _GAP
    return result


def _views(photos: Sequence[Photo], backgrounds: Sequence[tuple[int, int, int]], height: int) -> list[Picture]:
    views = []
    for photo in photos:
        if photo.alpha is None:
            views.append(_scaled(photo, height))
        else:
            views.extend(_on_colour(photo, colour, height) for colour in backgrounds)
    return views


def _strip(label: str, views: Sequence[Picture], height: int) -> Image.Image:
    width = sum(view.shape[1] + _GAP for view in views) + _GAP
    strip = Image.new("RGB", (width, height + _LABEL + _GAP), _PAPER)
    ImageDraw.Draw(strip).text((_GAP, 2), Path(label).name, fill=_INK, font=ImageFont.load_default(13))
    left = _GAP
    for view in views:
        strip.paste(Image.fromarray(view), (left, _LABEL))
        left += view.shape[1] + _GAP
    return strip


def _stack(strips: Sequence[Image.Image]) -> Image.Image:
    stack = Image.new("RGB", (max(strip.width for strip in strips), sum(strip.height for strip in strips)), _PAPER)
    top = 0
    for strip in strips:
        stack.paste(strip, (0, top))
        top += strip.height
    return stack


def _scaled(photo: Photo, height: int) -> Picture:
    width = max(1, round(photo.width * height / photo.height))
    return np.asarray(Image.fromarray(photo.to_uint8()).resize((width, height), Image.Resampling.LANCZOS))


def _scaled_with_alpha(photo: Photo, height: int) -> tuple[Picture, NDArray[np.float32]]:
    if photo.alpha is None:
        colours = _scaled(photo, height)
        return colours, np.ones(colours.shape[:2], np.float32)
    levels = photo.alpha // 257 if photo.alpha.dtype == np.uint16 else photo.alpha
    width = max(1, round(photo.width * height / photo.height))
    layers = Image.fromarray(np.dstack([photo.to_uint8(), levels.astype(np.uint8)]), "RGBA")
    # Pillow weights colours by alpha when it resizes premultiplied pictures.
    small = np.asarray(layers.convert("RGBa").resize((width, height), Image.Resampling.LANCZOS).convert("RGBA"))
    return np.ascontiguousarray(small[..., :3]), small[..., 3].astype(np.float32) / np.float32(255)


def _on_colour(photo: Photo, colour: tuple[int, int, int], height: int) -> Picture:
    return composite(*_scaled_with_alpha(photo, height), np.asarray(colour, np.uint8))


def _on_checks(layers: tuple[Picture, NDArray[np.float32]], side: int = 12) -> Picture:
    colours, alpha = layers
    y, x = np.indices(alpha.shape) // side
    checks = np.where((x + y) % 2, *_CHECKS).astype(np.uint8)
    return composite(colours, alpha, np.ascontiguousarray(np.broadcast_to(checks[..., None], colours.shape)))
