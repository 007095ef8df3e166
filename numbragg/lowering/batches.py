"""Pixels of one panel in batches, with what each batch inherits from the pixels before it.

Batches are cut where the inheritance changes, so that it is one number a batch
(specs/decisions/0001-phi-carryover-batches.md).
"""

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.kernels._jit import TILE
from numbragg.kernels.params import NO_LIMIT, NO_STEP, BatchParams
from numbragg.kernels.prepass import NOT_FOUND, first_outside_kernel, first_reached
from numbragg.lowering.lower import KernelParams
from numbragg.models.experiment import Experiment


class Inheritance(NamedTuple):
    """What the order of the pixels leaves behind; pixels are numbers slow * n_fast + fast."""

    steady: int  # phi index that a pixel inherits from the one before
    fresh: npt.NDArray[np.int32]  # pixels that inherit the unrotated crystal: the first of each thread's block
    last_interpolated: int  # the pixel in which interpolation stops; after all pixels when it does not
    evaluations: int  # evaluations of that pixel that still interpolate


def make_batches(
    experiment: Experiment,
    params: KernelParams,
    pixels: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int32],
    tile: int = TILE,
) -> BatchParams:
    """Cut a list of pixels into batches of at most ``tile``.

    Parameters
    ----------
    experiment, params
        The experiment and what it was lowered to.
    pixels
        Pixel numbers, slow * n_fast + fast, int32, shape (n,), in any order.
    targets
        Where in the flat result each goes, int32, shape (n,).
    """
    inheritance = find_inheritance(experiment, params)
    return _cut(pixels, targets, inheritance, tile)


def make_whole_batches(experiment: Experiment, params: KernelParams, tile: int = TILE, target: int = 0) -> BatchParams:
    """Cut all active pixels of one panel into batches, each going where it is in the panel, which begins at ``target``.

    Where they are all pixels of the panel, and inherit all the same, they are not listed: see `part_of`.
    """
    inheritance = find_inheritance(experiment, params)
    n_slow, n_fast = experiment.detector.panel_shape
    selected = experiment.mask is not None or experiment.roi is not None
    if selected or len(inheritance.fresh) or inheritance.last_interpolated < n_slow * n_fast:
        active = experiment.active_pixels()
        return _cut(active, active + np.int32(target) if target else active, inheritance, tile)
    bounds = np.append(np.arange(0, n_slow * n_fast, tile), n_slow * n_fast)
    count, nothing = len(bounds) - 1, np.empty(0, np.int32)
    return BatchParams(nothing, nothing, bounds, np.full(count, inheritance.steady), np.full(count, NO_LIMIT))


def part_of(batches: BatchParams, first: int, last: int, target: int = 0) -> tuple[int, int, BatchParams]:
    """First and last number, and the batches, for a kernel that is to take ``first`` to ``last - 1``.

    Pixels of a whole panel are listed here, a part at a time: all of them would take half as much memory as the image.
    Its first pixel goes to ``target`` in the result.
    """
    if len(batches.pixels) or batches.bounds[-1] == 0:
        return first, last, batches
    bounds = batches.bounds[first : last + 1]
    pixels = np.arange(bounds[0], bounds[-1], dtype=np.int32)
    targets = pixels + np.int32(target) if target else pixels
    part = BatchParams(
        pixels, targets, bounds - bounds[0], batches.inherited[first:last], batches.interpolated[first:last]
    )
    return 0, last - first, part


def find_inheritance(experiment: Experiment, params: KernelParams) -> Inheritance:
    """Walk the active pixels of the whole detector in the order of the reference (raster order)."""
    after_all = experiment.detector.n_fast * experiment.detector.n_slow
    inheritance = Inheritance(NO_STEP, np.empty(0, np.int32), after_all, 0)
    rows = params.crystal.step_row
    own = np.flatnonzero(rows != NO_STEP)
    first_is_carried = rows[0] == NO_STEP and len(own) > 0
    stops = experiment.quirks.q12_interpolation_stops and params.interpolate
    if not (first_is_carried or stops):
        return inheritance
    active = experiment.active_pixels()
    if first_is_carried:
        fresh = _first_of_blocks(experiment, params, active)
        inheritance = inheritance._replace(steady=int(rows[own[-1]]), fresh=fresh)
    if stops:
        batches = _cut(active, active, inheritance, TILE)
        pixel, evaluations = _first_outside(params, batches)
        if pixel != NOT_FOUND:
            inheritance = inheritance._replace(last_interpolated=pixel, evaluations=evaluations)
    return inheritance


def carried_steps(pixels: npt.NDArray[np.int32], inheritance: Inheritance) -> npt.NDArray[np.int32]:
    """The carryover buffer: the phi index that each pixel inherits, NO_STEP for the unrotated crystal."""
    carried = np.full(len(pixels), inheritance.steady, dtype=np.int32)
    carried[_positions(pixels, inheritance.fresh)] = NO_STEP
    return carried


def _positions(pixels: npt.NDArray[np.int32], wanted: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Positions of some pixels in a list; a list in raster order, as whole images are, is searched by halving."""
    if np.all(pixels[1:] > pixels[:-1]):
        found = np.searchsorted(pixels, wanted)
        found = found[found < len(pixels)]
        return np.asarray(found[np.isin(pixels[found], wanted)])
    return np.flatnonzero(np.isin(pixels, wanted))


def thread_blocks(n_slow: int, threads: int) -> npt.NDArray[np.int64]:
    """First row of each thread's block, then n_slow: static blocks, the first n_slow % threads a row longer."""
    lengths = np.full(threads, n_slow // threads)
    lengths[: n_slow % threads] += 1
    return np.concatenate([[0], np.cumsum(lengths)])


def _cut(
    pixels: npt.NDArray[np.int32], targets: npt.NDArray[np.int32], inheritance: Inheritance, tile: int
) -> BatchParams:
    cuts = [np.arange(0, len(pixels), tile), np.array([len(pixels)])]
    carried = carried_steps(pixels, inheritance) if len(inheritance.fresh) else None
    if carried is not None:
        alone = np.flatnonzero(carried != inheritance.steady)
        cuts += [alone, alone + 1]
    stop = inheritance.last_interpolated
    if pixels.size and pixels.max() >= stop:
        before = pixels < stop
        stopping = np.flatnonzero(pixels == stop)
        cuts += [np.flatnonzero(before[1:] != before[:-1]) + 1, stopping, stopping + 1]
    bounds = np.unique(np.concatenate(cuts)).astype(np.int64)
    first = pixels[bounds[:-1]]
    inherited = np.full(len(first), inheritance.steady) if carried is None else carried[bounds[:-1]]
    interpolated = np.where(first < stop, NO_LIMIT, np.where(first == stop, inheritance.evaluations, 0))
    return BatchParams(
        pixels=pixels,
        targets=targets,
        bounds=bounds,
        inherited=inherited.astype(np.int64),
        interpolated=interpolated.astype(np.int64),
    )


def _first_of_blocks(
    experiment: Experiment, params: KernelParams, active: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    n_slow, n_fast = experiment.detector.panel_shape
    limits = np.searchsorted(active, thread_blocks(n_slow, experiment.quirks.threads) * n_fast)
    found = (_first_reached(params, active, int(start), int(stop)) for start, stop in itertools.pairwise(limits))
    return np.array([active[position] for position in found if position != NOT_FOUND], dtype=np.int32)


def _first_reached(params: KernelParams, active: npt.NDArray[np.int32], start: int, stop: int) -> int:
    if params.scaling.d_min_squared == 0.0:
        return start if start < stop else NOT_FOUND
    for begin in range(start, stop, TILE):
        end = min(begin + TILE, stop)
        position = first_reached(begin, end, active, params.detector, params.beam, params.scaling.d_min_squared)
        if position != NOT_FOUND:
            return int(position)
    return NOT_FOUND


def _first_outside(params: KernelParams, batches: BatchParams) -> tuple[int, int]:
    search = first_outside_kernel(params.shape)
    for batch in range(len(batches.bounds) - 1):
        position, evaluation = search(
            batch, batches, params.detector, params.beam, params.crystal, params.scaling.d_min_squared
        )
        if position != NOT_FOUND:
            return int(batches.pixels[position]), int(evaluation)
    return NOT_FOUND, NOT_FOUND
