"""The closed form beside PyMatting's: time, peak memory and error, in one run.

    python benchmarks/matting.py COMPOSITE [--megapixels 0.45 1.8] [--unknown 0.4] [--runs 3] [--plot FILE]

COMPOSITE is a folder with image.*, trimap.png and alpha.png. It is resized to each size, and its band widened until
the share asked for is unknown. Processor time and wall time are medians over the runs, ours and PyMatting's in turn,
each in a process of its own; the memory is what a call adds to its process at its peak (Linux). PyMatting runs once,
and only up to --peer-megapixels: it takes minutes and gigabytes for 7 megapixels. It is left out where it is not
installed; its first import compiles for a minute. Errors are sums of absolute differences to the true alpha over the
unknown pixels, in thousands.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import multiprocessing
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

METHODS = ("closed_form", "sampled")


@dataclass(frozen=True)
class Case:
    folder: Path
    megapixels: float
    unknown: float

    def load(self) -> tuple[Array, Array, Array]:
        """Image, trimap and alpha."""
        import cv2

        image = Image.open(next(self.folder.glob("image.*"))).convert("RGB")
        alpha = Image.open(self.folder / "alpha.png").convert("L")
        level = np.asarray(Image.open(self.folder / "trimap.png").convert("L"))
        unknown = (level > 0) & (level < 255)
        if self.unknown > unknown.mean():
            distance = cv2.distanceTransform((~unknown).astype(np.uint8), cv2.DIST_L2, 5)
            unknown = distance <= np.quantile(distance, self.unknown)
        trimap = np.where(unknown, 128, np.where(np.asarray(alpha) > 127, 255, 0)).astype(np.uint8)
        scale = (self.megapixels * 1e6 / (image.width * image.height)) ** 0.5
        size = round(image.width * scale), round(image.height * scale)
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
        drawn = np.asarray(Image.fromarray(trimap).resize(size, Image.Resampling.NEAREST))
        return pixels, drawn, np.asarray(alpha.resize(size, Image.Resampling.BICUBIC)) / np.float32(255)


@dataclass(frozen=True)
class Measured:
    wall: float
    work: float
    memory: float
    error: float
    unknown: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="COMPOSITE")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.45, 1.8])
    parser.add_argument("--unknown", type=float, default=0.4, help="share of the picture; 0 keeps the trimap's own")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer-megapixels", type=float, default=2.0)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    peer = importlib.util.find_spec("pymatting") is not None
    ratios = f"{'wall x':>8}{'work x':>8}{'MB x':>7}"
    print(f"{'':14}{'MP':>6}{'unknown':>10}{'wall s':>9}{'work s':>9}{'MB':>8}{'SAD':>9}{ratios}")
    results: dict[str, list[tuple[float, Measured]]] = {}
    for megapixels in args.megapixels:
        case = Case(args.folder, megapixels, args.unknown)
        names = [*METHODS, *(["pymatting"] if peer and megapixels <= args.peer_megapixels else [])]
        found: dict[str, list[Measured]] = {name: [] for name in names}
        for run in range(args.runs):
            for name in names:
                if name != "pymatting" or run == 0:
                    found[name].append(in_child(case, name))
        rows = {name: median(each) for name, each in found.items()}
        for name, row in rows.items():
            print(line(name, megapixels, row, rows.get("pymatting")), flush=True)
            results.setdefault(name, []).append((megapixels, row))
    if args.plot:
        plot(results, args.plot)


def line(name: str, megapixels: float, row: Measured, peer: Measured | None) -> str:
    text = f"{name:14}{megapixels:6g}{row.unknown:10d}{row.wall:9.3f}{row.work:9.3f}{row.memory:8.0f}{row.error:9.3f}"
    if peer is None or peer is row:
        return text
    return f"{text}{peer.wall / row.wall:8.1f}{peer.work / row.work:8.1f}{peer.memory / max(row.memory, 1):7.1f}"


def median(rows: list[Measured]) -> Measured:
    def of(name: str) -> float:
        return statistics.median(getattr(row, name) for row in rows)

    return Measured(of("wall"), of("work"), of("memory"), of("error"), rows[0].unknown)


def in_child(case: Case, name: str) -> Measured:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (case, name))


def measure(case: Case, name: str) -> Measured:
    """One call, after one on a small picture."""
    solve(name, *Case(case.folder, 0.01, 0).load()[:2])
    image, trimap, alpha = case.load()
    reset_peak()
    before = status("VmRSS")
    wall, work = time.perf_counter(), time.process_time()
    result = solve(name, image, trimap)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    band = trimap == 128
    error = float(np.abs(result - alpha)[band].sum()) / 1000
    return Measured(wall, work, status("VmHWM") - before, error, int(band.sum()))


def solve(name: str, image: Array, trimap: Array) -> Array:
    if name == "pymatting":
        import pymatting

        result: Array = pymatting.estimate_alpha_cf(image / 255.0, trimap / 255.0)
        return result
    from safelight.matting import estimate_alpha

    return estimate_alpha(image, trimap, method=name)  # type: ignore[arg-type]


def reset_peak() -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def status(key: str) -> float:
    if not sys.platform.startswith("linux"):
        return float("nan")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(each.split()[1]) / 1024 for each in lines if each.startswith(key))


def plot(results: dict[str, list[tuple[float, Measured]]], path: Path) -> None:
    """Draw time and memory over megapixels."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5))
    for name, rows in results.items():
        sizes = [megapixels for megapixels, _ in rows]
        axes[0].loglog(sizes, [row.wall for _, row in rows], "o-", label=name)
        axes[1].loglog(sizes, [row.memory for _, row in rows], "o-", label=name)
    for axis, title in zip(axes, ("seconds", "megabytes added"), strict=True):
        axis.set(xlabel="megapixels", title=title)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
