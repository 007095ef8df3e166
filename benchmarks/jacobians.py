"""Derivatives against images, measured in turn."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import experiment, public
from benchmarks.measure import best_in_turn

PARAMETERS = (
    "cell.a", "cell.b", "cell.c", "cell.alpha", "cell.beta", "cell.gamma", "misset.x", "misset.y", "misset.z",
    "detector.distance", "detector.beam_fast", "detector.beam_slow", "detector.rot_x", "detector.rot_y",
    "detector.rot_z",
)  # fmt: skip
"""Fifteen of crystal and detector."""

STILL = (
    "misset.x", "misset.y", "misset.z", "cell.a", "cell.b", "cell.c", "cell.alpha", "cell.beta", "cell.gamma",
    "n_cells.a", "detector.distance",
)  # fmt: skip


class Cost(NamedTuple):
    """Of all derivatives together, image included."""

    seconds: float
    ratio: float  # to an image alone


def fused_over_forward(scene: str, names: Sequence[str], *, shrink: int = 1, rounds: int = 5) -> float:
    """Fused pass over forward pass, both with all threads."""
    return _cost(experiment(scene, shrink=shrink), names, rounds).ratio


def still_over_forward(*, shrink: int = 1, rounds: int = 15) -> Cost:
    """Eleven derivatives of a still: a cubic GAUSS crystal of 5 x 5 x 5 cells of 100 A, 0.1 mm pixels at 100 mm."""
    extra = f"-gauss_xtal -detpixels {1024 // shrink} -pixel {0.1 * shrink}"
    return _cost(experiment("cubic", extra=extra), STILL, rounds)


def _cost(scene: Any, names: Sequence[str], rounds: int) -> Cost:
    jacobian, simulate = public("jacobian"), public("simulate")
    slopes = jacobian(scene, list(names), method="fused")
    if not (np.isfinite(slopes).all() and slopes.any()):
        raise AssertionError("the derivatives are zero or not finite")
    simulate(scene)
    forward, fused = best_in_turn(
        [lambda: simulate(scene), lambda: jacobian(scene, list(names), method="fused")], rounds
    )
    return Cost(fused, fused / forward)
