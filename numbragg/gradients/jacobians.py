"""The Jacobian of an image by any of four methods (specs/50-gradients.md, 50.5)."""

import difflib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.gradients.complex_step import complex_step_jacobian
from numbragg.gradients.finite_difference import UserBounds, finite_difference_jacobian
from numbragg.gradients.fused import fused_jacobian
from numbragg.gradients.structure_factors import structure_factor_jacobian
from numbragg.lowering.lines import Line, by_line
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import read_parameter, reflection_index
from numbragg.simulation import Pixels, simulate

Method = Literal["fused", "cs", "3-point", "2-point"]
METHODS: tuple[Method, ...] = get_args(Method)

Array = npt.NDArray[np.float64]


def jacobian(
    experiment: Experiment,
    names: Sequence[str],
    *,
    method: Method = "fused",
    pixels: Pixels = None,
    threads: int | None = None,
    bounds: UserBounds = None,
) -> Array:
    """Derivatives of the image in parameters.

    Parameters
    ----------
    experiment
        Where the derivatives are taken.
    names
        Parameters, as in ``experiment.parameters``, or ``structure_factor[h,k,l]``.
    method
        "fused": analytic, in one pass for all parameters, to 1e-9. "cs": complex step, one pass of the complex kernel
        for each parameter, to rounding. "3-point", "2-point": finite differences, two or one passes for each
        parameter, to about 1e-7 and 1e-5 where the image is smooth (specs/50-gradients.md, 50.70).
    pixels, threads
        As of `numbragg.simulate`.
    bounds
        For finite differences: ``(lower, upper)`` with one entry for each name, in its unit; no point outside is taken.

    Returns
    -------
    ndarray
        Float64, photons per pixel per unit of the parameter, shape (names, slow, fast), or (names, pixels) with
        ``pixels``. Exactly 0 for a parameter that has no effect or no value in this experiment.

    Raises
    ------
    NumbraggError
        An unknown name or method (the message holds the nearest one), ``pixels`` or ``bounds`` that do not fit.

    Examples
    --------
    >>> import numbragg
    >>> crystal = numbragg.Crystal(cell=(100, 100, 100, 90, 90, 90), n_cells=(5, 5, 5), default_f=100.0)
    >>> experiment = numbragg.Experiment(crystal=crystal)
    >>> numbragg.jacobian(experiment, ["cell.a", "misset.x"], pixels=([500, 501], [512, 513])).shape
    (2, 2)
    """
    unique = check_names(experiment, names)
    if method not in METHODS:
        near = difflib.get_close_matches(str(method), METHODS, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(METHODS)}"
        raise NumbraggError(f"no method is called {method} ({hint})")
    if method == "fused":
        slopes = image_and_jacobian(experiment, unique, pixels=pixels, threads=threads)[1]
    elif method == "cs":
        slopes = complex_step_jacobian(experiment, unique, pixels=pixels, threads=threads)
    else:
        first = [list(names).index(name) for name in unique]
        slopes = finite_difference_jacobian(
            experiment, unique, method=method, pixels=pixels, threads=threads, bounds=_of_names(bounds, names, first)
        )
    return slopes if len(unique) == len(names) else slopes[[unique.index(name) for name in names]]


def image_and_jacobian(
    experiment: Experiment, names: Sequence[str], *, pixels: Pixels = None, threads: int | None = None
) -> tuple[Array, Array]:
    """Image and its derivatives by the fused method; names are unique, structure factors among them or not."""
    amplitudes = [index for index, name in enumerate(names) if reflection_index(name) is not None]
    if not names:
        image = simulate(experiment, pixels=pixels, threads=threads)
        return image, np.zeros((0, *image.shape))
    if not amplitudes and experiment.line_factors:
        return _sum_over_lines(experiment, names, pixels, threads)
    if not amplitudes:
        return fused_jacobian(experiment, names, pixels=pixels, threads=threads)
    others = [index for index in range(len(names)) if index not in amplitudes]
    image, slopes = image_and_jacobian(experiment, [names[i] for i in others], pixels=pixels, threads=threads)
    result = np.zeros((len(names), *image.shape))
    result[others] = slopes
    reflections = [index for i in amplitudes if (index := reflection_index(names[i])) is not None]
    matrix = structure_factor_jacobian(experiment, reflections, pixels=pixels, threads=threads)
    result[amplitudes] = matrix.T.toarray().reshape(len(amplitudes), *image.shape)
    return image, result


def _sum_over_lines(
    experiment: Experiment, names: Sequence[str], pixels: Pixels, threads: int | None
) -> tuple[Array, Array]:
    """Image and derivatives with a table for each line (specs/50-gradients.md, 50.6)."""
    lines = by_line(experiment)
    image, slopes = fused_jacobian(lines[0].experiment, names, pixels=pixels, threads=threads)
    _scale(slopes, names, lines[0])
    for line in lines[1:]:
        more, columns = fused_jacobian(line.experiment, names, pixels=pixels, threads=threads)
        _scale(columns, names, line)
        image += more
        slopes += columns
    return image, slopes


def _scale(slopes: Array, names: Sequence[str], line: Line) -> None:
    """Make derivatives in the parameters of a line those in the parameters of the whole."""
    for name, column in zip(names, slopes, strict=True):
        column *= line.factors.get(name, 1.0)


def check_names(experiment: Experiment, names: Sequence[str]) -> list[str]:
    """Names without repetition, in order.

    Raises
    ------
    NumbraggError
        A single string, an unknown name, or a reflection that is not in the table.
    """
    if isinstance(names, str):
        raise NumbraggError(f"names: a list of names is needed, such as [{names!r}], not one string")
    for name in names:
        read_parameter(experiment, name)
    return list(dict.fromkeys(names))


def _of_names(bounds: Any, names: Sequence[str], chosen: list[int]) -> UserBounds:
    """Bounds of the chosen names; what does not fit is left for the finite differences to refuse."""
    if bounds is None or len(chosen) == len(names):
        return bounds  # type: ignore[no-any-return]
    sides = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
    low, high = (np.broadcast_to(side, len(names))[chosen] for side in sides)
    return low, high
