"""The blurs beside OpenCV, Pillow and SciPy, and beside a memory copy of the picture.

    python benchmarks/blur.py [--megapixels 24] [--sigmas 2 5 20 60 200] [--runs 5] [--threads N] [--slow] [--plot FILE]

All sides of a row run in turn, and their medians are printed: milliseconds on the clock, and in brackets of processor
time, which other programs on the machine disturb less. Ratios are of processor time where both sides use all threads,
and of the clock beside Pillow, SciPy and the copy, which use one thread. ``--slow`` adds SciPy and the largest sigmas
of OpenCV. ``--plot`` draws time over megapixels and over sigma, with the copy as the limit; it needs matplotlib.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Call = Callable[[], object]
Times = dict[str, tuple[float, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--sigmas", type=float, nargs="+", default=[0.8, 2, 3.9, 5, 7.9, 12, 20, 60, 200, 500])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    if args.threads:
        os.environ["SAFELIGHT_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(args.threads)

    import cv2

    from safelight import kernels

    chosen = kernels.backend()
    cv2.setNumThreads(chosen.threads)
    print(f"{chosen.name} {chosen.target}, {chosen.threads} threads, OpenCV {cv2.__version__}")
    source = picture(args.megapixels)
    print(f"\ngaussian_blur, {args.megapixels:g} MP RGBA uint8")
    rows = {sigma: measure(gaussians(source, sigma, slow=args.slow), args.runs) for sigma in args.sigmas}
    for sigma, times in rows.items():
        show(f"sigma {sigma:g}", times)
    print(f"\nmeans over windows, {args.megapixels:g} MP RGBA uint8")
    for radius in (8, 60):
        show(f"box {2 * radius + 1}", measure(boxes(source, radius), args.runs))
    print(f"\nother blurs, {args.megapixels:g} MP RGB uint8")
    for name, call in others(np.ascontiguousarray(source[..., :3])).items():
        show(name, measure({"ours": call, "copy": copy_of(source[..., :3].copy())}, args.runs))
    if args.plot:
        draw(args.plot, rows, args.runs)


def picture(megapixels: float) -> Array:
    """Soft shapes with noise and hard edges."""
    height, width = round((megapixels * 1e6 / 1.5) ** 0.5), round((megapixels * 1e6 * 1.5) ** 0.5)
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    random = np.random.default_rng(0)
    image = np.empty((height, width, 4), np.uint8)
    for c in range(4):
        plane = 0.5 + 0.35 * np.sin(5 * x + 2 * c) * np.cos(7 * y - c) + 0.1 * random.random(x.shape, np.float32)
        image[..., c] = np.clip(plane * 255, 0, 255)
    image[height // 3 : height // 2, width // 3 : width // 2] = 255
    return image


def copy_of(source: Array) -> Call:
    """A copy into memory that is there: less than any blur that returns a new picture can take."""
    there = source.copy()
    return lambda: np.copyto(there, source)


def gaussians(source: Array, sigma: float, *, slow: bool) -> dict[str, Call]:
    import cv2
    from PIL import Image, ImageFilter

    from safelight import kernels

    # A stack blur is a tent, of variance r (r + 2) / 6.
    stack = 2 * max(1, round((6 * sigma * sigma + 1) ** 0.5 - 1)) + 1
    image = Image.fromarray(source)
    calls: dict[str, Call] = {
        "ours": lambda: kernels.gaussian_blur(source, sigma),
        "copy": copy_of(source),
        "stackBlur": lambda: cv2.stackBlur(source, (stack, stack)),
        "Pillow": lambda: image.filter(ImageFilter.GaussianBlur(sigma)),
    }
    if sigma <= 60 or slow:
        calls["GaussianBlur"] = lambda: cv2.GaussianBlur(source, (0, 0), sigma)
    if slow and importlib.util.find_spec("scipy"):
        from scipy.ndimage import gaussian_filter

        calls["SciPy"] = lambda: gaussian_filter(source, (sigma, sigma, 0))
    return calls


def boxes(source: Array, radius: int) -> dict[str, Call]:
    import cv2
    from PIL import Image, ImageFilter

    from safelight import kernels

    image = Image.fromarray(source)
    side = 2 * radius + 1
    return {
        "ours": lambda: kernels.box_filter(source, radius, edges="reflect", dtype=np.uint8),
        "copy": copy_of(source),
        "cv2.blur": lambda: cv2.blur(source, (side, side)),
        "Pillow": lambda: image.filter(ImageFilter.BoxBlur(radius)),
    }


def others(source: Array) -> dict[str, Call]:
    from safelight import kernels

    subject = np.zeros(source.shape[:2], np.float32)
    subject[source.shape[0] // 4 :, source.shape[1] // 3 : source.shape[1] // 2] = 1
    return {
        "gaussian_blur 20, alpha": lambda: kernels.gaussian_blur(source, 20, alpha=1 - subject),
        "lens_blur 12": lambda: kernels.lens_blur(source, 12, highlight=2),
        "lens_blur 60": lambda: kernels.lens_blur(source, 60, highlight=2),
        "lens_blur 60, subject": lambda: kernels.lens_blur(source, 60, highlight=2, subject=subject),
        "mosaic 32": lambda: kernels.mosaic(source, 32),
    }


def measure(calls: dict[str, Call], runs: int) -> Times:
    """Medians of the clock and of processor time, all sides in turn; slow ones run less often."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(runs + 1):  # the first warms up
        for name, call in calls.items():
            if turn > 1 and found[name] and found[name][0][0] > 1:
                continue
            wall, work = time.perf_counter(), time.process_time()
            result = call()
            found[name].append((time.perf_counter() - wall, time.process_time() - work))
            del result
    return {
        name: (statistics.median(t[0] for t in times[1:]), statistics.median(t[1] for t in times[1:]))
        for name, times in found.items()
    }


def show(name: str, times: Times) -> None:
    wall, work = times["ours"]
    line = f"{name:24}{1e3 * wall:7.0f} ms ({1e3 * work:5.0f}) {wall / times['copy'][0]:6.1f} copies"
    for peer, (peer_wall, peer_work) in times.items():
        if peer not in ("ours", "copy"):
            ratio = peer_wall / wall if peer in ("Pillow", "SciPy") else peer_work / work
            line += f"  {peer} {1e3 * peer_wall:.0f} ms ({1e3 * peer_work:.0f}): {ratio:.1f}x"
    print(line, flush=True)


def draw(path: Path, rows: dict[float, Times], runs: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = (1, 3, 6, 12, 24, 50)
    by_size = {size: measure(gaussians(picture(size), 20, slow=False), runs) for size in sizes}
    names = ("ours", "GaussianBlur", "stackBlur", "Pillow", "copy")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    for axes, table, label in ((left, by_size, "megapixels, sigma 20"), (right, rows, "sigma, pixels")):
        for name in names:
            points = [(at, times[name][0]) for at, times in table.items() if name in times]
            style = {"color": "black", "linestyle": "--"} if name == "copy" else {"marker": "o", "markersize": 3}
            axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds")
        axes.grid(visible=True, which="major", alpha=0.3)
    left.legend()
    left.set_title("RGBA uint8; the copy is the limit")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
