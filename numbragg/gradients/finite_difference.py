"""Derivatives by finite differences, as SciPy takes them (specs/50-gradients.md, 50.40).

`scipy.optimize._numdiff.approx_derivative` is what every optimiser of SciPy calls for "2-point" and "3-point". Of the
public functions, `scipy.optimize.approx_fprime` knows neither central differences nor bounds, and
`scipy.differentiate.jacobian` wants a function that broadcasts over many points at once.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds
from scipy.optimize._numdiff import approx_derivative

from numbragg.errors import NumbraggError
from numbragg.gradients.choices import with_choices_made
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import parameter_limits, parameter_scale, read_parameter
from numbragg.simulation import Pixels, simulate

Difference = Literal["2-point", "3-point"]
UserBounds = Bounds | tuple[npt.ArrayLike, npt.ArrayLike] | None

STEP: dict[Difference, float] = {"2-point": 1e-7, "3-point": 1e-4}
"""Of a parameter's scale: where truncation (h, h^2) and cancellation (1e-13 / h) are about equal."""


def finite_difference_jacobian(
    experiment: Experiment,
    names: Sequence[str],
    *,
    method: Difference = "3-point",
    pixels: Pixels = None,
    threads: int | None = None,
    bounds: UserBounds = None,
    step: float = 1.0,
) -> npt.NDArray[np.float64]:
    """Derivatives of the image, photons per unit of each parameter.

    Parameters
    ----------
    experiment, names, pixels, threads
        As of `jacobian`.
    method
        "2-point" for one-sided differences, "3-point" for central ones (one-sided of second order at a bound).
    bounds
        ``(lower, upper)`` or `scipy.optimize.Bounds`, one entry for each name in its unit; no point outside is taken.
    step
        Multiplies the steps of specs/50-gradients.md, 50.41.

    Returns
    -------
    ndarray
        Float64, shape (names, slow, fast) or (names, pixels).

    Raises
    ------
    NumbraggError
        Bounds that do not hold the parameters, or leave them no room.
    """
    experiment = with_choices_made(experiment)
    image = simulate(experiment, pixels=pixels, threads=threads)
    jacobian = np.zeros((len(names), *image.shape))
    low, high = limits(names, bounds)
    given = [index for index, name in enumerate(names) if read_parameter(experiment, name).value is not None]
    if not given or not image.size:
        return jacobian
    moving = [names[index] for index in given]
    start = np.array([read_parameter(experiment, name).value for name in moving], dtype=float)
    _check_room(moving, start, low[given], high[given])

    def photons(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Ten digits of `moving` may be equal while one moves: names are unique (`jacobian` sees to it).
        moved = experiment.replace(dict(zip(moving, x.tolist(), strict=True)))
        return np.asarray(simulate(moved, pixels=pixels, threads=threads).ravel())

    steps = step * np.array([difference_step(experiment, name, method) for name in moving])
    slopes: Any = approx_derivative(
        photons, start, method=method, abs_step=steps, f0=image.ravel(), bounds=(low[given], high[given])
    )
    jacobian[given] = np.reshape(slopes, (image.size, len(given))).T.reshape(len(given), *image.shape)
    return jacobian


def difference_step(experiment: Experiment, name: str, method: Difference = "3-point") -> float:
    """Step of a parameter in its unit (specs/50-gradients.md, 50.41)."""
    return STEP[method] * parameter_scale(experiment, name)


def limits(names: Sequence[str], bounds: UserBounds = None) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Lower and upper limits: what makes an experiment, and what the user allows.

    Raises
    ------
    NumbraggError
        Bounds of another length than the names.
    """
    low, high = np.array([parameter_limits(name) for name in names], dtype=float).reshape(-1, 2).T.copy()
    if bounds is None:
        return low, high
    user = (bounds.lb, bounds.ub) if isinstance(bounds, Bounds) else bounds
    try:
        lower, upper = (np.broadcast_to(np.asarray(side, dtype=float), low.shape) for side in user)
    except (TypeError, ValueError):
        raise NumbraggError(f"bounds: (lower, upper) with {len(names)} numbers each are needed") from None
    return np.maximum(low, lower), np.minimum(high, upper)


def _check_room(
    names: Sequence[str],
    start: npt.NDArray[np.float64],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
) -> None:
    for name, value, lower, upper in zip(names, start, low, high, strict=True):
        if not lower <= value <= upper or lower == upper:
            raise NumbraggError(f"{name} is {value:g}: bounds from {lower:g} to {upper:g} leave no room for a step")
