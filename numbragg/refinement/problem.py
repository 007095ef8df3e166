"""What a refinement is about, and does not change on its way."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.gradients.choices import with_choices_made
from numbragg.models.experiment import Experiment
from numbragg.models.panel import as_rows
from numbragg.refinement.data import Image, Mask, Readout, check_counts, to_photons, without_background
from numbragg.refinement.likelihood import Likelihood, make_likelihood
from numbragg.refinement.maps import BoundMaps
from numbragg.refinement.observations import Observations
from numbragg.refinement.parameters import ParameterSet
from numbragg.refinement.restraints import Restraints
from numbragg.refinement.shoeboxes import Background
from numbragg.refinement.target import Progress, Target

Vector = npt.NDArray[np.float64]


@dataclass
class Problem:
    """Images and what is known of them.

    Attributes
    ----------
    experiments : list of Experiment
        Where it starts, one an image, with the choices made (50.42).
    models : list of Experiment
        The same without what stands for the background of the boxes.
    photons, masks : list of ndarray
        (rows, fast) each, rows of all panels; masks are True where a pixel may be used.
    background, likelihood, readout
        As the user chose.
    name : str
        Of the likelihood.
    restraints, threads
        As the user chose.
    progress : Progress
        Of all cycles.
    notes : list of str
        For the user.
    """

    experiments: list[Experiment]
    models: list[Experiment]
    photons: list[Image]
    masks: list[Mask]
    background: Background
    likelihood: Likelihood
    name: str
    readout: Readout
    restraints: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    threads: int | None = None
    progress: Progress = field(default_factory=Progress)
    notes: list[str] = field(default_factory=list)

    def target(self, parameters: ParameterSet, values: Vector, observations: Observations) -> Target:
        """What is minimised, with u = 0 at these values."""
        scales = np.array([parameter.scale for parameter in parameters.parameters])
        limits = [parameter.limits for parameter in parameters.parameters]
        maps = BoundMaps(parameters.names, values, scales, limits)
        restraints = Restraints(list(parameters.parameters), self.restraints)
        return Target(parameters, maps, observations, self.likelihood, restraints, self.progress, self.threads)


def pose(
    experiment: Experiment | Sequence[Experiment],
    image: Any,
    mask: Any,
    *,
    background: Background,
    likelihood: str,
    readout: Readout,
) -> Problem:
    """Check what the user gives.

    Parameters
    ----------
    experiment, image, mask, background, likelihood
        As of `numbragg.refine`.
    readout
        From counts to photons.

    Raises
    ------
    NumbraggError
        Images, masks or experiments that do not fit together, no pixel left, or counts that the likelihood forbids.
    """
    first = experiment if isinstance(experiment, Experiment) else next(iter(experiment), None)
    axes = 2 if first is None else len(first.detector.shape)
    stack = isinstance(image, np.ndarray) and image.ndim == axes + 1
    several = stack or (isinstance(image, list | tuple) and any(np.ndim(own) == axes for own in image))
    images = list(image) if several else [image]
    experiments = [with_choices_made(own) for own in listed(experiment, len(images), "experiments")]
    problem = Problem(
        experiments=experiments,
        models=[without_background(own, background) for own in experiments],
        photons=[],
        masks=[],
        background=background,
        likelihood=make_likelihood(likelihood, readout.photons),
        name=likelihood,
        readout=readout,
    )
    masks = listed(mask, len(images), "masks")
    for number, (own, pixels, used) in enumerate(zip(experiments, images, masks, strict=True)):
        label = f"image {number}" if several else "the image"
        photons = to_photons(own, pixels, readout, label)
        problem.photons.append(photons)
        problem.masks.append(_usable(problem, own, photons, used, label))
        if likelihood == "poisson":
            check_counts(own, photons, problem.masks[-1], label)
    if background is not None and any(own.water_size or own.background for own in experiments):
        problem.notes.append("the experiment's own background is not in the model: that of the boxes stands for it")
    return problem


def listed(given: Any, count: int, what: str) -> list[Any]:
    """One an image; a single one serves all.

    Raises
    ------
    NumbraggError
        Another number of them.
    """
    if not isinstance(given, list | tuple):
        return [given] * count
    if len(given) != count:
        raise NumbraggError(f"{len(given)} {what} for {count} {'image' if count == 1 else 'images'}")
    return list(given)


def _usable(problem: Problem, experiment: Experiment, photons: Image, mask: Any, label: str) -> Mask:
    finite = np.isfinite(photons)
    wrong = int(np.count_nonzero(~finite))
    if wrong:
        problem.notes.append(
            f"{label}: {wrong} {'pixel is not a finite number' if wrong == 1 else 'pixels are not finite numbers'}, "
            "and not used"
        )
        warnings.warn(problem.notes[-1], NumbraggWarning, stacklevel=4)
    shape = experiment.detector.shape
    if mask is not None and np.shape(mask) != shape:
        raise NumbraggError(f"the mask has shape {np.shape(mask)}, {label} {shape} (slow, fast)")
    usable: Mask = as_rows(experiment.active_mask()) & finite
    usable = usable if mask is None else usable & as_rows(np.asarray(mask, dtype=bool))
    if not usable.any():
        raise NumbraggError(f"{label}: every pixel is masked; nothing is left to refine against")
    return usable
