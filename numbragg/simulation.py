"""From an experiment to an image: the one path to read first.

``Experiment`` (user units) -> ``lower`` -> kernel parameters (metres, radians) -> ``make_batches`` -> kernel over
batches of pixels -> image.
"""

import itertools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.kernels._jit import TILE
from numbragg.kernels.amorphous import add_amorphous
from numbragg.kernels.forward import forward_kernel
from numbragg.kernels.params import BatchParams
from numbragg.lowering.amorphous import lower_background
from numbragg.lowering.batches import make_batches, make_whole_batches, part_of
from numbragg.lowering.lower import KernelParams, lower
from numbragg.lowering.mixed import lower_mixed
from numbragg.models.experiment import Experiment

Pixels = npt.NDArray[np.bool_] | tuple[npt.ArrayLike, npt.ArrayLike] | None
Progress = Callable[[int, int], None]
Precision = Literal["double", "mixed"]

CHUNKS_PER_THREAD = 16
"""Pieces a thread's share is cut into: enough to even out slow regions, few enough to cost nothing."""

PROGRESS_CHUNKS = 200
"""Pieces when somebody watches."""


def simulate(
    experiment: Experiment,
    *,
    pixels: Pixels = None,
    threads: int | None = None,
    progress: Progress | None = None,
    precision: Precision = "double",
) -> npt.NDArray[Any]:
    """Simulate the diffraction image of an experiment.

    Parameters
    ----------
    experiment
        What is simulated.
    pixels
        None for the whole image; a boolean mask of shape (slow, fast); or two integer arrays (slow, fast). Pixels
        outside the region of interest or masked are 0.
    threads
        Threads to use; None takes every core that this process may use. The result does not depend on it, bit for
        bit.
    progress
        Called with the number of batches done and their total.
    precision
        ``double``, or ``mixed``: indices and sums in double, terms in single precision. It is faster, and within 2e-5
        of the image's maximum of double (specs/60-performance.md, 60.23 to 60.26).

    Returns
    -------
    ndarray
        Photons per pixel, float64 (complex128 when a parameter is complex): shape (slow, fast) for the whole image,
        else one-dimensional in the order of ``pixels`` (raster order for a mask).

    Raises
    ------
    NumbraggError
        The parts of the experiment do not fit together, ``pixels`` do not lie on the detector, the job does not fit
        into memory, ``precision`` is another word, or it is ``mixed`` and a parameter is complex.

    Examples
    --------
    >>> import numbragg
    >>> crystal = numbragg.Crystal(cell=(100, 100, 100, 90, 90, 90), n_cells=(5, 5, 5), default_f=100.0)
    >>> image = numbragg.simulate(numbragg.Experiment(crystal=crystal))
    >>> image.shape
    (1024, 1024)
    """
    if precision not in get_args(Precision):
        raise NumbraggError(f"precision: {' or '.join(get_args(Precision))} is needed, not {precision!r}")
    params = lower(experiment)
    job = prepare(experiment, params, pixels)
    if precision == "mixed":
        params = lower_mixed(params)
    kernel = forward_kernel(params.shape, params.interpolate, params.running, params.mixed)
    arguments = (params.detector, params.beam, params.crystal, params.scaling, job.result)
    run_batches(kernel, job.batches, arguments, threads, progress)
    if experiment.background:
        _add_background(experiment, params, job, threads)
    return job.result.reshape(job.shape)


def simulate_background(
    experiment: Experiment, *, pixels: Pixels = None, threads: int | None = None
) -> npt.NDArray[Any]:
    """Simulate what the amorphous layers of an experiment scatter: the part of `simulate` that has no lattice.

    Parameters
    ----------
    experiment, pixels, threads
        As of `simulate`.

    Returns
    -------
    ndarray
        Photons per pixel, as of `simulate`; zeros without layers. The cube of water (``water_size``) is not in it.

    Raises
    ------
    NumbraggError
        As of `simulate`.

    Notes
    -----
    Source: ``specs/10-physics.md``, clauses 10.88 to 10.90.
    """
    params = lower(experiment)
    job = prepare(experiment, params, pixels)
    if experiment.background:
        _add_background(experiment, params, job, threads)
    return job.result.reshape(job.shape)


def _add_background(experiment: Experiment, params: KernelParams, job: "PixelJob", threads: int | None) -> None:
    detector, background = lower_background(experiment, params)
    run_batches(add_amorphous, job.batches, (detector, params.beam, background, job.result), threads)


class PixelJob(NamedTuple):
    """The pixels of a run in batches, and where their values go."""

    batches: BatchParams
    result: npt.NDArray[Any]  # flat, zeros
    shape: tuple[int, ...]  # what the result is reshaped to


def prepare(experiment: Experiment, params: KernelParams, pixels: Pixels, tile: int = TILE) -> PixelJob:
    """Cut the pixels of a run into batches of at most ``tile``."""
    dtype = params.crystal.axes.dtype
    if pixels is None:
        shape: tuple[int, ...] = experiment.detector.shape
        batches = make_whole_batches(experiment, params, tile)
    else:
        wanted = pixel_numbers(experiment, pixels)
        shape = wanted.shape
        whole = experiment.mask is None and experiment.roi is None
        kept = np.arange(len(wanted)) if whole else np.flatnonzero(np.isin(wanted, experiment.active_pixels()))
        targets = kept.astype(np.int32)
        batches = make_batches(experiment, params, wanted[targets], targets, tile)
    return PixelJob(batches, np.zeros(math.prod(shape), dtype), shape)


def pixel_numbers(experiment: Experiment, pixels: Pixels) -> npt.NDArray[np.int32]:
    """Numbers slow * n_fast + fast of a selection of pixels, in its order.

    Raises
    ------
    NumbraggError
        A mask of another shape, arrays of unequal length, or pixels off the detector.
    """
    n_slow, n_fast = experiment.detector.shape
    if isinstance(pixels, np.ndarray) and pixels.dtype == bool:
        if pixels.shape != (n_slow, n_fast):
            raise NumbraggError(f"pixels: the mask has shape {pixels.shape}, the detector {(n_slow, n_fast)}")
        return np.flatnonzero(pixels).astype(np.int32)
    try:
        slow, fast = (np.asarray(index) for index in pixels)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        raise NumbraggError("pixels: a boolean mask or two integer arrays (slow, fast) are needed") from None
    if slow.shape != fast.shape or slow.ndim != 1 or slow.dtype.kind not in "iu" or fast.dtype.kind not in "iu":
        raise NumbraggError("pixels: slow and fast must be one-dimensional integer arrays of the same length")
    if slow.size and (min(slow.min(), fast.min()) < 0 or slow.max() >= n_slow or fast.max() >= n_fast):
        raise NumbraggError(f"pixels: not all lie on the detector of {n_slow} x {n_fast} (slow x fast)")
    return np.asarray(slow.astype(np.int64) * n_fast + fast, dtype=np.int32)


def count_threads(threads: int | None) -> int:
    """Threads to use: as asked, else every core that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise NumbraggError(f"threads: at least 1 is needed, not {threads}")
    return threads


def run_batches(
    kernel: Any,
    batches: BatchParams,
    arguments: tuple[Any, ...],
    threads: int | None,
    progress: Progress | None = None,
) -> None:
    """Run ``kernel(first, last, batches, *arguments)`` over all batches in as many threads as asked for.

    Threads of Python take turns only between calls, since kernels hold no lock
    (specs/decisions/0002-threads.md).
    """
    total = len(batches.bounds) - 1
    workers = count_threads(threads)
    chunks = max(CHUNKS_PER_THREAD * workers, PROGRESS_CHUNKS if progress else 1)
    edges = np.unique(np.linspace(0, total, min(chunks, total) + 1).astype(int))
    pieces = list(itertools.pairwise(edges.tolist()))

    def work(piece: tuple[int, int]) -> int:
        kernel(*part_of(batches, *piece), *arguments)
        return piece[1] - piece[0]

    if workers == 1 or len(pieces) < 2:
        _consume(map(work, pieces), total, progress)
        return
    with ThreadPoolExecutor(min(workers, len(pieces))) as pool:
        try:
            _consume(pool.map(work, pieces), total, progress)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _consume(finished: Any, total: int, progress: Progress | None) -> None:
    done = 0
    for count in finished:
        done += count
        if progress is not None:
            progress(done, total)
