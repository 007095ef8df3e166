"""From numbers without bounds, all of one scale, to parameters within theirs (specs/55-refinement.md, 55.13)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models.parameters import Limits

Vector = npt.NDArray[np.float64]

EDGE = 0.1
"""Of the scale: as far inside its bounds a start is moved, since a map has no slope on them."""
FLAT = 3.0
"""Argument of the hyperbolic tangent: there a parameter is a four-hundredth of its range from a bound."""
STEEPEST = 300.0
"""Argument of an exponential, beyond which its square is no number."""
ON_BOUND = 1e-2
"""Of the scale: closer to a bound than this is on it."""


class BoundMaps:
    """A vector of parameters as a function of a vector u of free numbers.

    Two bounds give a logistic curve, one bound an exponential, none a straight line. u = 0 is the start, and there a
    step of 1 in u moves every parameter by its scale, or by its distance from the nearest bound where that is less.

    Parameters
    ----------
    names
        For messages.
    start
        Values at u = 0, shape (n,).
    scales
        Change of each value for a unit step, above 0, shape (n,).
    limits
        (lowest, highest) of each, infinite for none.

    Attributes
    ----------
    start : ndarray
        Values at u = 0: as given, or just inside where they lay on a bound (``moved``).
    moved : ndarray of bool
        Which were moved.

    Raises
    ------
    NumbraggError
        A start outside its bounds, or bounds that leave no room.
    """

    def __init__(self, names: Sequence[str], start: Vector, scales: Vector, limits: Sequence[Limits]) -> None:
        self.low, self.high = np.array(limits, dtype=float).reshape(-1, 2).T
        for name, value, low, high in zip(names, start, self.low, self.high, strict=True):
            if not low < high:
                raise NumbraggError(f"bounds of {name}: from {low:g} to {high:g} there is no room")
            if not low <= value <= high:
                raise NumbraggError(f"{name} starts at {value:.8g}, outside its bounds {low:g} to {high:g}")
        edge = np.minimum(EDGE * scales, 0.25 * (self.high - self.low))
        self.start = np.clip(start, self.low + edge, self.high - edge)
        self.moved = self.start != start
        self.scales = np.minimum(scales, np.minimum(self.start - self.low, self.high - self.start))
        self._tolerance = ON_BOUND * scales
        self._below, self._above = np.isfinite(self.low), np.isfinite(self.high)
        self._both = self._below & self._above
        self._one = self._below ^ self._above
        ends = self.low[self._both], self.high[self._both]
        self._middle, self._half = 0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0])

    def values(self, u: Vector) -> Vector:
        """Parameters, shape (n,)."""
        values = self.start + self.scales * u
        one, both = self._one, self._both
        values[one] = self._wall[one] + self._room[one] * np.exp(self._exponent(u))
        values[both] = self._middle + self._half * np.tanh(self._phase(u))
        return np.asarray(values)

    def slopes(self, u: Vector) -> Vector:
        """Derivative of each parameter in its u, shape (n,)."""
        slopes = self.scales.copy()
        one, both = self._one, self._both
        slopes[one] = self.scales[one] * np.exp(self._exponent(u))
        at_start = self._phase(np.zeros_like(u))
        slopes[both] = self.scales[both] * (np.cosh(at_start) / np.cosh(self._phase(u))) ** 2
        return np.asarray(slopes)

    def reach(self) -> tuple[Vector, Vector]:
        """Lowest and highest u that tell parameters apart, infinite but for those with two bounds."""
        low, high = np.full(len(self.start), -np.inf), np.full(len(self.start), np.inf)
        both = self._both
        at_start = self._phase(np.zeros(len(self.start)))
        per_unit = self._phase(np.ones(len(self.start))) - at_start
        low[both], high[both] = (-FLAT - at_start) / per_unit, (FLAT - at_start) / per_unit
        return low, high

    def at_bounds(self, values: Vector) -> npt.NDArray[np.bool_]:
        """Which parameters lie on a bound, to a hundredth of their scale."""
        return np.asarray((values - self.low < self._tolerance) | (self.high - values < self._tolerance))

    @property
    def _wall(self) -> Vector:
        return np.where(self._below, self.low, self.high)

    @property
    def _room(self) -> Vector:
        """Signed distance of the start from its one bound."""
        return np.asarray(self.start - self._wall)

    def _exponent(self, u: Vector) -> Vector:
        return np.asarray(np.clip(self.scales[self._one] * u[self._one] / self._room[self._one], -STEEPEST, STEEPEST))

    def _phase(self, u: Vector) -> Vector:
        both = self._both
        at_start = np.arctanh((self.start[both] - self._middle) / self._half)
        moved = at_start + self.scales[both] * u[both] / self._half * np.cosh(at_start) ** 2
        return np.asarray(np.clip(moved, -STEEPEST, STEEPEST))
