"""Miller indices as fixed-point numbers of 2^-32 (specs/decisions/0004-mixed-precision.md).

An index that is subtracted from `SHIFT` in double precision leaves the nearest whole number in the upper 32 bits of the
difference and its distance from it in the lower 32. So the subtraction is all that needs double precision, and N times
a distance is reduced to its own nearest whole number, exactly, by the overflow of an integer product.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numbragg.kernels._jit import bits_of_single, inlined, single_of_bits
from numbragg.kernels.pixels import ROW, stage

SHIFT = 1.5 * 2.0**20 + 0.5
"""Between 2^20 and 2^21 doubles are 2^-32 apart. The half makes what is cut off round to the nearest, halves down."""

REACH = 2.0**18
"""Indices of up to this size, and the parts of the sum that makes them, keep the difference between those two."""

RESOLUTION = 3 * 2.0**-33
"""Largest error of a distance: each of the three products of the sum is rounded to a multiple of 2^-32."""

A, B, C = 0, ROW, 2 * ROW
FIXED = 3 * ROW
WORDS = 2 * FIXED

INDEX_0 = np.int32(0x41380000)
"""Upper word of an index of 0."""

DISTANCE_0 = np.int32(-(2**31))
"""Lower word of a distance of 0."""

ODD = np.int32(1)
UNIT = np.float32(2.0**-32)
EXPONENT = np.int32(32 << 23)
"""Taken from the bits of a single precision number other than 0, it divides the number by 2^32."""


@intrinsic
def _words(typingctx, array):
    def codegen(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.bitcast(data, ir.IntType(32).as_pointer())

    return types.CPointer(types.int32)(array), codegen


@stage
def words_of(fixed):
    """The halves of the numbers of `fix_indices`: lower, upper, lower, upper."""
    return numba.carray(_words(fixed), WORDS)


@stage
def fix_indices(scratch, fixed, axes, row, count, first):
    """Indices of one orientation of the crystal, subtracted from SHIFT, in rows A, B and C."""
    ax, ay, az = axes[row], axes[row + 1], axes[row + 2]
    bx, by, bz = axes[row + 3], axes[row + 4], axes[row + 5]
    cx, cy, cz = axes[row + 6], axes[row + 7], axes[row + 8]
    for t in range(count):
        x, y, z = scratch[first + t], scratch[first + ROW + t], scratch[first + 2 * ROW + t]
        fixed[A + t] = SHIFT - ax * x - ay * y - az * z
        fixed[B + t] = SHIFT - bx * x - by * y - bz * z
        fixed[C + t] = SHIFT - cx * x - cy * y - cz * z


@inlined
def origin_of(index):
    """What `nearest_above` and `floor_above` count from."""
    return np.int32(INDEX_0 - np.int32(index))


@inlined
def nearest_above(upper, origin):
    """Nearest whole number of an index, halves down as in `nearest`, from the origin on."""
    return np.int32(origin - upper)


@inlined
def floor_above(lower, upper, origin):
    """Largest whole number that is not above an index, from the origin on."""
    return np.int32(origin - upper - np.int32(np.int32(lower ^ DISTANCE_0) > np.int32(0)))


@inlined
def distance_of(lower):
    """Distance of the nearest whole number from an index, in 2^-32; never 0, at the cost of half a unit."""
    return np.int32(np.int32(lower ^ DISTANCE_0) | ODD)


@inlined
def fraction_of(distance):
    """A number of 2^-32 that is not 0 in single precision."""
    return single_of_bits(np.int32(bits_of_single(np.float32(distance)) - EXPONENT))


@inlined
def remainder_of(lower):
    """What an index has above its `floor_above`, in single precision."""
    return np.float32(np.uint32(-np.int32(lower ^ DISTANCE_0))) * UNIT
