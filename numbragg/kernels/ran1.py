"""The random numbers of nanoBragg: a minimal standard generator with a shuffle table, single precision deviates.

The state is an int64 array of `STATE_SIZE` entries: the generator's own number, the last output, the shuffle table.
Functions give the same bits compiled and as ``.py_func`` (``specs/10-physics.md``, clauses 10.60 to 10.63).
No contraction in this module: a fused multiply-add rounds differently from the C program.
"""

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

TABLE_SIZE: Final = 32
STATE_SIZE: Final = 2 + TABLE_SIZE

_MODULUS = 2147483647
_MULTIPLIER = 16807
_QUOTIENT = 127773
_REMAINDER = 2836
_WARM_UP = 8
_BUCKET = 1 + (_MODULUS - 1) // TABLE_SIZE
_INVERSE_MODULUS = 1.0 / _MODULUS
_LARGEST = np.float32(1.0 - 1.2e-7)
_ONE_THIRD = np.float32(1.0 / 3.0)


@njit(cache=True, error_model="numpy", nogil=True)
def minimal_standard(number: int) -> int:
    """Return the successor of `number` (1 to 2^31 - 2): 16807*number modulo 2^31 - 1, by Schrage's split."""
    quotient = number // _QUOTIENT
    successor = _MULTIPLIER * (number - quotient * _QUOTIENT) - _REMAINDER * quotient
    if successor < 0:
        successor += _MODULUS
    return successor


@njit(cache=True, error_model="numpy", nogil=True)
def restart_ran1(state: NDArray[np.int64]) -> None:
    """Fill the shuffle table of `state` (int64, `STATE_SIZE`, changed in place) from the seed in its first entry."""
    number = max(-state[0], 1)
    for entry in range(TABLE_SIZE + _WARM_UP - 1, -1, -1):
        number = minimal_standard(number)
        if entry < TABLE_SIZE:
            state[2 + entry] = number
    state[0] = number
    state[1] = state[2]


@njit(cache=True, error_model="numpy", nogil=True)
def ran1(state: NDArray[np.int64]) -> np.float32:
    """Draw one deviate.

    Parameters
    ----------
    state
        Int64, `STATE_SIZE`, changed in place. To seed, set ``state[0]``: 0 or below restarts the sequence of
        ``max(-seed, 1)``; above 0 keeps the shuffle table of earlier draws, or is seed 1 when there were none.

    Returns
    -------
    float32
        Uniform in (0, 1), never 1.
    """
    if state[0] <= 0 or state[1] == 0:
        restart_ran1(state)
    state[0] = minimal_standard(state[0])
    slot = 2 + state[1] // _BUCKET
    state[1] = state[slot]
    state[slot] = state[0]
    return min(np.float32(_INVERSE_MODULUS * state[1]), _LARGEST)


@njit(cache=True, error_model="numpy", nogil=True)
def random_rotation(state: NDArray[np.int64]) -> tuple[float, float, float, np.float32]:
    """Draw three deviates and return a unit axis (x, y, z; float64) and the weight that makes spread*weight the angle.

    The weight is float32, between 0 and 1: the cube root of 1 - r3^2, taken in single precision.
    """
    r1 = 2.0 * np.float64(ran1(state)) - 1.0
    r2 = 2.0 * np.float64(ran1(state)) - 1.0
    r3 = 2.0 * np.float64(ran1(state)) - 1.0
    across = math.sqrt(1.0 - r2 * r2)
    weight = np.float32(1.0 - r3 * r3) ** _ONE_THIRD
    return across * math.sin(math.pi * r1), across * math.cos(math.pi * r1), r2, weight
