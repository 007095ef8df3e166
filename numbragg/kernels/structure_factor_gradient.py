"""Derivatives of photons in the amplitudes of the table, pixel by pixel (specs/50-gradients.md, 50.50 to 50.53).

A pixel sees few of the reflections, so its row is gathered in an array as long as the table and copied out.
"""

import functools
from typing import Any

import numpy as np

from numbragg.kernels._jit import kernel, nearest, scratch_rows
from numbragg.kernels.lattice import lattice_factor
from numbragg.kernels.params import NO_STEP
from numbragg.kernels.pixels import (
    CAPTURE,
    OMEGA,
    POLAR,
    QX,
    QY,
    QZ,
    SCRATCH,
    TERM,
    begin_pixels,
    capture_photons,
    nine,
    place_pixels,
    scatter,
    stage,
    three,
    weigh_sub_pixel,
    weigh_terms,
)
from numbragg.kernels.structure_factors import can_interpolate, cubic_weights, table_index, tricubic

NODES = 64
"""Places of the table that one interpolation reads."""


@stage
def gather(row, seen, touched, found, place, value):
    """Add to one place of the row; return how many places it has."""
    if place != 0:
        if not seen[place]:
            seen[place] = True
            touched[found] = place
            found += 1
        row[place] += value
    return found


@stage
def gather_nodes(row, seen, touched, found, h, k, l, low, high, value):
    """Add to the places that an interpolation reads, by their weights."""
    hf, kf, lf = np.floor(h), np.floor(k), np.floor(l)
    columns = np.int64(high[2] - low[2] + 1.0)
    plane = columns * np.int64(high[1] - low[1] + 1.0)
    corner = np.int64(hf - 1.0 - low[0]) * plane + np.int64(kf - 1.0 - low[1]) * columns + np.int64(lf - low[2])
    u, v, w = cubic_weights(h - hf), cubic_weights(k - kf), cubic_weights(l - lf)
    for i in range(4):
        for j in range(4):
            for m in range(4):
                place = corner + i * plane + j * columns + m
                found = gather(row, seen, touched, found, place, value * u[i] * v[j] * w[m])
    return found


@stage
def add_orientation(kind, scratch, crystal, axes_row, evaluation, limit, weight, row, seen, touched, found):
    """Add the terms of one orientation to the row; return how many places it has."""
    shape, interpolate = kind
    axes = crystal.axes
    x, y, z = scratch[QX], scratch[QY], scratch[QZ]
    h = axes[axes_row] * x + axes[axes_row + 1] * y + axes[axes_row + 2] * z
    k = axes[axes_row + 3] * x + axes[axes_row + 4] * y + axes[axes_row + 5] * z
    l = axes[axes_row + 6] * x + axes[axes_row + 7] * y + axes[axes_row + 8] * z
    na, nb, nc = crystal.n_cells[0], crystal.n_cells[1], crystal.n_cells[2]
    fudge, table = crystal.fudge, crystal.table
    reciprocal, low, high = nine(crystal.reciprocal, 0), three(crystal.low), three(crystal.high)
    h0, k0, l0 = nearest(h), nearest(k), nearest(l)
    lattice = lattice_factor(shape, h - h0, k - k0, l - l0, na, nb, nc, fudge, reciprocal)
    share = 2.0 * lattice * weight
    if interpolate and can_interpolate(h, k, l, low, high) and evaluation < limit:
        share *= tricubic(h, k, l, table, low, high, True)
        return gather_nodes(row, seen, touched, found, h, k, l, low, high, share)
    place = np.int64(table_index(h0, k0, l0, low, high))
    return gather(row, seen, touched, found, place, share * table[place])


@stage
def add_source(kind, scratch, crystal, inherited, done, limit, weight, row, seen, touched, found):
    """Add every phi step and mosaic domain; return the phi index that the next sweep inherits, and the places."""
    evaluation = done
    state = inherited
    for step in range(crystal.step_row.size):
        own = crystal.step_row[step]
        state = state if own == NO_STEP else own
        axes_row = (state + 1) * crystal.domains * 9
        for _ in range(crystal.domains):
            found = add_orientation(
                kind, scratch, crystal, axes_row, evaluation, limit, weight, row, seen, touched, found
            )
            axes_row += 9
            evaluation += 1
    return state, found


@stage
def term_weight(scratch, beam, scaling, source, capture):
    """What multiplies every term of a source at this sub-pixel, as photons."""
    weight = scaling.scale * beam.weight[source] * scratch[TERM]
    weight *= 1.0 if scaling.oversample_thick else capture
    weight *= 1.0 if scaling.oversample_omega else scratch[OMEGA]
    return weight * (1.0 if scaling.oversample_polar else scratch[POLAR])


@functools.cache
def structure_factor_gradient_kernel(shape: int, interpolate: bool) -> Any:
    """Kernel that fills rows of a sparse matrix, one a pixel, in compressed form.

    ``(batches, detector, beam, crystal, scaling, counts, places, values) -> None``: the batches hold one pixel each;
    the table holds F; ``counts`` is (pixels,), ``places`` and ``values`` hold the rows one after the other, a place
    being the position in the table without its first entry. Factors are not running (specs/40-compat.md, Q02).
    """
    kind = (shape, interpolate)

    @kernel
    def structure_factor_gradient(batches, detector, beam, crystal, scaling, counts, places, values):
        scratch = scratch_rows(SCRATCH, crystal.axes)
        row, seen = np.zeros(crystal.table.size), np.zeros(crystal.table.size, np.bool_)
        touched = np.empty(crystal.table.size, np.int64)
        sub_pixels = detector.oversample * detector.oversample
        end = 0
        for pixel in range(batches.bounds.size - 1):
            start = batches.bounds[pixel]
            state, limit = batches.inherited[pixel], batches.interpolated[pixel]
            # The sum over all layers meets the capture of the last (specs/40-compat.md, Q03).
            place_pixels(scratch, detector, batches.pixels, start, 1, 0, 0, detector.layers - 1)
            capture_photons(scratch, detector, 1, detector.layers - 1)
            last_capture = scratch[CAPTURE]
            begin_pixels(scratch, beam, scaling, 1)
            done, found = 0, 0
            for layer in range(detector.layers):
                for sub in range(sub_pixels):
                    sub_slow = sub // detector.oversample
                    sub_fast = sub - sub_slow * detector.oversample
                    place_pixels(scratch, detector, batches.pixels, start, 1, sub_fast, sub_slow, layer)
                    weigh_sub_pixel(scratch, detector, scaling, 1, layer, sub)
                    for source in range(beam.wavelength.size):
                        if scatter(scratch, beam, source, 1, scaling.d_min_squared) > 0:
                            weigh_terms(scratch, beam, scaling, source, 1)
                            capture = last_capture if scaling.last_layer_capture else scratch[CAPTURE]
                            weight = term_weight(scratch, beam, scaling, source, capture)
                            state, found = add_source(
                                kind, scratch, crystal, state, done, limit, weight, row, seen, touched, found
                            )
                        done += crystal.step_row.size * crystal.domains
            counts[pixel] = found
            for number in range(found):
                place = touched[number]
                places[end] = place - 1
                values[end] = row[place]
                row[place] = 0.0
                seen[place] = False
                end += 1

    return structure_factor_gradient
