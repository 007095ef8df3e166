"""Tri-cubic interpolation of one pixel in single precision, four entries of the table at a time.

Neighbours along l lie side by side in the table. One load fetches the four of them, where a loop over pixels would
gather each by itself (specs/decisions/0004-mixed-precision.md).
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from numbragg.kernels._jit import inlined
from numbragg.kernels.pixels import ROW

NODES = 4
WEIGHTS = 3 * NODES

ONE, TWO = np.float32(1.0), np.float32(2.0)
HALF, SIXTH = np.float32(0.5), np.float32(1.0 / 6.0)

_VECTOR = ir.VectorType(ir.FloatType(), NODES)
_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)
_CONTRACT = ("contract",)


@inlined
def cubic_weights_single(t):
    """Lagrange weights of the nodes -1, 0, 1, 2 at t."""
    m, p, q = t + ONE, t - ONE, t - TWO
    return -t * p * q * SIXTH, m * p * q * HALF, -m * t * q * HALF, m * t * p * SIXTH


@intrinsic
def weighted_neighbours(typingctx, table, corner, row, plane, weights, first):
    """Sum of 64 entries of the table from ``corner`` on, ``row`` and ``plane`` apart along k and h.

    ``weights`` is the scratch that holds the weights of a pixel, along h, k and l, in twelve rows from ``first`` on.
    """

    def codegen(context, builder, signature, arguments):
        _, corner, row, plane, _, first = arguments
        data, scratch = (
            context.make_array(kind)(context, builder, value).data
            for kind, value in ((table, arguments[0]), (weights, arguments[4]))
        )

        def weight(number):
            place = builder.add(first, _INDEX(number * ROW))
            return builder.load(builder.gep(scratch, [place]))

        def spread(value):
            lane = builder.insert_element(_VECTOR(ir.Undefined), value, _LANE(0))
            return builder.shuffle_vector(lane, lane, ir.Constant(ir.VectorType(_LANE, NODES), [0] * NODES))

        def entries(place):
            return builder.load(builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer()), align=4)

        def add(total, factor, value):
            product = builder.fmul(factor, value, flags=_CONTRACT)
            return product if total is None else builder.fadd(total, product, flags=_CONTRACT)

        along_k = [spread(weight(NODES + number)) for number in range(NODES)]
        lines = None
        for i in range(NODES):
            place = builder.add(corner, builder.mul(plane, _INDEX(i)))
            line = None
            for factor in along_k:
                line = add(line, factor, entries(place))
                place = builder.add(place, row)
            lines = add(lines, spread(weight(i)), line)
        total = None
        for lane in range(NODES):
            total = add(total, weight(2 * NODES + lane), builder.extract_element(lines, _LANE(lane)))
        return total

    index = types.int64
    return types.float32(table, index, index, index, weights, index), codegen
