"""A small scene that the tests of the refinement share: a monoclinic crystal before 256 x 250 pixels."""

import dataclasses
import functools
import warnings
from typing import Any

import numpy as np

import numbragg

FREE = ("misset", "cell", "n_cells", "scale", "detector.distance")
CELL = (55.0, 65.0, 75.0, 90.0, 95.0, 90.0)
MISSET = (20.0, 35.0, 50.0)
N_CELLS = (12.0, 12.0, 11.0)
DISTANCE = 150.0
FLUENCE = 3e29
BACKGROUND = 20.0
REACH = (16, 19, 22)

START = {
    "cell.a": 55.1, "cell.b": 65.2, "cell.c": 74.9, "cell.beta": 94.9, "n_cells.a": 11.0, "n_cells.b": 11.0,
    "n_cells.c": 11.5, "misset.x": 20.08, "misset.y": 34.93, "misset.z": 50.09, "detector.distance": 150.1,
    "beam.fluence": 0.8 * FLUENCE,
}  # fmt: skip
TRUE = {
    "cell.a": 55.0, "cell.b": 65.0, "cell.c": 75.0, "cell.beta": 95.0, "n_cells.a": 12.0, "n_cells.b": 12.0,
    "n_cells.c": 11.0, "misset.x": 20.0, "misset.y": 35.0, "misset.z": 50.0, "detector.distance": 150.0,
    "scale": 1.25,
}  # fmt: skip


def amplitudes() -> numbragg.StructureFactors:
    """Made-up amplitudes, Friedel mates alike."""
    shape = tuple(2 * reach + 1 for reach in REACH)
    values = 100.0 * np.sqrt(np.random.default_rng(0).exponential(1.0, shape))
    values = 0.5 * (values + values[::-1, ::-1, ::-1])
    values[REACH] = 0.0
    return numbragg.StructureFactors((-REACH[0], -REACH[1], -REACH[2]), values)


@functools.cache
def truth(**crystal: Any) -> numbragg.Experiment:
    """What the image shows."""
    crystal = {"cell": CELL, "misset": MISSET, "n_cells": N_CELLS, "interpolate": False, **crystal}
    return numbragg.Experiment(
        crystal=numbragg.Crystal(structure_factors=amplitudes(), **crystal),
        beam=numbragg.Beam(wavelength=1.3, fluence=FLUENCE, polarization=0.9),
        detector=numbragg.Detector(
            n_fast=256, n_slow=250, pixel_size=0.15, distance=DISTANCE, beam_fast=19.2, beam_slow=18.75
        ),
        oversample=1,
    )


@functools.cache
def truth_image() -> np.ndarray:
    """Photons of the truth alone."""
    return numbragg.simulate(truth())


@functools.cache
def expected() -> np.ndarray:
    """Photons of the truth on a sloping background."""
    slow, fast = np.indices(truth().detector.shape)
    image = truth_image() + BACKGROUND * np.exp(-np.hypot(slow - 125, fast - 128) / 150.0)
    image.setflags(write=False)
    return image


def counted(seed: int, *, gain: float = 1.0, offset: float = 0.0, readout: float = 0.0) -> np.ndarray:
    """The image with photon noise, as a detector reads it."""
    generator = np.random.default_rng(seed)
    return generator.poisson(expected()) * gain + offset + generator.normal(0.0, readout, expected().shape)


def start(**other: float) -> numbragg.Experiment:
    """Where refinements begin."""
    return truth().replace({**START, **{name.replace("__", "."): value for name, value in other.items()}})


def refine(image: np.ndarray, **options: Any) -> numbragg.RefinementResult:
    """Refine from the start, silently."""
    experiment = options.pop("experiment", None) or start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", numbragg.NumbraggWarning)
        return numbragg.refine(experiment, image, **{"free": FREE, **options})


@functools.cache
def refined() -> numbragg.RefinementResult:
    """The refinement of one noisy image."""
    return refine(counted(1))


def scores(result: numbragg.RefinementResult) -> dict[str, float]:
    """(refined - true) / standard uncertainty."""
    return {name: (value.value - TRUE[name]) / value.sigma for name, value in result.parameters.items()}


def with_cell(experiment: numbragg.Experiment, cell: tuple[float, ...]) -> numbragg.Experiment:
    return dataclasses.replace(experiment, crystal=dataclasses.replace(experiment.crystal, cell=cell))
