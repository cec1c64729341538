"""How good the cut-outs are, beside rembg's with the same weights.

    python benchmarks/cutout_quality.py ../shared/data [--rembg PATH/TO/rembg --rembg-models FOLDER] [--sheet OUT.png]

Reads the folders `matting_composites` (exact alpha, trimap) and `matting` (am2k_*, p3m_*: a strong network's alpha).
Prints, per picture and as means: mean absolute error of the whole matte x 1000, sum of absolute differences in the
unknown band / 1000, mean squared error in the band. A `!` marks a picture where more than 0.5 % of the area is wrong
here (error over 0.5) and right (under 0.2) in rembg's matte: a ghost or a lost limb that the peer does not have.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safelight import Photo, cutout
from safelight.batch import contact_sheet

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    name: str
    group: str
    picture: Path
    alpha: Plane
    band: NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    error: float
    band_difference: float
    band_square: float

    def __str__(self) -> str:
        return f"{self.error:6.1f} {self.band_difference:6.2f} {self.band_square:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quality", default="balanced")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--no-refine", action="store_true")
    parser.add_argument("--rembg", type=Path)
    parser.add_argument("--rembg-model", default="isnet-general-use")
    parser.add_argument("--rembg-models", type=Path, help="folder with rembg's models (U2NET_HOME)")
    parser.add_argument("--sheet", type=Path, help="contact sheet of all cut-outs")
    args = parser.parse_args()
    cases = [*read_cases(args.data / "matting_composites"), *read_cases(args.data / "matting")]
    scores: dict[str, list[tuple[Score, Score | None]]] = {}
    rows = []
    for case in cases:
        photo = Photo.open(case.picture)
        result = cutout(photo, quality=args.quality, model=args.model, refine=not args.no_refine)
        peer = rembg_matte(case, args) if args.rembg else None
        ours, theirs = score(result.alpha, case), score(peer, case) if peer is not None else None
        mark = "!" if peer is not None and lost(result.alpha, peer, case.alpha) > 0.005 else " "
        print(f"{case.group[:9]:10}{case.name:18} {ours} {mark} {theirs or ''}", flush=True)
        scores.setdefault(case.group, []).append((ours, theirs))
        assert result.photo is not None
        rows.append((f"{case.name} {ours.error:.0f}", [photo, result.photo]))
    for group, pairs in scores.items():
        ours, theirs = mean([pair[0] for pair in pairs]), mean([pair[1] for pair in pairs if pair[1]])
        print(f"mean of {group:20} {ours}   {theirs or ''}")
    if args.sheet:
        Photo(image=contact_sheet(rows, columns=2, height=260)).save(args.sheet)


def read_cases(folder: Path) -> list[Case]:
    exact = folder.name == "matting_composites"
    names = sorted(each.name for each in folder.iterdir() if each.name.startswith(("am2k_", "p3m_")))
    return [read_case(folder / name, exact=exact) for name in names]


def read_case(folder: Path, *, exact: bool) -> Case:
    alpha = read_gray(folder / ("alpha.png" if exact else "alpha_pred.png")) / np.float32(255)
    if exact:
        trimap = read_gray(folder / "trimap.png")
        band = (trimap > 0) & (trimap < 255)
    else:  # no trimap: ten pixels around what is neither 0 nor 1
        ball = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21))
        band = cv2.dilate(((alpha > 0.02) & (alpha < 0.98)).astype(np.uint8), ball) > 0
    return Case(folder.name, folder.parent.name, folder / "image.jpg", alpha, band)


def read_gray(path: Path) -> Plane:
    return np.asarray(Image.open(path).convert("L"), dtype=np.float32)


def rembg_matte(case: Case, args: argparse.Namespace) -> Plane:
    environment = {**os.environ, "MODEL_CHECKSUM_DISABLED": "1"}
    if args.rembg_models:
        environment["U2NET_HOME"] = str(args.rembg_models.absolute())
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "mask.png"
        command = [args.rembg, "i", "-m", args.rembg_model, "-om", case.picture, target]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return read_gray(target) / np.float32(255)


def score(alpha: Plane, case: Case) -> Score:
    error = np.abs(alpha - case.alpha)
    inside = error[case.band]
    return Score(float(error.mean()) * 1000, float(inside.sum()) / 1000, float((inside**2).mean()))


def lost(ours: Plane, theirs: Plane, truth: Plane) -> float:
    """Return the share of the picture that is wrong here and right in the peer's matte."""
    return float(((np.abs(ours - truth) > 0.5) & (np.abs(theirs - truth) < 0.2)).mean())


def mean(scores: list[Score]) -> Score | None:
    if not scores:
        return None
    columns = np.mean([(each.error, each.band_difference, each.band_square) for each in scores], axis=0)
    return Score(*(float(value) for value in columns))


if __name__ == "__main__":
    main()
