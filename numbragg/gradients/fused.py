"""The fused Jacobian: analytic in the kernel, complex step through the lowering (specs/50-gradients.md, 50.10)."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.gradients.background import background_jacobian
from numbragg.gradients.complex_step import complex_step_jacobian, step_of
from numbragg.kernels._jit import LINE
from numbragg.kernels.jacobian import (
    CELLS,
    CLOSE,
    COLOUR,
    FUDGE,
    GROUP,
    JACOBIAN_TILE,
    KAHN,
    MAX_DIRECTIONS,
    METRIC,
    ORIGIN,
    STRAIN,
    TURN,
    DirectionParams,
    jacobian_kernel,
)
from numbragg.kernels.params import GAUSS, DetectorParams
from numbragg.lowering.lower import KernelParams, lower, lower_again, panel_detectors
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import read_parameter, reflection_index
from numbragg.simulation import (
    PixelJob,
    Pixels,
    count_threads,
    prepare,
    run_batches,
    simulate,
    simulate_background,
)

TURN_TOLERANCE = 1e-11
"""Relative: a change of all orientations that one strain explains to this is no turn of its own."""

PAGE = 512
"""Doubles in the smallest page of memory."""

METRIC_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class Derivative(NamedTuple):
    """How one parameter moves what the kernel is given, per unit of the parameter."""

    sums: dict[int, float]  # coefficient of each sum of the kernel but those of the place of a panel
    places: tuple[dict[int, float], ...]  # coefficients of these, of each panel
    scale: float  # change of what scales the sum
    background: float  # change of the background
    turn: npt.NDArray[np.float64] | None  # change of the orientation table that no strain explains
    colour: npt.NDArray[np.float64] | None  # change of the wavelengths


def fused_jacobian(
    experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Image and its derivatives in one pass.

    What the fused kernel does not cover (specs/50-gradients.md, 50.12) is taken by complex step.

    Returns
    -------
    image
        As of `simulate`.
    jacobian
        Photons per unit of each parameter, shape (names, ...) with the shape of the image.
    """
    params = lower(experiment)
    if not is_covered(experiment, params):
        image = simulate(experiment, pixels=pixels, threads=threads)
        return image, complex_step_jacobian(experiment, names, pixels=pixels, threads=threads)
    job = prepare(experiment, params, pixels, tile=JACOBIAN_TILE)
    jacobian = _aligned_zeros(len(names), job.result.size)
    with _claimed(jacobian, threads):
        derivatives = {name: _derivative(experiment, params, name) for name in names}
    turning = [name for name, found in derivatives.items() if found is not None and found.turn is not None]
    if len(turning) > MAX_DIRECTIONS:
        return _in_passes(experiment, names, set(turning[MAX_DIRECTIONS:]), pixels, threads)
    fused = [name for name in names if derivatives[name] is not None]
    rows = [index for index, name in enumerate(names) if derivatives[name] is not None]
    detectors = panel_detectors(experiment.detector, params.detector)
    directions = [_directions(params, derivatives, fused, panel) for panel in range(len(detectors))]
    if rows == list(range(len(names))):
        _run(params, job, detectors, directions, jacobian, threads)
    else:
        part = _aligned_zeros(len(rows), job.result.size)
        _run(params, job, detectors, directions, part, threads)
        jacobian[rows] = part
        others = [index for index in range(len(names)) if index not in rows]
        stepped = complex_step_jacobian(experiment, [names[i] for i in others], pixels=pixels, threads=threads)
        jacobian[others] = stepped.reshape(len(others), -1)
    if experiment.background:
        job.result[:] += simulate_background(experiment, pixels=pixels, threads=threads).ravel()
        jacobian[rows] += background_jacobian(experiment, fused, pixels=pixels, threads=threads)
    return job.result.reshape(job.shape), jacobian.reshape((len(names), *job.shape))


def _in_passes(
    experiment: Experiment, names: Sequence[str], later: set[str], pixels: Pixels, threads: int | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """More changes of the orientations than one pass has sums for: some wait for the next pass."""
    first, rest = ([name for name in names if (name in later) == waits] for waits in (False, True))
    image, slopes = fused_jacobian(experiment, first, pixels=pixels, threads=threads)
    _, others = fused_jacobian(experiment, rest, pixels=pixels, threads=threads)
    return image, np.array([others[rest.index(name)] if name in later else slopes[first.index(name)] for name in names])


def _aligned_zeros(rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Zeros that begin with a line of the cache, as the kernel writes them."""
    memory = np.zeros(rows * columns + LINE)
    first = -(memory.ctypes.data // memory.itemsize) % LINE
    return memory[first : first + rows * columns].reshape(rows, columns)


@contextlib.contextmanager
def _claimed(values: npt.NDArray[np.float64], threads: int | None) -> Iterator[None]:
    """Have a second thread write to each page of an array meanwhile: the system then clears it, which takes a while."""
    if count_threads(threads) == 1:
        yield
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(values.reshape(-1)[::PAGE].fill, 0.0)
        yield


def is_covered(experiment: Experiment, params: KernelParams) -> bool:
    """Whether the fused kernel computes this kind of image (specs/50-gradients.md, 50.12)."""
    sampled = experiment.oversample_omega or experiment.oversample_polarization or experiment.oversample_thickness
    summed = params.scaling.last_layer_capture and params.detector.layers > 1
    return not (params.detector.curved or params.running or sampled or summed or params.scaling.initial != 0.0)


def _run(
    params: KernelParams,
    job: PixelJob,
    detectors: Sequence[DetectorParams],
    directions: Sequence[DirectionParams],
    jacobian: npt.NDArray[np.float64],
    threads: int | None,
) -> None:
    kernel = jacobian_kernel(params.shape, params.interpolate)
    same, flat = (params.beam, params.crystal, params.scaling), jacobian.reshape(-1)
    arguments = [(one, *same, own, job.result, flat) for one, own in zip(detectors, directions, strict=True)]
    run_batches(kernel, job, arguments, threads)


def _derivative(experiment: Experiment, params: KernelParams, name: str) -> Derivative | None:
    """Derivative of the kernel's input in one parameter; None where only the complex step will do."""
    value = read_parameter(experiment, name).value
    if value is None:
        return Derivative({}, (), 0.0, 0.0, None, None)
    if reflection_index(name) is not None:
        return None
    step = step_of(value)
    moved = lower_again(experiment.replace({name: value + 1j * step}), experiment, params)
    if moved.crystal.axes.size != params.crystal.axes.size:
        # A spread that is zero has one domain, and a spread that is not has all of them.
        return None

    def slope(old: Any, new: Any) -> Any:
        return np.imag(new) / step + 0.0 * np.real(old)

    detector, beam, crystal, scaling = moved.detector, moved.beam, moved.crystal, moved.scaling
    elsewhere = (detector.attenuation, beam.incident, beam.polar_e, beam.polar_b, scaling.initial, crystal.table)
    if any(np.any(np.imag(field)) for field in elsewhere):
        return None
    sums: dict[int, float] = {}
    strain, turn = _strain_and_turn(params, slope(params.crystal.axes, crystal.axes))
    _put(sums, STRAIN, strain)
    _put(sums, CELLS, slope(params.crystal.n_cells, crystal.n_cells))
    _put(sums, FUDGE, slope(params.crystal.fudge, crystal.fudge))
    if params.shape == GAUSS:
        _put(sums, METRIC, _metric_slope(params.crystal.reciprocal, slope(0.0, crystal.reciprocal)))
    _put(sums, KAHN, slope(params.beam.kahn, beam.kahn))
    by_scale = float(slope(params.scaling.scale, scaling.scale))
    by_background = float(slope(params.scaling.background, scaling.background))
    colour = slope(params.beam.wavelength, beam.wavelength)
    places = _slopes_of_places(experiment.detector, detector, step)
    return Derivative(sums, places, by_scale, by_background, turn, colour if np.any(colour) else None)


def _slopes_of_places(model: Detector, moved: DetectorParams, step: float) -> tuple[dict[int, float], ...]:
    """Coefficients of the sums for the place of each panel; nothing where none moves."""
    if not np.any(np.imag(moved.frame)):
        return ()
    places = []
    for panel in panel_detectors(model, moved):
        sums: dict[int, float] = {}
        _put(sums, ORIGIN, np.imag(panel.frame) / step)
        _put(sums, CLOSE, np.imag(panel.close_distance) / step)
        places.append(sums)
    return tuple(places)


def _put(sums: dict[int, float], first: int, values: Any) -> None:
    for offset, value in enumerate(np.ravel(values)):
        if value != 0.0:
            sums[first + offset] = float(value)


def _strain_and_turn(
    params: KernelParams, change: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Split a change of the orientation table into one strain of all orientations and what is left.

    A change of the cell or of the orientation at phi = 0 is the same combination of the direct vectors in every
    orientation, so it needs one set of nine sums; a change of phi or of the mosaic spread is not.
    """
    if not np.any(change):
        return np.zeros((3, 3)), None
    axes = params.crystal.axes.reshape(-1, 3, 3)
    strain = np.linalg.solve(axes[0].T, change.reshape(-1, 3, 3)[0].T).T
    rest = change - (strain @ axes).ravel()
    scale = np.abs(change).max()
    return strain, rest if np.abs(rest).max() > TURN_TOLERANCE * scale else None


def _metric_slope(reciprocal: npt.NDArray[Any], slope: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    vectors, change = reciprocal.reshape(3, 3), slope.reshape(3, 3)
    return np.array([vectors[i] @ change[j] + change[i] @ vectors[j] for i, j in METRIC_PAIRS])


def _directions(
    params: KernelParams, derivatives: dict[str, Derivative | None], names: Sequence[str], panel: int
) -> DirectionParams:
    starts, sums = [0], list[int]()
    coefficients: list[float] = []
    by_scale: list[float] = []
    by_background: list[float] = []
    turns: list[npt.NDArray[np.float64]] = []
    colours: list[npt.NDArray[np.float64]] = []
    for name in names:
        derivative = derivatives[name]
        assert derivative is not None
        entries = derivative.sums | (derivative.places[panel] if derivative.places else {})
        by_scale.append(derivative.scale)
        by_background.append(derivative.background)
        if derivative.turn is not None:
            entries[TURN + len(turns)] = 1.0
            turns.append(derivative.turn)
        if derivative.colour is not None:
            entries[COLOUR + len(colours)] = 1.0
            colours.append(derivative.colour)
        filling = -len(entries) % GROUP
        sums += [*entries, *[0] * filling]
        coefficients += [*entries.values(), *[0.0] * filling]
        starts.append(len(sums))
    assert max(len(turns), len(colours)) <= MAX_DIRECTIONS
    return DirectionParams(
        starts=np.array(starts, dtype=np.int64),
        sums=np.array(sums, dtype=np.int64),
        coefficients=np.array(coefficients, dtype=np.float64),
        scale=np.array(by_scale),
        background=np.array(by_background),
        turns=np.array(turns).ravel(),
        colours=np.array(colours).reshape(len(colours), params.beam.wavelength.size),
    )
