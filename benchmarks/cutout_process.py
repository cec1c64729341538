"""What a person waits for: whole processes beside rembg's, with the same weights, alternating.

    python benchmarks/cutout_process.py PHOTO --rembg PATH/TO/rembg [--rembg-models FOLDER] [--runs 5]

Makes a small (600 px) and a 24 MP version of the photo, runs `safelight cutout --quality fast` and `rembg i` on each
in turn, and prints medians, their ratio, and peak memory; then, in one process, a further picture of a running batch
beside its bare parts: decoding, `session.run`, encoding.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

PAIRS = {"u2netp": "u2netp", "isnet": "isnet-general-use"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rembg", type=Path, required=True)
    parser.add_argument("--rembg-models", type=Path, help="folder with rembg's models (U2NET_HOME)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--warm-only", action="store_true", help="leave out rembg")
    args = parser.parse_args()
    if args.rembg_models:
        os.environ["U2NET_HOME"] = str(args.rembg_models.absolute())
    os.environ["MODEL_CHECKSUM_DISABLED"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        pictures = {"small": Path(folder) / "small.jpg", "24 MP": Path(folder) / "large.jpg"}
        for target, side in zip(pictures.values(), (600, 6000), strict=True):
            # In a process of its own: a child's peak memory counts from its parent's.
            child = multiprocessing.get_context("spawn").Process(target=make_picture, args=(args.photo, target, side))
            child.start()
            child.join()
        print(f"{'':18}{'safelight':>12}{'rembg':>10}{'ratio':>8}{'memory':>10}{'rembg':>9}{'ratio':>8}")
        for model, peer in ({} if args.warm_only else PAIRS).items():
            for label, picture in pictures.items():
                compare(f"{model} {label}", picture, model, peer, args)
        for model in PAIRS:
            for label, picture in pictures.items():
                warm(f"{model} {label}", picture, model, args.runs)


def make_picture(source: Path, target: Path, side: int) -> None:
    import numpy as np
    from PIL import Image

    picture = Image.open(source).convert("RGB")
    scale = side / max(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    if side > 2000:
        size = (6000, 4000) if picture.width > picture.height else (4000, 6000)
    large = np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    noise = np.random.default_rng(0).normal(0, 3 if side > 2000 else 0, large.shape).astype(np.int16)
    Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(target, quality=92)


def compare(label: str, picture: Path, model: str, peer: str, args: argparse.Namespace) -> None:
    program = shutil.which("safelight", path=str(Path(sys.executable).parent)) or "safelight"
    out = picture.with_name("out.png")
    ours = [program, "cutout", str(picture), "-o", str(out), "--quality", "fast", "--model", model]
    theirs = [str(args.rembg), "i", "-m", peer, str(picture), str(out)]
    # POSIX only: the peak memory of one child comes from wait4.
    pairs = [(run_process(ours), run_process(theirs)) for _ in range(args.runs + 1)][1:]
    seconds = [statistics.median(pair[i][0] for pair in pairs) for i in (0, 1)]
    memory = [statistics.median(pair[i][1] for pair in pairs) for i in (0, 1)]
    print(
        f"{label:18}{seconds[0]:10.2f} s{seconds[1]:8.2f} s{seconds[0] / seconds[1]:8.2f}"
        f"{memory[0]:7.0f} MB{memory[1]:6.0f} MB{memory[0] / memory[1]:8.2f}",
        flush=True,
    )


def run_process(command: list[str]) -> tuple[float, float]:
    """Run a command to its end; return seconds and peak memory in MB."""
    started = time.perf_counter()
    child = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
    )
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def warm(label: str, picture: Path, model: str, runs: int) -> None:
    """Print the time of a further picture in a running batch, beside the sum of its unavoidable parts."""
    from functools import partial

    from safelight import Photo, cutout
    from safelight.batch import Job, run_batch
    from safelight.inference.pool import close_sessions, open_session
    from safelight.inference.saliency import network_input

    out = picture.with_name("warm.png")
    session = open_session(model)
    feeds = {next(iter(session.info.inputs)): network_input(session.info, Photo.open(picture).to_uint8())}
    result = cutout(Photo.open(picture), quality="fast", model=model).photo
    alone, batch, parts = [], [], []
    for _ in range(runs):
        alone.append(timed(lambda: save(cutout(Photo.open(picture), quality="fast", model=model).photo, out)))
        ends = []
        jobs = [Job(picture, picture.with_name(f"warm-{number}.png")) for number in range(4)]
        for _ in run_batch(partial(cutout, quality="fast", model=model), jobs):
            ends.append(time.perf_counter())
        batch += [after - before for before, after in pairwise(ends)]
        bare = timed(lambda: session.run(feeds)), timed(lambda: Photo.open(picture)), timed(lambda: save(result, out))
        parts.append(sum(bare))
    floor = statistics.median(parts)
    print(f"{label:18}decoding + run + encoding: {floor:.2f} s", end="")
    for name, times in (("in a batch", batch), ("alone, warm", alone)):
        print(f"; {name}: {statistics.median(times):.2f} s, ratio {statistics.median(times) / floor:.2f}", end="")
    print(flush=True)
    close_sessions()


def save(photo: object, target: Path) -> None:
    photo.save(target)  # type: ignore[attr-defined]


def timed(function: object) -> float:
    started = time.perf_counter()
    function()  # type: ignore[operator]
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
