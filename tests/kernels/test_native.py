"""The compiled module itself: its sources' one rule, and how it stands forks and callers in several threads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "core" / "native"
COMMON = {"dispatch.cpp", "module.cpp", "threads.cpp"}  # compiled once, for every processor
KERNELS = sorted(path for path in SOURCES.glob("*.cpp") if path.name not in COMMON)

FORKS = """
import os, threading
import numpy as np
from safelight import kernels

pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
alpha = (pixels[..., 0] / 255).astype(np.float32)
wanted = kernels.foreground_multilevel(pixels, alpha).tobytes()
stop = threading.Event()

def busy():
    while not stop.is_set():
        kernels.guided_filter(pixels, alpha, 4, 1e-4)

other = threading.Thread(target=busy)
other.start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(kernels.foreground_multilevel(pixels, alpha).tobytes() != wanted)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
other.join()
"""


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_kernel_files_share_no_code_between_targets(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    included = re.findall(r"^\s*#\s*include\s*(.*)$", text, re.MULTILINE)
    assert included[0] == '"kernels.hpp"'
    assert set(included[1:]) <= {"<emmintrin.h>", "<immintrin.h>"}, "instructions, which share no code either"
    assert text.index("namespace SAFELIGHT_TARGET {") < text.index("namespace {"), "its code has no outside name"


def test_the_kernels_header_holds_declarations_only() -> None:
    text = (SOURCES / "kernels.hpp").read_text(encoding="utf-8")
    assert set(re.findall(r"#\s*include\s*(\S+)", text)) == {"<cstddef>", "<cstdint>"}
    assert not re.search(r"\b(inline|template|constexpr)\b", re.sub(r"//.*", "", text))


def test_every_kernel_is_compiled() -> None:
    build = (SOURCES.parents[1] / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"set\(kernels\s+([\w\s]+)\)", build)
    assert listed
    assert listed[1].split() == [path.stem for path in KERNELS]


@pytest.mark.skipif(sys.platform != "linux", reason="forking with threads is for Linux")
def test_a_forked_child_has_threads_of_its_own() -> None:
    pytest.importorskip("safelight._native", exc_type=ImportError)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS]
    subprocess.run(command, check=True, timeout=120)
