"""The parameters of a refinement: names and groups, symmetry, and what several images share
(specs/55-refinement.md, 55.10 to 55.14).
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models.experiment import Experiment
from numbragg.models.parameters import (
    ACCESS,
    NOT_NEGATIVE,
    Limits,
    parameter_limits,
    parameter_scale,
    read_parameter,
    reflection_index,
)
from numbragg.refinement.symmetry import CELL, CellSymmetry, cell_symmetry

SCALE = "scale"
SCALE_OF_SCALE = 0.1
"""A change of the overall factor that is visible."""

GROUPS: dict[str, tuple[str, ...]] = {
    "cell": CELL,
    "misset": ("misset.x", "misset.y", "misset.z"),
    "n_cells": ("n_cells.a", "n_cells.b", "n_cells.c"),
}
OWN = (*GROUPS["misset"], SCALE)
"""Parameters of which each image has its own."""

Vector = npt.NDArray[np.float64]
Bounds = Mapping[str, tuple[float, float]]


class Lever(NamedTuple):
    """A parameter of the model of one image that a free parameter moves."""

    image: int
    name: str
    factor: float  # of the free parameter's value


class FreeParameter(NamedTuple):
    """One number to be refined.

    Attributes
    ----------
    name : str
        As in ``experiment.parameters``, or "scale"; of a parameter that each of several images has, with ``[image]``.
    unit : str
        Unit.
    start : float
        Value at the start.
    scale : float
        A change that is visible, above 0.
    limits : tuple of float
        Lowest and highest value.
    levers : tuple of Lever
        What it moves.
    """

    name: str
    unit: str
    start: float
    scale: float
    limits: Limits
    levers: tuple[Lever, ...]


class ParameterSet:
    """All free parameters and how they move the experiments.

    Parameters
    ----------
    experiments
        One an image.
    parameters
        The free parameters.
    """

    def __init__(self, experiments: Sequence[Experiment], parameters: Sequence[FreeParameter]) -> None:
        self._experiments = tuple(experiments)
        self.parameters = tuple(parameters)
        self.names = [parameter.name for parameter in parameters]
        self.start = np.array([parameter.start for parameter in parameters], dtype=float)
        self.model_names: list[list[str]] = []
        """Parameters of the model that move, of each image."""
        self._chains: list[Vector] = []
        for image in range(len(self._experiments)):
            levers = [
                (row, lever)
                for row, parameter in enumerate(parameters)
                for lever in parameter.levers
                if lever.image == image
            ]
            names = [lever.name for _, lever in levers]
            _refuse_two_masters(names, [self.names[row] for row, _ in levers])
            chain = np.zeros((len(parameters), len(names)))
            for column, (row, lever) in enumerate(levers):
                chain[row, column] = lever.factor
            self.model_names.append(names)
            self._chains.append(chain)

    def __len__(self) -> int:
        return len(self.parameters)

    def experiment(self, image: int, values: Vector) -> Experiment:
        """The experiment of an image at other values, shape (n,)."""
        return self._experiments[image].replace(self.model_values(image, values))

    def model_values(self, image: int, values: Vector) -> dict[str, float]:
        """Parameters of the model of an image, by name, from the free ones, shape (n,)."""
        moved = values @ self._chains[image]
        return dict(zip(self.model_names[image], moved.tolist(), strict=True))

    def chain(self, image: int, jacobian: Vector) -> Vector:
        """Derivatives in the free parameters, (n, pixels), from those in the model's own, (names, pixels)."""
        return np.asarray(self._chains[image] @ jacobian)

    def without(self, names: Sequence[str], values: Vector) -> "ParameterSet":
        """The same set with some parameters frozen at their values, shape (n,)."""
        experiments = [self.experiment(image, values) for image in range(len(self._experiments))]
        return ParameterSet(experiments, [parameter for parameter in self.parameters if parameter.name not in names])


def free_parameters(
    experiments: Sequence[Experiment],
    free: Sequence[str],
    *,
    symmetry: str | None = None,
    bounds: Bounds | None = None,
) -> list[FreeParameter]:
    """List the free parameters of images of one crystal.

    Parameters
    ----------
    experiments
        One an image.
    free
        Names and groups ("cell", "misset", "n_cells").
    symmetry
        As of `cell_symmetry`.
    bounds
        (lowest, highest) by name or group, in the unit of the parameter.

    Raises
    ------
    NumbraggError
        An unknown name, a constant of the cell that symmetry gives, a parameter without a value, one that the images
        share though their values differ, or bounds of something that is not free.
    """
    if isinstance(free, str):
        raise NumbraggError(f"free: a list of names is needed, such as [{free!r}], not one string")
    first = experiments[0]
    cell = cell_symmetry(first.crystal.cell, symmetry)
    names = _expanded(experiments, free, cell)
    if not names:
        raise NumbraggError("free: no parameter is free; name some, such as misset, cell, n_cells and scale")
    limits = _limits_by_name(names, bounds or {}, cell)
    parameters: list[FreeParameter] = []
    for name in names:
        if name not in OWN:
            _check_shared(experiments, name)
            levers = [Lever(image, moved, 1.0) for image in range(len(experiments)) for moved in _moved(name, cell)]
            parameters.append(_parameter(first, name, name, limits[name], levers))
            continue
        for image, experiment in enumerate(experiments):
            label = name if len(experiments) == 1 else f"{name}[{image}]"
            factor = float(np.real(experiment.beam.fluence)) if name == SCALE else 1.0
            lever = Lever(image, "beam.fluence" if name == SCALE else name, factor)
            parameters.append(_parameter(experiment, name, label, limits[name], [lever]))
    return parameters


def base_name(name: str) -> str:
    """Name of a parameter without the image that it belongs to."""
    return name if reflection_index(name) is not None else name.partition("[")[0]


def _parameter(experiment: Experiment, name: str, label: str, limits: Limits, levers: Sequence[Lever]) -> FreeParameter:
    if name == SCALE:
        return FreeParameter(label, "1", 1.0, SCALE_OF_SCALE, limits, tuple(levers))
    value, unit = read_parameter(experiment, name)
    if value is None:
        raise NumbraggError(f"{name} has no value in this experiment, so it cannot be refined")
    return FreeParameter(label, unit, float(np.real(value)), parameter_scale(experiment, name), limits, tuple(levers))


def _expanded(experiments: Sequence[Experiment], free: Sequence[str], cell: CellSymmetry) -> list[str]:
    """Names in order, without groups and repetition."""
    names: list[str] = []
    for name in free:
        if name == "cell":
            names += cell.independent
        elif name in GROUPS:
            names += GROUPS[name]
        else:
            _check_name(experiments, name, cell)
            names.append(name)
    return list(dict.fromkeys(names))


def _check_name(experiments: Sequence[Experiment], name: str, cell: CellSymmetry) -> None:
    if name == SCALE:
        return
    if name not in ACCESS and reflection_index(name) is None:
        known = [*ACCESS, *GROUPS, SCALE]
        near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"groups: {', '.join(GROUPS)}; see experiment.parameters"
        raise NumbraggError(f"free: no parameter is called {name} ({hint})")
    for experiment in experiments:
        read_parameter(experiment, name)
    if name in cell.fixed:
        raise NumbraggError(
            f"free: {name} is {cell.fixed[name]:g} in a {cell.system} cell; symmetry='triclinic' frees it"
        )
    leader = cell.leader(name)
    if leader is not None:
        raise NumbraggError(f"free: {name} equals {leader} in a {cell.system} cell; free {leader} in its place")


def _moved(name: str, cell: CellSymmetry) -> tuple[str, ...]:
    return (name, *cell.followers.get(name, ()))


def _check_shared(experiments: Sequence[Experiment], name: str) -> None:
    values = [read_parameter(experiment, name).value for experiment in experiments]
    other = next((image for image, value in enumerate(values) if value != values[0]), None)
    if other is not None:
        raise NumbraggError(
            f"{name} is shared by all images, but is {values[0]} for image 0 and {values[other]} for image {other}: "
            "give all of them the same start"
        )


def not_free(what: str, key: str, names: Sequence[str]) -> NumbraggError:
    """The error about a key that is none of the free names; it gives the nearest one."""
    near = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"free are {', '.join(names)}"
    return NumbraggError(f"{what}: {key} is not free ({hint})")


def _limits_by_name(names: Sequence[str], bounds: Bounds, cell: CellSymmetry) -> dict[str, Limits]:
    limits = {name: NOT_NEGATIVE if name == SCALE else parameter_limits(name) for name in names}
    for key, pair in bounds.items():
        members = cell.independent if key == "cell" else GROUPS.get(key, (key,))
        if not set(members) & set(names):
            raise not_free("bounds", key, names)
        try:
            low, high = (float(value) for value in pair)
        except (TypeError, ValueError):
            raise NumbraggError(f"bounds of {key}: two numbers (lowest, highest) are needed, not {pair!r}") from None
        if not low < high:
            raise NumbraggError(f"bounds of {key}: from {low:g} to {high:g} there is no room")
        for name in set(members) & set(names):
            limits[name] = (max(limits[name][0], low), min(limits[name][1], high))
    return limits


def _refuse_two_masters(moved: Sequence[str], masters: Sequence[str]) -> None:
    for index, name in enumerate(moved):
        if name in moved[:index]:
            other = masters[moved.index(name)]
            raise NumbraggError(f"free: {other} and {masters[index]} both move {name}; free one of them")
