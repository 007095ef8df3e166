"""What is minimised, with its derivatives, and a record of how it went (specs/55-refinement.md, 55.30 to 55.46)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.gradients.jacobians import image_and_jacobian
from numbragg.gradients.selection import indices_of
from numbragg.refinement.likelihood import Likelihood, Terms
from numbragg.refinement.maps import BoundMaps
from numbragg.refinement.observations import BackgroundFit, Observations
from numbragg.refinement.parameters import ParameterSet
from numbragg.refinement.restraints import Restraints
from numbragg.simulation import simulate

Vector = npt.NDArray[np.float64]

MOST_SCORINGS = 50
"""Steps of Fisher's scoring for the background of a box; three or four are usual."""
SETTLED = 1e-9
"""Of the loss of a box, which a step must still gain for another one to be taken."""
MOST_HALVINGS = 12
IMPOSSIBLE = 1e300
"""Loss where no experiment exists: every optimiser turns round there."""


class Model(NamedTuple):
    """Bragg photons of all pixels at one point, shape (P,), and per unit of each parameter, (n, P), where asked for."""

    photons: Vector
    jacobian: Vector | None


@dataclass(frozen=True)
class Iteration:
    """A point that an optimiser accepted.

    Attributes
    ----------
    number : int
        From 0, the start.
    cycle : int
        From 0; each has data of its own, so that losses of different cycles do not compare.
    loss : float
        Minus the logarithm of the likelihood, restraints included, up to a constant.
    values : dict
        Parameters by name, in their units.
    passes : int
        Passes of a kernel so far.
    seconds : float
        Since the start.
    """

    number: int
    cycle: int
    loss: float
    values: Mapping[str, float]
    passes: int
    seconds: float


class Progress:
    """Passes of the kernel and points that were accepted, over all cycles of a refinement."""

    def __init__(self) -> None:
        self.cycle = 0
        self.forward_passes = 0
        self.fused_passes = 0
        self.history: list[Iteration] = []
        self._began = time.perf_counter()

    @property
    def passes(self) -> int:
        """Passes of a kernel over the pixels of an image, with and without derivatives."""
        return self.forward_passes + self.fused_passes

    def add(self, loss: float, values: Mapping[str, float]) -> Iteration:
        """Record an accepted point."""
        seconds = time.perf_counter() - self._began
        self.history.append(Iteration(len(self.history), self.cycle, loss, dict(values), self.passes, seconds))
        return self.history[-1]


class Target:
    """Loss and residuals as functions of u, the vector of `BoundMaps`.

    Parameters
    ----------
    parameters, maps
        What is free, and how it follows from u.
    observations
        The data.
    likelihood
        What is expected of them.
    restraints
        What is known beside them.
    progress
        Where passes are counted.
    threads
        As of `numbragg.simulate`.
    """

    def __init__(
        self,
        parameters: ParameterSet,
        maps: BoundMaps,
        observations: Observations,
        likelihood: Likelihood,
        restraints: Restraints,
        progress: Progress,
        threads: int | None = None,
    ) -> None:
        self.parameters, self.maps, self.observations = parameters, maps, observations
        self.likelihood, self.restraints = likelihood, restraints
        self.progress, self._threads = progress, threads
        self._background = observations.background
        self._at: Vector | None = None
        self._model: Model | None = None
        self.best_u, self.best_loss = np.zeros(len(parameters)), np.inf

    def model(self, u: Vector, *, derivatives: bool = True) -> Model | None:
        """Photons and derivatives at u; None where no experiment exists. The last point is remembered."""
        if self._at is not None and np.array_equal(u, self._at):
            known = self._model
            if known is None or known.jacobian is not None or not derivatives:
                return known
        self._at, self._model = u.copy(), None
        self._model = self._computed(u, derivatives)
        return self._model

    def _computed(self, u: Vector, derivatives: bool) -> Model | None:
        values, observations = self.maps.values(u), self.observations
        try:
            experiments = [self.parameters.experiment(i, values) for i in range(len(observations.images))]
        except NumbraggError:
            return None
        photons = np.empty(len(observations.photons))
        jacobian = np.empty((len(u), len(photons))) if derivatives else None
        for image, (experiment, rows) in enumerate(zip(experiments, observations.images, strict=True)):
            numbers = observations.slow[rows] * experiment.detector.n_fast + observations.fast[rows]
            pixels = indices_of(experiment, numbers)
            if jacobian is None:
                photons[rows] = simulate(experiment, pixels=pixels, threads=self._threads)
                self.progress.forward_passes += 1
                continue
            names = self.parameters.model_names[image]
            photons[rows], slopes = image_and_jacobian(experiment, names, pixels=pixels, threads=self._threads)
            self.progress.fused_passes += 1
            jacobian[:, rows] = self.parameters.chain(image, slopes)
        if not np.isfinite(photons).all() or (jacobian is not None and not np.isfinite(jacobian).all()):
            return None
        return Model(photons, jacobian)

    def loss(self, u: Vector) -> float:
        """Minus the logarithm of the likelihood at the best backgrounds, restraints included."""
        model = self.model(u, derivatives=False)
        if model is None:
            return IMPOSSIBLE
        loss = float(self.terms(model.photons).loss.sum()) + self.restraints.loss(self.maps.values(u))
        self._remember(u, loss)
        return loss

    def loss_and_gradient(self, u: Vector) -> tuple[float, Vector]:
        """The same with its derivatives in u.

        The backgrounds are at their best, so that their own change adds nothing to the derivatives.
        """
        model = self.model(u)
        if model is None or model.jacobian is None:
            return IMPOSSIBLE, np.zeros(len(u))
        terms, values = self.terms(model.photons), self.maps.values(u)
        loss = float(terms.loss.sum()) + self.restraints.loss(values)
        gradient = model.jacobian @ terms.slope + self.restraints.slope(values)
        self._remember(u, loss)
        return loss, self.maps.slopes(u) * gradient

    def terms(self, photons: Vector) -> Terms:
        """Terms of every pixel, at the best backgrounds for these Bragg photons."""
        observations = self.observations
        terms = self.likelihood.terms(observations.photons, photons + self._background)
        if observations.basis.shape[1] == 0:
            return terms
        losses = observations.sum_of_boxes(terms.loss)
        for _ in range(MOST_SCORINGS):
            fit = BackgroundFit(observations, terms.weight)
            step = fit.fit(-terms.slope / terms.weight)
            terms, better, gain = self._damped(photons, step, losses)
            losses = better
            if not (gain > SETTLED * (1.0 + np.abs(losses))).any():
                break
        return terms

    def _damped(self, photons: Vector, step: Vector, losses: Vector) -> tuple[Terms, Vector, Vector]:
        """Take as much of a step of the background as lowers the loss of each box."""
        observations, share = self.observations, np.ones(self.observations.boxes)
        for _ in range(MOST_HALVINGS):
            background = self._background + share[observations.box] * step
            found = self.likelihood.terms(observations.photons, photons + background)
            better = observations.sum_of_boxes(found.loss)
            worse = better - losses > SETTLED * (1.0 + np.abs(losses))
            if not worse.any():
                break
            share[worse] *= 0.5
        else:
            share[worse] = 0.0
            background = self._background + share[observations.box] * step
            found = self.likelihood.terms(observations.photons, photons + background)
            better = observations.sum_of_boxes(found.loss)
        self._background = background
        return found, better, losses - better

    @property
    def background(self) -> Vector:
        """The backgrounds of the last point, photons, shape (P,)."""
        return self._background

    @background.setter
    def background(self, values: Vector) -> None:
        self._background = values

    def accept(self, u: Vector) -> Iteration:
        """Record a point that an optimiser settled on."""
        loss = self.loss(u)
        return self.progress.add(loss, dict(zip(self.parameters.names, self.maps.values(u).tolist(), strict=True)))

    def _remember(self, u: Vector, loss: float) -> None:
        if loss < self.best_loss:
            self.best_u, self.best_loss = u.copy(), loss
