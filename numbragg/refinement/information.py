"""How well the data determine the parameters (specs/55-refinement.md, 55.50 to 55.55)."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.refinement.observations import BackgroundFit
from numbragg.refinement.target import Model, Target

Vector = npt.NDArray[np.float64]

NOTHING = 1e-9
"""Of the weighted image over a parameter's scale: derivatives below this are rounding."""
SINGULAR = 1e-10
"""Smallest eigenvalue of the information in units where each parameter alone has 1: below it some are one."""
SIGNIFICANT = 5.0
"""Standard uncertainties of the spots' own scale, below which a model explains nothing."""
SHARE = 0.1
"""Of the largest component of a direction: the parameters above it make the direction."""


def fisher_information(target: Target, u: Vector) -> Vector:
    """Expected curvature of the loss in u, shape (n, n): the backgrounds' uncertainty is taken out of it."""
    model = target.model(u)
    if model is None or model.jacobian is None:
        raise NumbraggError("no experiment has these parameters")
    weight = target.terms(model.photons).weight
    fit = BackgroundFit(target.observations, weight)
    left, slopes = fit.rest(model.jacobian * fit.root), target.maps.slopes(u)
    return np.asarray((left @ left.T + np.diag(target.restraints.inverse)) * np.outer(slopes, slopes))


class Estimate(NamedTuple):
    """Parameters in their units, with their covariance.

    Attributes
    ----------
    covariance : ndarray
        Shape (n, n); NaN where the information is singular.
    information : ndarray
        Expected curvature of the loss, shape (n, n).
    gain : float
        What the loss would still gain by a step to its minimum, were it a parabola.
    """

    covariance: Vector
    information: Vector
    gain: float


def estimate(target: Target, u: Vector, *, reweighted: bool, robust: Vector | None = None) -> Estimate:
    """Covariance of the parameters that a target gives at its minimum.

    Parameters
    ----------
    target
        With its backgrounds at their best for u.
    u
        The minimum.
    reweighted
        The minimum is that of least squares with weights by the model; else that of the likelihood itself.
    robust
        What a robust loss makes of the curvature and of the variance, shape (2,).
    """
    model = target.model(u)
    if model is None or model.jacobian is None:
        raise NumbraggError("no experiment has these parameters")
    mean = model.photons + target.background
    terms = target.likelihood.terms(target.observations.photons, mean)
    weight, spread, slope = terms.weight, terms.spread, terms.slope
    if reweighted:
        weight = target.likelihood.weights(mean)
        spread = weight**2 * target.likelihood.variance(mean)
        slope = weight * (mean - target.observations.photons)
    curved, scattered = (1.0, 1.0) if robust is None else (float(robust[0]), float(robust[1]))
    fit = BackgroundFit(target.observations, weight)
    left = fit.rest(model.jacobian * fit.root)
    known = np.diag(target.restraints.inverse)
    information = curved * (left @ left.T) + known
    own = left / fit.root
    variance = scattered * ((own * spread) @ own.T) + known
    inverse = _inverse(information)
    gradient = own @ slope + target.restraints.slope(target.maps.values(u))
    gain = 0.5 * float(gradient @ inverse @ gradient)
    return Estimate(inverse @ variance @ inverse, information, gain)


def without_effect(target: Target, u: Vector) -> list[str]:
    """Parameters that move no pixel and that no restraint holds."""
    model = target.model(u)
    if model is None or model.jacobian is None:
        raise NumbraggError("no experiment has the parameters of the start")
    root = np.sqrt(target.likelihood.weights(model.photons + target.background))
    size = float(np.linalg.norm(model.photons * root))
    norms = np.linalg.norm(model.jacobian * root, axis=1)
    silent = (norms <= NOTHING * size) & (target.restraints.inverse == 0.0)
    return [name for name, quiet in zip(target.parameters.names, silent, strict=True) if quiet]


def refuse_emptiness(target: Target) -> None:
    """Refuse data that the backgrounds alone explain and in which the start sees no spot either.

    Raises
    ------
    NumbraggError
        With both figures.
    """
    observations, nothing = target.observations, np.zeros(len(target.observations.photons))
    kept = target.background
    target.terms(nothing)
    mean = target.background
    variance = target.likelihood.variance(mean)
    excess = float((((observations.photons - mean) ** 2) / variance).sum()) - len(nothing)
    # The variance of a squared score of counts is 2 + 1/mean.
    scatter = math.sqrt(float((2.0 + 1.0 / variance).sum()))
    model = target.model(np.zeros(len(target.parameters)))
    seen = 0.0 if model is None else significance(target, model)
    target.background = kept
    if excess < SIGNIFICANT * scatter and seen < SIGNIFICANT:
        raise NumbraggError(
            f"no spots in the data: the backgrounds alone explain the {observations.boxes} boxes (chi2 "
            f"{excess + len(nothing):.6g} for {len(nothing)} pixels), and the start's spots are {seen:.1f} standard "
            "uncertainties high; check the image, gain, adc_offset and the start"
        )


def significance(target: Target, model: Model) -> float:
    """How many standard uncertainties the scale of the spots lies from zero, were it fitted by itself."""
    observations = target.observations
    fit = BackgroundFit(observations, target.likelihood.weights(model.photons + target.background))
    spots = fit.rest(model.photons * fit.root)
    rest = fit.rest((observations.photons - observations.background) * fit.root)
    return float(spots @ rest / max(float(np.linalg.norm(spots)), np.finfo(float).tiny))


def refuse_singular(information: Vector, names: list[str]) -> None:
    """Refuse parameters that the data cannot tell apart.

    Raises
    ------
    NumbraggError
        Names them.
    """
    correlation = as_correlation(information)
    values, axes = np.linalg.eigh(correlation)
    if values[0] > SINGULAR:
        return
    direction = np.abs(axes[:, 0])
    together = [name for name, part in zip(names, direction, strict=True) if part > SHARE * direction.max()]
    raise NumbraggError(
        f"the data cannot tell {' and '.join(together)} apart: free fewer of them, or restrain them"
        if len(together) > 1
        else f"the data say nothing about {together[0]}: do not free it, or restrain it"
    )


def as_correlation(matrix: Vector) -> Vector:
    """A symmetric matrix in units in which its diagonal is 1."""
    scale = np.sqrt(np.diag(matrix))
    scale = np.where(scale > 0.0, scale, 1.0)
    return np.asarray(matrix / np.outer(scale, scale))


def _inverse(information: Vector) -> Vector:
    scale = 1.0 / np.sqrt(np.maximum(np.diag(information), np.finfo(float).tiny))
    try:
        inner = np.linalg.inv(information * np.outer(scale, scale))
    except np.linalg.LinAlgError:
        return np.full_like(information, np.nan)
    return np.asarray(inner * np.outer(scale, scale))
