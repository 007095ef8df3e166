"""How well a mean number of photons explains what a pixel holds (specs/55-refinement.md, 55.30 to 55.36)."""

import math
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError

Name = Literal["gaussian", "poisson", "least-squares"]
NAMES: tuple[Name, ...] = get_args(Name)

Vector = npt.NDArray[np.float64]

LEAST_MEAN = 0.1
"""Photons: below this a mean has the variance of this one. A background that dips below zero would weigh too much."""
LEAST_POISSON_MEAN = 0.01
"""The same of a Poisson likelihood, which is at home with few photons."""


class Terms(NamedTuple):
    """Loss of each pixel as a function of its mean, at one mean; all of shape (P,).

    Attributes
    ----------
    loss : ndarray
        Minus the logarithm of the likelihood, up to a constant.
    slope : ndarray
        Its derivative in the mean.
    weight : ndarray
        Expected second derivative: the Fisher information about the mean.
    spread : ndarray
        Variance of ``slope`` for photons that are counted and read out.
    """

    loss: Vector
    slope: Vector
    weight: Vector
    spread: Vector


class Likelihood(Protocol):
    """What is expected of the data."""

    def terms(self, photons: Vector, mean: Vector) -> Terms:
        """Loss of every pixel, and its derivatives."""

    def weights(self, mean: Vector) -> Vector:
        """Of the squared deviations, for reweighted least squares."""

    def variance(self, mean: Vector) -> Vector:
        """Variance of the photons of a pixel, counted and read out."""


class _Counted:
    """Photons that are counted, and read out with noise."""

    least = LEAST_MEAN

    def __init__(self, readout: float) -> None:
        self.readout = readout

    def variance(self, mean: Vector) -> Vector:
        """Mean + readout^2."""
        return np.asarray(np.maximum(mean, self.least) + self.readout**2)


class Gaussian(_Counted):
    """Normal deviates with the variance of the photons counted and of the readout: V = mean + readout^2."""

    def terms(self, photons: Vector, mean: Vector) -> Terms:
        """Half of ln(2 pi V) + (photons - mean)^2 / V."""
        inverse, deviation = self.weights(mean), photons - mean
        z = deviation * inverse
        alive = mean > LEAST_MEAN
        counted = np.maximum(mean, LEAST_MEAN)
        return Terms(
            loss=0.5 * (deviation * z - np.log(inverse / (2.0 * math.pi))),
            slope=-z + np.where(alive, 0.5 * (inverse - z * z), 0.0),
            weight=inverse + 0.5 * inverse**2,
            # The third and fourth moment of a Poisson deviate are not those of a normal one.
            spread=inverse + 0.5 * inverse**2 + counted * inverse**3 * (1.0 + 0.25 * inverse),
        )

    def weights(self, mean: Vector) -> Vector:
        """One over the variance."""
        return 1.0 / self.variance(mean)


class Poisson(_Counted):
    """Counted photons without readout noise."""

    least = LEAST_POISSON_MEAN

    def terms(self, photons: Vector, mean: Vector) -> Terms:
        """mean - photons ln(mean), continued as a straight line below `LEAST_POISSON_MEAN`."""
        held = np.maximum(mean, self.least)
        slope = 1.0 - photons / held
        return Terms(
            loss=held - photons * np.log(held) + slope * (mean - held),
            slope=slope,
            weight=1.0 / held,
            spread=1.0 / held,
        )

    def weights(self, mean: Vector) -> Vector:
        """One over the mean."""
        return 1.0 / self.variance(mean)


class LeastSquares(_Counted):
    """Half of the squared deviations, all pixels alike."""

    def terms(self, photons: Vector, mean: Vector) -> Terms:
        """Half of (photons - mean)^2."""
        deviation = photons - mean
        return Terms(0.5 * deviation**2, -deviation, np.ones_like(mean), self.variance(mean))

    def weights(self, mean: Vector) -> Vector:
        """One for every pixel."""
        return np.ones_like(mean)


def make_likelihood(name: str, readout: float) -> Likelihood:
    """Find a likelihood by its name; the readout noise is in photons.

    Raises
    ------
    NumbraggError
        An unknown name, a readout noise that is no number of at least 0, or one that Poisson deviates do not have.
    """
    if not (math.isfinite(readout) and readout >= 0.0):
        raise NumbraggError(f"readout_sigma must be a number of at least 0, not {readout}")
    if name == "gaussian":
        return Gaussian(readout)
    if name == "least-squares":
        return LeastSquares(readout)
    if name != "poisson":
        raise NumbraggError(f"no likelihood is called {name} (known: {', '.join(NAMES)})")
    if readout > 0.0:
        raise NumbraggError("a Poisson likelihood has no readout noise: take gaussian, or readout_sigma=0")
    return Poisson(0.0)
