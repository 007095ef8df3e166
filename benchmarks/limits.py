"""How near the kernel comes to what the machine can do (specs/60-performance.md, 60.20 to 60.23)."""

from typing import Any, NamedTuple

import numba
import numpy as np

from benchmarks.common import evaluations, experiment, public
from benchmarks.measure import best

CHAIN = 32
"""Multiply-adds that `chains` does with each value between reading and writing it."""


class Operations(NamedTuple):
    """Packed instructions of one evaluation for each vector of pixels, by what the source of the kernel says."""

    multiply_add: int
    multiply: int
    add: int
    divide: int  # and square roots

    @property
    def arithmetic(self) -> int:
        """What the multiply-add units do: each is one instruction, and one unit of the measured peak."""
        return self.multiply_add + self.multiply + self.add


OPERATIONS = {
    # Common to all: h, k, l (6 fma, 3 mul), nearest (3 add), distance (3 add), look-up (2 fma, 4 add), sum (1 fma).
    # square: six sines (7 fma, 2 mul each), N*d reduced (3 mul, 6 add), guard (3 add), products (5 mul).
    "square": Operations(9 + 42, 3 + 12 + 3 + 5, 10 + 6 + 3, 1),
    # round: radius (2 fma, 6 mul), reduced (2 fma, 1 mul, 3 add), sine and cosine (15 fma, 2 mul), closed form
    # (3 mul, 2 add), series (3 fma), factor (2 mul).
    "round": Operations(9 + 22, 3 + 14, 10 + 5, 4),
    # gauss: radius (8 fma, 5 mul), exponential (14 fma, 1 mul, 1 add), factor (1 mul).
    "gauss": Operations(9 + 22, 3 + 7, 10 + 1, 0),
    # tophat: radius (8 fma, 5 mul).
    "tophat": Operations(9 + 8, 3 + 5, 10, 0),
}


@numba.njit(fastmath={"contract"}, error_model="numpy", nogil=True)
def chains(values: Any, repeats: int) -> None:
    """Multiply and add in registers: independent chains of CHAIN steps, vectorised over values."""
    for _ in range(repeats):
        for t in range(values.size):
            x = values[t]
            for _ in range(CHAIN):
                x = x * 0.999 + 0.001
            values[t] = x


def fma_rate() -> float:
    """Double-precision multiply-adds a second that one thread of this machine reaches."""
    values, repeats = np.linspace(0.0, 1.0, 512), 5000
    chains(values, 1)
    seconds = best(lambda: chains(values, repeats), 7)
    if not np.all(np.abs(values - 1.0) < 1e-3):
        raise AssertionError("the chains of multiply-adds do not converge to 1")
    return CHAIN * values.size * repeats / seconds


def fraction_of_fma_peak(name: str, *, shrink: int = 1, rate: float | None = None) -> float:
    """Share of one thread's multiply-add throughput that the arithmetic of the scene of a shape makes up."""
    scene, simulate = experiment(name, shrink=shrink), public("simulate")
    simulate(scene, threads=1)
    seconds = best(lambda: simulate(scene, threads=1), 7)
    return OPERATIONS[name].arithmetic * evaluations(name, shrink=shrink) / seconds / (rate or fma_rate())
