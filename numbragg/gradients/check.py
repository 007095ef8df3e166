"""Derivatives of three kinds against each other (specs/50-gradients.md, 50.80 to 50.84)."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.gradients.choices import with_choices_made
from numbragg.gradients.complex_step import complex_step_jacobian, step_of
from numbragg.gradients.finite_difference import difference_step, finite_difference_jacobian
from numbragg.gradients.jacobians import check_names, image_and_jacobian
from numbragg.lowering.lower import lower
from numbragg.lowering.orientations import phi_angles
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import ACCESS, parameter_scale, read_parameter
from numbragg.simulation import Pixels

FUSED_TOLERANCE = 1e-9
"""Of a column's norm: rounding of indices near 10, enlarged by the flanks of peaks tens of cells wide."""
DIFFERENCE_TOLERANCE = 1e-5
"""Of a column's norm: truncation and cancellation of the central difference."""
NOISE = 1e-12
"""Of the image's norm over a parameter's scale: a column below it is rounding."""
CANCELLATION = 1e-10
"""The same for a difference, which subtracts images that are equal to 4 digits less than that."""
UNSETTLED_SHARE = 0.02
"""Of the pixels: as many may lie on a jump of the image, where a difference has no limit."""

AGREES, DISAGREES = "agrees", "DISAGREES"
NO_EFFECT, NO_VALUE = "no effect", "no value"
NO_DIFFERENCE = "agrees (no difference)"

HEADINGS = ("parameter", "unit", "norm", "cs vs fused", "cs vs 3-point", "step", "verdict")

Column = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DerivativeCheck:
    """One parameter.

    Attributes
    ----------
    parameter, unit : str
        Its name and unit.
    norm : float or None
        Of the derivatives by complex step over the pixels, photons per unit; None when it is not finite.
    cs_vs_fused, cs_vs_3point : float or None
        Norm of the difference over ``norm``. None where there is no such derivative, or this is not finite.
    step : float or None
        Of the central difference, in the unit.
    unsettled : int
        Pixels left out of the central difference: on a jump of the image.
    verdict : str
        One of the words of specs/50-gradients.md, 50.83.
    """

    parameter: str
    unit: str
    norm: float | None
    cs_vs_fused: float | None
    cs_vs_3point: float | None
    step: float | None
    unsettled: int
    verdict: str

    @property
    def passed(self) -> bool:
        """Whether nothing disagrees."""
        return self.verdict != DISAGREES


@dataclass(frozen=True)
class GradientReport:
    """All parameters.

    Attributes
    ----------
    checks : tuple of DerivativeCheck
        One a parameter.
    pixels : int
        Pixels that were compared.
    image_norm : float
        Norm of the image over these pixels, photons.
    """

    checks: tuple[DerivativeCheck, ...]
    pixels: int
    image_norm: float

    @property
    def passed(self) -> bool:
        """Whether no derivative disagrees."""
        return all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        return {"passed": self.passed, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """The report as lines of text."""
        rows = [HEADINGS, *(_cells(check) for check in self.checks)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        failed = sum(not check.passed for check in self.checks)
        outcome = f"{failed} of {len(self.checks)} derivatives disagree" if failed else "no derivative disagrees"
        return "\n".join([*lines, f"{outcome} ({self.pixels} pixels)"]) + "\n"


def gradcheck(
    experiment: Experiment,
    names: Sequence[str] | None = None,
    *,
    pixels: Pixels = None,
    threads: int | None = None,
) -> GradientReport:
    """Compare the derivatives of an image by complex step, by the fused pass and by central differences.

    Parameters
    ----------
    experiment
        Where the derivatives are taken.
    names
        Parameters; None takes all that matter for this experiment (`parameters_that_matter`).
    pixels, threads
        As of `numbragg.simulate`.

    Returns
    -------
    GradientReport
        With `table`, `to_json`, `as_dict` and `passed`.

    Raises
    ------
    NumbraggError
        As of `numbragg.jacobian`.
    """
    experiment = with_choices_made(experiment)
    names = parameters_that_matter(experiment) if names is None else check_names(experiment, names)
    image, fused = image_and_jacobian(experiment, names, pixels=pixels, threads=threads)
    image_norm = float(np.linalg.norm(image))
    checks = []
    for name, column in zip(names, fused, strict=True):
        exact = complex_step_jacobian(experiment, [name], pixels=pixels, threads=threads)[0].ravel()
        coarse, fine = _differences(experiment, name, pixels, threads)
        checks.append(_judge(experiment, name, exact, column.ravel(), coarse, fine, image_norm))
    return GradientReport(tuple(checks), image.size, image_norm)


def parameters_that_matter(experiment: Experiment) -> list[str]:
    """Names of the parameters that move anything the kernel is given and uses (specs/50-gradients.md, 50.81)."""
    return [name for name in ACCESS if _matters(experiment, name)]


def _matters(experiment: Experiment, name: str) -> bool:
    value = read_parameter(experiment, name).value
    if value is None or (name == "crystal.fudge" and experiment.crystal.shape == "square"):
        return False
    if name == "beam.polarization" or name == "beam.fluence":
        return True
    moved = lower(experiment.replace({name: value + 1j * step_of(value)}))
    fields = [field for part in moved[:4] for field in part]
    return any(np.any(np.imag(field)) for field in fields)


def _differences(
    experiment: Experiment, name: str, pixels: Pixels, threads: int | None
) -> tuple[Column | None, Column | None]:
    """Central differences with the step and with half of it; None where no difference sees the derivative."""
    if not _is_smooth(experiment, name):
        return None, None
    coarse, fine = (
        finite_difference_jacobian(experiment, [name], pixels=pixels, threads=threads, step=step)[0].ravel()
        for step in (1.0, 0.5)
    )
    return coarse, fine


def _is_smooth(experiment: Experiment, name: str) -> bool:
    """Whether the image follows a small step of the parameter (specs/50-gradients.md, 50.43)."""
    if read_parameter(experiment, name).value is None:
        return False
    quirks = experiment.quirks
    if name == "mosaic.spread":
        return not quirks.q28_single_precision_mosaic
    if name not in ("phi.start", "phi.range") or not quirks.q01_phi_carryover:
        return True
    # A phi of exactly 0 inherits the orientation before it; one that was moved does not.
    zero = np.real(phi_angles(experiment.scan)) == 0.0
    return not np.any(zero if name == "phi.start" else zero[1:])


def _judge(
    experiment: Experiment,
    name: str,
    exact: Column,
    fused: Column,
    coarse: Column | None,
    fine: Column | None,
    image_norm: float,
) -> DerivativeCheck:
    value, unit = read_parameter(experiment, name)
    norm = float(np.linalg.norm(exact))
    natural = image_norm / parameter_scale(experiment, name)
    by_fused = float(np.linalg.norm(exact - fused))
    passed = by_fused <= max(FUSED_TOLERANCE * norm, NOISE * natural)
    by_difference, unsettled = None, 0
    if coarse is not None and fine is not None:
        unclear = DIFFERENCE_TOLERANCE * np.abs(fine).max(initial=0.0) + CANCELLATION * natural
        settled = np.abs(coarse - fine) <= unclear
        unsettled = int((~settled).sum())
        by_difference = float(np.linalg.norm((exact - fine)[settled]))
        passed &= by_difference <= max(DIFFERENCE_TOLERANCE * norm, CANCELLATION * natural)
        passed &= unsettled <= math.ceil(UNSETTLED_SHARE * exact.size)
    return DerivativeCheck(
        parameter=name,
        unit=unit,
        norm=_number(norm),
        cs_vs_fused=_ratio(by_fused, norm),
        cs_vs_3point=None if by_difference is None else _ratio(by_difference, norm),
        step=None if fine is None else 0.5 * difference_step(experiment, name),
        unsettled=unsettled,
        verdict=_verdict(passed, exact, fused, fine, value),
    )


def _verdict(passed: bool, exact: Column, fused: Column, fine: Column | None, value: Any) -> str:
    if not passed:
        return DISAGREES
    if value is None:
        return NO_VALUE
    if not np.any(exact) and not np.any(fused):
        return NO_EFFECT
    return AGREES if fine is not None else NO_DIFFERENCE


def _ratio(size: float, norm: float) -> float | None:
    return 0.0 if size == 0.0 else _number(float(np.divide(size, norm)))


def _number(value: float) -> float | None:
    """A number that JSON can hold."""
    return value if math.isfinite(value) else None


def _cells(check: DerivativeCheck) -> tuple[str, ...]:
    def shown(value: float | None, style: str) -> str:
        return "-" if value is None else format(value, style)

    pixels = "pixel" if check.unsettled == 1 else "pixels"
    verdict = f"{check.verdict}, {check.unsettled} {pixels} on a jump" if check.unsettled else check.verdict
    return (
        check.parameter,
        check.unit,
        shown(check.norm, ".4g"),
        shown(check.cs_vs_fused, ".1e"),
        shown(check.cs_vs_3point, ".1e"),
        shown(check.step, ".3g"),
        verdict,
    )
