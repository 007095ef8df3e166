"""From an experiment to an image: the one path to read first.

``Experiment`` (user units) -> ``lower`` -> kernel parameters (metres, radians) -> ``make_batches`` -> kernel over
batches of pixels -> image.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
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
from numbragg.lowering.lines import by_line
from numbragg.lowering.lower import KernelParams, lower, panel_detectors
from numbragg.lowering.mixed import lower_mixed
from numbragg.models.experiment import Experiment

Pixels = npt.NDArray[np.bool_] | tuple[npt.ArrayLike, ...] | None
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
        None for the whole image; a boolean mask of its shape; or integer arrays (slow, fast), or (panel, slow, fast)
        where there are several panels. Pixels outside the region of interest or masked are 0.
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
        (panel, slow, fast) for that of several panels, else one-dimensional in the order of ``pixels`` (raster order
        for a mask).

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
    if experiment.line_factors:
        return _simulate_lines(experiment, pixels, threads, progress, precision)
    params = lower(experiment)
    job = prepare(experiment, params, pixels)
    if precision == "mixed":
        params = lower_mixed(params)
    kernel = forward_kernel(params.shape, params.interpolate, params.running, params.mixed)
    others = (params.beam, params.crystal, params.scaling, job.result)
    detectors = panel_detectors(experiment.detector, params.detector)
    run_batches(kernel, job, [(detector, *others) for detector in detectors], threads, progress)
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
    if experiment.line_factors:
        # No table has a part in it, so that the sum over the lines is that of the whole spectrum.
        return simulate_background(dataclasses.replace(experiment, line_factors=()), pixels=pixels, threads=threads)
    params = lower(experiment)
    job = prepare(experiment, params, pixels)
    if experiment.background:
        _add_background(experiment, params, job, threads)
    return job.result.reshape(job.shape)


def _simulate_lines(
    experiment: Experiment, pixels: Pixels, threads: int | None, progress: Progress | None, precision: Precision
) -> npt.NDArray[Any]:
    lines = by_line(experiment)

    def reporting(number: int) -> Progress | None:
        return progress and (lambda done, total: progress(number * total + done, len(lines) * total))

    images = (
        simulate(line.experiment, pixels=pixels, threads=threads, progress=reporting(number), precision=precision)
        for number, line in enumerate(lines)
    )
    total = next(images)
    for image in images:
        total += image
    return total


def _add_background(experiment: Experiment, params: KernelParams, job: "PixelJob", threads: int | None) -> None:
    whole, background = lower_background(experiment, params)
    detectors = panel_detectors(experiment.detector, whole)
    run_batches(add_amorphous, job, [(one, params.beam, background, job.result) for one in detectors], threads)


class PanelPixels(NamedTuple):
    """The pixels of one panel in a run."""

    panel: int  # among those that are simulated
    batches: BatchParams
    target: int  # where in the result a panel that is simulated whole begins


class PixelJob(NamedTuple):
    """The pixels of a run in batches, and where their values go."""

    panels: tuple[PanelPixels, ...]
    result: npt.NDArray[Any]  # flat, zeros
    shape: tuple[int, ...]  # what the result is reshaped to


def prepare(experiment: Experiment, params: KernelParams, pixels: Pixels, tile: int = TILE) -> PixelJob:
    """Cut the pixels of a run into batches of at most ``tile``."""
    shape: tuple[int, ...] = experiment.detector.shape
    size = math.prod(experiment.detector.panel_shape)
    if pixels is None:
        panels = _whole_panels(experiment, params, tile, size)
    else:
        wanted = pixel_numbers(experiment, pixels)
        shape = wanted.shape
        whole = experiment.mask is None and experiment.roi is None
        kept = np.arange(len(wanted)) if whole else np.flatnonzero(np.isin(wanted, experiment.active_pixels()))
        panels = [
            PanelPixels(number, make_batches(one, params, wanted[targets] - np.int32(number * size), targets, tile), 0)
            for number, one, targets in _among_panels(experiment, wanted, kept.astype(np.int32), size)
        ]
    return PixelJob(tuple(panels), np.zeros(math.prod(shape), params.crystal.axes.dtype), shape)


def _whole_panels(experiment: Experiment, params: KernelParams, tile: int, size: int) -> list[PanelPixels]:
    if experiment.detector.has_panels and experiment.mask is None:
        # Panels that are simulated whole are all alike.
        batches = make_whole_batches(experiment.of_panel(0), params, tile)
        return [PanelPixels(number, batches, number * size) for number in range(len(experiment.detector.panels))]
    return [
        PanelPixels(number, make_whole_batches(one, params, tile, number * size), number * size)
        for number, one in enumerate(experiment.by_panel())
    ]


def _among_panels(
    experiment: Experiment, wanted: npt.NDArray[np.int32], kept: npt.NDArray[np.int32], size: int
) -> Iterator[tuple[int, Experiment, npt.NDArray[np.int32]]]:
    """Each panel that has some of the pixels wanted, with their positions among them."""
    if not experiment.detector.has_panels:
        yield 0, experiment, kept
        return
    owner = wanted[kept] // size
    for number in np.unique(owner).tolist():
        yield number, experiment.of_panel(number), kept[owner == number]


def pixel_numbers(experiment: Experiment, pixels: Pixels) -> npt.NDArray[np.int32]:
    """Numbers of a selection of pixels, in its order: their positions in the flat image.

    Raises
    ------
    NumbraggError
        A mask of another shape, arrays of unequal length, or pixels off the detector.
    """
    shape = experiment.detector.shape
    names = ("panel", "slow", "fast")[-len(shape) :]
    if isinstance(pixels, np.ndarray) and pixels.dtype == bool:
        if pixels.shape != shape:
            raise NumbraggError(f"pixels: the mask has shape {pixels.shape}, the detector {shape}")
        return np.flatnonzero(pixels).astype(np.int32)
    needed = f"{'two' if len(shape) == 2 else 'three'} integer arrays ({', '.join(names)})"
    try:
        indices = [np.asarray(index) for index in pixels]  # type: ignore[union-attr]
    except (TypeError, ValueError):
        indices = []
    if len(indices) != len(shape):
        raise NumbraggError(f"pixels: a boolean mask or {needed} are needed")
    if any(index.ndim != 1 or index.dtype.kind not in "iu" or len(index) != len(indices[0]) for index in indices):
        raise NumbraggError(
            f"pixels: {', '.join(names[:-1])} and fast must be one-dimensional integer arrays of the same length"
        )
    for index, count in zip(indices, shape, strict=True):
        if index.size and (index.min() < 0 or index.max() >= count):
            size = " x ".join(str(count) for count in shape)
            raise NumbraggError(f"pixels: not all lie on the detector of {size} ({' x '.join(names)})")
    return np.asarray(np.ravel_multi_index([index.astype(np.int64) for index in indices], shape), dtype=np.int32)


def count_threads(threads: int | None) -> int:
    """Threads to use: as asked, else every core that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads < 1:
        raise NumbraggError(f"threads: at least 1 is needed, not {threads}")
    return threads


def run_batches(
    kernel: Any,
    job: PixelJob,
    arguments: Sequence[tuple[Any, ...]],
    threads: int | None,
    progress: Progress | None = None,
) -> None:
    """Run ``kernel(first, last, batches, *arguments)`` over all batches in as many threads as asked for.

    There are arguments for each panel. Threads of Python take turns only between calls, since kernels hold no lock
    (specs/decisions/0002-threads.md).
    """
    counts = [len(panel.batches.bounds) - 1 for panel in job.panels]
    total, workers = sum(counts), count_threads(threads)
    chunks = max(CHUNKS_PER_THREAD * workers, PROGRESS_CHUNKS if progress else 1)
    pieces = [
        (panel, first, last)
        for panel, count in zip(job.panels, counts, strict=True)
        for first, last in itertools.pairwise(_edges(count, math.ceil(chunks * count / max(total, 1))))
    ]

    def work(piece: tuple[PanelPixels, int, int]) -> int:
        panel, first, last = piece
        kernel(*part_of(panel.batches, first, last, panel.target), *arguments[panel.panel])
        return last - first

    if workers == 1 or len(pieces) < 2:
        _consume(map(work, pieces), total, progress)
        return
    with ThreadPoolExecutor(min(workers, len(pieces))) as pool:
        try:
            _consume(pool.map(work, pieces), total, progress)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _edges(count: int, pieces: int) -> list[int]:
    edges: list[int] = np.unique(np.linspace(0, count, min(pieces, count) + 1).astype(int)).tolist()
    return edges


def _consume(finished: Any, total: int, progress: Progress | None) -> None:
    done = 0
    for count in finished:
        done += count
        if progress is not None:
            progress(done, total)
