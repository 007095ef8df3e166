"""What mode ``c`` must know before pixels can be simulated in any order (specs/40-compat.md, Q01 and Q12)."""

import functools
from typing import Any

from numbragg.kernels._jit import kernel, nearest, scratch_rows
from numbragg.kernels.lattice import gauss_factor, tophat_factor
from numbragg.kernels.params import GAUSS, NO_STEP, TOPHAT
from numbragg.kernels.pixels import KEEP, QX, QY, QZ, SCRATCH, place_pixels, scatter
from numbragg.kernels.structure_factors import can_interpolate

NOT_FOUND = -1


@kernel
def first_reached(start, stop, pixels, detector, beam, d_min_squared):
    """List position of the first pixel in [start, stop) that the resolution limit does not cull, or NOT_FOUND.

    ``stop - start`` is at most TILE.
    """
    scratch = scratch_rows(SCRATCH, detector.frame)
    count = stop - start
    found = count
    for layer in range(detector.layers):
        for sub in range(detector.oversample * detector.oversample):
            sub_slow = sub // detector.oversample
            sub_fast = sub - sub_slow * detector.oversample
            place_pixels(scratch, detector, pixels, start, count, sub_fast, sub_slow, layer)
            for source in range(beam.wavelength.size):
                scatter(scratch, beam, source, count, d_min_squared)
                for t in range(found):
                    if scratch[KEEP + t].real > 0.0:
                        found = t
                        break
    return start + found if found < count else NOT_FOUND


@functools.cache
def first_outside_kernel(shape: int) -> Any:
    """Kernel that finds the first evaluation whose interpolation would leave the table.

    It returns the position of its pixel in the list of the batch's pixels and the number of the evaluation within the
    pixel, or NOT_FOUND twice.
    """

    @kernel
    def first_outside(batch, batches, detector, beam, crystal, d_min_squared):
        scratch = scratch_rows(SCRATCH, crystal.axes)
        start = batches.bounds[batch]
        count = batches.bounds[batch + 1] - start
        state = batches.inherited[batch]
        found, found_evaluation = count, NOT_FOUND
        evaluation = 0
        n, low, high = crystal.n_cells, crystal.low, crystal.high
        for layer in range(detector.layers):
            for sub in range(detector.oversample * detector.oversample):
                sub_slow = sub // detector.oversample
                sub_fast = sub - sub_slow * detector.oversample
                place_pixels(scratch, detector, batches.pixels, start, count, sub_fast, sub_slow, layer)
                for source in range(beam.wavelength.size):
                    if scatter(scratch, beam, source, count, d_min_squared) == 0:
                        evaluation += crystal.step_row.size * crystal.domains
                        continue
                    for step in range(crystal.step_row.size):
                        own = crystal.step_row[step]
                        state = state if own == NO_STEP else own
                        row = (state + 1) * crystal.domains * 9
                        for _ in range(crystal.domains):
                            axes = crystal.axes[row : row + 9]
                            for t in range(found):
                                x, y, z = scratch[QX + t], scratch[QY + t], scratch[QZ + t]
                                h = axes[0] * x + axes[1] * y + axes[2] * z
                                k = axes[3] * x + axes[4] * y + axes[5] * z
                                l = axes[6] * x + axes[7] * y + axes[8] * z
                                outside = not can_interpolate(h, k, l, low, high)
                                # The reference leaves an evaluation before it interpolates where the spot is 0.
                                da, db, dc = h - nearest(h), k - nearest(k), l - nearest(l)
                                if shape == TOPHAT and outside:
                                    factor = tophat_factor(
                                        da, db, dc, n[0], n[1], n[2], crystal.fudge, crystal.reciprocal
                                    )
                                    outside = factor.real != 0.0
                                if shape == GAUSS and outside:
                                    factor = gauss_factor(
                                        da, db, dc, n[0], n[1], n[2], crystal.fudge, crystal.reciprocal
                                    )
                                    outside = factor.real != 0.0
                                if outside and scratch[KEEP + t].real > 0.0:
                                    found, found_evaluation = t, evaluation
                                    break
                            row += 9
                            evaluation += 1
        if found == count:
            return NOT_FOUND, NOT_FOUND
        return start + found, found_evaluation

    return first_outside
