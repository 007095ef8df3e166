"""From the end of a refinement to its result (specs/55-refinement.md, 55.50 to 55.54)."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.refinement.information import SIGNIFICANT, as_correlation, estimate, refuse_singular, significance
from numbragg.refinement.observations import BackgroundFit
from numbragg.refinement.problem import Problem
from numbragg.refinement.result import BoxPixels, Fit, RefinementResult, Value
from numbragg.refinement.solvers import Options, Solution
from numbragg.refinement.target import Model, Target

Vector = npt.NDArray[np.float64]

STRAY_CHI2 = 1.5
"""A reduced chi-square from here on says that model, gain or noise are not those of the data."""
INSEPARABLE = 0.999
"""Correlation of two parameters that is worth a note."""
SMALL_GAIN = 0.01
"""Of the loss, still to be gained: what a seventh of a standard uncertainty changes."""
REWEIGHTINGS = 3


class Ending(NamedTuple):
    """Where a cycle ended."""

    target: Target
    solution: Solution
    interrupted: bool

    @property
    def values(self) -> Vector:
        """Parameters, in their units."""
        return self.target.maps.values(self.solution.u)


def conclude(
    problem: Problem, ending: Ending, start: Vector, frozen: Sequence[str], options: Options
) -> RefinementResult:
    """Values, uncertainties and fit at the end of the last cycle; ``start`` is where the first one began."""
    target, solution, values = ending.target, ending.solution, ending.values
    parameters, u = target.parameters, solution.u
    model = target.model(u)
    if model is None:
        raise NumbraggError("refine: no experiment has the parameters of the start")
    best_background(target, model, minimised=options.minimises)
    found = estimate(target, u, reweighted=not options.minimises, robust=_robust(target, u, options.loss))
    variances = np.diag(found.covariance)
    sigmas = np.sqrt(np.where(variances > 0.0, variances, np.nan))
    pixels = _pixels(problem, target, model)
    fit = _fit(target, pixels, values)
    explains = significance(target, model) > SIGNIFICANT
    notes = [*problem.notes, *_findings(target, values, found.information, found.covariance)]
    doubts = _doubts(fit, explains=explains)
    if not ending.interrupted:
        for doubt in doubts:
            warnings.warn(doubt, NumbraggWarning, stacklevel=3)
    converged = solution.converged or found.gain < SMALL_GAIN
    return RefinementResult(
        parameters={
            free.name: Value(float(first), float(value), float(sigma) if math.isfinite(sigma) else None, free.unit)
            for free, first, value, sigma in zip(parameters.parameters, start, values, sigmas, strict=True)
        },
        covariance=found.covariance,
        fit=fit,
        experiments=tuple(
            own.replace(parameters.model_values(image, values)) for image, own in enumerate(problem.experiments)
        ),
        success=converged and explains and not ending.interrupted,
        interrupted=ending.interrupted,
        message=solution.message,
        method=options.method,
        likelihood=problem.name,
        frozen=tuple(frozen),
        notes=(*notes, *doubts),
        history=tuple(problem.progress.history),
        forward_passes=problem.progress.forward_passes,
        fused_passes=problem.progress.fused_passes,
        pixels=pixels,
    )


def best_background(target: Target, model: Model, *, minimised: bool) -> None:
    """Put the backgrounds where the likelihood wants them, or least squares with weights by the model."""
    if minimised:
        target.terms(model.photons)
        return
    observations = target.observations
    rest = observations.photons - model.photons - observations.background
    for _ in range(REWEIGHTINGS):
        weights = target.likelihood.weights(model.photons + target.background)
        target.background = observations.background + BackgroundFit(observations, weights).fit(rest)


def _robust(target: Target, u: Vector, kind: str) -> Vector | None:
    """Mean curvature and mean squared slope of a robust loss over the scores, by Huber's formula."""
    if kind == "linear":
        return None
    model = target.model(u)
    assert model is not None
    mean = model.photons + target.background
    square = (target.observations.photons - mean) ** 2 * target.likelihood.weights(mean)
    slope, curvature = ROBUST_SLOPES[kind](square)
    return np.array([np.mean(slope + 2.0 * square * curvature), np.mean(square * slope**2)])


def _huber(square: Vector) -> tuple[Vector, Vector]:
    outer = square > 1.0
    safe = np.where(outer, square, 1.0)
    return np.where(outer, safe**-0.5, 1.0), np.where(outer, -0.5 * safe**-1.5, 0.0)


ROBUST_SLOPES: dict[str, Callable[[Vector], tuple[Vector, Vector]]] = {
    "soft_l1": lambda square: ((1.0 + square) ** -0.5, -0.5 * (1.0 + square) ** -1.5),
    "huber": _huber,
    "cauchy": lambda square: (1.0 / (1.0 + square), -1.0 / (1.0 + square) ** 2),
    "arctan": lambda square: (1.0 / (1.0 + square**2), -2.0 * square / (1.0 + square**2) ** 2),
}
"""First and second derivative of SciPy's losses in the squared residual."""


def _pixels(problem: Problem, target: Target, model: Model) -> BoxPixels:
    observations = target.observations
    rows = np.array([own.detector.n_slow for own in problem.experiments])[observations.image]
    panel, slow = np.divmod(observations.slow, rows)
    return BoxPixels(
        observations.image,
        observations.box,
        slow,
        observations.fast,
        observations.photons,
        model.photons,
        target.background,
        target.likelihood.variance(model.photons + target.background),
        panel,
    )


def _fit(target: Target, pixels: BoxPixels, values: Vector) -> Fit:
    mean = pixels.spots + pixels.background
    z = (pixels.photons - mean) / np.sqrt(pixels.variance)
    boxes = target.observations.boxes
    loss = target.likelihood.terms(pixels.photons, mean).loss.sum() + target.restraints.loss(values)
    return Fit(
        chi2=float(z @ z),
        degrees_of_freedom=len(z) - len(values) - boxes * target.observations.basis.shape[1],
        z_mean=float(z.mean()),
        z_std=float(z.std()),
        z_beyond_3=float(np.mean(np.abs(z) > 3.0)),
        loss=float(loss),
        pixels=len(z),
        boxes=boxes,
    )


def _findings(target: Target, values: Vector, information: Vector, covariance: Vector) -> list[str]:
    """What the user should know about the parameters."""
    names = target.parameters.names
    notes = [
        f"{name} lies on its bound: its standard uncertainty does not hold"
        for name, there in zip(names, target.maps.at_bounds(values), strict=True)
        if there
    ]
    matrix = as_correlation(covariance)
    notes += [
        f"{names[row]} and {names[column]} can hardly be told apart (correlation {matrix[row, column]:.5f})"
        for row in range(len(names))
        for column in range(row)
        if abs(matrix[row, column]) > INSEPARABLE
    ]
    try:
        refuse_singular(information, names)
    except NumbraggError as error:
        notes.append(str(error))
    return notes


def _doubts(fit: Fit, *, explains: bool) -> list[str]:
    """Why a result may be wrong."""
    doubts = []
    if fit.reduced_chi2 >= STRAY_CHI2:
        doubts.append(
            f"chi2 is {fit.reduced_chi2:.3g} a degree of freedom: start, model, gain or noise are not those of the "
            "data, and the standard uncertainties do not hold"
        )
    if not explains:
        doubts.append("the model explains nothing of what is in the boxes: the start may be too far off")
    return doubts
