"""Derivatives by complex step: the kernel's own source with complex numbers (specs/50-gradients.md, 50.30)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.gradients.selection import selected_numbers
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import read_parameter
from numbragg.simulation import Pixels, simulate

STEP = 1e-20
"""Of the scale of a parameter: its square is far below rounding, so the step has no truncation error."""


def step_of(value: Any) -> float:
    """Imaginary step for a parameter of this value."""
    return STEP * max(1.0, abs(float(np.real(value))))


def complex_step_jacobian(
    experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
) -> npt.NDArray[np.float64]:
    """Derivatives of the image, photons per unit of each parameter, shape (names, slow, fast) or (names, pixels)."""
    shape = experiment.detector.shape if pixels is None else selected_numbers(experiment, pixels).shape
    jacobian = np.zeros((len(names), *shape))
    for name, column in zip(names, jacobian, strict=True):
        value = read_parameter(experiment, name).value
        if value is None:
            continue
        step = step_of(value)
        moved = simulate(experiment.replace({name: value + 1j * step}), pixels=pixels, threads=threads)
        column[...] = moved.imag / step
    return jacobian
