"""The forward kernel: photons in a batch of pixels (specs/10-physics.md, 10.40).

One source, compiled once for each combination of crystal shape and kind of table, for real or complex parameters.
"""

import functools
from typing import Any

from numbragg.kernels._jit import kernel, nearest, scratch_rows
from numbragg.kernels.fixed_point import FIXED
from numbragg.kernels.lattice import lattice_factor
from numbragg.kernels.mixed import PLACES, SINGLE, add_mixed_orientation, mixed_constants
from numbragg.kernels.params import NO_STEP
from numbragg.kernels.pixels import (
    KEEP,
    LAYER,
    QX,
    QY,
    QZ,
    SCRATCH,
    SUM,
    TERM,
    TOTAL,
    begin_pixels,
    end_layer,
    end_pixels,
    nine,
    place_pixels,
    scatter,
    stage,
    three,
    weigh_sub_pixel,
    weigh_terms,
)
from numbragg.kernels.structure_factors import can_interpolate, table_index, tricubic


@stage
def add_orientation(kind, scratch, _work, crystal, row, count, evaluation, limit):
    """Add the terms of one orientation of the crystal to row SUM."""
    shape, interpolate, running = kind
    ax, ay, az, bx, by, bz, cx, cy, cz = nine(crystal.axes, row)
    na, nb, nc = three(crystal.n_cells)
    fudge, table = crystal.fudge, crystal.table
    # Tuples of scalars: an array read inside the loop might alias the scratch, and the loop would stay scalar.
    reciprocal, low, high = nine(crystal.reciprocal, 0), three(crystal.low), three(crystal.high)
    for t in range(count):
        x, y, z = scratch[QX + t], scratch[QY + t], scratch[QZ + t]
        h = ax * x + ay * y + az * z
        k = bx * x + by * y + bz * z
        l = cx * x + cy * y + cz * z
        h0, k0, l0 = nearest(h), nearest(k), nearest(l)
        lattice = lattice_factor(shape, h - h0, k - k0, l - l0, na, nb, nc, fudge, reciprocal)
        if interpolate:
            inside = can_interpolate(h, k, l, low, high) & (evaluation < limit)
            curve = tricubic(h, k, l, table, low, high, inside)
            amplitude = curve if inside else table[table_index(h0, k0, l0, low, high)] + 0.0 * h
            cell = amplitude * amplitude
        else:
            cell = table[table_index(h0, k0, l0, low, high)]
        if running:
            before = scratch[SUM + t]
            after = (before + cell * lattice) * scratch[TERM + t]
            # The reference skips the rest of an evaluation, and so the factors, where the lattice factor is 0.
            scratch[SUM + t] = before if lattice.real == 0.0 else after
        else:
            scratch[SUM + t] += cell * lattice


@stage
def add_source(kind, add, scratch, work, crystal, count, inherited, done, limit):
    """Add every phi step and mosaic domain; return the phi index that the next sweep inherits."""
    evaluation = done
    state = inherited
    for step in range(crystal.step_row.size):
        own = crystal.step_row[step]
        state = state if own == NO_STEP else own
        row = (state + 1) * crystal.domains * 9
        for _ in range(crystal.domains):
            add(kind, scratch, work, crystal, row, count, evaluation, limit)
            row += 9
            evaluation += 1
    return state


@stage
def add_sub_pixel(kind, add, scratch, work, beam, crystal, scaling, count, inherited, done, limit):
    """Add every source to row LAYER; return the phi index that the next sub-pixel inherits."""
    running = kind[2]
    state = inherited
    for source in range(beam.wavelength.size):
        kept = scatter(scratch, beam, source, count, scaling.d_min_squared)
        if kept > 0:
            weigh_terms(scratch, beam, scaling, source, count)
            for t in range(count):
                scratch[SUM + t] = scratch[LAYER + t] if running else 0.0 * scratch[LAYER + t]
            state = add_source(kind, add, scratch, work, crystal, count, state, done, limit)
            weight = beam.weight[source]
            for t in range(count):
                if running:
                    scratch[LAYER + t] = scratch[SUM + t] if scratch[KEEP + t].real > 0.0 else scratch[LAYER + t]
                else:
                    scratch[LAYER + t] += scratch[SUM + t] * (weight * scratch[KEEP + t] * scratch[TERM + t])
        done += crystal.step_row.size * crystal.domains
    return state


@stage
def simulate_batches(kind, add, scratch, work, first, last, batches, detector, beam, crystal, scaling, image):
    """Fill the image for a run of batches; ``add`` adds the terms of one orientation."""
    sub_pixels = detector.oversample * detector.oversample
    evaluations = beam.wavelength.size * crystal.step_row.size * crystal.domains
    for batch in range(first, last):
        start = batches.bounds[batch]
        count = batches.bounds[batch + 1] - start
        state, limit = batches.inherited[batch], batches.interpolated[batch]
        begin_pixels(scratch, beam, scaling, count)
        done = 0
        for layer in range(detector.layers):
            for sub in range(sub_pixels):
                sub_slow = sub // detector.oversample
                sub_fast = sub - sub_slow * detector.oversample
                place_pixels(scratch, detector, batches.pixels, start, count, sub_fast, sub_slow, layer)
                weigh_sub_pixel(scratch, detector, scaling, count, layer, sub)
                state = add_sub_pixel(kind, add, scratch, work, beam, crystal, scaling, count, state, done, limit)
                done += evaluations
            if not scaling.last_layer_capture or layer == detector.layers - 1:
                end_layer(scratch, scaling, count)
        end_pixels(scratch, scaling, count)
        for t in range(count):
            image[batches.targets[start + t]] = scratch[TOTAL + t]


@functools.cache
def forward_kernel(shape: int, interpolate: bool, running: bool, mixed: bool = False) -> Any:
    """Kernel ``(first, last, batches, detector, beam, crystal, scaling, image) -> None`` for one kind of crystal.

    Parameters
    ----------
    shape
        SQUARE, ROUND, GAUSS or TOPHAT.
    interpolate
        Tri-cubic interpolation of the table (which then holds F, not F^2).
    running
        Multiply the running sum by each term's factors (specs/40-compat.md, Q02).
    mixed
        Terms in single precision, from a table in single precision (specs/decisions/0004-mixed-precision.md).
    """
    # A closure over plain numbers only: anything else would make the kernel miss its cache on disk.
    kind = (shape, interpolate, running)

    if mixed:

        @kernel
        def forward_mixed(first, last, batches, detector, beam, crystal, scaling, image):
            scratch = scratch_rows(SCRATCH, crystal.axes)
            work = (
                scratch_rows(FIXED, crystal.axes),
                scratch_rows(SINGLE, crystal.table),
                scratch_rows(PLACES, batches.pixels),
                mixed_constants(crystal),
            )
            simulate_batches(
                kind, add_mixed_orientation, scratch, work,
                first, last, batches, detector, beam, crystal, scaling, image
            )  # fmt: skip

        return forward_mixed

    @kernel
    def forward(first, last, batches, detector, beam, crystal, scaling, image):
        scratch = scratch_rows(SCRATCH, crystal.axes)
        simulate_batches(
            kind, add_orientation, scratch, scratch, first, last, batches, detector, beam, crystal, scaling, image
        )

    return forward
