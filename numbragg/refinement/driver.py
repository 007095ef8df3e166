"""From an image and a first guess to the crystal: the one path through the refinement (specs/55-refinement.md)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.models.experiment import Experiment
from numbragg.refinement.conclusion import Ending, best_background, conclude
from numbragg.refinement.data import Mask, check_boxes, cut_boxes, make_readout, observe
from numbragg.refinement.information import estimate, refuse_emptiness, refuse_singular, without_effect
from numbragg.refinement.likelihood import Name
from numbragg.refinement.observations import Observations
from numbragg.refinement.parameters import Bounds, ParameterSet, free_parameters
from numbragg.refinement.problem import Problem, listed, pose
from numbragg.refinement.result import RefinementResult
from numbragg.refinement.shoeboxes import Background, Shoeboxes, drop_outliers
from numbragg.refinement.solvers import Method, Options, RobustLoss, Solution, check_options, solve
from numbragg.refinement.target import Iteration, Progress

Vector = npt.NDArray[np.float64]
Callback = Callable[[Iteration], object]

MOST_OUTLIERS = 0.02
"""Of the pixels: a model that calls more of them outliers is wrong itself."""


class _Stopped(Exception):  # noqa: N818
    """The callback asked for the end."""


def refine(
    experiment: Experiment | Sequence[Experiment],
    image: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    free: Sequence[str],
    mask: npt.NDArray[np.bool_] | Sequence[npt.NDArray[np.bool_] | None] | None = None,
    shoeboxes: Shoeboxes | Sequence[Shoeboxes] | None = None,
    background: Background = "plane",
    likelihood: Name = "gaussian",
    readout_sigma: float = 0.0,
    gain: float = 1.0,
    adc_offset: float = 0.0,
    overload: float | None = None,
    restraints: Mapping[str, tuple[float, float]] | None = None,
    bounds: Bounds | None = None,
    symmetry: str | None = None,
    method: Method = "trf",
    loss: RobustLoss = "linear",
    cycles: int = 2,
    max_iterations: int | None = None,
    seed: int = 0,
    callback: Callback | None = None,
    threads: int | None = None,
) -> RefinementResult:
    """Fit the parameters of an experiment to the pixels of an image.

    Parameters
    ----------
    experiment
        The start. For several images of one crystal one for each of them, or one for all: each image gets its own
        misset and scale, the rest is shared.
    image
        Measured counts, ADU, shape (slow, fast) or (panel, slow, fast); a sequence for several images. Pixels that are
        not finite are masked, with a note.
    free
        Names of the parameters to refine, as in ``experiment.parameters``; "cell" (what symmetry leaves of it),
        "misset", "n_cells"; "scale", an overall factor of the fluence.
    mask
        Boolean, of the shape of the image: False where a pixel is not to be used.
    shoeboxes
        Pixels to look at; None predicts and cuts them, and again in each cycle.
    background
        "plane" or "constant": fitted in every box together with the parameters; an image of photons, of the same
        shape, which is taken as it is; or None, where the experiment itself has all that is in the image. Water and
        amorphous layers of the experiment count only with None.
    likelihood
        "gaussian": variance = mean + (readout_sigma / gain)^2, photons; "poisson"; "least-squares": all pixels alike.
    readout_sigma, gain, adc_offset, overload
        ADU; ADU a photon; ADU; ADU. photons = (image - adc_offset) / gain.
    restraints
        (centre, beta) by name: beta is a variance, in the square of the parameter's unit.
    bounds
        (lowest, highest) by name or group.
    symmetry
        Crystal system or space group; None takes that of the cell's own metric.
    method
        Least squares with weights by the model: "trf", "dogbox", "lm". The likelihood itself: "L-BFGS-B",
        "trust-constr", "Nelder-Mead". For a lost start: "basinhopping", "differential_evolution" (bounds for all).
    loss
        Robust loss of "trf" and "dogbox": "linear", "soft_l1", "huber", "cauchy", "arctan".
    cycles
        After each but the last, outliers are dropped, and boxes predicted again unless they are given.
    max_iterations
        Of the method; None for its own.
    seed
        Of the methods that draw.
    callback
        Called with each `Iteration`; stops the refinement when it returns True.
    threads
        As of `numbragg.simulate`; the result does not depend on it.

    Returns
    -------
    RefinementResult
        Values with standard uncertainties, fit, history, refined experiment. Ctrl-C gives the best so far, with
        ``interrupted``.

    Raises
    ------
    NumbraggError
        An image of another shape, no spots, no pixel to use, negative counts (Poisson), an unknown name, a parameter
        that symmetry gives, or parameters that the data cannot tell apart.

    Warns
    -----
    NumbraggWarning
        A parameter without effect, which is frozen; pixels that are masked; a fit that explains too little.
    """
    options = Options(method, loss, max_iterations, seed)
    check_options(options)
    if cycles < 1:
        raise NumbraggError(f"cycles must be at least 1, not {cycles}")
    readout = make_readout(gain, adc_offset, readout_sigma, overload)
    problem = pose(experiment, image, mask, background=background, likelihood=likelihood, readout=readout)
    problem.restraints, problem.threads = restraints or {}, threads
    problem.progress = _Reporting(callback)
    parameters = ParameterSet(problem.models, free_parameters(problem.models, free, symmetry=symmetry, bounds=bounds))
    given = (
        None if shoeboxes is None else check_boxes(listed(shoeboxes, len(problem.models), "shoeboxes"), problem.photons)
    )
    boxes = given or cut_boxes(problem.models, problem.photons, problem.masks, background, readout)
    observations = observe(boxes, problem.photons, background)
    parameters, frozen = _with_effect(problem, parameters, observations)
    ending = _run(problem, parameters, parameters.start, observations, options)
    for cycle in range(1, cycles):
        if ending.interrupted:
            break
        problem.progress.cycle = cycle
        try:
            boxes = _next_boxes(problem, ending, boxes, given, minimised=options.minimises)
        except KeyboardInterrupt:
            ending = ending._replace(interrupted=True)
            break
        observations = observe(boxes, problem.photons, background)
        ending = _run(problem, parameters, ending.values, observations, options._replace(refined=True))
    for own in boxes:
        problem.notes += [note for note in own.notes if note not in problem.notes]
    return conclude(problem, ending, parameters.start, frozen, options)


class _Reporting(Progress):
    """Progress that tells the callback."""

    def __init__(self, callback: Callback | None) -> None:
        super().__init__()
        self._callback = callback

    def add(self, loss: float, values: Mapping[str, float]) -> Iteration:
        step = super().add(loss, values)
        answer = None if self._callback is None else self._callback(step)
        if isinstance(answer, bool | np.bool_) and answer:
            raise _Stopped
        return step


def _with_effect(
    problem: Problem, parameters: ParameterSet, observations: Observations
) -> tuple[ParameterSet, list[str]]:
    """Freeze what moves no pixel; refuse data without spots, and parameters that cannot be told apart."""
    target = problem.target(parameters, parameters.start, observations)
    for name, moved in zip(parameters.names, target.maps.moved, strict=True):
        if moved:
            problem.notes.append(f"{name} starts on its bound, and was moved just inside")
    frozen = without_effect(target, np.zeros(len(parameters)))
    if len(frozen) == len(parameters):
        raise NumbraggError(f"{', '.join(frozen)}: no effect on any pixel of the boxes; nothing is left to refine")
    for name in frozen:
        problem.notes.append(f"{name} has no effect on any pixel of the boxes, and is frozen at its start")
        warnings.warn(problem.notes[-1], NumbraggWarning, stacklevel=3)
    if frozen:
        parameters = parameters.without(frozen, parameters.start)
        target = problem.target(parameters, parameters.start, observations)
    refuse_emptiness(target)
    found = estimate(target, np.zeros(len(parameters)), reweighted=True)
    refuse_singular(found.information, parameters.names)
    return parameters, frozen


def _run(
    problem: Problem, parameters: ParameterSet, values: Vector, observations: Observations, options: Options
) -> Ending:
    """One cycle."""
    target = problem.target(parameters, values, observations)
    try:
        return Ending(target, solve(target, np.zeros(len(parameters)), options), interrupted=False)
    except KeyboardInterrupt:
        return Ending(target, Solution(target.best_u, False, "stopped by Ctrl-C"), interrupted=True)
    except _Stopped:
        return Ending(target, Solution(target.best_u, False, "stopped by the callback"), interrupted=True)


def _next_boxes(
    problem: Problem, ending: Ending, boxes: list[Shoeboxes], given: list[Shoeboxes] | None, *, minimised: bool
) -> list[Shoeboxes]:
    """Boxes by the refined model, without what it calls outliers, unless that is too much of the data."""
    parameters, values = ending.target.parameters, ending.values
    if given is None:
        refined = [parameters.experiment(image, values) for image in range(len(boxes))]
        boxes = cut_boxes(refined, problem.photons, problem.masks, problem.background, problem.readout)
    observations = observe(boxes, problem.photons, problem.background)
    target = problem.target(parameters, values, observations)
    model = target.model(np.zeros(len(parameters)), derivatives=False)
    if model is None:
        return boxes
    best_background(target, model, minimised=minimised)
    cleaned = []
    for image, own in enumerate(boxes):
        mean, kept = _on_boxes(own, observations, image, model.photons + target.background)
        variance = problem.likelihood.variance(mean)
        cleaned.append(drop_outliers(replace(own, used=kept), problem.photons[image], mean, variance))
    before, after = len(observations.photons), sum(int(own.used.sum()) for own in cleaned)
    if before - after > MOST_OUTLIERS * before:
        problem.notes.append(
            f"{before - after} of {before} pixels do not fit the model; all are kept, since the model may be wrong"
        )
        return boxes
    return cleaned


def _on_boxes(own: Shoeboxes, observations: Observations, image: int, mean: Vector) -> tuple[Vector, Mask]:
    """Means of the pixels of boxes, used or not, and which of these the observations have."""
    rows = observations.images[image]
    width = 1 + int(own.fast.max())
    numbers, wanted = observations.slow[rows] * width + observations.fast[rows], own.slow * width + own.fast
    order = np.argsort(numbers)
    place = np.clip(np.searchsorted(numbers, wanted, sorter=order), 0, len(numbers) - 1)
    found = numbers[order[place]] == wanted
    return np.where(found, mean[rows][order[place]], 1.0), found
