"""From the unique reflections of a space group to all of them, and the table of its names."""

import gemmi
import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models.reflections import Cell
from numbragg.models.structure_factors import StructureFactors


def find_space_group(name: str) -> gemmi.SpaceGroup:
    """Find a space group by its Hermann-Mauguin symbol or number.

    Raises
    ------
    NumbraggError
        No such space group.
    """
    group = gemmi.find_spacegroup_by_name(name)
    if group is None:
        raise NumbraggError(f"unknown space group '{name}' (expected a symbol such as 'P 21 21 21')")
    return group


def cell_of(unit_cell: gemmi.UnitCell) -> Cell:
    """Give the six parameters of a unit cell, in angstrom and degrees."""
    a, b, c, alpha, beta, gamma = unit_cell.parameters
    return a, b, c, alpha, beta, gamma


def expand_to_p1(
    hkl: npt.NDArray[np.integer], amplitudes: npt.NDArray[np.float64], space_group: gemmi.SpaceGroup
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Add the symmetry mates and the Friedel mates (specs/30-formats.md, clause 30.8).

    A mate that the list holds itself keeps its own amplitude; next come the mates by rotation, last those by
    Friedel's law, so that anomalous differences survive. The first of several equal indices wins.

    Parameters
    ----------
    hkl
        Integer indices, shape (n, 3).
    amplitudes
        Amplitudes, shape (n,).
    space_group
        The symmetry of the list.

    Returns
    -------
    hkl : ndarray of int32, shape (m, 3)
        All indices, each once, sorted by h, then k, then l.
    amplitudes : ndarray of float64, shape (m,)
        Their amplitudes.
    """
    rotations = np.array([np.array(op.rot) // gemmi.Op.DEN for op in space_group.operations().sym_ops])
    rotations = np.concatenate([rotations, -rotations])
    mates = np.concatenate([hkl @ rotation for rotation in rotations]).astype(np.int32)
    _, first = np.unique(index_keys(mates), return_index=True)
    return mates[first], np.asarray(amplitudes, dtype=np.float64)[first % len(hkl)]


def index_keys(hkl: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Give each index one whole number that sorts as h, then k, then l do; |h|, |k|, |l| < 2**20."""
    return hkl.astype(np.int64) @ np.array([1 << 42, 1 << 21, 1], dtype=np.int64)


def without_absences(table: StructureFactors, space_group: str) -> StructureFactors:
    """Set the systematic absences and the centring's of a table to zero, whatever its default amplitude."""
    indices = np.indices(table.values.shape).reshape(3, -1).T + np.array(table.minimum)
    absent = find_space_group(space_group).operations().systematic_absences(indices.astype(np.int32))
    values = table.values.copy()
    values[np.asarray(absent).reshape(values.shape)] = 0.0
    return StructureFactors(table.minimum, values)
