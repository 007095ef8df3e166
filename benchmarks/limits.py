"""How near the kernel comes to what the machine can do (specs/60-performance.md, 60.20 to 60.22)."""

from typing import Any, NamedTuple

import numba
import numpy as np

from benchmarks.common import evaluations, experiment, public
from benchmarks.measure import best

CHAIN = 32
"""Multiply-adds that `chains` does with each value between reading and writing it."""


class Operations(NamedTuple):
    """Packed instructions of one evaluation, a vector of pixels at a time."""

    multiply_add: int
    multiply: int
    add: int
    divide: int  # and square roots

    @property
    def arithmetic(self) -> int:
        """What the multiply-add units do: each is one instruction, and one unit of the measured peak."""
        return self.multiply_add + self.multiply + self.add


# From the machine code of the loop over pixels. Of each, 9 fma, 3 mul and 10 add are the indices, their nearest whole
# numbers, the place in the table and the sum; of square, 42 fma are six sines.
OPERATIONS = {
    "square": Operations(51, 23, 16, 1),
    "round": Operations(31, 17, 16, 4),
    "gauss": Operations(31, 11, 11, 0),
    "tophat": Operations(17, 9, 10, 0),
    "tricubic": Operations(116, 75, 45, 7),
}
"""By scene; change it with the kernel."""


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
    """Share of one thread's multiply-add throughput that the arithmetic of a scene makes up."""
    scene, simulate = experiment(name, shrink=shrink), public("simulate")
    simulate(scene, threads=1)
    seconds = best(lambda: simulate(scene, threads=1), 7)
    return OPERATIONS[name].arithmetic * evaluations(name, shrink=shrink) / seconds / (rate or fma_rate())
