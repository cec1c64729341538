"""``safelight sheet``: results side by side on backgrounds that show every fault."""

from __future__ import annotations

import argparse
from pathlib import Path

from .errors import InputError

__all__ = ["add_parser"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``sheet`` to the program's parser."""
    summary = "Draw a contact sheet of cut-outs on black, white and a strong colour."
    parser = commands.add_parser("sheet", help=summary, description=summary, allow_abbrev=False)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, a folder of pictures, or a pattern")
    parser.add_argument("-o", dest="target", required=True, type=Path, metavar="OUT", help="the sheet")
    parser.add_argument(
        "--originals", type=Path, metavar="FOLDER", help="show each original, found here by name, first"
    )
    parser.add_argument("--height", type=int, default=320, metavar="N", help="of every picture (default: 320)")
    parser.add_argument("--columns", type=int, default=1, metavar="N", help="pictures side by side (default: 1)")
    parser.add_argument(
        "--background", action="append", metavar="#rrggbb", help="behind the cut-outs; may be given several times"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from .batch import contact_sheet, expand_inputs
    from .batch.sheet import BACKGROUNDS
    from .image import Photo
    from .tools.cutout import parse_colour

    if args.height < 16 or args.columns < 1:
        raise InputError(
            f"--height must be at least 16 and --columns at least 1, but are {args.height} and {args.columns}"
        )
    sources = expand_inputs(args.images)
    originals = _by_name(args.originals)
    rows = []
    for source in sources:
        original = _original_of(source, originals)
        shown = [Photo.open(each) for each in (original, source) if each is not None]
        rows.append((source.name, shown))
    colours = [parse_colour(each) for each in args.background] if args.background else BACKGROUNDS
    sheet = contact_sheet(rows, backgrounds=colours, height=args.height, columns=min(args.columns, len(rows)))
    Photo(image=sheet).save(args.target)
    print(f"{len(rows)} pictures -> {args.target}")
    return 0


def _by_name(folder: Path | None) -> dict[str, Path]:
    from .batch import expand_inputs

    return {path.stem: path for path in expand_inputs([folder])} if folder else {}


def _original_of(source: Path, originals: dict[str, Path]) -> Path | None:
    """Find the original whose name the result's name begins with; the longest one."""
    fitting = [stem for stem in originals if source.stem.startswith(stem)]
    return originals[max(fitting, key=len)] if fitting else None
