"""How a range, a step and a count that were partly given become a sampling (specs/10-physics.md, 10.30 to 10.32)."""

import math

from numbragg.errors import NumbraggError
from numbragg.models.sampling import Sampling


def sample_phi(osc: float | None, step: float | None, count: int | None) -> Sampling:
    """Phi steps from -osc, -phistep and -phisteps; None is what was not given."""
    if count is None:
        if step is None:
            return Sampling() if osc is None else Sampling(osc, 2, osc / 2.0)
        if osc is None:
            return Sampling(step, 2, step)
        if step == 0.0:
            raise NumbraggError("-phistep 0 cannot cover -osc; give a step or -phisteps")
        return Sampling(osc, max(1, math.ceil(osc / step)), step)
    count = max(count, 1)
    if osc is None and step is None:
        return Sampling(1.0, count, 1.0 / count)
    if osc is None:
        return Sampling(step, 2, step)
    return Sampling(osc, count, osc / count if step is None else step)


def sample_range(full: float | None, step: float | None, count: int | None, alone: float) -> Sampling:
    """Divergence or dispersion; ``alone`` is the range that a count alone stands for (Q16).

    A range, step or count of zero, or a count of one alone, means one value in the middle.
    """
    if any(value is not None and value <= 0 for value in (full, step, count)):
        return Sampling()
    if count == 1 and full is None and step is None:
        return Sampling()
    if count is None:
        if step is None:
            sampling = Sampling() if full is None else Sampling(full, 2, full)
        elif full is None:
            sampling = Sampling(step, 2, step)
        else:
            sampling = Sampling(full, math.ceil(full / step), step)
    elif full is None and step is None:
        sampling = Sampling(alone, count, alone / count)
    elif full is None:
        sampling = Sampling(step, 2, step)
    elif step is None:
        count = max(count, 2)
        sampling = Sampling(full, count, full / (count - 1))
    else:
        sampling = Sampling(full, count, step)
    return sampling


def sample_layers(thickness: float | None, count: int | None, *, reference_spacing: bool) -> tuple[float, int, float]:
    """Thickness, number and spacing of sensor layers, micrometre, from -detector_thick and -detector_thicksteps.

    ``reference_spacing`` spaces n layers by thickness/(n-1), as nanoBragg.c does (Q04).
    """
    if thickness is None or thickness == 0.0:
        if thickness is None and count is not None and count > 1 and reference_spacing:
            return 0.5, count, 0.5 / count
        return 0.0, 1, 0.0
    if count is None:
        return thickness, 2, thickness / 2.0
    if reference_spacing:
        count = max(count, 2)
        return thickness, count, thickness / (count - 1)
    count = max(count, 1)
    return thickness, count, thickness / count
