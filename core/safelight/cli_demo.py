"""``safelight demo``: the main job on a free photograph, to see that everything works."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``demo`` to the program's parser."""
    summary = "Fetch a free photograph, cut it out, and draw before and after."
    parser = commands.add_parser("demo", help=summary, description=summary, allow_abbrev=False)
    parser.add_argument(
        "--sample",
        choices=("astronaut", "chelsea"),
        default="astronaut",
        metavar="astronaut|chelsea",
        help="NASA's portrait of Eileen Collins, or a cat; both from the scikit-image package (default: astronaut)",
    )
    parser.add_argument(
        "-o",
        dest="folder",
        type=Path,
        default=Path("demo"),
        metavar="FOLDER",
        help="where the pictures go (default: demo)",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from .batch import before_after
    from .image import Photo
    from .inference.fetch import fetch_sample
    from .tools.cutout import cutout

    args.folder.mkdir(parents=True, exist_ok=True)
    photo = Photo.open(fetch_sample(args.sample, args.folder))
    result = cutout(photo, progress=_report)
    result.save(args.folder / f"{args.sample}-cutout.png")
    assert result.photo is not None  # noqa: S101 - only a mask has none
    strip = args.folder / f"{args.sample}-before-after.png"
    Photo(image=before_after(photo, result.photo)).save(strip)
    for run in result.runs:
        print(run)
    print(f"Cut out. Look at {strip}")
    return 0


def _report(fraction: float, stage: str, /) -> None:
    if sys.stderr.isatty():
        end = "\n" if fraction >= 1 else ""
        print(f"\r{fraction:4.0%} {stage:60}", end=end, file=sys.stderr, flush=True)
