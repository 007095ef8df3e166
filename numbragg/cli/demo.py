"""``numbragg demo``: a protein crystal at a synchrotron beamline, from its model to a picture."""

import argparse
import dataclasses
import importlib.resources
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from numbragg.cli._compiling import announce_compilation
from numbragg.cli.simulate import draw_noise, progress_bar
from numbragg.compat.build import Job, build_job
from numbragg.compat.report import smv_header
from numbragg.errors import DeviationNote, NumbraggError
from numbragg.io.float_image import write_float
from numbragg.io.integer_image import scaled_integers
from numbragg.io.png import write_png
from numbragg.io.smv import write_smv

SUMMARY = "simulate a protein crystal and show the picture"

FLAGS = """
    -misset 23 41 67 -N 40 -round_xtal -mosaic 0.15 -mosaic_dom 12
    -lambda 0.9768 -dispersion 0.03 -dispsteps 2 -divergence 0.2 -divsteps 2 -polar 0.99 -fluence 6e27
    -xds -detpixels 1024 -pixel 0.172 -distance 160 -oversample 1
    -phi 0 -osc 0.5 -phisteps 10 -water 0.15 -seed 1
"""
"""A 0.5 degree rotation image. The fluence stands for the many mosaic blocks of 40 x 40 x 40 cells in a real crystal,
and the water for its part of that."""

BEAMSTOP_RADIUS = 4.0
"""mm; without it F(000) outshines everything."""

INTEGER_SCALE = 1.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise NumbraggError(f"demo: {message} (numbragg demo --help)")


def main(argv: list[str]) -> int:
    """Run ``numbragg demo`` and return its exit code."""
    parser = _Parser(prog="numbragg demo", description=SUMMARY)
    parser.add_argument("--out", type=Path, default=Path("numbragg-demo"), help="folder for the files (%(default)s)")
    parser.add_argument("--threads", type=int, help="threads to use (all cores)")
    options = parser.parse_args(argv)
    folder: Path = options.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NumbraggError(f"cannot make the folder {folder}: {error.strerror}") from error
    from numbragg.simulation import simulate

    print("numbragg: lambda Cro repressor (PDB 1ORC), one 0.5 degree rotation image")
    announce_compilation()
    began = time.perf_counter()
    with importlib.resources.as_file(importlib.resources.files("numbragg") / "data" / "1orc.pdb") as model:
        job = behind_beamstop(_job(model))
    read = time.perf_counter()
    with progress_bar(True) as progress:
        image = simulate(job.experiment, threads=options.threads, progress=progress)
    simulated = time.perf_counter()
    noise = draw_noise(job, image, options.threads)
    files = _write(folder, job, image, noise.pixels)
    for line in _report(job, image, noise, files, (read - began, simulated - read)):
        print(line)
    return 0


def _job(model: Path) -> Job:
    with warnings.catch_warnings():
        # Where this differs from nanoBragg.c is no news to somebody who has just met numbragg.
        warnings.simplefilter("ignore", DeviationNote)
        return build_job(["-hkl", str(model), *FLAGS.split()])


def behind_beamstop(job: Job) -> Job:
    """The same job with the pixels in the shadow of a round beamstop masked."""
    detector = job.experiment.detector
    slow, fast = np.indices(detector.shape)
    along_fast = (fast + 0.5) * detector.pixel_size - detector.beam_fast
    along_slow = (slow + 0.5) * detector.pixel_size - detector.beam_slow
    mask = np.hypot(along_fast, along_slow) > BEAMSTOP_RADIUS
    return dataclasses.replace(job, experiment=dataclasses.replace(job.experiment, mask=mask))


def _write(
    folder: Path, job: Job, image: npt.NDArray[np.float64], noisy: npt.NDArray[np.uint16]
) -> dict[str, tuple[Path, str]]:
    files = {
        "photons": (folder / "demo_00001.img", "SMV, photon noise"),
        "expected": (folder / "demo_expected_00001.img", "SMV, without noise"),
        "float": (folder / "demo.bin", "float32, photons per pixel"),
        "picture": (folder / "demo.png", "look at this one"),
    }
    header, active = smv_header(job), job.experiment.mask
    write_smv(files["photons"][0], noisy, header)
    write_smv(files["expected"][0], scaled_integers(image, INTEGER_SCALE, job.outputs.adc_offset), header)
    write_float(files["float"][0], image)
    write_png(files["picture"][0], noisy - job.outputs.adc_offset, active=active)
    return files


def _report(
    job: Job,
    image: npt.NDArray[np.float64],
    noise: Any,
    files: dict[str, tuple[Path, str]],
    seconds: tuple[float, float],
) -> list[str]:
    experiment = job.experiment
    table, detector = experiment.crystal.structure_factors, experiment.detector
    known = 0 if table is None else int(np.count_nonzero(table.values))
    steps = experiment.scan.sampling.count * experiment.crystal.mosaic_domains
    cell = " ".join(f"{number:g}" for number in experiment.crystal.cell)
    return [
        f"structure  {known} structure factors computed from the model with bulk solvent, cell {cell}",
        f"crystal    40 x 40 x 40 cells a block, mosaic spread {experiment.crystal.mosaic_spread} degree, "
        f"{steps} orientations",
        f"beam       {experiment.beam.wavelength} A, divergence 0.2 mrad, bandwidth 0.03 %, 8 sources",
        f"detector   {detector.n_fast} x {detector.n_slow} pixels of {detector.pixel_size} mm "
        f"at {detector.distance:g} mm",
        f"image      brightest pixel {image.max():.0f} photons, {noise.photons} photons in all",
        f"seconds    {seconds[0]:.1f} for the structure factors, {seconds[1]:.1f} for the image",
        *(f"{name:10s} {path}  ({what})" for name, (path, what) in files.items()),
        "next       numbragg simulate --help, or the same by hand with other values:",
        f"           numbragg simulate -hkl model.pdb {' '.join(FLAGS.split())}",
    ]
