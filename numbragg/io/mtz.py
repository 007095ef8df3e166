"""Structure factors in CCP4's MTZ files (specs/30-formats.md, clauses 30.8 to 30.12)."""

import os

import gemmi
import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.input_file import first_line, input_file
from numbragg.io.reflection_columns import Column, choose_reflections
from numbragg.io.symmetry import expand_to_p1, find_space_group, index_keys
from numbragg.models.reflections import Cell, Reflections

_AMPLITUDE_KINDS = frozenset("FGJK")
_SAME_AMPLITUDE = 1e-6
"""Amplitudes that differ by less, relative to the largest, are equal: a little above the step of float32."""


def read_mtz(path: str | os.PathLike[str], column: str | None = None) -> Reflections:
    """Read amplitudes from an MTZ file and expand them to P1 (specs/30-formats.md, clauses 30.8 to 30.11).

    Parameters
    ----------
    path
        A merged MTZ file.
    column
        Label of a column of type F, G, J or K. For a Friedel pair either label means both. By default a complete
        model (FMODEL, F-model), else the first measured amplitude, else the first amplitude, pair, or intensity.

    Returns
    -------
    Reflections
        All symmetry and Friedel mates, sorted by index; reflections without a value are left out.

    Raises
    ------
    NumbraggError
        The file cannot be read, is not MTZ, is unmerged, has no space group, or has no such column.
    """
    source = input_file(path)
    try:
        mtz = gemmi.read_mtz_file(str(source))
        hkl = np.array(mtz.make_miller_array())
        columns = [_column(mtz, item) for item in mtz.columns if item.type in _AMPLITUDE_KINDS]
        unmerged = len(mtz.batches) > 0
        space_group = mtz.spacegroup
    except (RuntimeError, ValueError, OSError, MemoryError, IndexError) as error:
        raise NumbraggError(f"cannot read {source} as MTZ: {first_line(error)}") from error
    if unmerged:
        raise NumbraggError(f"{source} holds unmerged observations: merge them first (aimless, dials.merge)")
    if space_group is None:
        raise NumbraggError(f"{source} has no known space group")
    if len(hkl) == 0:
        raise NumbraggError(f"{source} holds no reflections")
    return choose_reflections(source, hkl, columns, column, mtz.cell, space_group)


def write_mtz(
    path: str | os.PathLike[str],
    hkl: npt.NDArray[np.integer],
    amplitudes: npt.NDArray[np.floating],
    cell: Cell | None,
    space_group: str | None = None,
    *,
    label: str = "FMODEL",
    wavelength: float = 0.0,
) -> None:
    """Write amplitudes as the unique reflections of a space group (specs/30-formats.md, clause 30.12).

    Friedel mates that differ make two columns, ``FMODEL(+)`` and ``FMODEL(-)``, else there is one. What the file
    stands for is read back by `read_mtz` with the precision of float32.

    Parameters
    ----------
    path
        The file to write; it appears whole or not at all.
    hkl
        Integer indices in P1, shape (n, 3).
    amplitudes
        Amplitudes, shape (n,).
    cell
        Unit cell, in angstrom and degrees.
    space_group
        Symbol of the symmetry that the amplitudes obey; by default P 1.
    label
        Name of the column of amplitudes.
    wavelength
        Wavelength of the data set in angstrom; 0 when there is none.

    Raises
    ------
    NumbraggError
        No cell, an unknown space group, amplitudes that do not obey it, or a file that cannot be written.
    """
    if cell is None:
        raise NumbraggError(f"cannot write {path}: an MTZ file needs the unit cell")
    if len(hkl) == 0:
        raise NumbraggError(f"cannot write {path}: there is no reflection")
    group, unit_cell = find_space_group(space_group or "P 1"), gemmi.UnitCell(*cell)
    indices, values = np.asarray(hkl).astype(np.int32), np.asarray(amplitudes).astype(np.float64)
    unique = _unique_indices(indices, unit_cell, group)
    mates = expand_to_p1(indices, values, group)
    plus, minus = _look_up(*mates, unique), _look_up(*mates, -unique)
    tolerance = _SAME_AMPLITUDE * float(np.abs(values).max())
    restored = expand_to_p1(np.concatenate([unique, -unique]), np.concatenate([plus, minus]), group)
    if np.abs(_look_up(*restored, indices) - values).max() > tolerance:
        raise NumbraggError(
            f"cannot write {path}: the amplitudes do not have the symmetry of {group.xhm()}; write them as 'P 1'"
        )
    anomalous = bool((np.abs(plus - minus) > tolerance).any())
    columns = {f"{label}(+)": plus, f"{label}(-)": minus} if anomalous else {label: plus}
    content = _mtz_bytes(unit_cell, group, unique, columns, wavelength)
    with atomic_write(path) as stream:
        stream.write(content)


def _column(mtz: gemmi.Mtz, column: gemmi.Mtz.Column) -> Column:
    values = np.array(column.array, dtype=np.float64)
    if not np.isnan(mtz.valm):
        values[values == mtz.valm] = np.nan
    return Column(column.label, column.type, values)


def _unique_indices(
    hkl: npt.NDArray[np.int32], unit_cell: gemmi.UnitCell, group: gemmi.SpaceGroup
) -> npt.NDArray[np.int32]:
    unique = gemmi.FloatAsuData(unit_cell, group, hkl, np.zeros(len(hkl), dtype=np.float32))
    unique.ensure_asu()
    return np.unique(unique.miller_array, axis=0)


def _look_up(
    sorted_hkl: npt.NDArray[np.int32], amplitudes: npt.NDArray[np.float64], hkl: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    return amplitudes[np.searchsorted(index_keys(sorted_hkl), index_keys(hkl))]


def _mtz_bytes(
    unit_cell: gemmi.UnitCell,
    group: gemmi.SpaceGroup,
    hkl: npt.NDArray[np.int32],
    values: dict[str, npt.NDArray[np.float64]],
    wavelength: float,
) -> bytes:
    mtz = gemmi.Mtz(with_base=True)
    mtz.title = "structure factors by numbragg"
    mtz.spacegroup = group
    dataset = mtz.add_dataset("numbragg")
    dataset.wavelength = wavelength
    mtz.set_cell_for_all(unit_cell)
    for label in values:
        mtz.add_column(label, "F" if len(values) == 1 else "G")
    mtz.set_data(np.column_stack([hkl, *values.values()]).astype(np.float32))
    mtz.update_reso()
    return mtz.write_to_bytes()
