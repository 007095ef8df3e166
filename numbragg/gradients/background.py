"""Derivatives of the amorphous background: a complex step of what the lattice has no part in."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from numbragg.gradients.complex_step import step_of
from numbragg.gradients.selection import selected_numbers
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import read_parameter
from numbragg.simulation import Pixels, simulate_background

OF_THE_CRYSTAL = ("cell.", "misset.", "n_cells.", "mosaic.", "crystal.", "phi.", "structure_factor[")
"""Parameters that do not move the background."""


def background_jacobian(
    experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
) -> npt.NDArray[np.float64]:
    """Derivatives of `simulate_background`, photons per unit of each parameter, shape (names, pixels)."""
    size = math.prod(experiment.detector.shape) if pixels is None else selected_numbers(experiment, pixels).size
    jacobian = np.zeros((len(names), size))
    for name, column in zip(names, jacobian, strict=True):
        value = read_parameter(experiment, name).value
        if value is None or name.startswith(OF_THE_CRYSTAL):
            continue
        step = step_of(value)
        moved = simulate_background(experiment.replace({name: value + 1j * step}), pixels=pixels, threads=threads)
        column[:] = moved.imag.ravel() / step
    return jacobian
