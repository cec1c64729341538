"""Types of the compiled module; private, see ``safelight.kernels``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str

def targets() -> list[str]: ...
def target() -> str: ...
def set_target(name: str) -> None: ...
def threads() -> int: ...
def set_threads(count: int) -> None: ...
def set_poison(on: bool) -> None: ...
def area_average(source: NDArray[Any], height: int, width: int, /) -> NDArray[np.float32]: ...
def apply_coefficients(
    guide: NDArray[Any], coefficients: NDArray[np.float32], clip: float, /
) -> NDArray[np.float32]: ...
def box_blur(
    source: NDArray[Any],
    radius: int,
    edges: str,
    last_is_alpha: bool,
    alpha: NDArray[np.float32] | None,
    mask: NDArray[np.float32] | None,
    /,
) -> NDArray[Any]: ...
def box_filter(source: NDArray[Any], radius: int, /) -> NDArray[np.float32]: ...
def closed_form(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    weight: NDArray[np.float32] | None,
    prior: NDArray[np.float32] | None,
    eps: float,
    tolerance: float,
    max_iterations: int,
    report: Callable[[int, float], None] | None,
    /,
) -> tuple[NDArray[np.float32], int, float, bool]: ...
def expand_trimap(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    wanted: NDArray[np.uint8],
    steps: NDArray[np.int64],
    limits: NDArray[np.float32],
    /,
) -> NDArray[np.uint8]: ...
def foreground_multilevel(
    image: NDArray[Any],
    alpha: NDArray[np.float32],
    small_iterations: int,
    big_iterations: int,
    regularization: float,
    gradient_weight: float,
    return_background: bool,
    clear: bool,
    /,
) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...
def gaussian_blur(
    source: NDArray[Any],
    sigma: float,
    factor: int,
    taps: NDArray[np.float32],
    edges: str,
    last_is_alpha: bool,
    alpha: NDArray[np.float32] | None,
    mask: NDArray[np.float32] | None,
    /,
) -> NDArray[Any]: ...
def guided_coefficients(
    guide: NDArray[Any],
    source: NDArray[np.float32],
    radius: int,
    eps: float,
    weight: NDArray[np.float32] | None,
    least_weight: float,
    /,
) -> NDArray[np.float32]: ...
def guided_filter(
    guide: NDArray[Any],
    source: NDArray[np.float32],
    radius: int,
    eps: float,
    weight: NDArray[np.float32] | None,
    least_weight: float,
    /,
) -> NDArray[np.float32]: ...
def lens_blur(
    source: NDArray[Any],
    factor: int,
    runs: NDArray[np.float32],
    edges: str,
    last_is_alpha: bool,
    alpha: NDArray[np.float32] | None,
    mask: NDArray[np.float32] | None,
    decode: NDArray[np.float32],
    encode: NDArray[np.float32],
    gain: float,
    dim: NDArray[np.float32],
    /,
) -> NDArray[Any]: ...
def mosaic(
    source: NDArray[Any],
    regions: NDArray[np.int64],
    last_is_alpha: bool,
    alpha: NDArray[np.float32] | None,
    mask: NDArray[np.float32] | None,
    /,
) -> NDArray[Any]: ...
def sample_colours(
    image: NDArray[Any],
    trimap: NDArray[np.uint8],
    distances: NDArray[np.float32],
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
    spatial: float,
    /,
) -> NDArray[np.float32]: ...
