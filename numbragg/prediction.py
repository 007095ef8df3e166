"""Which reflections an image holds, and where on it they lie."""

import itertools
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.geometry.rotations import axis_rotation, unit
from numbragg.kernels.lattice import GAUSS_RADIUS, SPHERE_OVER_CUBE, TOPHAT_RADIUS_SQUARED
from numbragg.lowering.detector_frame import MM, corner_points, frame_of
from numbragg.lowering.orientations import RADIAN, crystal_axes, domain_rotations, phi_angles
from numbragg.lowering.rays import detector_points
from numbragg.lowering.sources import list_sources
from numbragg.models.beam import CLASSICAL_RADIUS_SQUARED
from numbragg.models.crystal import Crystal
from numbragg.models.experiment import Experiment

Array = npt.NDArray[Any]
Rotation = Literal["continuous", "steps"]

ANGSTROM = 1e-10

MOST_INDICES = 4_000_000_000
"""Indices h k l within the resolution limit that are gone through; about a minute of them."""

AT_A_TIME = 2_000_000
"""Pairs of a reflection and a source that are looked at together."""

# In units of the ellipsoid, as of specs/10-physics.md, 10.41 to 10.44.
ZERO_OF_ROUND = 4.493409457909064 / float(np.pi)
PEAK_OF_ROUND = SPHERE_OVER_CUBE**2
EDGE_OF_TOPHAT = float(np.sqrt(TOPHAT_RADIUS_SQUARED))
EDGE_OF_GAUSS = float(np.sqrt(0.5 * GAUSS_RADIUS * np.log(100.0)))
"""Where the intensity is 1 % of the peak."""

AREAS = {"square": 1.0, "round": 0.70, "gauss": 0.68, "tophat": float(np.pi)}
"""Integral of the squared lattice factor over a plane, relative to the peak, in squares of the distance to the edge."""

LEAST_RADIUS = 0.5
"""Pixels: a spot is never smaller than a pixel."""

SPREADS = 2.0
"""Root mean squares of mosaicity, divergence and dispersion that the edge of a spot lies from its centre."""


class Predictions(NamedTuple):
    """Reflections on an image, one row each, sorted by h, k, l.

    One that passes the Ewald sphere twice has two rows, and one that several panels catch has a row for each.

    Source: ``specs/55-refinement.md``, clause 55.70.
    """

    hkl: npt.NDArray[np.int64]
    """Indices, shape (B, 3)."""
    slow: npt.NDArray[np.float64]
    """Position of the centre along slow, pixels; the centre of the first pixel is 0."""
    fast: npt.NDArray[np.float64]
    """Position of the centre along fast, pixels."""
    resolution: npt.NDArray[np.float64]
    """d, angstrom."""
    phi: npt.NDArray[np.float64]
    """Spindle angle, degrees, at which it is on the Ewald sphere or, of those that are simulated, nearest to it."""
    excitation: npt.NDArray[np.float64]
    """Distance of the lattice point from the Ewald sphere of the mean source at that phi, 1/angstrom; outside is +."""
    fraction: npt.NDArray[np.float64]
    """Mean lattice factor squared over sources and orientations, relative to its peak; 0 to 1."""
    radius: npt.NDArray[np.float64]
    """Expected distance from the centre to the edge of the spot, pixels."""
    amplitude: npt.NDArray[np.float64]
    """|F|, electrons: of the table, or the default."""
    peak: npt.NDArray[np.float64]
    """Rough number of photons expected in the brightest pixel; of a "continuous" rotation, if phi stood still there."""
    panel: npt.NDArray[np.int64]
    """Number of the panel; 0 where there is one."""

    def only(self, kept: npt.NDArray[np.bool_]) -> "Predictions":
        """The rows where ``kept``, shape (B,), is True."""
        return Predictions._make(column[kept] for column in self)


class _Lattice(NamedTuple):
    """What a lattice point of the crystal looks like in reciprocal space: an ellipsoid."""

    reciprocal: Array  # a*, b*, c* (rows), 1/angstrom, in the laboratory at phi = 0
    spread: Array  # (3, 3), 1/angstrom^2; the ellipsoid is x . inverse(spread) . x = 1
    reach: float  # ellipsoids out to which light is expected
    sharpness: float  # intensity at u ellipsoids is about exp(-sharpness u^2)
    tail: float  # and, where that is more, beyond the first zero tail / u^4
    edge: float  # 1/angstrom: longest half axis of what a spot shows
    radius: float  # 1/angstrom: the same, of where light is expected
    peak: float  # squared lattice factor
    area: float  # integral over a plane through the middle, in squares of the edge


class _Light(NamedTuple):
    """The sources, and what turns in their beams."""

    incident: Array  # (S, 3) unit vectors
    wavelength: Array  # (S,) angstrom
    weight: Array  # (S,), sum 1
    mean_incident: Array  # (3,) unit vector
    mean_wavelength: float
    spindle: Array  # (3,) unit vector
    domains: Array  # (M, 3, 3)


class _Beams(NamedTuple):
    """What makes up the spots: diffracted beams of one lattice point, source, domain and phi each."""

    point: Array  # (n,) number of the candidate
    entering: Array  # (n,) whether the point enters the Ewald sphere as phi grows
    phi: Array  # (n,) radians
    ray: Array  # (n, 3) along the beam, in the laboratory
    weight: Array  # (n,) share of its source, domain and step, times the lattice factor relative to its peak


def predict_reflections(
    experiment: Experiment, *, d_min: float | None = None, rotation: Rotation = "continuous", reach: float = 1.0
) -> Predictions:
    """Predict the reflections of an image.

    Parameters
    ----------
    experiment
        All parameters real. Region of interest and mask do not matter.
    d_min
        Resolution limit, angstrom; None takes that of the experiment, or whatever the detector covers.
    rotation
        Of an image with several phi steps: "continuous" takes every phi between the first and the last step, as a real
        crystal does, "steps" these steps only, as the simulation does.
    reach
        Width of the lattice points: 1 reaches to the first zero of the lattice factor of SQUARE and ROUND, to 1 % of
        the peak of GAUSS and to the edge of TOPHAT.

    Returns
    -------
    Predictions
        Reflections whose centre lies on the detector, with an amplitude other than 0. Without any, arrays of length 0.

    Raises
    ------
    NumbraggError
        A number out of range, a complex parameter, or too many reflections within the resolution limit.

    Notes
    -----
    Source: ``specs/55-refinement.md``, clauses 55.70 to 55.76.

    Examples
    --------
    >>> import numbragg
    >>> crystal = numbragg.Crystal(cell=(100, 100, 100, 90, 90, 90), n_cells=(5, 5, 5), default_f=100.0)
    >>> spots = numbragg.predict_reflections(numbragg.Experiment(crystal=crystal))
    >>> spots.hkl.shape[1]
    3
    """
    _check(experiment, d_min, rotation, reach)
    lattice, light = _lattice(experiment.crystal, reach), _light(experiment)
    phi = phi_angles(experiment.scan)
    limit = _resolution_limit(experiment, light, d_min)
    hkl, amplitude = _candidates(experiment, lattice, light, phi, limit)
    points = hkl @ lattice.reciprocal
    if rotation == "continuous" and np.ptp(phi) > 0:
        found = _beams_at_crossings(lattice, light, points, phi)
    else:
        found = _beams_at_steps(lattice, light, points, _distinct(phi, lattice.edge * limit))
    nothing = _Beams(np.empty(0, int), np.empty(0, bool), np.empty(0), np.empty((0, 3)), np.empty(0))
    beams = _Beams(*map(np.concatenate, zip(nothing, *found, strict=True)))
    on_panels = [_assemble(one, lattice, light, hkl, amplitude, beams) for one in experiment.by_panel()]
    return on_panels[0] if len(on_panels) == 1 else _joined(on_panels)


def _check(experiment: Experiment, d_min: float | None, rotation: str, reach: float) -> None:
    if rotation not in ("continuous", "steps"):
        raise NumbraggError(f"prediction: rotation must be continuous or steps, not {rotation}")
    if d_min is not None and not (np.isfinite(d_min) and d_min > 0):
        raise NumbraggError(f"prediction: d_min must be above zero, not {d_min:g}")
    if not (np.isfinite(reach) and reach > 0):
        raise NumbraggError(f"prediction: reach must be above zero, not {reach:g}")
    if any(np.iscomplexobj(parameter.value) for parameter in experiment.parameters.values()):
        raise NumbraggError("prediction: every parameter must be a real number")


def _lattice(crystal: Crystal, reach: float) -> _Lattice:
    axes = crystal_axes(crystal)
    cells = np.asarray(crystal.n_cells, dtype=float)
    if crystal.shape in ("square", "round"):
        spread = np.linalg.inv((cells[:, None] * axes).T @ (cells[:, None] * axes))
    else:
        spread = np.eye(3) / np.prod(cells) ** 2
    if crystal.shape != "square":
        spread = spread / crystal.fudge
    # Series of the squared lattice factors at the lattice point (specs/10-physics.md, 10.41 to 10.44).
    sharpness = {"square": np.pi**2 / 3.0, "round": np.pi**2 / 5.0, "gauss": 2.0 / GAUSS_RADIUS, "tophat": 0.0}
    edge = {"square": 1.0, "round": ZERO_OF_ROUND, "gauss": EDGE_OF_GAUSS, "tophat": EDGE_OF_TOPHAT}
    longest = edge[crystal.shape] * float(np.sqrt(np.linalg.eigvalsh(spread)[-1]))
    return _Lattice(
        reciprocal=np.linalg.inv(axes).T,
        spread=spread,
        reach=reach * edge[crystal.shape],
        sharpness=sharpness[crystal.shape],
        # The envelope of the fringes; those of SQUARE lie along the axes, where no ellipsoid follows them.
        tail=9.0 / np.pi**4 if crystal.shape == "round" else 0.0,
        edge=longest,
        radius=reach * longest,
        peak=float(np.prod(cells)) ** 2 * (PEAK_OF_ROUND if crystal.shape == "round" else 1.0),
        area=AREAS[crystal.shape],
    )


def _light(experiment: Experiment) -> _Light:
    quirks, scan = experiment.quirks, experiment.scan
    sources = list_sources(experiment.beam, ignore_weights=quirks.q06_weights_ignored)
    spindle, phi = unit(scan.spindle_axis), phi_angles(scan)
    # Spreads about the crystal's own axes turn with it, but hardly within one image.
    middle = axis_rotation(spindle, 0.5 * (phi.min() + phi.max()))
    rounded = quirks.q28_single_precision_mosaic
    lit = sources.weight > 0
    incident, wavelength = sources.incident[lit], sources.wavelength[lit] / ANGSTROM
    weight = sources.weight[lit] / sources.weight.sum()
    return _Light(
        incident=incident,
        wavelength=wavelength,
        weight=weight,
        mean_incident=unit(weight @ incident),
        mean_wavelength=float(weight @ wavelength),
        spindle=spindle,
        domains=domain_rotations(experiment.crystal, turn=middle, single_precision=rounded),
    )


def _resolution_limit(experiment: Experiment, light: _Light, d_min: float | None) -> float:
    """Smallest d, angstrom: as asked for, as simulated, and as the corners of the detector allow."""
    detector = experiment.detector
    edges = corner_points(detector, frame_of(experiment))
    cosine = float((unit(edges) @ light.incident.T).min())
    # Beyond 90 degrees the corners need not be the farthest points, nor on a bent detector.
    if cosine < 0 or detector.curved:
        cosine = -1.0
    covered = float(light.wavelength.min()) / np.sqrt(2.0 - 2.0 * cosine) if cosine < 1 else np.inf
    return max(float(covered), float(experiment.d_min), d_min or 0.0)


def _candidates(
    experiment: Experiment, lattice: _Lattice, light: _Light, phi: Array, limit: float
) -> tuple[Array, Array]:
    """Indices, (n, 3), of lattice points within the limit that may come near the sphere, and their amplitudes."""
    crystal = experiment.crystal
    reach = np.floor(np.linalg.norm(np.linalg.inv(lattice.reciprocal), axis=0) / limit).astype(int)
    low, high = -reach, reach
    table = crystal.structure_factors
    if table is not None and crystal.default_f == 0:
        low, high = np.maximum(low, table.minimum), np.minimum(high, table.maximum)
    elif table is None and crystal.default_f == 0:
        high = low - 1
    counts = np.maximum(high - low + 1, 0)
    if np.prod(counts.astype(float)) > MOST_INDICES:
        raise NumbraggError(
            f"prediction: {np.prod(counts.astype(float)):.0f} reflections lie within {limit:g} A: give a larger d_min"
        )
    middle = axis_rotation(unit(experiment.scan.spindle_axis), 0.5 * (phi.min() + phi.max()))
    towards = lattice.reciprocal @ (middle.T @ light.mean_incident)
    metric = lattice.reciprocal @ lattice.reciprocal.T
    seen = np.einsum("mji,sj->msi", light.domains, light.incident) - light.mean_incident
    turned = np.linalg.norm(seen, axis=-1).max() + 0.5 * np.ptp(phi)
    bandwidth = 0.5 * np.abs(light.wavelength - light.mean_wavelength).max()
    size = lattice.radius * (1.0 + lattice.radius * light.wavelength.max())
    k, l = np.meshgrid(np.arange(low[1], high[1] + 1), np.arange(low[2], high[2] + 1), indexing="ij")
    kept = []
    for h in range(low[0], high[0] + 1):
        square = metric[0, 0] * h * h + metric[1, 1] * k * k + metric[2, 2] * l * l
        square = square + 2.0 * (metric[0, 1] * h * k + metric[0, 2] * h * l + metric[1, 2] * k * l)
        error = towards[0] * h + towards[1] * k + towards[2] * l + 0.5 * light.mean_wavelength * square
        near = np.abs(error) <= size + np.sqrt(np.abs(square)) * turned + square * bandwidth
        place = np.nonzero(near & (square * limit**2 <= 1.0) & (square > 0.0))
        kept.append(np.stack([np.full(len(place[0]), h), k[place], l[place]], axis=1))
    hkl = np.concatenate([np.empty((0, 3), dtype=np.int64), *kept])
    amplitude = _amplitudes(crystal, hkl)
    return hkl[amplitude != 0], amplitude[amplitude != 0]


def _amplitudes(crystal: Crystal, hkl: Array) -> Array:
    table, amplitude = crystal.structure_factors, np.full(len(hkl), float(crystal.default_f))
    if table is not None:
        inside = np.all((hkl >= table.minimum) & (hkl <= table.maximum), axis=1)
        amplitude[inside] = np.abs(table.values[tuple((hkl[inside] - table.minimum).T)])
    return np.asarray(np.abs(amplitude))


def _distinct(phi: Array, width: float) -> Array:
    """Leave out steps that are closer together than half the least rocking width (both in radians), but no end."""
    spacing = float(np.abs(np.diff(phi)).max()) if len(phi) > 1 else 0.0
    stride = max(1, int(width / spacing)) if spacing > 0 else len(phi)
    return np.unique(np.append(phi[::stride], phi[-1]))


def _beams_at_steps(lattice: _Lattice, light: _Light, points: Array, phi: Array) -> Iterator[_Beams]:
    """Beams of lattice points that are near enough to the Ewald sphere at one of the phi steps."""
    largest, share = _largest_error(lattice, light), light.weight / (len(light.domains) * len(phi))
    for first, some, square in _chunks(points, len(light.weight)):
        detuning = 0.5 * square[:, None] * light.wavelength
        for angle, domain in itertools.product(phi, light.domains):
            turn = domain @ axis_rotation(light.spindle, angle)
            seen = light.incident @ turn
            point, source = np.nonzero(np.abs(some @ seen.T + detuning) <= largest)
            kept, densest, strength = _scattered(lattice, some[point], seen[source], light.wavelength[source])
            point, source = point[kept], source[kept]
            # Without a rotation there is no way to go.
            moving = np.cross(light.spindle, some[point]) * (np.ptp(phi) > 0)
            entering = np.sum(seen[source] * moving, axis=1) > 0
            yield _Beams(
                point + first, entering, np.full(len(point), angle), densest @ turn.T, share[source] * strength
            )


def _beams_at_crossings(lattice: _Lattice, light: _Light, points: Array, phi: Array) -> Iterator[_Beams]:
    """Beams of lattice points at the phi between the first and the last step at which they cross the Ewald sphere.

    A point that does not cross it is taken where it is nearest: at an end, or, of the blind region, in between.
    """
    first_phi, last_phi, middle = phi.min(), phi.max(), 0.5 * (phi.min() + phi.max())
    largest, spindle, share = _largest_error(lattice, light), light.spindle, light.weight / len(light.domains)
    for first, some, square in _chunks(points, len(light.weight)):
        for domain in light.domains:
            seen = light.incident @ domain
            # The error is constant + cosine cos(phi) + sine sin(phi).
            along = np.multiply.outer(some @ spindle, seen @ spindle)
            constant = along + 0.5 * square[:, None] * light.wavelength
            cosine, sine = some @ seen.T - along, np.cross(spindle, some) @ seen.T
            size = np.maximum(np.hypot(cosine, sine), np.finfo(float).tiny)
            top, opening = np.arctan2(sine, cosine), np.arccos(np.clip(-constant / size, -1.0, 1.0))
            for entering in (False, True):
                angle = top - opening if entering else top + opening
                angle = angle - 2.0 * np.pi * np.round((angle - middle) / (2.0 * np.pi))
                angle = np.clip(angle, first_phi, last_phi)
                error = constant + cosine * np.cos(angle) + sine * np.sin(angle)
                slope = sine * np.cos(angle) - cosine * np.sin(angle)
                right_way = slope >= 0 if entering else slope < 0
                point, source = np.nonzero((np.abs(error) <= largest) & right_way)
                at = angle[point, source]
                incident = _turned(seen[source], spindle, -at)
                kept, densest, strength = _scattered(lattice, some[point], incident, light.wavelength[source])
                point, source, at = point[kept], source[kept], at[kept]
                ray = _turned(densest, spindle, at) @ domain.T
                yield _Beams(point + first, np.full(len(at), entering), at, ray, share[source] * strength)


def _largest_error(lattice: _Lattice, light: _Light) -> float:
    """Largest |i.x + lambda x^2/2| of a lattice point within the radius of the sphere, 1/angstrom."""
    return lattice.radius * (1.0 + 0.5 * lattice.radius * float(light.wavelength.max()))


def _chunks(points: Array, sources: int) -> Iterator[tuple[int, Array, Array]]:
    """Some points at a time, with the number of the first and the squares of their lengths."""
    length = max(1, AT_A_TIME // sources)
    for first in range(0, len(points), length):
        some = points[first : first + length]
        yield first, some, np.sum(some * some, axis=1)


def _scattered(lattice: _Lattice, points: Array, incident: Array, wavelength: Array) -> tuple[Array, Array, Array]:
    """Which lattice points reach the Ewald sphere; of these, the beams and their strengths relative to the peak.

    A point off the sphere scatters from where its ellipsoid is densest on the sphere (which is flat over so small a
    distance): at -error * spread.s / (s.spread.s) from the lattice point, s along the beam.
    """
    beam = incident / wavelength[:, None] + points
    length = np.sqrt(np.einsum("ni,ni->n", beam, beam))
    error = length - 1.0 / wavelength
    leaning = (beam @ lattice.spread) / length[:, None]
    width = np.einsum("ni,ni->n", leaning, beam) / length
    squared = error**2 / width
    kept = squared <= lattice.reach**2
    densest = beam[kept] - (error[kept] / width[kept])[:, None] * leaning[kept]
    squared = squared[kept]
    beyond = np.divide(lattice.tail, squared**2, out=np.zeros_like(squared), where=squared > ZERO_OF_ROUND**2)
    return kept, densest, np.maximum(np.exp(-lattice.sharpness * squared), beyond)


def _turned(vectors: Array, axis: Array, angles: Array) -> Array:
    """Rotate each of the vectors about an axis by an angle of its own."""
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    along = np.multiply.outer(vectors @ axis, axis)
    return np.asarray(cosine * (vectors - along) + sine * np.cross(axis, vectors) + along)


def _joined(on_panels: list[Predictions]) -> Predictions:
    """The reflections on all panels, in order."""
    together = Predictions._make(np.concatenate(columns) for columns in zip(*on_panels, strict=True))
    panel = np.repeat(np.arange(len(on_panels)), [len(one.hkl) for one in on_panels])
    order = np.lexsort((panel, together.phi, *together.hkl.T[::-1]))
    return Predictions._make(column[order] for column in together._replace(panel=panel))


def _assemble(
    experiment: Experiment, lattice: _Lattice, light: _Light, hkl: Array, amplitude: Array, beams: _Beams
) -> Predictions:
    """Gather beams into spots."""
    slow, fast = detector_points(experiment, beams.ray)
    met = np.isfinite(slow) & np.isfinite(fast)
    spots, spot = np.unique(2 * beams.point[met] + beams.entering[met], return_inverse=True)
    weight = beams.weight[met]
    total = np.bincount(spot, weight, minlength=len(spots))

    def mean(values: Array) -> Array:
        return np.bincount(spot, weight * values, minlength=len(spots)) / total

    centre_slow, centre_fast, phi = mean(slow[met]), mean(fast[met]), mean(beams.phi[met])
    variance = mean((slow[met] - centre_slow[spot]) ** 2 + (fast[met] - centre_fast[spot]) ** 2)
    n_slow, n_fast = experiment.detector.panel_shape
    inside = (centre_slow >= -0.5) & (centre_slow <= n_slow - 0.5) & (centre_fast >= -0.5)
    inside &= centre_fast <= n_fast - 0.5
    point = spots[inside] // 2
    centre_slow, centre_fast, phi = centre_slow[inside], centre_fast[inside], phi[inside]
    vectors = _turned(hkl[point] @ lattice.reciprocal, light.spindle, phi)
    incident = light.mean_incident / light.mean_wavelength
    pixels, solid_angle = _scale(experiment, centre_slow, centre_fast)
    edge = lattice.edge * light.mean_wavelength * pixels
    area = lattice.area * edge**2
    photons = CLASSICAL_RADIUS_SQUARED * experiment.beam.fluence * solid_angle * lattice.peak
    return Predictions(
        hkl=hkl[point],
        slow=centre_slow,
        fast=centre_fast,
        resolution=1.0 / np.linalg.norm(vectors, axis=1),
        phi=phi * RADIAN,
        excitation=np.linalg.norm(incident + vectors, axis=1) - 1.0 / light.mean_wavelength,
        fraction=np.asarray(total[inside], dtype=np.float64),
        radius=np.maximum(LEAST_RADIUS, np.sqrt(edge**2 + SPREADS**2 * variance[inside])),
        amplitude=amplitude[point],
        panel=np.zeros(len(point), dtype=np.int64),
        # The photons of the spot over what it covers, a pixel at least.
        peak=photons * amplitude[point] ** 2 * total[inside] * area / (1.0 + area + 2.0 * np.pi * variance[inside]),
    )


def _scale(experiment: Experiment, slow: Array, fast: Array) -> tuple[Array, Array]:
    """Pixels, along its steepest direction, of a radian of the diffracted beam, and solid angle of a pixel there."""
    frame, pixel = frame_of(experiment), experiment.detector.pixel_size * MM
    along_fast, along_slow = (
        np.multiply.outer((x + 0.5) * pixel, v) for x, v in ((fast, frame.fast), (slow, frame.slow))
    )
    distance = np.linalg.norm(frame.origin + along_fast + along_slow, axis=1)
    height = abs(float(frame.close_distance))
    return distance**2 / (pixel * height), pixel**2 * height / distance**3
