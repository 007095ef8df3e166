"""Derivatives by complex step: the kernel's own source with complex numbers (specs/50-gradients.md, 50.30)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

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
    columns = []
    for name in names:
        value = read_parameter(experiment, name).value
        if value is None:
            columns.append(np.zeros_like(simulate(experiment, pixels=pixels, threads=threads)))
            continue
        step = step_of(value)
        moved = simulate(experiment.replace({name: value + 1j * step}), pixels=pixels, threads=threads)
        columns.append(moved.imag / step)
    return np.array(columns)
