"""The kernels beside their peers: OpenCV's box and guided filters, and PyMatting.

    python benchmarks/kernels.py [--megapixels 0.5 6 24] [--runs 5] [--threads N]

Prints the median of the runs, ours and the peer's in turn, and the ratio of their times; in brackets the same of the
processor time, which other programs on the machine disturb less. Without opencv-contrib's ximgproc, the guided filter's
peer is one composed of OpenCV's box filters. Then the memory a call takes at its peak, its result
included, each in a process of its own (Linux only). PyMatting is left out where it is not installed; its first import
compiles for a minute. It takes floats, so making them of the bytes is part of its call.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

RADIUS, EPS = 8, 1e-4
Array = NDArray[Any]
Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.5, 6, 24])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    if args.threads:
        os.environ["SAFELIGHT_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(args.threads)

    import cv2

    from safelight import kernels

    chosen = kernels.backend()
    cv2.setNumThreads(chosen.threads)
    print(f"{chosen.name} {chosen.target}, {chosen.threads} threads, OpenCV {cv2.__version__}")
    if not has_pymatting():
        print("PyMatting is not installed: its row is left out")
    print(f"{'':34}{'MP':>6}{'ours':>10}{'peer':>10}{'ratio':>8}")
    for megapixels in args.megapixels:
        for name, (ours, peer) in pairs(*pictures(megapixels)).items():
            compare(name, megapixels, ours, peer, args.runs)
    megapixels = max(args.megapixels)
    print(f"\n{'peak memory, MB':34}{'MP':>6}{'ours':>10}{'peer':>10}")
    for name in pairs(*pictures(0.01)):
        used = [in_child(peak_of, name, megapixels, side) for side in (0, 1)]
        print(f"{name:34}{megapixels:6g}{used[0]:10.0f}{used[1] or float('nan'):10.0f}")


def has_pymatting() -> bool:
    return importlib.util.find_spec("pymatting") is not None


def pictures(megapixels: float) -> tuple[Array, Array]:
    """A soft picture with some noise, and a disc with a soft, hairy edge: about a tenth is unknown."""
    height, width = round((megapixels * 1e6 / 1.5) ** 0.5), round((megapixels * 1e6 * 1.5) ** 0.5)
    y, x = np.mgrid[:height, :width].astype(np.float32) / height
    random = np.random.default_rng(0)
    image = np.empty((height, width, 3), np.uint8)
    for c in range(3):
        plane = 0.5 + 0.35 * np.sin(5 * x + 2 * c) * np.cos(7 * y - c) + 0.03 * random.random(x.shape, np.float32)
        image[..., c] = np.clip(plane * 255, 0, 255)
    far = np.hypot(y - 0.5, x - 0.75) + 0.01 * np.sin(60 * np.arctan2(y - 0.5, x - 0.75))
    alpha: Array = np.clip((0.36 - far) * 14, 0, 1)
    return image, alpha.astype(np.float32)


def pairs(image: Array, alpha: Array) -> dict[str, tuple[Call, Call | None]]:
    """Name -> our call, and the peer's."""
    import cv2

    from safelight import kernels

    gray = np.ascontiguousarray(image[..., 1])
    window = (2 * RADIUS + 1, 2 * RADIUS + 1)
    small = np.ascontiguousarray(alpha[::8, ::8])
    return {
        "box_filter, gray": (
            lambda: kernels.box_filter(gray, RADIUS),
            lambda: cv2.boxFilter(gray, cv2.CV_32F, window),
        ),
        "box_filter, colour": (
            lambda: kernels.box_filter(image, RADIUS),
            lambda: cv2.boxFilter(image, cv2.CV_32F, window),
        ),
        "box_filter, colour, radius 60": (
            lambda: kernels.box_filter(image, 60),
            lambda: cv2.boxFilter(image, cv2.CV_32F, (121, 121)),
        ),
        "guided_filter, gray": (
            lambda: kernels.guided_filter(gray, alpha, RADIUS, EPS),
            opencv_guided(gray, alpha, RADIUS) or (lambda: composed_gray(gray, alpha, window)),
        ),
        "guided_filter, colour": (
            lambda: kernels.guided_filter(image, alpha, RADIUS, EPS),
            opencv_guided(image, alpha, RADIUS) or (lambda: composed_colour(image, alpha, window)),
        ),
        "guided_filter, colour, radius 40": (
            lambda: kernels.guided_filter(image, alpha, 40, EPS),
            opencv_guided(image, alpha, 40),
        ),
        "guided_upsample by 8, colour": (lambda: kernels.guided_upsample(image, small, 4, EPS), None),
        "foreground_multilevel": (
            lambda: kernels.foreground_multilevel(image, alpha),
            pymatting_call(image, alpha) if has_pymatting() else None,
        ),
    }


def opencv_guided(guide: Array, source: Array, radius: int) -> Call | None:
    import cv2

    if not hasattr(cv2, "ximgproc"):
        return None
    scaled = guide.astype(np.float32) / np.float32(255)
    return lambda: cv2.ximgproc.guidedFilter(scaled, source, radius, EPS)


def pymatting_call(image: Array, alpha: Array) -> Call:
    from pymatting import estimate_foreground_ml

    return lambda: estimate_foreground_ml((image / np.float32(255)).astype(np.float32), alpha)


def composed_gray(gray: Array, source: Array, window: tuple[int, int]) -> Array:
    """The guided filter as one writes it with OpenCV: a box filter per mean."""
    import cv2

    guide = gray.astype(np.float32) / 255
    mean_i, mean_p = cv2.blur(guide, window), cv2.blur(source, window)
    covariance = cv2.blur(guide * source, window) - mean_i * mean_p
    a = covariance / (cv2.blur(guide * guide, window) - mean_i * mean_i + EPS)
    b = mean_p - a * mean_i
    result: Array = cv2.blur(a, window) * guide + cv2.blur(b, window)
    return result


def composed_colour(image: Array, source: Array, window: tuple[int, int]) -> Array:
    """The same with the covariance of three channels, inverted by cofactors."""
    import cv2

    red, green, blue = cv2.split(image.astype(np.float32) / 255)
    r, g, b, p = (cv2.blur(plane, window) for plane in (red, green, blue, source))
    rr, gg, bb = (cv2.blur(c * c, window) - m * m + EPS for c, m in ((red, r), (green, g), (blue, b)))
    rg = cv2.blur(red * green, window) - r * g
    rb = cv2.blur(red * blue, window) - r * b
    gb = cv2.blur(green * blue, window) - g * b
    x, y, z = (cv2.blur(c * source, window) - m * p for c, m in ((red, r), (green, g), (blue, b)))
    i, j, k = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    determinant = rr * i + rg * j + rb * k
    u = (i * x + j * y + k * z) / determinant
    v = (j * x + (rr * bb - rb * rb) * y + (rb * rg - rr * gb) * z) / determinant
    w = (k * x + (rb * rg - rr * gb) * y + (rr * gg - rg * rg) * z) / determinant
    rest = p - u * r - v * g - w * b
    u, v, w, rest = (cv2.blur(plane, window) for plane in (u, v, w, rest))
    result: Array = u * red + v * green + w * blue + rest
    return result


def compare(name: str, megapixels: float, ours: Call, peer: Call | None, runs: int) -> None:
    sides = [ours] if peer is None else [ours, peer]
    for side in sides:
        side()
    times = [[stopped(side) for side in sides] for _ in range(runs)]
    walls = [statistics.median(run[k][0] for run in times) for k in range(len(sides))]
    works = [statistics.median(run[k][1] for run in times) for k in range(len(sides))]
    line = f"{name:34}{megapixels:6g}{1e3 * walls[0]:8.1f}ms"
    if peer is not None:
        line += f"{1e3 * walls[1]:8.1f}ms{walls[0] / walls[1]:8.2f} ({works[0] / max(works[1], 1e-9):.2f})"
    print(line, flush=True)


def stopped(call: Call) -> tuple[float, float]:
    wall, work = time.perf_counter(), time.process_time()
    result = call()
    seconds = time.perf_counter() - wall, time.process_time() - work
    del result
    return seconds


def in_child(function: Callable[..., float], *arguments: object) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_of(name: str, megapixels: float, side: int) -> float:
    """Megabytes a call adds to the process; warmed up on a small picture."""
    warm = pairs(*pictures(0.01))[name][side]
    call = pairs(*pictures(megapixels))[name][side]
    if warm is None or call is None or not sys.platform.startswith("linux"):
        return 0
    warm()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123 - the peak counts from here
        file.write("5")
    before = status("VmRSS")
    result = call()
    used = status("VmHWM") - before
    del result
    return used


def status(key: str) -> float:
    with open("/proc/self/status") as file:  # noqa: PTH123
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))


if __name__ == "__main__":
    main()
