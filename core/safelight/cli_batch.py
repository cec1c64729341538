"""What every tool's command has in common: files in, files out, progress, a summary."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from .tools import Tool

if TYPE_CHECKING:
    from .batch import Job, Outcome

__all__ = ["add_batch_options", "run_tool"]


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which pictures, where to, and how many at a time."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, a folder of pictures, or a pattern")
    parser.add_argument("-o", dest="target", required=True, metavar="OUT", help="a file for one picture, else a folder")
    parser.add_argument("--format", choices=("png", "webp", "tiff", "avif"), default="png", help="of files in a folder")
    parser.add_argument("--recursive", action="store_true", help="go into the folders of folders")
    parser.add_argument("--overwrite", action="store_true", help="let a result replace a picture that was read")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="pictures at a time (default: 1)")
    parser.add_argument("--max-pixels", type=int, metavar="N", help="refuse larger pictures (default: 400 million)")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def run_tool(tool: Tool, args: argparse.Namespace) -> int:
    """Run a tool over the pictures named, and return the exit status."""
    from .batch import expand_inputs, plan_outputs, run_batch
    from .errors import InputError
    from .image import DEFAULT_MAX_PIXELS, check_target

    if args.max_pixels is not None and args.max_pixels < 1:
        raise InputError(f"--max-pixels must be at least 1, but is {args.max_pixels}")
    sources = expand_inputs(args.images, recursive=args.recursive)
    jobs = plan_outputs(
        sources,
        args.target,
        label=tool.name,
        suffix=f".{args.format}",
        also=_beside(args),
        overwrite=args.overwrite,
        single=_names_one_file(args.images),
    )
    options = {parameter.name: getattr(args, parameter.name) for parameter in tool.parameters}
    transparent = tool.leaves_transparency(options)
    for job in jobs:
        check_target(job.target, alpha=transparent)
    outcomes = []
    with _Bar(len(jobs)) as bar:
        for outcome in run_batch(
            partial(tool.function, **options),
            jobs,
            workers=args.jobs,
            max_pixels=args.max_pixels or DEFAULT_MAX_PIXELS,
            report=bar.report,
        ):
            outcomes.append(outcome)
            bar.finish(outcome.job)
            _tell(outcome, bar, as_json=args.json)
    _summarise(outcomes, as_json=args.json)
    return 2 if any(outcome.error for outcome in outcomes) else 0


class _Bar:
    """One progress bar over all pictures, where there is a terminal to draw it on."""

    def __init__(self, count: int) -> None:
        from tqdm import tqdm

        self._fractions: dict[Job, float] = {}
        self._finished = 0
        self._lock = threading.Lock()
        self._bar: Any = tqdm(
            total=count,
            disable=not sys.stderr.isatty(),
            leave=False,
            bar_format="{percentage:3.0f}%|{bar:30}| {desc}",
            file=sys.stderr,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def report(self, job: Job, fraction: float, stage: str) -> None:
        with self._lock:
            self._fractions[job] = fraction
            self._bar.set_description_str(f"{job.source.name}: {stage}", refresh=False)
            self._draw()

    def finish(self, job: Job) -> None:
        with self._lock:
            self._fractions.pop(job, None)
            self._finished += 1
            self._draw()

    def print(self, text: str, *, error: bool = False) -> None:
        self._bar.clear()
        print(text, file=sys.stderr if error else sys.stdout, flush=True)

    def _draw(self) -> None:
        self._bar.n = self._finished + sum(self._fractions.values())
        self._bar.refresh()


def _beside(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the endings of files that a tool writes beside each target."""
    from .tools.cutout import MASK_ENDING

    return (MASK_ENDING,) if getattr(args, "output", None) == "both" else ()


def _names_one_file(images: list[str]) -> bool:
    return len(images) == 1 and not os.path.isdir(images[0])  # noqa: PTH112 - pathlib raises where a name is too long


def _tell(outcome: Outcome, bar: _Bar, *, as_json: bool) -> None:
    if outcome.error:
        source, message = str(outcome.job.source), str(outcome.error)
        bar.print(f"safelight: {message if source in message else f'{source}: {message}'}", error=True)
        return
    if as_json:
        return
    written = ", ".join(str(path) for path in outcome.written)
    bar.print(f"{outcome.job.source} -> {written}  ({outcome.seconds:.1f} s)")
    for run in outcome.result["runs"]:
        bar.print(f"  {run['model']} on {run['provider']}: {run['reason']} ({run['seconds']:.2f} s)")
    for note in (outcome.result["reason"], *outcome.notes):
        bar.print(f"  {note}")


def _summarise(outcomes: list[Outcome], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_as_data(outcome) for outcome in outcomes], indent=2))
        return
    failed = sum(outcome.error is not None for outcome in outcomes)
    if len(outcomes) > 1:
        ending = f", {failed} failed" if failed else ""
        print(f"{len(outcomes) - failed} of {len(outcomes)} pictures done{ending}", file=sys.stderr)


def _as_data(outcome: Outcome) -> dict[str, Any]:
    data: dict[str, Any] = {"source": str(outcome.job.source), "seconds": round(outcome.seconds, 3)}
    if outcome.error:
        return {**data, "error": {"code": outcome.error.code, "message": str(outcome.error)}}
    return {**data, "written": [str(path) for path in outcome.written], "notes": list(outcome.notes), **outcome.result}
