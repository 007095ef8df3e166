"""Every quantity between the flags and one pixel, computed by the functions of the kernel (specs/80-trace.md)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.kernels import pixels as stages
from numbragg.kernels._jit import nearest
from numbragg.kernels.lattice import gauss_factor, round_factor, square_factor, tophat_factor
from numbragg.kernels.lattice_axes import grating, round_sign
from numbragg.kernels.params import GAUSS, NO_STEP, ROUND, SQUARE, BatchParams
from numbragg.kernels.structure_factors import can_interpolate, table_index, tricubic
from numbragg.lowering.batches import make_batches
from numbragg.lowering.lower import KernelParams, count_steps, lower
from numbragg.lowering.orientations import RADIAN, phi_angles
from numbragg.models.beam import CLASSICAL_RADIUS_SQUARED
from numbragg.models.experiment import Experiment
from numbragg.simulation import simulate_background

Trace = dict[str, Any]
Record = dict[str, Any]

ANGSTROM = 1e-10

MAX_TERMS = 100_000
"""Terms of one pixel that are recorded: about 200 MB of them."""

OF_FRAME = ("pix0_vector_meters", "fdet_vec", "sdet_vec", "odet_vec")
OF_SUB_PIXEL = ("pixel_pos_meters", "R_distance_meters", "omega_pixel_sr")
OF_DIRECTION = ("obliquity_factor", "diffracted_vec")
OF_SOURCE = ("incident_vec", "lambda_meters", "lambda_angstroms", "scattering_vec_A_inv")
OF_ORIENTATION = ("rot_a_angstroms", "rot_b_angstroms", "rot_c_angstroms")
OF_RECIPROCAL = ("rot_a_star_A_inv", "rot_b_star_A_inv", "rot_c_star_A_inv")
OF_AXES = ("F_latt_a", "F_latt_b", "F_latt_c")
OF_TERM = ("hkl_frac", "hkl_rounded", *OF_AXES, "F_latt", "F_cell")


def trace(experiment: Experiment, slow: int, fast: int) -> Trace:
    """Follow one pixel through the simulation.

    Parameters
    ----------
    experiment
        What is simulated; all parameters real. Of a detector with several panels `Experiment.of_panel` chooses one.
    slow, fast
        The pixel, counted from 0.

    Returns
    -------
    dict
        Quantities by name, in the order of the chain; names and units as specs/80-trace.md lists them. Vectors are
        lists of three floats in the laboratory frame. ``sub_pixels``, ``sources`` and ``terms`` are lists of dicts:
        one for each sub-pixel of each layer, for each source that lights it, and for each phi step and mosaic domain
        of that. What stands outside these lists belongs to the first of them. A pixel that the resolution limit culls
        has no terms and none of their quantities.

    Raises
    ------
    NumbraggError
        The pixel lies off the detector, outside the region of interest or is masked; a parameter is complex; or there
        are more than 100 000 terms; or each line of a spectrum has a table of its own.

    Notes
    -----
    ``I_pixel_final`` is the pixel of `numbragg.simulate` to rounding. Source: ``specs/80-trace.md``, clause 80.1.

    Examples
    --------
    >>> import numbragg
    >>> from numbragg.tracing import trace
    >>> crystal = numbragg.Crystal(cell=(100, 100, 100, 90, 90, 90), n_cells=(5, 5, 5), default_f=100.0)
    >>> traced = trace(numbragg.Experiment(crystal=crystal), 500, 520)
    >>> traced["hkl_rounded"]
    [0, 1, 1]
    """
    _check_pixel(experiment, slow, fast)
    if experiment.line_factors:
        raise NumbraggError(
            "trace: each line of the spectrum has a table of structure factors of its own: leave them out "
            "(line_factors, --line-hkl), or trace an experiment of one wavelength"
        )
    params = lower(experiment)
    if params.crystal.axes.dtype.kind == "c":
        raise NumbraggError("trace: every parameter must be a real number")
    number = np.array([slow * experiment.detector.n_fast + fast], dtype=np.int32)
    batches = make_batches(experiment, params, number, np.zeros(1, dtype=np.int32))
    steps = count_steps(experiment)
    terms = steps * params.detector.layers
    if terms > MAX_TERMS:
        raise NumbraggError(
            f"trace: the pixel is the sum of {terms} terms, more than {MAX_TERMS}; take fewer sources, domains, phi "
            "steps or sub-pixels"
        )
    walk = _Walk(params, batches, np.asarray(phi_angles(experiment.scan)) * RADIAN)
    # Compiled, the functions of the kernel divide by zero and overflow in silence.
    with np.errstate(all="ignore"):
        walk.run()
        return _assemble(experiment, walk, slow, fast, steps)


def _check_pixel(experiment: Experiment, slow: int, fast: int) -> None:
    if experiment.detector.has_panels:
        raise NumbraggError(f"trace: which of {len(experiment.detector.panels)} panels? choose one, from 0")
    n_slow, n_fast = experiment.detector.panel_shape
    pixel = f"pixel slow {slow} fast {fast}"
    if not (0 <= slow < n_slow and 0 <= fast < n_fast):
        raise NumbraggError(f"trace: {pixel} does not lie on the detector of {n_slow} x {n_fast} (slow x fast)")
    roi = experiment.roi
    if roi and not (roi.slow_min <= slow <= roi.slow_max and roi.fast_min <= fast <= roi.fast_max):
        raise NumbraggError(
            f"trace: {pixel} lies outside the region of interest (slow {roi.slow_min} to {roi.slow_max}, "
            f"fast {roi.fast_min} to {roi.fast_max}): it is not simulated"
        )
    if experiment.mask is not None and not experiment.mask[slow, fast]:
        raise NumbraggError(f"trace: {pixel} is masked: it is not simulated")


def _python(function: Any) -> Any:
    """The Python function behind a compiled one: to compile it on its own would take longer than one pixel does."""
    return function.py_func


class _Walk:
    """The loops of the forward kernel over one pixel, with notes taken between its stages."""

    def __init__(self, params: KernelParams, batches: BatchParams, phi: Any) -> None:
        self.params, self.batches, self.phi = params, batches, phi
        self.inherited = int(batches.inherited[0])
        self.state = self.inherited
        self.evaluation = 0
        self.scratch = np.zeros(stages.SCRATCH)
        self.sub_pixels: list[Record] = []
        self.sources: list[Record] = []
        self.terms: list[Record] = []
        self.before_scaling = self.captured = self.last_omega = self.last_polar = 0.0
        self._lattice = _lattice_factor(params)

    def run(self) -> None:
        """Simulate the pixel."""
        detector, scaling = self.params.detector, self.params.scaling
        _python(stages.begin_pixels)(self.scratch, self.params.beam, scaling, 1)
        for layer in range(detector.layers):
            for sub in range(detector.oversample**2):
                self._sub_pixel(layer, sub)
            if not scaling.last_layer_capture or layer == detector.layers - 1:
                self.before_scaling += self.row(stages.LAYER)
                _python(stages.end_layer)(self.scratch, scaling, 1)
        self.captured = self.row(stages.TOTAL)
        _python(stages.end_pixels)(self.scratch, scaling, 1)

    def row(self, start: int) -> float:
        """Value of the pixel in a row of the scratch."""
        return float(self.scratch[start])

    def rows(self, *starts: int) -> list[float]:
        """Values of the pixel in several rows."""
        return [self.row(start) for start in starts]

    def _sub_pixel(self, layer: int, sub: int) -> None:
        detector, scaling, scratch = self.params.detector, self.params.scaling, self.scratch
        sub_slow, sub_fast = divmod(sub, detector.oversample)
        where = {"layer": layer, "sub_slow": sub_slow, "sub_fast": sub_fast}

        def place(as_it_is: Any) -> None:
            _python(stages.place_pixels)(scratch, as_it_is, self.batches.pixels, 0, 1, sub_fast, sub_slow, layer)

        # The solid angle of a point is 1/R^2.
        place(detector._replace(point_pixel=True))
        distance = 1.0 / math.sqrt(self.row(stages.FACTOR))
        place(detector)
        direction, omega = self.rows(stages.DX, stages.DY, stages.DZ), self.row(stages.FACTOR)
        _python(stages.weigh_sub_pixel)(scratch, detector, scaling, 1, layer, sub)
        self.last_omega = omega if scaling.oversample_omega else self.row(stages.OMEGA)
        record: Record = {
            **where,
            "pixel_pos_meters": [distance * component for component in direction],
            "R_distance_meters": distance,
            "omega_pixel_sr": omega,
            "obliquity_factor": float(detector.close_distance) / distance,
            "diffracted_vec": direction,
            "capture_fraction": self.row(stages.CAPTURE),
        }
        self.sub_pixels.append(record)
        for source in range(len(self.params.beam.wavelength)):
            self._source({**where, "source": source})

    def _source(self, where: Record) -> None:
        beam, crystal, scaling, scratch = self.params.beam, self.params.crystal, self.params.scaling, self.scratch
        source = where["source"]
        kept = _python(stages.scatter)(scratch, beam, source, 1, scaling.d_min_squared)
        _python(stages.polarise)(scratch, beam, source, 1)
        polar = self.row(stages.TERM) if beam.polarized else 1.0
        wavelength, incident = float(beam.wavelength[source]), beam.incident[source]
        record: Record = {
            **where,
            "incident_vec": incident.tolist(),
            "lambda_meters": wavelength,
            "lambda_angstroms": wavelength / ANGSTROM,
            "weight": float(beam.weight[source]),
            "scattering_vec_A_inv": self.rows(stages.QX, stages.QY, stages.QZ),
            "cos_2theta": float(np.dot(self.rows(stages.DX, stages.DY, stages.DZ), incident)),
            "polar": polar,
            "culled": int(kept == 0),
        }
        self.sources.append(record)
        if kept:
            _python(stages.weigh_terms)(scratch, beam, scaling, source, 1)
            self.last_polar = polar if scaling.oversample_polar else self.row(stages.POLAR)
            self._sweep(where)
        else:
            self.evaluation += len(crystal.step_row) * crystal.domains

    def _sweep(self, where: Record) -> None:
        """Add every phi step and mosaic domain of one source."""
        crystal, scratch, running = self.params.crystal, self.scratch, self.params.running
        layer, factor = self.row(stages.LAYER), self.row(stages.TERM)
        weight = float(self.params.beam.weight[where["source"]])
        total = layer if running else 0.0
        for phi_tic, own in enumerate(crystal.step_row.tolist()):
            self.state = self.state if own == NO_STEP else own
            for domain in range(crystal.domains):
                first = ((self.state + 1) * crystal.domains + domain) * 9
                term = self._term(crystal.axes[first : first + 9].reshape(3, 3))
                value = term["term"]
                if not running:
                    total += value
                elif term["F_latt"] != 0.0:
                    total = (total + value) * factor
                so_far = total if running else layer + total * (weight * factor)
                index = {**where, "phi_tic": phi_tic, "domain": domain}
                turned = {"phi_deg": float(self.phi[phi_tic]), "axes_phi_tic": self.state}
                self.terms.append({**index, **turned, **term, "running_sum": self.before_scaling + so_far})
                self.evaluation += 1
        scratch[stages.LAYER] = total if running else layer + total * (weight * factor)

    def _term(self, axes: Any) -> Record:
        """One orientation of the crystal: what ``add_orientation`` of the forward kernel does."""
        crystal, scratch = self.params.crystal, self.scratch
        x, y, z = scratch[stages.QX], scratch[stages.QY], scratch[stages.QZ]
        hkl = [axis[0] * x + axis[1] * y + axis[2] * z for axis in axes]
        whole = [nearest(index) for index in hkl]
        squared = self._lattice(*(index - near for index, near in zip(hkl, whole, strict=True)))
        per_axis, sign = self._signs(hkl, whole)
        inside = bool(
            self.params.interpolate
            and _python(can_interpolate)(*hkl, crystal.low, crystal.high)
            and self.evaluation < self.batches.interpolated[0]
        )
        if inside:
            amplitude = float(_python(tricubic)(*hkl, crystal.table, crystal.low, crystal.high, True))
        else:
            amplitude = float(crystal.table[_python(table_index)(*whole, crystal.low, crystal.high)])
        # Without interpolation the table holds F^2.
        cell = amplitude * amplitude if self.params.interpolate else amplitude
        return {
            **{name: (axis / ANGSTROM).tolist() for name, axis in zip(OF_ORIENTATION, axes, strict=True)},
            "hkl_frac": [float(index) for index in hkl],
            "hkl_rounded": [int(near) for near in whole],
            **per_axis,
            "F_latt": sign * math.sqrt(squared),
            "interpolated": int(inside),
            "F_cell": amplitude if self.params.interpolate else math.sqrt(cell),
            "term": cell * squared,
        }

    def _signs(self, hkl: list[Any], whole: list[Any]) -> tuple[Record, float]:
        """Lattice factor along each axis where the shape has one, and the sign of the whole factor."""
        crystal = self.params.crystal
        if self.params.shape == SQUARE:
            factors = [float(_python(grating)(index, n)) for index, n in zip(hkl, crystal.n_cells, strict=True)]
            sign = math.prod(math.copysign(1.0, factor) for factor in factors)
            return dict(zip(OF_AXES, factors, strict=True)), sign
        if self.params.shape == ROUND:
            offsets = (index - near for index, near in zip(hkl, whole, strict=True))
            return {}, float(_python(round_sign)(*offsets, *crystal.n_cells, crystal.fudge))
        return {}, 1.0


def _lattice_factor(params: KernelParams) -> Callable[..., float]:
    """Squared lattice factor as a function of the distances from the lattice point."""
    crystal = params.crystal
    cells, fudge, reciprocal = tuple(crystal.n_cells), crystal.fudge, crystal.reciprocal
    if params.shape == SQUARE:
        return lambda *d: float(_python(square_factor)(*d, *cells))
    if params.shape == ROUND:
        return lambda *d: float(_python(round_factor)(*d, *cells, fudge))
    spot = gauss_factor if params.shape == GAUSS else tophat_factor
    return lambda *d: float(_python(spot)(*d, *cells, fudge, reciprocal))


def _assemble(experiment: Experiment, walk: _Walk, slow: int, fast: int, steps: int) -> Trace:
    detector, scaling = walk.params.detector, walk.params.scaling
    place, source = walk.sub_pixels[0], walk.sources[0]
    term = walk.terms[0] if walk.terms else {}
    stars = walk.params.crystal.reciprocal.reshape(3, 3).tolist()
    background = scaling.background * math.prod(walk.rows(stages.OMEGA, stages.POLAR, stages.CAPTURED))
    amorphous = simulate_background(experiment, pixels=([slow], [fast]), threads=1)[0] if experiment.background else 0.0
    photons = walk.row(stages.TOTAL) + amorphous
    return {
        "pixel_slow_fast": [slow, fast],
        **dict(zip(OF_FRAME, detector.frame.tolist(), strict=True)),
        **_pick(place, OF_SUB_PIXEL),
        "close_distance_meters": float(detector.close_distance),
        **_pick(place, OF_DIRECTION),
        "sub_pixels": walk.sub_pixels,
        **_pick(source, OF_SOURCE),
        "sources": walk.sources,
        "inherited_phi_tic": walk.inherited,
        **_pick(term, OF_ORIENTATION),
        **dict(zip(OF_RECIPROCAL, stars, strict=True)),
        **_pick(term, OF_TERM),
        "terms": walk.terms,
        "I_before_scaling": walk.before_scaling,
        "I_captured": walk.captured,
        "r_e_meters": math.sqrt(CLASSICAL_RADIUS_SQUARED),
        "r_e_sqr": CLASSICAL_RADIUS_SQUARED,
        "fluence_photons_per_m2": float(experiment.beam.fluence),
        "steps": steps,
        "oversample_thick": int(scaling.oversample_thick),
        "oversample_polar": int(scaling.oversample_polar),
        "oversample_omega": int(scaling.oversample_omega),
        "capture_fraction": walk.row(stages.CAPTURE),
        "polar": walk.last_polar if walk.terms else walk.row(stages.POLAR),
        "omega_pixel": walk.last_omega,
        "cos_2theta": walk.sources[-1]["cos_2theta"],
        "I_background": background + amorphous,
        "I_pixel_final": photons,
        "floatimage_accumulated": float(np.float32(photons)),
    }


def _pick(record: Record, names: tuple[str, ...]) -> Record:
    return {name: record[name] for name in names if name in record}
