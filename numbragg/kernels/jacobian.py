"""The fused kernel: photons and their derivatives in one pass (specs/50-gradients.md, 50.10 to 50.19).

Reverse mode down to a few sums per pixel, the derivatives in what the kernel itself is given; the last step, from
these sums to the parameters of the user, is a sparse product with coefficients that lowering found by complex step.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.kernels._jit import address_of, exponential, finish_writing, kernel, nearest, scratch_rows
from numbragg.kernels.lattice_gradient import gauss_gradient, round_gradient, square_gradient, tophat_gradient
from numbragg.kernels.params import GAUSS, NO_STEP, ROUND, SQUARE
from numbragg.kernels.pixels import (
    CAPTURE,
    CAPTURED,
    DX,
    DY,
    DZ,
    FACTOR,
    KEEP,
    LAYER,
    OMEGA,
    POLAR,
    QX,
    QY,
    QZ,
    ROW,
    SCRATCH,
    SUM,
    TERM,
    TOTAL,
    nine,
    place_pixels,
    polarise,
    scatter,
    stage,
    store,
    three,
)
from numbragg.kernels.structure_factors import can_interpolate, table_index, tricubic_gradient

JACOBIAN_TILE = 192
"""Most pixels in a batch: the sums of one batch stay in the nearer caches."""

MAX_DIRECTIONS = 4
"""Most parameters that turn the orientations, or change the wavelengths, each in a way of its own."""

# Sums of a pixel, numbered as the columns of the coefficients are.
STRAIN = 0  # 9: d/d(M_ij), where direct vector i changes by the sum over j of M_ij times direct vector j
CELLS = 9  # 3: d/d(Na, Nb, Nc)
FUDGE = 12
METRIC = 13  # 6: d/d(a*.a*, b*.b*, c*.c*, b*.c*, a*.c*, a*.b*)
ORIGIN, FAST, SLOW, NORMAL = 19, 22, 25, 28  # 3 each: d/d(rows of the detector's frame)
CLOSE = 31  # d/d(close distance)
KAHN = 32
TURN = 33  # MAX_DIRECTIONS: along given changes of the orientation table
COLOUR = TURN + MAX_DIRECTIONS  # MAX_DIRECTIONS: along given changes of the wavelengths
SUMS = COLOUR + MAX_DIRECTIONS

TOWARDS = SCRATCH  # 3 rows: derivative in the scattering vector of one source
AIM = TOWARDS + 3 * ROW  # 3 rows: derivative in the diffracted direction of one sub-pixel
RADIAL = AIM + 3 * ROW  # derivative in the logarithm of the distance of one sub-pixel
SLOPES = RADIAL + ROW  # 3 rows: derivatives in h, k, l of one evaluation
JACOBIAN_SCRATCH = SLOPES + 3 * ROW
SUM_SCRATCH = SUMS * ROW
SUM_MASK = 63
GROUP = 4
"""Coefficients that one loop over the pixels takes; those of a parameter are filled up with zeros."""


class DirectionParams(NamedTuple):
    """How the parameters of the user move what the kernel is given."""

    starts: npt.NDArray[
        np.int64
    ]  # (J+1,): parameter j has coefficients starts[j] to starts[j+1] - 1; their count is a multiple of GROUP
    sums: npt.NDArray[np.int64]  # (C,): which sum each coefficient multiplies
    coefficients: npt.NDArray[np.float64]  # (C,)
    scale: npt.NDArray[np.float64]  # (J,): changes of the scale
    background: npt.NDArray[np.float64]  # (J,): changes of the background
    turns: npt.NDArray[np.float64]  # (K*(P+1)*M*9,): changes of the orientation table, m per unit
    colours: npt.NDArray[np.float64]  # (L, S): changes of the wavelengths, m per unit


@stage
def add_orientation(kind, scratch, sums, crystal, row, count, evaluation, limit):
    """Add the terms of one orientation and their derivatives."""
    shape, interpolate = kind
    ax, ay, az, bx, by, bz, cx, cy, cz = nine(crystal.axes, row)
    na, nb, nc = three(crystal.n_cells)
    fudge, table = crystal.fudge, crystal.table
    reciprocal, low, high = nine(crystal.reciprocal, 0), three(crystal.low), three(crystal.high)
    for t in range(count):
        x, y, z = scratch[QX + t], scratch[QY + t], scratch[QZ + t]
        h = ax * x + ay * y + az * z
        k = bx * x + by * y + bz * z
        l = cx * x + cy * y + cz * z
        h0, k0, l0 = nearest(h), nearest(k), nearest(l)
        da, db, dc = h - h0, k - k0, l - l0
        weight = scratch[TERM + t]
        if interpolate:
            inside = can_interpolate(h, k, l, low, high) & (evaluation < limit)
            curve, fh, fk, fl = tricubic_gradient(h, k, l, table, low, high, inside)
            amplitude = curve if inside else table[table_index(h0, k0, l0, low, high)]
            cell = amplitude * amplitude * weight
        else:
            cell = table[table_index(h0, k0, l0, low, high)] * weight
        if shape == SQUARE:
            square, ga, gb, gc, pa, pb, pc = square_gradient(da, db, dc, na, nb, nc)
        elif shape == ROUND:
            square, ga, gb, gc, pa, pb, pc, pf = round_gradient(da, db, dc, na, nb, nc, fudge)
        elif shape == GAUSS:
            square, ga, gb, gc, pa, pb, pc, pf, pm = gauss_gradient(da, db, dc, na, nb, nc, fudge, reciprocal)
        else:
            square, pa, pb, pc = tophat_gradient(da, db, dc, na, nb, nc, fudge, reciprocal)
            ga, gb, gc = 0.0, 0.0, 0.0
        ga, gb, gc = ga * cell, gb * cell, gc * cell
        if interpolate:
            rise = 2.0 * amplitude * square * weight if inside else 0.0
            ga, gb, gc = ga + rise * fh, gb + rise * fk, gc + rise * fl
        scratch[SUM + t] += cell * square
        sums[CELLS * ROW + t] += pa * cell
        sums[(CELLS + 1) * ROW + t] += pb * cell
        sums[(CELLS + 2) * ROW + t] += pc * cell
        if shape == ROUND:
            sums[FUDGE * ROW + t] += pf * cell
        if shape == GAUSS:
            sums[FUDGE * ROW + t] += pf * cell
            metric = pm * cell
            sums[METRIC * ROW + t] += metric * da * da
            sums[(METRIC + 1) * ROW + t] += metric * db * db
            sums[(METRIC + 2) * ROW + t] += metric * dc * dc
            sums[(METRIC + 3) * ROW + t] += 2.0 * metric * db * dc
            sums[(METRIC + 4) * ROW + t] += 2.0 * metric * da * dc
            sums[(METRIC + 5) * ROW + t] += 2.0 * metric * da * db
        sums[STRAIN * ROW + t] += ga * h
        sums[(STRAIN + 1) * ROW + t] += ga * k
        sums[(STRAIN + 2) * ROW + t] += ga * l
        sums[(STRAIN + 3) * ROW + t] += gb * h
        sums[(STRAIN + 4) * ROW + t] += gb * k
        sums[(STRAIN + 5) * ROW + t] += gb * l
        sums[(STRAIN + 6) * ROW + t] += gc * h
        sums[(STRAIN + 7) * ROW + t] += gc * k
        sums[(STRAIN + 8) * ROW + t] += gc * l
        scratch[TOWARDS + t] += ga * ax + gb * bx + gc * cx
        scratch[TOWARDS + ROW + t] += ga * ay + gb * by + gc * cy
        scratch[TOWARDS + 2 * ROW + t] += ga * az + gb * bz + gc * cz
        scratch[SLOPES + t] = ga
        scratch[SLOPES + ROW + t] = gb
        scratch[SLOPES + 2 * ROW + t] = gc


@stage
def add_turns(scratch, sums, crystal, directions, row, count):
    """Add the derivatives along the changes of the orientation table."""
    size = crystal.axes.size
    for turn in range(directions.turns.size // size):
        ax, ay, az, bx, by, bz, cx, cy, cz = nine(directions.turns, turn * size + row)
        target = (TURN + turn) * ROW
        for t in range(count):
            x, y, z = scratch[QX + t], scratch[QY + t], scratch[QZ + t]
            sums[target + t] += (
                scratch[SLOPES + t] * (ax * x + ay * y + az * z)
                + scratch[SLOPES + ROW + t] * (bx * x + by * y + bz * z)
                + scratch[SLOPES + 2 * ROW + t] * (cx * x + cy * y + cz * z)
            )


@stage
def add_source(kind, scratch, sums, crystal, directions, count, inherited, done, limit):
    """Add every phi step and mosaic domain; return the phi index that the next sweep inherits."""
    evaluation = done
    state = inherited
    for step in range(crystal.step_row.size):
        own = crystal.step_row[step]
        state = state if own == NO_STEP else own
        row = (state + 1) * crystal.domains * 9
        for _ in range(crystal.domains):
            add_orientation(kind, scratch, sums, crystal, row, count, evaluation, limit)
            add_turns(scratch, sums, crystal, directions, row, count)
            row += 9
            evaluation += 1
    return state


@stage
def forget_aim(scratch, count):
    """Start rows AIM and RADIAL."""
    for t in range(count):
        scratch[AIM + t] = 0.0
        scratch[AIM + ROW + t] = 0.0
        scratch[AIM + 2 * ROW + t] = 0.0
        scratch[RADIAL + t] = 0.0


@stage
def add_sub_pixel(kind, scratch, sums, beam, crystal, scaling, directions, count, inherited, done, limit):
    """Add every source to row LAYER and to the sums; return the phi index that the next sub-pixel inherits."""
    state = inherited
    forget_aim(scratch, count)
    for source in range(beam.wavelength.size):
        kept = scatter(scratch, beam, source, count, scaling.d_min_squared)
        if kept > 0:
            weight = beam.weight[source]
            for t in range(count):
                scratch[SUM + t] = 0.0
                scratch[TOWARDS + t] = 0.0
                scratch[TOWARDS + ROW + t] = 0.0
                scratch[TOWARDS + 2 * ROW + t] = 0.0
                scratch[TERM + t] = weight * scratch[KEEP + t] * scratch[CAPTURE + t]
            state = add_source(kind, scratch, sums, crystal, directions, count, state, done, limit)
            inverse = 1.0 / beam.wavelength[source]
            for t in range(count):
                scratch[LAYER + t] += scratch[SUM + t]
                scratch[AIM + t] += scratch[TOWARDS + t] * inverse
                scratch[AIM + ROW + t] += scratch[TOWARDS + ROW + t] * inverse
                scratch[AIM + 2 * ROW + t] += scratch[TOWARDS + 2 * ROW + t] * inverse
            for colour in range(directions.colours.shape[0]):
                change = -directions.colours[colour, source] * inverse
                target = (COLOUR + colour) * ROW
                for t in range(count):
                    sums[target + t] += change * (
                        scratch[TOWARDS + t] * scratch[QX + t]
                        + scratch[TOWARDS + ROW + t] * scratch[QY + t]
                        + scratch[TOWARDS + 2 * ROW + t] * scratch[QZ + t]
                    )
        done += crystal.step_row.size * crystal.domains
    return state


@stage
def capture(scratch, detector, count, layer):
    """Fraction captured by the layer, in row CAPTURE, and the sum so far."""
    frame = detector.frame
    nx, ny, nz = frame[3, 0], frame[3, 1], frame[3, 2]
    depth = detector.layer_step * detector.attenuation
    if depth == 0.0:
        for t in range(count):
            scratch[CAPTURE + t] = 1.0
    else:
        for t in range(count):
            path = depth / (scratch[DX + t] * nx + scratch[DY + t] * ny + scratch[DZ + t] * nz)
            scratch[CAPTURE + t] = exponential(-layer * path) - exponential(-(layer + 1) * path)
    for t in range(count):
        scratch[CAPTURED + t] += scratch[CAPTURE + t]


@stage
def aim_capture(scratch, sums, detector, count, layer, background):
    """Row AIM from what the layer's captured fraction depends on; the share of the normal goes to its sum."""
    frame = detector.frame
    nx, ny, nz = frame[3, 0], frame[3, 1], frame[3, 2]
    depth = detector.layer_step * detector.attenuation
    normal = NORMAL * ROW
    for t in range(count):
        cosine = scratch[DX + t] * nx + scratch[DY + t] * ny + scratch[DZ + t] * nz
        path = depth / cosine
        near, far = exponential(-layer * path), exponential(-(layer + 1) * path)
        # d(near - far)/d(cosine), and what multiplies the captured fraction.
        slope = (layer * near - (layer + 1) * far) * path / cosine
        captured = near - far
        # A layer that no photon reaches has captured nothing, and changes nothing.
        slope *= (scratch[LAYER + t] / captured if captured != 0.0 else 0.0) + background
        scratch[AIM + t] = slope * nx
        scratch[AIM + ROW + t] = slope * ny
        scratch[AIM + 2 * ROW + t] = slope * nz
        scratch[RADIAL + t] = 0.0
        sums[normal + t] += slope * scratch[DX + t]
        sums[normal + ROW + t] += slope * scratch[DY + t]
        sums[normal + 2 * ROW + t] += slope * scratch[DZ + t]


@stage
def aim_frame(scratch, sums, detector, pixels, start, count, sub_fast, sub_slow, layer):
    """Take rows AIM and RADIAL, derivatives in the position of a sub-pixel, to the sums of the detector's frame."""
    size = detector.pixel / detector.oversample
    shift_fast = (sub_fast + 0.5) * size
    shift_slow = (sub_slow + 0.5) * size
    pixel, n_fast = detector.pixel, float(detector.n_fast)
    depth = layer * detector.layer_step
    frame = detector.frame
    ox, oy, oz = frame[0, 0] + depth * frame[3, 0], frame[0, 1] + depth * frame[3, 1], frame[0, 2] + depth * frame[3, 2]
    fx, fy, fz = frame[1, 0], frame[1, 1], frame[1, 2]
    sx, sy, sz = frame[2, 0], frame[2, 1], frame[2, 2]
    origin, fast = ORIGIN * ROW, FAST * ROW
    slow_row, normal = SLOW * ROW, NORMAL * ROW
    for t in range(count):
        number = float(pixels[np.uint64(start + t)])
        slow = np.floor((number + 0.5) / n_fast)
        along_fast = (number - slow * n_fast) * pixel + shift_fast
        along_slow = slow * pixel + shift_slow
        x, y, z = scratch[DX + t], scratch[DY + t], scratch[DZ + t]
        px, py, pz = (
            ox + along_fast * fx + along_slow * sx,
            oy + along_fast * fy + along_slow * sy,
            oz + along_fast * fz + along_slow * sz,
        )
        inverse = 1.0 / (px * x + py * y + pz * z)
        gx, gy, gz = scratch[AIM + t], scratch[AIM + ROW + t], scratch[AIM + 2 * ROW + t]
        along = gx * x + gy * y + gz * z
        along -= scratch[RADIAL + t]
        gx, gy, gz = (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse
        sums[origin + t] += gx
        sums[origin + ROW + t] += gy
        sums[origin + 2 * ROW + t] += gz
        sums[fast + t] += along_fast * gx
        sums[fast + ROW + t] += along_fast * gy
        sums[fast + 2 * ROW + t] += along_fast * gz
        sums[slow_row + t] += along_slow * gx
        sums[slow_row + ROW + t] += along_slow * gy
        sums[slow_row + 2 * ROW + t] += along_slow * gz
        sums[normal + t] += depth * gx
        sums[normal + ROW + t] += depth * gy
        sums[normal + 2 * ROW + t] += depth * gz


@stage
def aim_factors(scratch, sums, beam, detector, scaling, count, background):
    """Rows OMEGA and POLAR as the pixel first meets them; the derivatives of both are added to AIM and RADIAL."""
    close = CLOSE * ROW
    kahn_sum = KAHN * ROW
    inverse_close = 0.0 if detector.point_pixel else 1.0 / detector.close_distance
    power = -2.0 if detector.point_pixel else -3.0
    polar = 0.0 if beam.polarized else 1.0
    for t in range(count):
        total = scratch[TOTAL + t] + background * scratch[CAPTURED + t]
        scratch[OMEGA + t] = scratch[FACTOR + t]
        scratch[POLAR + t] = polar
        scratch[RADIAL + t] += power * total
        sums[close + t] += total * inverse_close
    if beam.polarized:
        missing = count
        for source in range(beam.wavelength.size):
            if missing > 0:
                scatter(scratch, beam, source, count, scaling.d_min_squared)
                polarise(scratch, beam, source, count)
                ix, iy, iz = beam.incident[source, 0], beam.incident[source, 1], beam.incident[source, 2]
                ex, ey, ez = beam.polar_e[source, 0], beam.polar_e[source, 1], beam.polar_e[source, 2]
                bx, by, bz = beam.polar_b[source, 0], beam.polar_b[source, 1], beam.polar_b[source, 2]
                kahn = beam.kahn
                missing = 0
                for t in range(count):
                    first = (scratch[POLAR + t] == 0.0) & (scratch[KEEP + t] > 0.0)
                    polar = scratch[TERM + t] if first else scratch[POLAR + t]
                    scratch[POLAR + t] = polar
                    x, y, z = scratch[DX + t], scratch[DY + t], scratch[DZ + t]
                    cosine = x * ix + y * iy + z * iz
                    e = x * ex + y * ey + z * ez
                    b = x * bx + y * by + z * bz
                    total = scratch[TOTAL + t] + background * scratch[CAPTURED + t]
                    share = total / polar if first & (polar != 0.0) else 0.0
                    sums[kahn_sum + t] -= 0.5 * share * (e * e - b * b)
                    scratch[AIM + t] += share * (cosine * ix - kahn * (e * ex - b * bx))
                    scratch[AIM + ROW + t] += share * (cosine * iy - kahn * (e * ey - b * by))
                    scratch[AIM + 2 * ROW + t] += share * (cosine * iz - kahn * (e * ez - b * bz))
                    missing += 1 if polar == 0.0 else 0


@stage
def finish(scratch, sums, row, scaling, directions, targets, start, count, image, jacobian):
    """Write the photons, and the derivatives as combinations of the sums."""
    scale, background = scaling.scale, scaling.background
    for t in range(count):
        scratch[TERM + t] = scratch[OMEGA + t] * scratch[POLAR + t]
        row[t] = (scale * scratch[TOTAL + t] + background * scratch[CAPTURED + t]) * scratch[TERM + t]
    store(address_of(image), row, targets, start, count)
    target = address_of(jacobian)
    for parameter in range(directions.starts.size - 1):
        by_scale, by_background = directions.scale[parameter], directions.background[parameter]
        for t in range(count):
            row[t] = by_scale * scratch[TOTAL + t] + by_background * scratch[CAPTURED + t]
        for entry in range(directions.starts[parameter], directions.starts[parameter + 1], GROUP):
            c0, c1 = scale * directions.coefficients[entry], scale * directions.coefficients[entry + 1]
            c2, c3 = scale * directions.coefficients[entry + 2], scale * directions.coefficients[entry + 3]
            # The mask shows LLVM that an offset is not negative, so that indexing needs no test.
            s0, s1 = (directions.sums[entry] & SUM_MASK) * ROW, (directions.sums[entry + 1] & SUM_MASK) * ROW
            s2, s3 = (directions.sums[entry + 2] & SUM_MASK) * ROW, (directions.sums[entry + 3] & SUM_MASK) * ROW
            for t in range(count):
                row[t] += c0 * sums[s0 + t] + c1 * sums[s1 + t] + c2 * sums[s2 + t] + c3 * sums[s3 + t]
        for t in range(count):
            row[t] *= scratch[TERM + t]
        store(target + 8 * image.size * parameter, row, targets, start, count)


@functools.cache
def jacobian_kernel(shape: int, interpolate: bool) -> Any:
    """Kernel ``(first, last, batches, detector, beam, crystal, scaling, directions, image, jacobian) -> None``.

    ``jacobian`` is flat, one image after another. It covers flat detectors without per-sub-pixel factors
    (specs/50-gradients.md, 50.12); the parameters are real.
    """
    kind = (shape, interpolate)

    @kernel
    def jacobian_pass(first, last, batches, detector, beam, crystal, scaling, directions, image, jacobian):
        scratch = scratch_rows(JACOBIAN_SCRATCH, crystal.axes)
        # Memory of their own: LLVM must see that sums and results do not overlap what they are made from.
        sums = scratch_rows(SUM_SCRATCH, crystal.axes)
        row = scratch_rows(ROW, crystal.axes)
        sub_pixels = detector.oversample * detector.oversample
        evaluations = beam.wavelength.size * crystal.step_row.size * crystal.domains
        absorbing = detector.layer_step * detector.attenuation != 0.0
        # The one place of a pixel is also where its solid angle and polarisation are taken.
        alone = sub_pixels == 1 and detector.layers == 1 and not absorbing
        ratio = scaling.background / scaling.scale if scaling.scale != 0.0 else 0.0
        for batch in range(first, last):
            start = batches.bounds[batch]
            count = batches.bounds[batch + 1] - start
            state, limit = batches.inherited[batch], batches.interpolated[batch]
            for t in range(count):
                scratch[TOTAL + t] = 0.0
                scratch[CAPTURED + t] = 0.0
            for number in range(SUMS):
                for t in range(count):
                    sums[number * ROW + t] = 0.0
            done = 0
            for layer in range(detector.layers):
                for t in range(count):
                    scratch[LAYER + t] = 0.0
                for sub in range(sub_pixels):
                    sub_slow = sub // detector.oversample
                    sub_fast = sub - sub_slow * detector.oversample
                    place_pixels(scratch, detector, batches.pixels, start, count, sub_fast, sub_slow, layer)
                    if sub == 0:
                        capture(scratch, detector, count, layer)
                    state = add_sub_pixel(
                        kind, scratch, sums, beam, crystal, scaling, directions, count, state, done, limit
                    )
                    done += evaluations
                    if not alone:
                        aim_frame(scratch, sums, detector, batches.pixels, start, count, sub_fast, sub_slow, layer)
                for t in range(count):
                    scratch[TOTAL + t] += scratch[LAYER + t]
                if absorbing:
                    place_pixels(scratch, detector, batches.pixels, start, count, 0, 0, layer)
                    aim_capture(scratch, sums, detector, count, layer, ratio)
                    aim_frame(scratch, sums, detector, batches.pixels, start, count, 0, 0, layer)
            if not alone:
                place_pixels(scratch, detector, batches.pixels, start, count, 0, 0, 0)
                forget_aim(scratch, count)
            aim_factors(scratch, sums, beam, detector, scaling, count, ratio)
            aim_frame(scratch, sums, detector, batches.pixels, start, count, 0, 0, 0)
            finish(scratch, sums, row, scaling, directions, batches.targets, start, count, image, jacobian)
        finish_writing()

    return jacobian_pass
