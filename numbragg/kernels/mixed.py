"""Terms in single precision from indices in double (specs/decisions/0004-mixed-precision.md).

Three loops over the pixels of a batch take the place of one: indices as fixed-point numbers, eight lanes wide; lattice
factors and places in the table, sixteen lanes wide; the sum, in double precision.
"""

import numpy as np

from numbragg.kernels._jit import bits_of_single, inlined
from numbragg.kernels.fixed_point import (
    A,
    B,
    C,
    distance_of,
    fix_indices,
    floor_above,
    fraction_of,
    nearest_above,
    origin_of,
    remainder_of,
    words_of,
)
from numbragg.kernels.lattice_single import (
    GAUSS_CUTOFF_SINGLE,
    LOWEST_EXPONENT,
    gauss_factor_single,
    round_factor_single,
    square_factor_single,
    tophat_factor_single,
)
from numbragg.kernels.neighbours import WEIGHTS, cubic_weights_single, weighted_neighbours
from numbragg.kernels.params import GAUSS, ROUND, SQUARE
from numbragg.kernels.pixels import QX, ROW, SUM, TERM, stage

LATTICE, CELL = 0, ROW  # squared lattice factor; F^2, where it is interpolated
WEIGHT = 2 * ROW  # of the neighbours, along h, k and l
SINGLE = (2 + WEIGHTS) * ROW

PLACE, CORNER = 0, ROW  # in the table: of the nearest entry; of the first neighbour, or NOWHERE
PLACES = 2 * ROW

f32, i32, u32 = np.float32, np.int32, np.uint32

NOWHERE, ZERO, ONE, TWO = i32(0), i32(0), i32(1), i32(2)
BORDER = u32(5)
"""Fewer indices along an axis than entries of the table can be interpolated at: two below, three above."""


@stage
def mixed_constants(crystal):
    """Numbers of the crystal as the loops take them: scalars of 32 bits, converted once."""
    low, high, n, g = crystal.low, crystal.high, crystal.n_cells, crystal.reciprocal
    return (
        (origin_of(low[0]), origin_of(low[1]), origin_of(low[2])),
        (u32(high[0] - low[0] + 1.0), u32(high[1] - low[1] + 1.0), u32(high[2] - low[2] + 1.0)),
        i32(crystal.table.size - 1),
        (i32(n[0]), i32(n[1]), i32(n[2])),
        (f32(n[0]), f32(n[1]), f32(n[2])),
        f32(n[0] * n[1] * n[2]),
        f32(crystal.fudge),
        (f32(g[0]), f32(g[1]), f32(g[2]), f32(g[3]), f32(g[4]), f32(g[5]), f32(g[6]), f32(g[7]), f32(g[8])),
    )


@inlined
def table_place(i, j, m, size, outside):
    """Position of indices, counted from the lowest, in the table; ``outside`` where they are not in it."""
    # As unsigned numbers, what lies below the table is far above it.
    inside = (u32(i) < size[0]) & (u32(j) < size[1]) & (u32(m) < size[2])
    position = i32(i32(i32(i * i32(size[1]) + j) * i32(size[2])) + m)
    return i32(position if inside else outside)


@stage
def fill_lattice(kind, words, single, places, constants, count):
    """Rows LATTICE and PLACE; return bits that are all 0 when the lattice factors are."""
    shape, _, running = kind
    origin, size, outside, whole, n, cells, fudge, reciprocal = constants
    # Where the sum is a running one, it matters which factors are 0 in the reference.
    lowest = GAUSS_CUTOFF_SINGLE if running else LOWEST_EXPONENT
    bits = ZERO
    for t in range(count):
        a, b, c = words[2 * A + 2 * t], words[2 * B + 2 * t], words[2 * C + 2 * t]
        da, db, dc = fraction_of(distance_of(a)), fraction_of(distance_of(b)), fraction_of(distance_of(c))
        if shape == SQUARE:
            lattice = square_factor_single(a, b, c, whole[0], whole[1], whole[2])
        elif shape == ROUND:
            lattice = round_factor_single(da, db, dc, n[0], n[1], n[2], fudge)
        elif shape == GAUSS:
            lattice = gauss_factor_single(da, db, dc, cells, fudge, reciprocal, lowest)
        else:
            lattice = tophat_factor_single(da, db, dc, cells, fudge, reciprocal)
        i = nearest_above(words[2 * A + 2 * t + 1], origin[0])
        j = nearest_above(words[2 * B + 2 * t + 1], origin[1])
        m = nearest_above(words[2 * C + 2 * t + 1], origin[2])
        places[PLACE + t] = table_place(i, j, m, size, outside)
        single[LATTICE + t] = lattice
        bits = i32(bits | bits_of_single(lattice))
    return bits


@inlined
def interpolated(size, wanted):
    """Whole numbers along an axis, from the third of the table on, that may lie below an interpolated index."""
    return u32(size - BORDER) if wanted and size > BORDER else u32(0)


@stage
def store_weights(single, row, t, weights):
    """Put the four weights of a pixel along one axis into rows."""
    single[row + t] = weights[0]
    single[row + ROW + t] = weights[1]
    single[row + 2 * ROW + t] = weights[2]
    single[row + 3 * ROW + t] = weights[3]


@stage
def fill_cells(words, single, places, table, constants, count, wanted):
    """Row CELL from the interpolated amplitudes, or the nearest ones; anything where the lattice factor is 0."""
    origin, size = constants[0], constants[1]
    row, plane = i32(size[2]), i32(i32(size[1]) * i32(size[2]))
    ends = interpolated(size[0], wanted), interpolated(size[1], wanted), interpolated(size[2], wanted)
    for t in range(count):
        a, b, c = words[2 * A + 2 * t], words[2 * B + 2 * t], words[2 * C + 2 * t]
        i = i32(floor_above(a, words[2 * A + 2 * t + 1], origin[0]) - TWO)
        j = i32(floor_above(b, words[2 * B + 2 * t + 1], origin[1]) - TWO)
        m = i32(floor_above(c, words[2 * C + 2 * t + 1], origin[2]) - TWO)
        inside = (u32(i) < ends[0]) & (u32(j) < ends[1]) & (u32(m) < ends[2])
        corner = i32(i32(i32(i + ONE) * plane) + i32(i32(j + ONE) * row) + i32(m + ONE))
        places[CORNER + t] = corner if inside else NOWHERE
        store_weights(single, WEIGHT, t, cubic_weights_single(remainder_of(a)))
        store_weights(single, WEIGHT + 4 * ROW, t, cubic_weights_single(remainder_of(b)))
        store_weights(single, WEIGHT + 8 * ROW, t, cubic_weights_single(remainder_of(c)))
    for t in range(count):
        if single[LATTICE + t] != f32(0.0):
            corner = np.int64(places[CORNER + t])
            if corner != NOWHERE:
                amplitude = weighted_neighbours(table, corner, row, plane, single, WEIGHT + t)
            else:
                amplitude = table[np.uint64(places[PLACE + t])]
            single[CELL + t] = amplitude * amplitude


@stage
def add_mixed_orientation(kind, scratch, work, crystal, row, count, evaluation, limit):
    """`add_orientation` with the terms in single precision."""
    shape, interpolate, running = kind
    fixed, single, places, constants = work
    table = crystal.table
    fix_indices(scratch, fixed, crystal.axes, row, count, QX)
    words = words_of(fixed)
    bits = fill_lattice(kind, words, single, places, constants, count)
    # Between the spots of these shapes whole batches are 0.
    if shape != SQUARE and shape != ROUND and bits == ZERO:
        return
    if interpolate:
        fill_cells(words, single, places, table, constants, count, evaluation < limit)
    for t in range(count):
        lattice = single[LATTICE + t]
        cell = single[CELL + t] if interpolate else table[np.uint64(places[PLACE + t])]
        if running:
            before = scratch[SUM + t]
            after = (before + np.float64(cell * lattice)) * scratch[TERM + t]
            scratch[SUM + t] = before if lattice == f32(0.0) else after
        else:
            scratch[SUM + t] += np.float64(cell * lattice)
