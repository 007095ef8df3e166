"""What a refinement found (specs/55-refinement.md, 55.50 to 55.58)."""

import json
import math
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.models.experiment import Experiment
from numbragg.refinement.target import Iteration

Vector = npt.NDArray[np.float64]

STRONG = 0.9
"""Correlations from here on are listed."""


class Value(NamedTuple):
    """One refined parameter.

    Attributes
    ----------
    start, value : float
        Before and after, in the unit.
    sigma : float or None
        Standard uncertainty; None where the data say nothing.
    unit : str
        Unit.
    """

    start: float
    value: float
    sigma: float | None
    unit: str


class Fit(NamedTuple):
    """How well the model explains the pixels.

    Attributes
    ----------
    chi2 : float
        Sum of (photons - mean)^2 / variance.
    degrees_of_freedom : int
        Pixels less parameters, those of the backgrounds included.
    z_mean, z_std : float
        Of (photons - mean) / sqrt(variance).
    z_beyond_3 : float
        Share of pixels beyond 3; 0.0027 is expected of normal deviates.
    loss : float
        Minus the logarithm of the likelihood, restraints included, up to a constant.
    pixels, boxes : int
        That were used.
    """

    chi2: float
    degrees_of_freedom: int
    z_mean: float
    z_std: float
    z_beyond_3: float
    loss: float
    pixels: int
    boxes: int

    @property
    def reduced_chi2(self) -> float:
        """chi2 a degree of freedom; 1 where model, gain and noise are right."""
        return self.chi2 / max(1, self.degrees_of_freedom)


class BoxPixels(NamedTuple):
    """The used pixels of all boxes; (P,) each.

    Attributes
    ----------
    image, box, slow, fast : ndarray of int
        Where a pixel lies; boxes are numbered through all images.
    photons, spots, background, variance : ndarray
        What was measured, what the model has of the Bragg spots and of the background, and the variance of their sum.
    panel : ndarray of int
        0 where a detector has one.
    """

    image: npt.NDArray[np.int64]
    box: npt.NDArray[np.int64]
    slow: npt.NDArray[np.int64]
    fast: npt.NDArray[np.int64]
    photons: Vector
    spots: Vector
    background: Vector
    variance: Vector
    panel: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RefinementResult:
    """What a refinement found.

    Attributes
    ----------
    parameters : dict of str to Value
        Start, value, standard uncertainty and unit of each free parameter.
    covariance : ndarray
        Of the parameters in their order and units, shape (n, n).
    fit : Fit
        Chi-square and z scores.
    experiments : tuple of Experiment
        The refined experiments, one an image.
    success : bool
        The optimiser converged, and the model explains something.
    interrupted : bool
        Ctrl-C, or the callback, stopped it: these are the best values so far.
    message : str
        What the optimiser said.
    method, likelihood : str
        How it was refined.
    frozen : tuple of str
        Parameters that were asked for and have no effect; they keep their values.
    notes : tuple of str
        What else the user should know, one line each.
    history : tuple of Iteration
        Points that the optimiser accepted.
    forward_passes, fused_passes : int
        Passes of the kernel over the pixels of an image, without and with derivatives.
    pixels : BoxPixels
        Data and model.
    """

    parameters: dict[str, Value]
    covariance: Vector
    fit: Fit
    experiments: tuple[Experiment, ...]
    success: bool
    interrupted: bool
    message: str
    method: str
    likelihood: str
    frozen: tuple[str, ...]
    notes: tuple[str, ...]
    history: tuple[Iteration, ...]
    forward_passes: int
    fused_passes: int
    pixels: BoxPixels = field(repr=False)

    @property
    def experiment(self) -> Experiment:
        """The refined experiment (of the first image)."""
        return self.experiments[0]

    @property
    def values(self) -> dict[str, float]:
        """Refined values by name, in their units."""
        return {name: value.value for name, value in self.parameters.items()}

    @property
    def sigmas(self) -> dict[str, float | None]:
        """Standard uncertainties by name."""
        return {name: value.sigma for name, value in self.parameters.items()}

    @property
    def correlation(self) -> Vector:
        """Correlations of the parameters in their order, shape (n, n)."""
        sigma = np.sqrt(np.diag(self.covariance))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.covariance / np.outer(sigma, sigma))

    @property
    def strong_correlations(self) -> list[tuple[str, str, float]]:
        """Pairs of parameters that are correlated by 0.9 or more, strongest first."""
        names, matrix = list(self.parameters), self.correlation
        pairs = [
            (names[row], names[column], float(matrix[row, column]))
            for row in range(len(names))
            for column in range(row)
            if abs(matrix[row, column]) >= STRONG
        ]
        return sorted(pairs, key=lambda pair: -abs(pair[2]))

    def summary(self) -> str:
        """Text: a table of the parameters, the fit, correlations and notes."""
        fit = self.fit
        lines = [*_table(self.parameters), ""]
        lines += [
            f"chi2 / degrees of freedom  {fit.reduced_chi2:.4f} ({fit.chi2:.6g} / {fit.degrees_of_freedom})",
            f"z scores                   mean {fit.z_mean:.4f}, standard deviation {fit.z_std:.4f}, "
            f"{100 * fit.z_beyond_3:.2f} % beyond 3",
            f"data                       {fit.pixels} pixels in {fit.boxes} boxes, {self.likelihood} likelihood",
            f"work                       {len(self.history) - 1} iterations of {self.method}, "
            f"{self.fused_passes} passes with derivatives, {self.forward_passes} without",
        ]
        lines += [f"correlation                {a}, {b}: {value:.4f}" for a, b, value in self.strong_correlations]
        lines += [f"note                       {note}" for note in self.notes]
        return "\n".join([*lines, self.outcome]) + "\n"

    @property
    def outcome(self) -> str:
        """One line: how it ended."""
        if self.interrupted:
            return f"INTERRUPTED, best values so far: {self.message}"
        return f"{'converged' if self.success else 'NOT CONVERGED'}: {self.message}"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it; numbers that are not finite are None."""
        correlation = [[_number(value) for value in row] for row in self.correlation.tolist()]
        return {
            "success": self.success,
            "interrupted": self.interrupted,
            "message": self.message,
            "method": self.method,
            "likelihood": self.likelihood,
            "parameters": {name: value._asdict() for name, value in self.parameters.items()},
            "correlation": correlation,
            "fit": {**{name: _number(value) for name, value in self.fit._asdict().items()},
                    "reduced_chi2": _number(self.fit.reduced_chi2)},
            "frozen": list(self.frozen),
            "notes": list(self.notes),
            "forward_passes": self.forward_passes,
            "fused_passes": self.fused_passes,
            "history": [
                {"number": step.number, "cycle": step.cycle, "loss": _number(step.loss), "values": dict(step.values),
                 "passes": step.passes, "seconds": step.seconds}
                for step in self.history
            ],
        }  # fmt: skip

    def to_json(self) -> str:
        """The result as JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"

    def plot(self, path: str | os.PathLike[str] | None = None, *, boxes: int = 8) -> Any:
        """Draw data, model and residual of the brightest boxes, and the history of the parameters.

        Parameters
        ----------
        path
            A PNG file, replaced when it exists; None only returns the figure.
        boxes
            How many boxes.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.

        Raises
        ------
        NumbraggError
            matplotlib is missing (``pip install numbragg[plot]``), or the file cannot be written.
        """
        from numbragg.refinement.pictures import draw_refinement

        return draw_refinement(self, path, boxes=boxes)


def with_uncertainty(value: float, sigma: float | None) -> tuple[str, str]:
    """A value and its standard uncertainty to two digits of the latter."""
    if sigma is None or not math.isfinite(sigma) or sigma <= 0.0:
        return f"{value:.8g}", "-"
    if not 1e-9 < sigma < 1e9:
        return f"{value:.8g}", f"{sigma:.2g}"
    digits = max(0, 1 - math.floor(math.log10(sigma)))
    return f"{value:.{digits}f}", f"{sigma:.{digits}f}"


def _table(parameters: dict[str, Value]) -> list[str]:
    rows = [("parameter", "unit", "start", "refined", "s.u.")]
    for name, value in parameters.items():
        shown, sigma = with_uncertainty(value.value, value.sigma)
        rows.append((name, value.unit, f"{value.start:.8g}", shown, sigma))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
