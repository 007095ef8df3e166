"""Which column of a reflection file holds the amplitudes, and what they are in P1 (specs/30-formats.md, 30.9)."""

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.symmetry import cell_of, expand_to_p1
from numbragg.models.reflections import Reflections

_FULL_MODELS = ("FMODEL", "F-MODEL", "F_MODEL", "FMODEL(+)", "F-MODEL(+)", "F_MODEL(+)")
_NOT_MEASURED = ("FC", "F_CALC", "FWT", "DELFWT", "2FOFC", "FOFC", "FDM", "PDBX_FWT", "PDBX_DELFWT")
_LARGEST_INDEX = 1 << 20


@dataclass(frozen=True, eq=False)
class Column:
    """One column that may serve as amplitude.

    Parameters
    ----------
    label
        Its name in the file.
    kind
        Its MTZ type: F amplitude, G amplitude of one Friedel mate, J intensity, K intensity of one Friedel mate.
    values
        One number a reflection, NaN where it is missing, shape (n,).
    """

    label: str
    kind: str
    values: npt.NDArray[np.float64]


def choose_reflections(
    source: Path,
    hkl: npt.NDArray[np.int32],
    columns: Sequence[Column],
    label: str | None,
    unit_cell: gemmi.UnitCell,
    space_group: gemmi.SpaceGroup,
) -> Reflections:
    """Take the amplitudes of one column, or pair of columns, and expand them to P1.

    Raises
    ------
    NumbraggError
        No such column, no column of amplitudes or intensities, or no value in it.
    """
    chosen = _default_column(source, columns) if label is None else _column_by_label(source, columns, label)
    members = [chosen]
    if chosen.kind in "GK":
        plus, minus = _friedel_pair(source, columns, chosen)
        members = [plus, minus]
        hkl = np.concatenate([hkl, -hkl])
    values = np.concatenate([member.values for member in members])
    present = np.isfinite(values)
    if not present.any():
        raise NumbraggError(f"{source}: column {chosen.label} holds no value")
    hkl, values = hkl[present], values[present]
    if np.abs(hkl).max() >= _LARGEST_INDEX:
        raise NumbraggError(f"{source}: an index is above {_LARGEST_INDEX}; the file is damaged")
    if chosen.kind in "JK":
        values = _amplitudes_from_intensities(source, chosen, values)
    cell = cell_of(unit_cell) if unit_cell.is_crystal() else None
    return Reflections(*expand_to_p1(hkl, values, space_group), cell, space_group.xhm())


def _default_column(source: Path, columns: Sequence[Column]) -> Column:
    if not columns:
        raise NumbraggError(f"{source} holds no column of amplitudes or intensities")
    return min(columns, key=_rank)


def _rank(column: Column) -> int:
    """Order of preference; the first column in the file wins among equals."""
    name = column.label.upper()
    if name in _FULL_MODELS:
        return 0
    if column.kind == "F":
        return 2 if name.startswith(_NOT_MEASURED) else 1
    return {"G": 3, "J": 4, "K": 5}[column.kind]


def _column_by_label(source: Path, columns: Sequence[Column], label: str) -> Column:
    for column in columns:
        if column.label == label:
            return column
    labels = [column.label for column in columns]
    folded = {name.upper(): name for name in reversed(labels)}
    near = difflib.get_close_matches(label.upper(), folded, n=1, cutoff=0.0)
    hint = f"; did you mean '{folded[near[0]]}'?" if near else ""
    raise NumbraggError(f"{source} has no amplitude column '{label}'{hint} (available: {', '.join(labels) or 'none'})")


def _friedel_pair(source: Path, columns: Sequence[Column], chosen: Column) -> tuple[Column, Column]:
    same = [column for column in columns if column.kind == chosen.kind]
    for sign, other in (("(+)", "(-)"), ("plus", "minus"), ("+", "-")):
        for column in same:
            head, found, tail = column.label.rpartition(sign)
            partner = next((mate for mate in same if found and mate.label == head + other + tail), None)
            if partner is not None and chosen in (column, partner):
                return column, partner
    raise NumbraggError(f"{source}: column {chosen.label} is one of a Friedel pair and the other one is missing")


def _amplitudes_from_intensities(
    source: Path, column: Column, intensities: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    negative = int((intensities < 0.0).sum())
    warnings.warn(
        f"{source}: amplitudes are the square roots of the intensities {column.label}; "
        f"{negative} negative ones count as 0",
        NumbraggWarning,
        stacklevel=2,
    )
    return np.sqrt(np.maximum(intensities, 0.0))
