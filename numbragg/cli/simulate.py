"""``numbragg simulate``: from flags to images on disk (specs/20-command-line.md)."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.cli._compiling import announce_compilation
from numbragg.cli._image_files import DEFAULT_FILES, FileOptions, file_options, for_formats, provenance_of, write_counts
from numbragg.compat.build import Job, build_job
from numbragg.compat.extras import extras_of
from numbragg.compat.flags import format_help, split_options
from numbragg.compat.more_options import add_options
from numbragg.compat.report import geometry_lines, statistics_lines
from numbragg.errors import NumbraggError
from numbragg.models.experiment import Experiment
from numbragg.models.panel import as_rows
from numbragg.models.quirks import NO_QUIRKS
from numbragg.noise import checked_offset
from numbragg.statistics import ImageStatistics, image_statistics

BRIGHTEST_COUNT = 55000.0
"""Count of the largest pixel of an integer image without an explicit scale."""

GREY_OF_FIVE_SIGMA = 250.0
MEMORY_PER_PIXEL = 24
"""Bytes a pixel that a job holds at its peak: image, pixel list and one image of output."""


def main(argv: list[str]) -> int:
    """Run ``numbragg simulate`` and return its exit code."""
    options, words = split_options(argv)
    if options.get("help"):
        print(format_help(width=_terminal_width()))
        return 0
    if options.get("version"):
        from importlib.metadata import version

        print(f"numbragg {version('numbragg')}")
        return 0
    if not words:
        raise NumbraggError("nothing to simulate: give flags (numbragg simulate --help lists them)")
    compat: Any = options.get("compat", "spec")
    threads: Any = options.get("threads")
    precision: Any = options.get("precision", "double")
    # Numbers out of range end in one line of ours, not in NumPy's warnings.
    with np.errstate(all="ignore"):
        if "images" in options or "osc_per_image" in options:
            from numbragg.cli.series import run_series

            run_series(options, words)
            return 0
        geometry: Any = options.get("geometry")
        extras = extras_of(options)
        job = build_job(words, compat, c_threads=int(options.get("c_threads", 1)), geometry=geometry, extras=extras)
        files = file_options(options, words)
        job = for_formats(job, files, words)
        job = add_options(job, options)
        run(job, threads=None if threads is None else int(threads), files=files, precision=precision)
    return 0


def run(
    job: Job, *, threads: int | None = None, files: FileOptions = DEFAULT_FILES, precision: Any = "double"
) -> tuple[npt.NDArray[np.float64], ImageStatistics]:
    """Simulate a job, write its files and print what the reference prints.

    Returns
    -------
    image
        Photons per pixel, float64, shape (slow, fast) or (panel, slow, fast).
    statistics
        Of the image.
    """
    from numbragg.simulation import simulate

    announce_compilation()
    refuse_what_does_not_fit(job.experiment)
    _check_outputs(job)
    for line in geometry_lines(job):
        print(line)
    with progress_bar(job.outputs.progress) as progress:
        image = simulate(job.experiment, threads=threads, progress=progress, precision=precision)
    if not np.isfinite(image).all():
        raise NumbraggError("the image has pixels that are not finite: check amplitudes, fluence and geometry")
    statistics = image_statistics(job.experiment, image)
    for line in statistics_lines(statistics):
        print(line)
    if job.outputs.printout:
        print_pixels(job, image)
    for line in write_files(job, image, statistics, threads, files):
        print(line)
    return image, statistics


def write_files(
    job: Job,
    image: npt.NDArray[np.float64],
    statistics: ImageStatistics,
    threads: int | None,
    files: FileOptions = DEFAULT_FILES,
) -> Iterator[str]:
    """Write the files of a job, yielding the line to print about each."""
    outputs, provenance = job.outputs, provenance_of(job, files)
    if outputs.float_file:
        from numbragg.io.float_image import write_float, write_npy

        as_npy = outputs.float_file.endswith(".npy") and job.experiment.quirks == NO_QUIRKS
        (write_npy if as_npy else write_float)(outputs.float_file, image)
    if outputs.int_file:
        from numbragg.io.integer_image import scaled_integers

        brightest = statistics.maximum
        scale = outputs.scale or (BRIGHTEST_COUNT / brightest if brightest > 0 else 1.0)
        yield f"intfile_scale = {scale:g}"
        region = roi_mask(job.experiment)
        write_counts(
            outputs.int_file, scaled_integers(image, scale, outputs.adc_offset, region), job, files, provenance
        )
    if outputs.pgm_file:
        from numbragg.io.pgm import write_pgm

        scale = outputs.pgm_scale or (GREY_OF_FIVE_SIGMA / (5.0 * statistics.rmsd) if statistics.rmsd > 0 else 1.0)
        yield f"pgm_scale = {scale:g}"
        # The panels of several one above the other.
        write_pgm(outputs.pgm_file, as_rows(image), scale, roi_limits(job.experiment))
    if outputs.noise_file:
        noise = draw_noise(job, image, threads)
        yield f"{noise.photons} photons on noise image ({noise.overloads} overloads)"
        write_counts(outputs.noise_file, noise.pixels, job, files, provenance)
    if outputs.png_file:
        from numbragg.assembly import flat_picture
        from numbragg.io.png import write_png

        picture, shown = flat_picture(job.experiment, image)
        write_png(outputs.png_file, picture, active=shown, text=None if provenance is None else provenance.entries())


def draw_noise(job: Job, image: npt.NDArray[np.float64], threads: int | None) -> Any:
    """Photon noise of a job: nanoBragg.c's generator in mode ``c``, Philox otherwise (specs/10-physics.md, 10.66)."""
    outputs, experiment = job.outputs, job.experiment
    if job.effects is not None:
        from numbragg.detector_effects import detector_image
        from numbragg.noise import NoiseImage

        size, active = experiment.detector.pixel_size, roi_mask(experiment)
        read = detector_image(image, job.effects, seed=outputs.seed, pixel_size=size, active=active, threads=threads)
        return NoiseImage(read.counts, read.photons, read.overloads)
    if experiment.quirks == NO_QUIRKS:
        from numbragg.noise import poisson_noise

        return poisson_noise(
            image, seed=outputs.seed, adc_offset=outputs.adc_offset, active=roi_mask(experiment), threads=threads
        )
    from numbragg.compat.c_random import c_noise_image

    return c_noise_image(image, seed=outputs.seed, adc_offset=outputs.adc_offset, roi=roi_limits(experiment))


def print_pixels(job: Job, image: npt.NDArray[np.float64]) -> None:
    """Print the photons of one pixel, or of every active one (specs/20-command-line.md, ``-printout``)."""
    if job.outputs.printout_pixel is not None:
        fast, slow = job.outputs.printout_pixel
        print(f"pixel fast {fast} slow {slow} photons {image[slow, fast]:.15g}")
        return
    for number in job.experiment.active_pixels():
        *panel, slow, fast = (int(index) for index in np.unravel_index(number, image.shape))
        of_panel = f"panel {panel[0]} " if panel else ""
        print(f"pixel {of_panel}fast {fast} slow {slow} photons {image.flat[number]:.15g}")


def roi_limits(experiment: Experiment) -> tuple[int, int, int, int] | None:
    """Region of interest as (fast_min, fast_max, slow_min, slow_max)."""
    roi = experiment.roi
    return None if roi is None else (roi.fast_min, roi.fast_max, roi.slow_min, roi.slow_max)


def roi_mask(experiment: Experiment) -> npt.NDArray[np.bool_] | None:
    """Pixels of the region of interest, masked ones included: what integer and noise images hold."""
    roi = experiment.roi
    if roi is None:
        return None
    inside = np.zeros(experiment.detector.shape, dtype=bool)
    inside[roi.slow_min : roi.slow_max + 1, roi.fast_min : roi.fast_max + 1] = True
    return inside


def refuse_what_does_not_fit(experiment: Experiment) -> None:
    """Refuse a job that needs more memory than the machine has.

    Raises
    ------
    NumbraggError
        With both figures.
    """
    needed, available = memory_needed(experiment)
    if available is not None and needed > available:
        raise NumbraggError(
            f"an image of {' x '.join(str(count) for count in experiment.detector.shape[::-1])} pixels needs about "
            f"{needed / 2**30:.1f} GiB of memory, this machine has {available / 2**30:.1f} GiB"
        )


def memory_needed(experiment: Experiment) -> tuple[int, int | None]:
    """Bytes that an image takes at its peak, and those that the machine has (None where it does not say)."""
    needed = MEMORY_PER_PIXEL * math.prod(experiment.detector.shape)
    try:
        return needed, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return needed, None


@contextlib.contextmanager
def progress_bar(wanted: bool, unit: str = "batch") -> Iterator[Any]:
    """Progress callback that draws a bar on a terminal; None when nobody watches."""
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc="simulating", unit=unit, leave=False, delay=0.5) as bar:

        def report(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield report


def _check_outputs(job: Job) -> None:
    """Refuse before the work what would fail after it."""
    outputs = job.outputs
    files = (outputs.float_file, outputs.int_file, outputs.pgm_file, outputs.noise_file, outputs.png_file)
    for path in filter(None, files):
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise NumbraggError(f"cannot write {path}: the folder {folder} does not exist")
        if os.path.isdir(path):
            raise NumbraggError(f"cannot write {path}: it is a folder")
    checked_offset(outputs.adc_offset)
    if outputs.printout_pixel is not None:
        if job.experiment.detector.has_panels:
            raise NumbraggError("-printout_pixel FAST SLOW is a pixel of one panel: choose one with --panel")
        (fast, slow), (n_slow, n_fast) = outputs.printout_pixel, job.experiment.detector.panel_shape
        if not (0 <= slow < n_slow and 0 <= fast < n_fast):
            raise NumbraggError(f"-printout_pixel {fast} {slow} does not lie on the detector of {n_fast} x {n_slow}")


def _terminal_width() -> int:
    with contextlib.suppress(OSError):
        return os.get_terminal_size().columns
    return 100
