"""The physics of specs/10-physics.md as an obvious scalar program: the oracle and the yardstick of the kernel.

``prepare`` derives everything from the models by textbook formulas, without numbragg's geometry or lowering (only the
random draws of the mosaic domains are shared). ``naive_forward`` is the plain compiled loop over pixels that the kernel
is timed against; ``naive_sequential`` walks the pixels in raster order and carries what nanoBragg.c carries.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np

from numbragg.geometry.mosaic import mosaic_draws
from numbragg.models.beam import Beam
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment, Scan

SHAPES = ("square", "round", "gauss", "tophat")
SQUARE, ROUND, GAUSS, TOPHAT = range(4)

CLASSICAL_RADIUS_SQUARED = 7.94079248018965e-30
AVOGADRO = 6.02214179e23
RTD = 180.0 * (1.0 / math.pi)

scalar = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
parallel = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"}, parallel=True)


class NaiveParams(NamedTuple):
    """One flat list of numbers and arrays; metres and radians."""

    origin: Any  # (3,) corner of the first pixel
    fast: Any
    slow: Any
    normal: Any
    beam: Any
    distance: float
    close_distance: float
    pixel: float
    oversample: int
    layers: int
    layer_step: float
    mu: float  # 1/m, 0 captures everything
    curved: bool
    point_pixel: bool
    incident: Any  # (S, 3)
    wavelength: Any  # (S,)
    weight: Any  # (S,)
    polar_axis: Any  # (3,)
    kahn: float
    polarized: bool
    phi: Any  # (P,)
    unrotated: Any  # (3, 3) rows a, b, c
    turned: Any  # (P, 3, 3) turned by phi
    domains: Any  # (M, 3, 3) rotation matrices
    axes: Any  # (P, M, 3, 3) turned by phi, then by the domain
    cells: Any  # (3,)
    shape: int
    fudge: float
    reciprocal: Any  # (3, 3) rows a*, b*, c*, 1/angstrom
    table: Any  # (nh, nk, nl) F
    lowest: Any  # (3,) int
    default_f: float
    interpolate: bool
    photons: float  # r_e^2 * fluence
    steps: int
    water: float
    d_min: float
    oversample_omega: bool
    oversample_polar: bool
    oversample_thick: bool


class Defects(NamedTuple):
    """Which defects of nanoBragg.c ``naive_sequential`` has (specs/40-compat.md)."""

    carryover: bool  # Q01
    running: bool  # Q02
    last_layer: bool  # Q03
    water_in_sum: bool  # Q05
    stops: bool  # Q12


# Geometry, from the definitions in specs/10-physics.md.


def unit(vector):
    return np.asarray(vector, dtype=float) / math.sqrt(float(np.dot(vector, vector)))


def rotate(vector, axis, angle):
    """Rodrigues' formula in vectors."""
    along = np.dot(axis, vector) * np.asarray(axis)
    return (
        math.cos(angle) * np.asarray(vector) + math.sin(angle) * np.cross(axis, vector) + (1 - math.cos(angle)) * along
    )


def rotate_xyz(vector, degrees):
    for axis, angle in zip(np.eye(3), degrees, strict=True):
        vector = rotate(vector, axis, angle / RTD)
    return vector


def cell_vectors(crystal: Crystal):
    """Direct vectors (rows, angstrom) and reciprocal ones (rows, 1/angstrom), in the laboratory at phi = 0."""
    a, b, c = crystal.cell[:3]
    cos_a, cos_b, cos_g = (math.cos(angle / RTD) for angle in crystal.cell[3:])
    sin_a, sin_b, sin_g = (math.sin(angle / RTD) for angle in crystal.cell[3:])
    volume = a * b * c * math.sqrt(1 - cos_a**2 - cos_b**2 - cos_g**2 + 2 * cos_a * cos_b * cos_g)
    a_star, b_star, c_star = b * c * sin_a / volume, c * a * sin_b / volume, a * b * sin_g / volume
    cos_b_star = (cos_a * cos_g - cos_b) / (sin_a * sin_g)
    cos_g_star = (cos_a * cos_b - cos_g) / (sin_a * sin_b)
    cos_a_star = (cos_b * cos_g - cos_a) / (sin_b * sin_g)
    sin_g_star = math.sqrt(1 - cos_g_star**2)
    c_y = (cos_a_star - cos_b_star * cos_g_star) / sin_g_star
    stars = np.array(
        [
            [a_star, 0.0, 0.0],
            [b_star * cos_g_star, b_star * sin_g_star, 0.0],
            [c_star * cos_b_star, c_star * c_y, c_star * math.sqrt(1 - cos_b_star**2 - c_y**2)],
        ]
    )
    stars = np.array([rotate_xyz(crystal.orientation @ star, crystal.misset) for star in stars])
    direct = volume * np.array([np.cross(stars[i - 2], stars[i - 1]) for i in range(3)])
    given = crystal.reciprocal_volume or volume
    return direct, np.array([np.cross(direct[i - 2], direct[i - 1]) for i in range(3)]) / given


def domain_matrices(crystal: Crystal, single_precision: bool):
    if crystal.mosaic_spread == 0:
        return np.eye(3)[None]
    axes, weights = mosaic_draws(crystal.mosaic_domains, crystal.mosaic_seed)
    spread = crystal.mosaic_spread / RTD
    angles = np.float32(spread) * np.float32(weights) if single_precision else spread * weights
    turns = zip(axes, angles, strict=True)
    return np.array([[rotate(e, axis, angle) for e in np.eye(3)] for axis, angle in turns]).transpose(0, 2, 1)


def phi_steps(scan: Scan):
    return scan.start / RTD + np.arange(scan.sampling.count) * (scan.sampling.spacing / RTD)


def place_detector(detector: Detector, beam_direction, *, scaled_axis: bool):
    """Origin, fast, slow, normal, distance, close distance; metres."""
    beam = unit(beam_direction)
    twotheta_axis = detector.twotheta_axis if scaled_axis else unit(detector.twotheta_axis)

    def turn(vector):
        vector = rotate_xyz(vector, (detector.rot_x, detector.rot_y, detector.rot_z))
        return rotate(vector, twotheta_axis, detector.twotheta / RTD)

    ratio = np.dot(beam, rotate_xyz(detector.normal, (detector.rot_x, detector.rot_y, detector.rot_z)))
    close = abs(ratio * detector.distance) * 1e-3
    fast, slow, normal = turn(detector.fast_axis), turn(detector.slow_axis), turn(detector.normal)
    f, s = detector.beam_fast * 1e-3, detector.beam_slow * 1e-3
    if detector.origin is not None:
        origin = np.asarray(detector.origin, dtype=float)
    elif detector.pivot == "sample":
        origin = turn(-f * detector.fast_axis - s * detector.slow_axis + close * detector.normal)
    else:
        origin = -f * fast - s * slow + close / ratio * beam
    close = float(np.dot(origin, normal))
    return origin, fast, slow, normal, close / float(ratio), close


def tics(sampling):
    return [tic * sampling.spacing - sampling.range / 2 for tic in range(sampling.count)]


def outside_circle(angles, samplings):
    total = 0.0
    for angle, sampling in zip(angles, samplings, strict=True):
        if sampling.range == 0:
            return False  # 0/0 in the reference: the comparison is false
        total += (angle**2 - sampling.spacing**2 / 4 * (1 - sampling.count % 2)) / sampling.range**2
    return 4 * total > 1.1


def list_sources(beam: Beam, *, ignore_weights: bool):
    """Incident directions, wavelengths (m) and weights."""
    if beam.sources is not None:
        table = beam.sources
        count = len(table.weights)
        angstroms = [beam.wavelength] * count if table.wavelengths is None else table.wavelengths
        weights = np.ones(count) if ignore_weights else np.array(table.weights) * count / sum(table.weights)
        return np.array([-unit(p) for p in table.positions]), np.array(angstroms) * 1e-10, weights
    b, p = unit(beam.direction), unit(beam.polarization_axis)
    vertical = unit(np.cross(b, p))
    samplings = beam.divergence_horizontal, beam.divergence_vertical
    incident, wavelengths = [], []
    for h in tics(samplings[0]):
        for v in tics(samplings[1]):
            if beam.round_divergence and outside_circle((h, v), samplings):
                continue
            position = rotate(rotate(-10.0 * b, p, v * 1e-3), vertical, h * 1e-3)
            for offset in tics(beam.dispersion):
                incident.append(-unit(position))
                wavelengths.append(beam.wavelength * 1e-10 * (1 + offset / 100))
    return np.array(incident), np.array(wavelengths), np.ones(len(incident))


def prepare(experiment: Experiment) -> NaiveParams:
    """Everything that ``naive_forward`` is given but the image."""
    crystal, beam, detector, quirks = experiment.crystal, experiment.beam, experiment.detector, experiment.quirks
    frame = place_detector(detector, beam.direction, scaled_axis=quirks.q25_twotheta_axis_length)
    incident, wavelength, weight = list_sources(beam, ignore_weights=quirks.q06_weights_ignored)
    direct, reciprocal = cell_vectors(crystal)
    phi, spindle = phi_steps(experiment.scan), unit(experiment.scan.spindle_axis)
    domains = domain_matrices(crystal, quirks.q28_single_precision_mosaic)
    turned = np.array([[rotate(axis, spindle, angle) for axis in direct] for angle in phi]) * 1e-10
    oversample = experiment.oversample
    if oversample is None:
        width = max(n * edge for n, edge in zip(crystal.n_cells, crystal.cell[:3], strict=True)) * 1e-10
        fringe = beam.wavelength * 1e-10 * abs(frame[4]) / (detector.pixel_size * 1e-3)
        oversample = max(1, math.ceil(3 * width / fringe))
    absorbs = detector.thickness > 0 and detector.attenuation_depth is not None
    thickness = detector.thickness / detector.layers if detector.layer_step is None else detector.layer_step
    factors = crystal.structure_factors
    photons = CLASSICAL_RADIUS_SQUARED * beam.fluence
    return NaiveParams(
        *frame[:4],
        beam=unit(beam.direction),
        distance=frame[4],
        close_distance=frame[5],
        pixel=detector.pixel_size * 1e-3,
        oversample=oversample,
        layers=detector.layers if absorbs else 1,
        layer_step=thickness * 1e-6 if absorbs else 0.0,
        mu=1e6 / detector.attenuation_depth if absorbs else 0.0,
        curved=detector.curved,
        point_pixel=detector.point_pixel,
        incident=incident,
        wavelength=wavelength,
        weight=weight,
        polar_axis=unit(beam.polarization_axis),
        kahn=0.0 if beam.polarization is None else float(beam.polarization),
        polarized=beam.polarization is not None,
        phi=phi,
        unrotated=direct * 1e-10,
        turned=turned,
        domains=domains,
        axes=np.ascontiguousarray(np.einsum("pvi,mji->pmvj", turned, domains)),
        cells=np.array(crystal.n_cells, dtype=float),
        shape=SHAPES.index(crystal.shape),
        fudge=float(crystal.fudge),
        reciprocal=reciprocal,
        table=np.zeros((0, 0, 0)) if factors is None else np.ascontiguousarray(factors.values, dtype=float),
        lowest=np.array((0, 0, 0) if factors is None else factors.minimum),
        default_f=float(crystal.default_f),
        interpolate=crystal.interpolates,
        photons=photons,
        steps=len(incident) * len(domains) * len(phi) * oversample**2,
        water=photons * 2.57**2 * (experiment.water_size * 1e-6) ** 3 * 1e6 * AVOGADRO / 18.0,
        d_min=experiment.d_min * 1e-10,
        oversample_omega=experiment.oversample_omega,
        oversample_polar=experiment.oversample_polarization,
        oversample_thick=experiment.oversample_thickness,
    )


# One evaluation.


@scalar
def grating(d, cells):
    """sin(pi N d) / sin(pi d), d from the lattice point: of h itself, pi*h would lose the last digits."""
    return cells if d == 0.0 else math.sin(math.pi * cells * d) / math.sin(math.pi * d)


@scalar
def lattice_factor(shape, da, db, dc, cells, fudge, reciprocal):
    na, nb, nc = cells[0], cells[1], cells[2]
    if shape == SQUARE:
        factor = 1.0
        if na > 1.0:
            factor *= grating(da, na)
        if nb > 1.0:
            factor *= grating(db, nb)
        if nc > 1.0:
            factor *= grating(dc, nc)
        return factor
    if shape == ROUND:
        x = math.pi * math.sqrt(fudge * ((da * na) ** 2 + (db * nb) ** 2 + (dc * nc) ** 2))
        # Near 0 the closed form cancels; two terms of its series are exact there.
        sinc3 = 1.0 - x * x / 10.0 + x**4 / 280.0 if x < 1e-2 else 3.0 * (math.sin(x) / x - math.cos(x)) / (x * x)
        return na * nb * nc * 0.723601254558268 * sinc3
    rho = 0.0
    for i in range(3):
        rho += (da * reciprocal[0, i] + db * reciprocal[1, i] + dc * reciprocal[2, i]) ** 2
    rho *= (na * nb * nc) ** 2
    if shape == GAUSS:
        return na * nb * nc * math.exp(-rho / 0.63 * fudge)
    return na * nb * nc if rho * fudge < 0.3969 else 0.0


@scalar
def nearest_amplitude(table, lowest, default_f, h0, k0, l0):
    i, j, k = int(h0) - lowest[0], int(k0) - lowest[1], int(l0) - lowest[2]
    if 0 <= i < table.shape[0] and 0 <= j < table.shape[1] and 0 <= k < table.shape[2]:
        return table[i, j, k]
    return default_f


@scalar
def leaves_table(table, lowest, h, k, l):
    """The rule of specs/10-physics.md for indices that interpolation has no four neighbours for."""
    a, b, c = lowest[0], lowest[1], lowest[2]
    return (
        h - a + 3 > table.shape[0]
        or h - 2 < a
        or k - b + 3 > table.shape[1]
        or k - 2 < b
        or l - c + 3 > table.shape[2]
        or l - 2 < c
    )


@scalar
def lagrange(node, t):
    """Weight of one of the nodes -1, 0, 1, 2 at t."""
    weight = 1.0
    for other in range(-1, 3):
        if other != node:
            weight *= (t - other) / (node - other)
    return weight


@scalar
def interpolated_amplitude(table, lowest, h, k, l):
    hf, kf, lf = math.floor(h), math.floor(k), math.floor(l)
    total = 0.0
    for i in range(-1, 3):
        for j in range(-1, 3):
            for m in range(-1, 3):
                value = table[int(hf) + i - lowest[0], int(kf) + j - lowest[1], int(lf) + m - lowest[2]]
                total += lagrange(i, h - hf) * lagrange(j, k - kf) * lagrange(m, l - lf) * value
    return total


# One sub-pixel.


@scalar
def rotated(x, y, z, axis, angle):
    c, s = math.cos(angle), math.sin(angle)
    along = (axis[0] * x + axis[1] * y + axis[2] * z) * (1.0 - c)
    return (
        x * c + (axis[1] * z - axis[2] * y) * s + axis[0] * along,
        y * c + (axis[2] * x - axis[0] * z) * s + axis[1] * along,
        z * c + (axis[0] * y - axis[1] * x) * s + axis[2] * along,
    )


@scalar
def position(p, slow, fast, sub_slow, sub_fast, layer):
    """Centre of a sub-pixel, m."""
    size = p.pixel / p.oversample
    f = size * (fast * p.oversample + sub_fast) + size / 2.0
    s = size * (slow * p.oversample + sub_slow) + size / 2.0
    o = layer * p.layer_step
    x = p.origin[0] + f * p.fast[0] + s * p.slow[0] + o * p.normal[0]
    y = p.origin[1] + f * p.fast[1] + s * p.slow[1] + o * p.normal[1]
    z = p.origin[2] + f * p.fast[2] + s * p.slow[2] + o * p.normal[2]
    if p.curved:
        angle_y, angle_z = y / p.distance, z / p.distance
        x, y, z = p.distance * p.beam[0], p.distance * p.beam[1], p.distance * p.beam[2]
        x, y, z = rotated(x, y, z, p.slow, angle_y)
        x, y, z = rotated(x, y, z, p.fast, angle_z)
    return x, y, z


@scalar
def solid_angle(p, r):
    return 1.0 / (r * r) if p.point_pixel else p.pixel * p.pixel / (r * r) * p.close_distance / r


@scalar
def capture_fraction(p, dx, dy, dz, layer):
    if p.mu == 0.0:
        return 1.0
    path = p.layer_step * p.mu / (dx * p.normal[0] + dy * p.normal[1] + dz * p.normal[2])
    return math.exp(-layer * path) - math.exp(-(layer + 1) * path)


@scalar
def cross(u, v):
    return u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]


@scalar
def normalised(v):
    length = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return v[0] / length, v[1] / length, v[2] / length


@scalar
def polarization_factor(p, source, dx, dy, dz):
    """Kahn's factor in its published form, with the angle psi."""
    if not p.polarized:
        return 1.0
    i = (p.incident[source, 0], p.incident[source, 1], p.incident[source, 2])
    b = normalised(cross((p.polar_axis[0], p.polar_axis[1], p.polar_axis[2]), i))
    e = normalised(cross(i, b))
    cos_2theta = i[0] * dx + i[1] * dy + i[2] * dz
    sin2_2theta = 1.0 - cos_2theta * cos_2theta
    psi = -math.atan2(b[0] * dx + b[1] * dy + b[2] * dz, e[0] * dx + e[1] * dy + e[2] * dz)
    return 0.5 * (1.0 + cos_2theta * cos_2theta - p.kahn * math.cos(2.0 * psi) * sin2_2theta)


@scalar
def whole(x):
    return math.ceil(x - 0.5)


# The image, every term with its own factors.


@scalar
def sweep(p, qx, qy, qz):
    """Sum of F^2 F_latt^2 over phi steps and mosaic domains."""
    total = 0.0
    axes = p.axes
    for step in range(axes.shape[0]):
        for domain in range(axes.shape[1]):
            h = axes[step, domain, 0, 0] * qx + axes[step, domain, 0, 1] * qy + axes[step, domain, 0, 2] * qz
            k = axes[step, domain, 1, 0] * qx + axes[step, domain, 1, 1] * qy + axes[step, domain, 1, 2] * qz
            l = axes[step, domain, 2, 0] * qx + axes[step, domain, 2, 1] * qy + axes[step, domain, 2, 2] * qz
            h0, k0, l0 = whole(h), whole(k), whole(l)
            lattice = lattice_factor(p.shape, h - h0, k - k0, l - l0, p.cells, p.fudge, p.reciprocal)
            if lattice == 0.0:
                continue
            if p.interpolate and not leaves_table(p.table, p.lowest, h, k, l):
                amplitude = interpolated_amplitude(p.table, p.lowest, h, k, l)
            else:
                amplitude = nearest_amplitude(p.table, p.lowest, p.default_f, h0, k0, l0)
            total += amplitude * amplitude * lattice * lattice
    return total


@scalar
def pixel_photons(p, slow, fast):
    """Photons of one pixel in ``spec``."""
    omega = polar = captured = total = 0.0
    for layer in range(p.layers):
        capture = layer_sum = 0.0
        for sub_slow in range(p.oversample):
            for sub_fast in range(p.oversample):
                x, y, z = position(p, slow, fast, sub_slow, sub_fast, layer)
                r = math.sqrt(x * x + y * y + z * z)
                dx, dy, dz = x / r, y / r, z / r
                first = sub_slow == 0 and sub_fast == 0
                if first or p.oversample_thick:
                    capture = capture_fraction(p, dx, dy, dz, layer)
                if first:
                    captured += capture
                if omega == 0.0:
                    omega = solid_angle(p, r)
                for source in range(len(p.wavelength)):
                    qx = (dx - p.incident[source, 0]) / p.wavelength[source]
                    qy = (dy - p.incident[source, 1]) / p.wavelength[source]
                    qz = (dz - p.incident[source, 2]) / p.wavelength[source]
                    stol = 0.5 * math.sqrt(qx * qx + qy * qy + qz * qz)
                    if p.d_min > 0.0 and stol > 0.0 and p.d_min > 0.5 / stol:
                        continue
                    if polar == 0.0:
                        polar = polarization_factor(p, source, dx, dy, dz)
                    term = p.weight[source] * sweep(p, qx, qy, qz)
                    if p.oversample_omega:
                        term *= solid_angle(p, r)
                    if p.oversample_polar:
                        term *= polarization_factor(p, source, dx, dy, dz)
                    if p.oversample_thick:
                        term *= capture
                    layer_sum += term
        total += layer_sum if p.oversample_thick else layer_sum * capture
    photons = p.photons * total / p.steps
    if not p.oversample_omega:
        photons *= omega
    if not p.oversample_polar:
        photons *= polar if p.polarized else 1.0
    background_polar = polar if p.polarized else 1.0
    return photons + p.water * omega * background_polar * captured


@parallel
def naive_forward(p, active, image):
    """Fill ``image`` (float64, slow x fast) where ``active`` (bool, the same shape); rows are shared out to threads."""
    for slow in numba.prange(image.shape[0]):
        for fast in range(image.shape[1]):
            if active[slow, fast]:
                image[slow, fast] = pixel_photons(p, slow, fast)


# The image, in the order and with the state of nanoBragg.c.


@scalar
def sequential_source(p, defects, qx, qy, qz, ap, interpolate, weight, factors, intensity):
    """Add phi steps and domains to the running ``intensity``; ``ap`` and ``interpolate`` are changed in place."""
    for step in range(len(p.phi)):
        if not defects.carryover or p.phi[step] != 0.0:
            for i in range(3):
                for j in range(3):
                    ap[i, j] = p.turned[step, i, j]
        for domain in range(p.domains.shape[0]):
            hkl = np.zeros(3)
            for i in range(3):
                for j, q in enumerate((qx, qy, qz)):
                    turned = 0.0
                    for m in range(3):
                        turned += p.domains[domain, j, m] * ap[i, m]
                    hkl[i] += turned * q
            h, k, l = hkl[0], hkl[1], hkl[2]
            h0, k0, l0 = whole(h), whole(k), whole(l)
            lattice = lattice_factor(p.shape, h - h0, k - k0, l - l0, p.cells, p.fudge, p.reciprocal)
            if lattice == 0.0:
                continue
            leaves = p.interpolate and leaves_table(p.table, p.lowest, h, k, l)
            if interpolate[0] and not leaves:
                amplitude = interpolated_amplitude(p.table, p.lowest, h, k, l)
            else:
                amplitude = nearest_amplitude(p.table, p.lowest, p.default_f, h0, k0, l0)
            if defects.stops and leaves:
                interpolate[0] = False
            term = amplitude * amplitude * lattice * lattice
            intensity = (intensity + term) * factors if defects.running else intensity + weight * term * factors
    return intensity


@scalar
def sequential_pixel(p, defects, slow, fast, ap, interpolate):
    omega = polar = capture = captured = total = 0.0
    intensity = p.water if defects.water_in_sum else 0.0
    for layer in range(p.layers):
        capture = 0.0
        for sub_slow in range(p.oversample):
            for sub_fast in range(p.oversample):
                x, y, z = position(p, slow, fast, sub_slow, sub_fast, layer)
                r = math.sqrt(x * x + y * y + z * z)
                dx, dy, dz = x / r, y / r, z / r
                first = sub_slow == 0 and sub_fast == 0
                if first or p.oversample_thick:
                    capture = capture_fraction(p, dx, dy, dz, layer)
                if first:
                    captured += capture
                if omega == 0.0:
                    omega = solid_angle(p, r)
                for source in range(len(p.wavelength)):
                    qx = (dx - p.incident[source, 0]) / p.wavelength[source]
                    qy = (dy - p.incident[source, 1]) / p.wavelength[source]
                    qz = (dz - p.incident[source, 2]) / p.wavelength[source]
                    stol = 0.5 * math.sqrt(qx * qx + qy * qy + qz * qz)
                    if p.d_min > 0.0 and stol > 0.0 and p.d_min > 0.5 / stol:
                        continue
                    if polar == 0.0:
                        polar = polarization_factor(p, source, dx, dy, dz)
                    factors = 1.0
                    if p.oversample_thick:
                        factors *= capture
                    if p.oversample_polar:
                        factors *= polarization_factor(p, source, dx, dy, dz)
                    if p.oversample_omega:
                        factors *= solid_angle(p, r)
                    intensity = sequential_source(
                        p, defects, qx, qy, qz, ap, interpolate, p.weight[source], factors, intensity
                    )
        if not defects.last_layer:
            total += intensity if p.oversample_thick else intensity * capture
            intensity = 0.0
    if defects.last_layer:
        total = intensity if p.oversample_thick else intensity * capture
    polar = polar if p.polarized else 1.0
    photons = p.photons * total / p.steps
    if not p.oversample_omega:
        photons *= omega
    if not p.oversample_polar:
        photons *= polar
    return photons if defects.water_in_sum else photons + p.water * omega * polar * captured


@scalar
def naive_sequential(p, defects, threads, active, image):
    """Fill ``image`` pixel by pixel, in blocks of rows that each start from the unrotated crystal."""
    rows = image.shape[0]
    interpolate = np.ones(1, np.bool_)
    interpolate[0] = p.interpolate
    start = 0
    for thread in range(threads):
        stop = start + rows // threads + (1 if thread < rows % threads else 0)
        ap = p.unrotated.copy()
        for slow in range(start, stop):
            for fast in range(image.shape[1]):
                if active[slow, fast]:
                    image[slow, fast] = sequential_pixel(p, defects, slow, fast, ap, interpolate)
        start = stop


def active_pixels(experiment: Experiment):
    active = np.ones((experiment.detector.n_slow, experiment.detector.n_fast), bool)
    if experiment.mask is not None:
        active &= experiment.mask
    if experiment.roi is not None:
        inside = np.zeros_like(active)
        inside[
            experiment.roi.slow_min : experiment.roi.slow_max + 1, experiment.roi.fast_min : experiment.roi.fast_max + 1
        ] = True
        active &= inside
    return active


def defects_of(experiment: Experiment) -> Defects:
    quirks = experiment.quirks
    return Defects(
        carryover=quirks.q01_phi_carryover,
        running=quirks.q02_running_factors,
        last_layer=quirks.q03_last_layer_capture,
        water_in_sum=quirks.q05_water_in_sum,
        stops=quirks.q12_interpolation_stops,
    )


def naive_image(experiment: Experiment, threads: int = 1):
    """Image of an experiment, float64 (slow, fast), photons. ``threads`` share the rows when there is no defect."""
    params, defects = prepare(experiment), defects_of(experiment)
    active = active_pixels(experiment)
    image = np.zeros(active.shape)
    if any(defects):
        naive_sequential(params, defects, experiment.quirks.threads, active, image)
        return image
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        naive_forward(params, active, image)
    finally:
        numba.set_num_threads(before)
    return image
