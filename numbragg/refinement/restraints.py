"""What is known of parameters beside the image (specs/55-refinement.md, 55.37)."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.refinement.parameters import FreeParameter, base_name, not_free

Vector = npt.NDArray[np.float64]


class Restraints:
    """Half of ln(2 pi beta) + (centre - p)^2 / beta, summed over the restrained parameters.

    Parameters
    ----------
    parameters
        The free parameters.
    given
        (centre, beta) by name, in the parameter's unit and its square; a parameter that every image has is restrained
        for all of them, unless one is named.

    Raises
    ------
    NumbraggError
        A restraint of something that is not free, or one that is not two numbers with beta above 0.
    """

    def __init__(self, parameters: list[FreeParameter], given: Mapping[str, tuple[float, float]] | None = None) -> None:
        self.centre = np.zeros(len(parameters))
        self.inverse = np.zeros(len(parameters))
        """1 / beta, 0 where nothing is known."""
        names = [parameter.name for parameter in parameters]
        for key, pair in (given or {}).items():
            rows = [row for row, name in enumerate(names) if key in (name, base_name(name))]
            if not rows:
                raise not_free("restraints", key, names)
            try:
                centre, beta = (float(value) for value in pair)
            except (TypeError, ValueError):
                raise NumbraggError(
                    f"restraint of {key}: two numbers (centre, beta) are needed, not {pair!r}"
                ) from None
            if not (math.isfinite(centre) and math.isfinite(beta) and beta > 0.0):
                raise NumbraggError(f"restraint of {key}: beta, a variance, must be above 0, not {beta:g}")
            self.centre[rows], self.inverse[rows] = centre, 1.0 / beta

    def loss(self, values: Vector) -> float:
        """Sum of the terms."""
        used = self.inverse > 0.0
        constant = np.log(2.0 * math.pi / self.inverse[used]).sum()
        return float(0.5 * (constant + (self.inverse * (self.centre - values) ** 2).sum()))

    def slope(self, values: Vector) -> Vector:
        """Its derivatives."""
        return np.asarray(self.inverse * (values - self.centre))

    def deviations(self, values: Vector) -> Vector:
        """(p - centre) / sqrt(beta) of each parameter, 0 where nothing is known."""
        return np.asarray(np.sqrt(self.inverse) * (values - self.centre))
