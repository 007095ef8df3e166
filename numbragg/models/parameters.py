"""The numbers of an experiment that have a name: read them, and make experiments with others."""

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.models.beam import DEFAULT_FLUENCE
from numbragg.models.experiment import Experiment
from numbragg.models.sampling import Sampling
from numbragg.models.structure_factors import StructureFactors


class Parameter(NamedTuple):
    """A value and its unit."""

    value: Any
    unit: str


Limits = tuple[float, float]
UNLIMITED: Limits = (-math.inf, math.inf)


class _Access(NamedTuple):
    unit: str
    read: Callable[[Experiment], Any]
    write: Callable[[Experiment, Any], Experiment]
    scale: float  # of its unit; over this much, an image of tens of cells changes
    limits: Limits


def _field(
    owner: str, name: str, unit: str, index: int | None = None, *, scale: float, limits: Limits = UNLIMITED
) -> _Access:
    def read(experiment: Experiment) -> Any:
        value = getattr(getattr(experiment, owner), name)
        return value if index is None else value[index]

    def write(experiment: Experiment, value: Any) -> Experiment:
        whole = getattr(experiment, owner)
        if index is not None:
            entries = list(getattr(whole, name))
            entries[index] = value
            value = tuple(entries)
        return dataclasses.replace(experiment, **{owner: dataclasses.replace(whole, **{name: value})})

    return _Access(unit, read, write, scale, limits)


def _read_phi_range(experiment: Experiment) -> Any:
    sampling = experiment.scan.sampling
    return sampling.range if sampling.step is None else sampling.count * sampling.step


def _write_phi_range(experiment: Experiment, value: Any) -> Experiment:
    sampling = experiment.scan.sampling
    step = sampling.step
    if step is not None:
        # Rounded once: writing back what was read must keep every phi, and whether it is exactly 0.
        step = step + (value - _read_phi_range(experiment)) / sampling.count
    scan = dataclasses.replace(experiment.scan, sampling=Sampling(value, sampling.count, step))
    return dataclasses.replace(experiment, scan=scan)


ANGLE, LENGTH = 0.05, 0.05
"""Degrees, and angstrom or mm."""
POSITIVE: Limits = (math.nextafter(0.0, 1.0), math.inf)
NOT_NEGATIVE: Limits = (0.0, math.inf)


def _spread(name: str, index: int | None, limits: Limits) -> _Access:
    """The one spread of a crystal (no index), or one of its three: those that it has not have no value."""

    def read(experiment: Experiment) -> Any:
        spread, spreads = experiment.crystal.mosaic_spread, experiment.crystal.mosaic_spreads
        if index is None:
            return spread if spreads is None else None
        return None if spreads is None else spreads[index]

    def write(experiment: Experiment, value: Any) -> Experiment:
        crystal, spreads = experiment.crystal, experiment.crystal.mosaic_spreads
        if value is None:
            return experiment
        if index is None and spreads is None:
            changed = dataclasses.replace(crystal, mosaic_spread=value)
        elif index is not None and spreads is not None:
            changed = dataclasses.replace(crystal, mosaic_spreads=(*spreads[:index], value, *spreads[index + 1 :]))
        else:
            kind = "one spread" if spreads is None else "three spreads"
            raise NumbraggError(f"{name} has no value in this experiment: its crystal has {kind}")
        return dataclasses.replace(experiment, crystal=changed)

    return _Access("deg", read, write, ANGLE, limits)


CELL_ANGLE: Limits = (math.nextafter(0.0, 1.0), math.nextafter(180.0, 0.0))
AT_LEAST_ONE: Limits = (1.0, math.inf)

ACCESS: dict[str, _Access] = {
    "cell.a": _field("crystal", "cell", "A", 0, scale=LENGTH, limits=POSITIVE),
    "cell.b": _field("crystal", "cell", "A", 1, scale=LENGTH, limits=POSITIVE),
    "cell.c": _field("crystal", "cell", "A", 2, scale=LENGTH, limits=POSITIVE),
    "cell.alpha": _field("crystal", "cell", "deg", 3, scale=ANGLE, limits=CELL_ANGLE),
    "cell.beta": _field("crystal", "cell", "deg", 4, scale=ANGLE, limits=CELL_ANGLE),
    "cell.gamma": _field("crystal", "cell", "deg", 5, scale=ANGLE, limits=CELL_ANGLE),
    "misset.x": _field("crystal", "misset", "deg", 0, scale=ANGLE),
    "misset.y": _field("crystal", "misset", "deg", 1, scale=ANGLE),
    "misset.z": _field("crystal", "misset", "deg", 2, scale=ANGLE),
    "n_cells.a": _field("crystal", "n_cells", "cells", 0, scale=0.1, limits=AT_LEAST_ONE),
    "n_cells.b": _field("crystal", "n_cells", "cells", 1, scale=0.1, limits=AT_LEAST_ONE),
    "n_cells.c": _field("crystal", "n_cells", "cells", 2, scale=0.1, limits=AT_LEAST_ONE),
    "mosaic.spread": _spread("mosaic.spread", None, NOT_NEGATIVE),
    "mosaic.spread_a": _spread("mosaic.spread_a", 0, POSITIVE),
    "mosaic.spread_b": _spread("mosaic.spread_b", 1, POSITIVE),
    "mosaic.spread_c": _spread("mosaic.spread_c", 2, POSITIVE),
    "crystal.fudge": _field("crystal", "fudge", "1", scale=0.1, limits=POSITIVE),
    "phi.start": _field("scan", "start", "deg", scale=ANGLE),
    "phi.range": _Access("deg", _read_phi_range, _write_phi_range, ANGLE, UNLIMITED),
    "detector.distance": _field("detector", "distance", "mm", scale=LENGTH),
    "detector.beam_fast": _field("detector", "beam_fast", "mm", scale=LENGTH),
    "detector.beam_slow": _field("detector", "beam_slow", "mm", scale=LENGTH),
    "detector.rot_x": _field("detector", "rot_x", "deg", scale=ANGLE),
    "detector.rot_y": _field("detector", "rot_y", "deg", scale=ANGLE),
    "detector.rot_z": _field("detector", "rot_z", "deg", scale=ANGLE),
    "detector.twotheta": _field("detector", "twotheta", "deg", scale=ANGLE),
    "beam.wavelength": _field("beam", "wavelength", "A", scale=0.01, limits=POSITIVE),
    "beam.polarization": _field("beam", "polarization", "1", scale=0.1, limits=(-1.0, 1.0)),
    "beam.fluence": _field("beam", "fluence", "photons/m^2", scale=DEFAULT_FLUENCE, limits=NOT_NEGATIVE),
}
"""Every named parameter but the structure factors (specs/50-gradients.md, 50.2)."""

SCALED_BY_VALUE = ("beam.fluence", "crystal.fudge")
"""Their scale is their own value, unless that is 0."""

_REFLECTION = re.compile(r"structure_factor\[\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(-?\d+)\s*\]")


def read_parameters(experiment: Experiment) -> dict[str, Parameter]:
    """All parameters with a name of their own (structure factors have one each and are left out)."""
    return {name: Parameter(access.read(experiment), access.unit) for name, access in ACCESS.items()}


def read_parameter(experiment: Experiment, name: str) -> Parameter:
    """Value and unit of one parameter, ``structure_factor[h,k,l]`` included.

    Raises
    ------
    NumbraggError
        No parameter of that name; the message holds the nearest one.
    """
    index = reflection_index(name)
    if index is not None:
        table, place = reflection_place(experiment, index)
        return Parameter(table.values[place], "e")
    return Parameter(_access(name).read(experiment), _access(name).unit)


def parameter_scale(experiment: Experiment, name: str) -> float:
    """Natural scale of a parameter in its unit, above 0: a change by it is visible, one by 1e-4 of it linear.

    Source: specs/50-gradients.md, 50.3.

    Raises
    ------
    NumbraggError
        As of `read_parameter`.
    """
    value = read_parameter(experiment, name).value
    if reflection_index(name) is not None:
        return max(1.0, abs(float(np.real(value))))
    if name in SCALED_BY_VALUE and value:
        return abs(float(np.real(value)))
    return _access(name).scale


def parameter_limits(name: str) -> Limits:
    """Lowest and highest value of a parameter that make an experiment (specs/50-gradients.md, 50.3)."""
    return UNLIMITED if reflection_index(name) is not None else _access(name).limits


def replace_parameters(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The same experiment with other values (real or complex) of some parameters.

    Raises
    ------
    NumbraggError
        An unknown name, or a value that makes no experiment.
    """
    for name, value in values.items():
        index = reflection_index(name)
        if index is None:
            experiment = _access(name).write(experiment, value)
        else:
            experiment = _with_structure_factor(experiment, index, value)
    return experiment


def reflection_index(name: str) -> tuple[int, int, int] | None:
    """(h, k, l) of ``structure_factor[h,k,l]``, None for any other name."""
    match = _REFLECTION.fullmatch(name)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def _access(name: str) -> _Access:
    if name not in ACCESS:
        near = difflib.get_close_matches(str(name).lower(), [*ACCESS, "structure_factor[h,k,l]"], n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else "see experiment.parameters"
        raise NumbraggError(f"no parameter is called {name} ({hint})")
    return ACCESS[name]


def reflection_table(experiment: Experiment) -> StructureFactors:
    """Table whose amplitudes are parameters.

    Raises
    ------
    NumbraggError
        There is none, or one for each line of a spectrum.
    """
    table = experiment.crystal.structure_factors
    if experiment.line_factors:
        raise NumbraggError(
            "structure_factor[h,k,l]: no parameter, as each line of the spectrum has a table of its own (line_factors)"
        )
    if table is None:
        raise NumbraggError("structure_factor[h,k,l]: the experiment has no table of structure factors")
    return table


def reflection_place(
    experiment: Experiment, index: tuple[int, int, int]
) -> tuple[StructureFactors, tuple[int, int, int]]:
    """Table of an experiment and where in it a reflection (h, k, l) is.

    Raises
    ------
    NumbraggError
        As of `reflection_table`, or a reflection outside of the table.
    """
    table = reflection_table(experiment)
    if not all(low <= i <= high for low, i, high in zip(table.minimum, index, table.maximum, strict=True)):
        raise NumbraggError(
            f"structure_factor[{index[0]},{index[1]},{index[2]}] is outside the table "
            f"({table.minimum} to {table.maximum})"
        )
    h, k, l = (i - low for i, low in zip(index, table.minimum, strict=True))
    return table, (h, k, l)


def _with_structure_factor(experiment: Experiment, index: tuple[int, int, int], value: Any) -> Experiment:
    table, place = reflection_place(experiment, index)
    values = table.values.astype(np.result_type(table.values, np.asarray(value).dtype))
    values[place] = value
    crystal = dataclasses.replace(experiment.crystal, structure_factors=StructureFactors(table.minimum, values))
    return dataclasses.replace(experiment, crystal=crystal)
