"""Rotation series: ``numbragg simulate --images N --osc-per-image D`` (specs/20-command-line.md, 20.40 to 20.46)."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.cli._compiling import announce_compilation
from numbragg.cli._image_files import (
    FileOptions,
    file_options,
    for_formats,
    format_of,
    instrument_of,
    measured_pixels,
    provenance_of,
    smv_entries,
    with_gaps,
)
from numbragg.compat.build import Job, build_job
from numbragg.compat.extras import extras_of
from numbragg.compat.more_options import add_options
from numbragg.compat.report import geometry_lines
from numbragg.errors import NumbraggError
from numbragg.io.atomic import remove_leftovers
from numbragg.io.numbered_files import file_name, one_run
from numbragg.models.instrument import Instrument
from numbragg.models.provenance import Provenance
from numbragg.models.sampling import Sampling

MOST_IMAGES = 100_000
DIGITS = 5
IMAGES_PER_FILE = 10
"""Of an NXmx series: what an interruption can cost."""
DEFAULT_SEED = 1
"""A series that is taken up again must draw the same noise, so the clock sets no seed."""
DEFAULT_NAME = "image_#####.img"

Counts = npt.NDArray[np.integer]


class Series(NamedTuple):
    """What all images of a series share."""

    job: Job
    files: FileOptions
    n_images: int
    osc: float
    template: str
    threads: int
    """For each image."""
    precision: Any
    """As of `numbragg.simulate`."""
    instrument: Instrument
    """Of the whole series; phi begins with the first image."""

    def image(self, number: int) -> Job:
        """The job of image ``number``, from 1: its spindle angles and its seed."""
        outputs = dataclasses.replace(self.job.outputs, seed=-image_seed(-self.job.outputs.seed, number))
        scan = self.job.experiment.scan
        scan = dataclasses.replace(scan, start=scan.start + (number - 1) * self.osc)
        experiment = dataclasses.replace(self.job.experiment, scan=scan)
        return dataclasses.replace(self.job, experiment=experiment, outputs=outputs)

    def provenance(self, number: int) -> Provenance:
        """What the file of image ``number`` says; of a master file, number 0."""
        found = provenance_of(self.job, self.files, number)
        if found is None:
            raise NumbraggError("a series needs --compat spec and its command line")
        return found


def image_seed(seed: int, number: int) -> int:
    """Seed of the noise of image ``number``, from the seed of the series: 31 bits of NumPy's SeedSequence."""
    words = np.random.SeedSequence([seed % 2**64, number]).generate_state(1, np.uint32)
    return int(words[0] >> 1)


def run_series(options: Mapping[str, Any], words: list[str]) -> None:
    """Simulate a series and write its files; images that are there already are kept.

    Parameters
    ----------
    options
        Long options by key, as of `split_options`.
    words
        The flags.

    Raises
    ------
    NumbraggError
        Options or flags that do not go with a series, or whatever stops a single image.
    """
    announce_compilation()
    files = file_options(options, words)
    count, osc = _counts(options, words)
    job = _job(options, words, files, osc)
    template = _template(job.outputs.noise_file or DEFAULT_NAME)
    workers, threads = _share(options.get("threads"), job, count)
    series = Series(job, files, count, osc, template, threads, options.get("precision", "double"), instrument_of(job))
    for line in geometry_lines(job):
        print(line)
    kind = format_of(template, files, job)
    write = _write_stack if kind == "nxmx" else _write_images
    for line in write(series, workers):
        print(line)


def _counts(options: Mapping[str, Any], words: list[str]) -> tuple[int, float]:
    if options.get("compat") == "c":
        raise NumbraggError("--images needs --compat spec: nanoBragg.c makes one image")
    for option, key in (("--images", "images"), ("--osc-per-image", "osc_per_image")):
        if key not in options:
            raise NumbraggError(f"a rotation series needs {option} too (--images N --osc-per-image DEGREES)")
    count, osc = int(options["images"]), float(options["osc_per_image"])
    if count > MOST_IMAGES:
        raise NumbraggError(f"--images {count}: at most {MOST_IMAGES}")
    if osc == 0:
        raise NumbraggError("--osc-per-image must not be 0: a series turns the crystal")
    if "-osc" in words:
        raise NumbraggError("-osc and --osc-per-image both set the rotation of an image: give --osc-per-image")
    for flag in ("-intfile", "-intimage", "-floatfile", "-floatimage", "-pgmfile", "-pgmimage", "-pngfile", "-nonoise"):
        if flag in words:
            raise NumbraggError(f"{flag} is not for a series, which writes -noisefile only")
    return count, osc


def _job(options: Mapping[str, Any], words: list[str], files: FileOptions, osc: float) -> Job:
    seeded = words if "-seed" in words else [*words, "-seed", str(DEFAULT_SEED)]
    named = set(words) & {"-noisefile", "-noiseimage"}
    full = [*seeded, "-osc", repr(osc), *([] if named else ["-noisefile", DEFAULT_NAME])]
    job = build_job(full, "spec", geometry=options.get("geometry"), extras=extras_of(options))
    sampling = job.experiment.scan.sampling
    scan = dataclasses.replace(job.experiment.scan, sampling=Sampling(osc, sampling.count, sampling.step))
    job = dataclasses.replace(job, experiment=dataclasses.replace(job.experiment, scan=scan))
    return add_options(for_formats(job, files, words), options)


def _template(name: str) -> str:
    """The name with the run of ``#`` that numbers replace; one is put in where there is none."""
    folder, base = os.path.split(name)
    one_run(name)
    if "#" not in base:
        stem, suffix = os.path.splitext(base)
        base = f"{stem}_{'#' * DIGITS}{suffix}"
    return os.path.join(folder, base)


def _share(threads: int | None, job: Job, count: int) -> tuple[int, int]:
    """Images at a time, and threads for each.

    One image at a time on all threads leaves the parts in between (lowering, noise, compression, disk) to one core;
    so images share the threads, as far as memory goes.
    """
    from numbragg.cli.simulate import memory_needed
    from numbragg.simulation import count_threads

    total = count_threads(threads)
    needed, available = memory_needed(job.experiment)
    fitting = total if available is None else int(available // (2 * needed))
    workers = max(1, min(total, count, fitting))
    return workers, max(1, total // workers)


def _simulate(series: Series, number: int) -> Counts:
    from numbragg.cli.simulate import draw_noise
    from numbragg.simulation import simulate

    job = series.image(number)
    # Numbers out of range end in one line of ours; NumPy's settings belong to the thread.
    with np.errstate(all="ignore"):
        image = simulate(job.experiment, threads=series.threads, precision=series.precision)
        if not np.isfinite(image).all():
            raise NumbraggError("the image has pixels that are not finite: check amplitudes, fluence and geometry")
        return np.asarray(draw_noise(job, image, series.threads).pixels)


def _write_images(series: Series, workers: int) -> Iterator[str]:
    """One file an image."""
    numbers = range(1, series.n_images + 1)
    waiting = [number for number in numbers if not _is_finished(_path(series, number), series.provenance(number))]
    _prepare(_path(series, number) for number in waiting)

    def work(number: int) -> None:
        # What a header cannot say is said once.
        _write_image(series, number, _simulate(series, number), warn=number == waiting[0])

    _consume(work, waiting, workers, series)
    yield f"{len(waiting)} images simulated, {series.n_images - len(waiting)} were there: {series.template}"
    paths = [_path(series, number) for number in numbers]
    yield _write_expt(series, paths)


def _write_stack(series: Series, workers: int) -> Iterator[str]:
    """A master file that links data files of `IMAGES_PER_FILE` images."""
    from numbragg.io.nxmx import DataFile, write_nxmx, write_nxmx_data

    stem, suffix = _stem(series.template)
    blocks = [range(first, min(first + IMAGES_PER_FILE, series.n_images + 1)) for first in _starts(series.n_images)]
    parts = [DataFile(f"{stem}_data_{i:06d}{suffix}", len(block)) for i, block in enumerate(blocks, start=1)]
    finished = [_is_finished(part.path, series.provenance(block[0])) for part, block in zip(parts, blocks, strict=True)]
    _prepare([*(part.path for part, done in zip(parts, finished, strict=True) if not done), f"{stem}{suffix}"])
    todo = [pair for pair, done in zip(zip(parts, blocks, strict=True), finished, strict=True) if not done]
    numbers = [number for _, block in todo for number in block]
    kept: dict[int, Counts] = {}
    ends = {block[-1]: (part, block) for part, block in todo}

    def finish(number: int, counts: Counts) -> None:
        kept[number] = counts
        if number in ends:
            part, block = ends[number]
            stack = np.stack([kept.pop(one) for one in block])
            write_nxmx_data(
                part.path, stack, compression=series.files.compression, provenance=series.provenance(block[0])
            )

    _consume(lambda number: _simulate(series, number), numbers, workers, series, finish)
    master = f"{stem}{suffix}"
    active = measured_pixels(series.job)
    write_nxmx(master, parts, series.instrument, active=active, provenance=series.provenance(0))
    yield f"{len(numbers)} images simulated, {series.n_images - len(numbers)} were there: {master}"
    yield _write_expt(series, [master])


def _starts(count: int) -> range:
    return range(1, count + 1, IMAGES_PER_FILE)


def _consume(work: Any, numbers: Iterable[int], workers: int, series: Series, finish: Any = None) -> None:
    """Work on images side by side, hand results over in order, and show one bar; nothing is begun after a fault."""
    from numbragg.cli.simulate import progress_bar

    pending: list[tuple[int, Future[Any]]] = []
    remaining = list(numbers)
    total, done = len(remaining), 0
    with progress_bar(series.job.outputs.progress, "image") as report, ThreadPoolExecutor(workers) as pool:
        try:
            while pending or remaining:
                # Only as many as there are workers: results that wait would fill the memory.
                while remaining and len(pending) < workers:
                    number = remaining.pop(0)
                    pending.append((number, pool.submit(work, number)))
                number, future = pending.pop(0)
                result = future.result()
                if finish is not None:
                    finish(number, result)
                done += 1
                if report is not None:
                    report(done, total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _path(series: Series, number: int) -> str:
    return file_name(series.template, number)


def _write_image(series: Series, number: int, counts: Counts, *, warn: bool) -> None:
    path, job, provenance = _path(series, number), series.image(number), series.provenance(number)
    if format_of(path, series.files, job) == "smv":
        from numbragg.io.smv import write_smv

        write_smv(path, counts, smv_entries(job, provenance))  # type: ignore[arg-type]
        return
    from numbragg.io.cbf import write_cbf

    instrument = dataclasses.replace(series.instrument, phi_start=float(job.experiment.scan.start))
    write_cbf(path, with_gaps(counts, measured_pixels(job)), instrument, provenance, warn=warn)


def _write_expt(series: Series, paths: list[str]) -> str:
    """Beside a series there is always a description: headers cannot say every geometry."""
    from numbragg.io.expt import write_expt

    path = f"{_stem(series.template)[0]}.expt"
    write_expt(
        path,
        series.instrument,
        paths,
        n_images=series.n_images,
        crystal=series.files.expt == "crystal",
        provenance=series.provenance(0),
    )
    return f"for DIALS: {path}"


def _stem(template: str) -> tuple[str, str]:
    """Name of a template without its number, and its suffix."""
    stem, suffix = os.path.splitext(template)
    folder, base = os.path.split(stem)
    return os.path.join(folder, base.rstrip("#").rstrip("_") or "series"), suffix


def _is_finished(path: str, wanted: Provenance) -> bool:
    """Whether a file is there that says it is this image; files appear whole or not at all."""
    from numbragg.provenance import read_provenance

    if not Path(path).is_file():
        return False
    try:
        return read_provenance(path) == wanted
    except NumbraggError:
        return False


def _prepare(paths: Iterable[str]) -> None:
    """Refuse before the work what would fail after it, and clear away what a killed run left."""
    for path in paths:
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise NumbraggError(f"cannot write {path}: the folder {folder} does not exist")
        remove_leftovers(path)
