"""Where a batch's pixels are and how much each of them sees: one row of scratch a quantity, all pixels in a row.

The scratch of a batch is one flat array; row ``R`` of pixel ``t`` is ``scratch[R * ROW + t]``. These stages are pasted
into the kernel by Numba (``inline="always"``), so that LLVM sees scratch that never leaves the function.
"""

import math

import numba
import numpy as np

from numbragg.kernels._jit import TILE, exponential, scatter_to, stream

stage = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"}, inline="always")

ROW = TILE + 8
"""Distance between rows: not a power of two, so that the rows of one pixel do not compete for one set of the cache."""

DX, DY, DZ = 0, ROW, 2 * ROW  # unit vector from the sample to the sub-pixel
QX, QY, QZ = 3 * ROW, 4 * ROW, 5 * ROW  # scattering vector, 1/m
SUM, LAYER, TOTAL = 6 * ROW, 7 * ROW, 8 * ROW  # sums over one source, one layer, the pixel
KEEP = 9 * ROW  # 1, or 0 where the resolution limit culls the source
FACTOR, TERM = 10 * ROW, 11 * ROW  # what multiplies each term: of the sub-pixel, of the sub-pixel and source
OMEGA, POLAR = 12 * ROW, 13 * ROW  # solid angle and polarisation, as first met in the pixel
CAPTURE, CAPTURED = 14 * ROW, 15 * ROW  # fraction captured by the layer, and by all layers so far
SCRATCH = 16 * ROW


@stage
def three(values):
    """A (3,) array as a tuple of scalars."""
    return values[0], values[1], values[2]


@stage
def nine(values, first):
    """Nine numbers of a flat array as a tuple of scalars."""
    return (
        values[first], values[first + 1], values[first + 2], values[first + 3], values[first + 4],
        values[first + 5], values[first + 6], values[first + 7], values[first + 8],
    )  # fmt: skip


@stage
def place_pixels(scratch, detector, pixels, start, count, sub_fast, sub_slow, layer):
    """Diffracted directions, and the solid angle of this sub-pixel in row FACTOR."""
    frame, beam = detector.frame, detector.beam
    ox = frame[0, 0] + layer * detector.layer_step * frame[3, 0]
    oy = frame[0, 1] + layer * detector.layer_step * frame[3, 1]
    oz = frame[0, 2] + layer * detector.layer_step * frame[3, 2]
    fx, fy, fz = frame[1, 0], frame[1, 1], frame[1, 2]
    sx, sy, sz = frame[2, 0], frame[2, 1], frame[2, 2]
    bx, by, bz = beam[0], beam[1], beam[2]
    size = detector.pixel / detector.oversample
    shift_fast = (sub_fast + 0.5) * size
    shift_slow = (sub_slow + 0.5) * size
    pixel, n_fast, distance = detector.pixel, float(detector.n_fast), detector.distance
    area = pixel * pixel * detector.close_distance
    curved, point_pixel = detector.curved, detector.point_pixel
    for t in range(count):
        number = float(pixels[np.uint64(start + t)])
        slow = math.floor((number + 0.5) / n_fast)
        along_fast = (number - slow * n_fast) * pixel + shift_fast
        along_slow = slow * pixel + shift_slow
        scratch[DX + t] = ox + along_fast * fx + along_slow * sx
        scratch[DY + t] = oy + along_fast * fy + along_slow * sy
        scratch[DZ + t] = oz + along_fast * fz + along_slow * sz
    if curved:
        for t in range(count):
            about_slow = scratch[DY + t] / distance
            about_fast = scratch[DZ + t] / distance
            x, y, z = rotated(distance * bx, distance * by, distance * bz, sx, sy, sz, about_slow)
            x, y, z = rotated(x, y, z, fx, fy, fz, about_fast)
            scratch[DX + t] = x
            scratch[DY + t] = y
            scratch[DZ + t] = z
    for t in range(count):
        x, y, z = scratch[DX + t], scratch[DY + t], scratch[DZ + t]
        square = x * x + y * y + z * z
        inverse = 1.0 / np.sqrt(square)
        scratch[DX + t] = x * inverse
        scratch[DY + t] = y * inverse
        scratch[DZ + t] = z * inverse
        scratch[FACTOR + t] = (1.0 if point_pixel else area * inverse) * (inverse * inverse)


@stage
def rotated(x, y, z, ux, uy, uz, angle):
    """Rodrigues' rotation of (x, y, z) about (ux, uy, uz)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    along = (ux * x + uy * y + uz * z) * (1.0 - cosine)
    return (
        x * cosine + (uy * z - uz * y) * sine + ux * along,
        y * cosine + (uz * x - ux * z) * sine + uy * along,
        z * cosine + (ux * y - uy * x) * sine + uz * along,
    )


@stage
def capture_photons(scratch, detector, count, layer):
    """Fraction of the photons that this layer absorbs, in row CAPTURE."""
    frame = detector.frame
    nx, ny, nz = frame[3, 0], frame[3, 1], frame[3, 2]
    depth = detector.layer_step * detector.attenuation
    absorbing = depth.real != 0.0
    for t in range(count):
        scratch[CAPTURE + t] = 1.0
    if absorbing:
        for t in range(count):
            path = depth / (scratch[DX + t] * nx + scratch[DY + t] * ny + scratch[DZ + t] * nz)
            scratch[CAPTURE + t] = exponential(-layer * path) - exponential(-(layer + 1) * path)


@stage
def scatter(scratch, beam, source, count, d_min_squared):
    """Scattering vectors, row KEEP, and how many pixels the source reaches."""
    ix, iy, iz = beam.incident[source, 0], beam.incident[source, 1], beam.incident[source, 2]
    inverse = 1.0 / beam.wavelength[source]
    kept = 0
    for t in range(count):
        x = (scratch[DX + t] - ix) * inverse
        y = (scratch[DY + t] - iy) * inverse
        z = (scratch[DZ + t] - iz) * inverse
        scratch[QX + t] = x
        scratch[QY + t] = y
        scratch[QZ + t] = z
        square = x.real * x.real + y.real * y.real + z.real * z.real
        keep = 0 if square * d_min_squared > 1.0 else 1
        scratch[KEEP + t] = keep
        kept += keep
    return kept


@stage
def polarise(scratch, beam, source, count):
    """Kahn's polarisation factor of one source, in row TERM."""
    ix, iy, iz = beam.incident[source, 0], beam.incident[source, 1], beam.incident[source, 2]
    ex, ey, ez = beam.polar_e[source, 0], beam.polar_e[source, 1], beam.polar_e[source, 2]
    bx, by, bz = beam.polar_b[source, 0], beam.polar_b[source, 1], beam.polar_b[source, 2]
    kahn = beam.kahn
    for t in range(count):
        x, y, z = scratch[DX + t], scratch[DY + t], scratch[DZ + t]
        cosine = x * ix + y * iy + z * iz
        e = x * ex + y * ey + z * ez
        b = x * bx + y * by + z * bz
        # cos(2 psi) sin^2(2 theta) is e^2 - b^2, since e and b are the parts of a unit vector across the beam.
        scratch[TERM + t] = 0.5 * (1.0 + cosine * cosine - kahn * (e * e - b * b))


@stage
def begin_pixels(scratch, beam, scaling, count):
    """Start the sums of a batch."""
    polar = 0.0 if beam.polarized else 1.0
    for t in range(count):
        scratch[LAYER + t] = scaling.initial
        scratch[TOTAL + t] = 0.0
        scratch[POLAR + t] = polar
        scratch[CAPTURED + t] = 0.0


@stage
def weigh_sub_pixel(scratch, detector, scaling, count, layer, sub):
    """Turn row FACTOR from the solid angle into what multiplies each term of this sub-pixel."""
    if sub == 0 or scaling.oversample_thick:
        capture_photons(scratch, detector, count, layer)
    if sub == 0:
        for t in range(count):
            scratch[CAPTURED + t] += scratch[CAPTURE + t]
    if sub == 0 and layer == 0:
        for t in range(count):
            scratch[OMEGA + t] = scratch[FACTOR + t]
    omega, thick = scaling.oversample_omega, scaling.oversample_thick
    for t in range(count):
        factor = scratch[FACTOR + t] if omega else 1.0 + 0.0 * scratch[FACTOR + t]
        scratch[FACTOR + t] = factor * scratch[CAPTURE + t] if thick else factor


@stage
def weigh_terms(scratch, beam, scaling, source, count):
    """Fill row TERM, and row POLAR for the pixels that meet their first source."""
    if not beam.polarized:
        for t in range(count):
            scratch[TERM + t] = scratch[FACTOR + t]
        return
    polarise(scratch, beam, source, count)
    each = scaling.oversample_polar
    for t in range(count):
        polar, first = scratch[TERM + t], scratch[POLAR + t]
        scratch[POLAR + t] = polar if (first.real == 0.0) & (scratch[KEEP + t].real > 0.0) else first
        scratch[TERM + t] = scratch[FACTOR + t] * polar if each else scratch[FACTOR + t]


@stage
def end_layer(scratch, scaling, count):
    """Move the sum of a layer to the pixel's, with what the layer captures."""
    thick = scaling.oversample_thick
    for t in range(count):
        capture = 1.0 + 0.0 * scratch[CAPTURE + t] if thick else scratch[CAPTURE + t]
        scratch[TOTAL + t] += scratch[LAYER + t] * capture
        scratch[LAYER + t] = 0.0


@stage
def end_pixels(scratch, scaling, count):
    """Turn the sums into photons."""
    scale, background = scaling.scale, scaling.background
    omega, polar = scaling.oversample_omega, scaling.oversample_polar
    for t in range(count):
        total = scratch[TOTAL + t] * scale
        total = total if omega else total * scratch[OMEGA + t]
        total = total if polar else total * scratch[POLAR + t]
        scratch[TOTAL + t] = total + background * (scratch[OMEGA + t] * scratch[POLAR + t] * scratch[CAPTURED + t])


@stage
def store(target, row, targets, start, count):
    """Put a row of results in place; pixels that lie side by side, as in a whole image, are copied as a block.

    ``target`` is an address. Targets rise from one to the next, so the first and the last tell whether there are gaps.
    """
    first = targets[start]
    if targets[start + count - 1] - first == count - 1:
        stream(target + 8 * first, row, count)
    else:
        scatter_to(target, row, targets, start, count)
