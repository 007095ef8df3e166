"""Structure factors in mmCIF reflection files (specs/30-formats.md, clauses 30.8 to 30.11 and 30.13)."""

import os

import gemmi
import numpy as np

from numbragg.errors import NumbraggError
from numbragg.io.input_file import first_line, input_file
from numbragg.io.reflection_columns import Column, choose_reflections
from numbragg.models.reflections import Reflections

_KINDS = {
    "F_meas_au": "F",
    "F_meas": "F",
    "pdbx_F_calc_with_solvent": "F",
    "F_calc_au": "F",
    "F_calc": "F",
    "pdbx_F_plus": "G",
    "pdbx_F_minus": "G",
    "intensity_meas": "J",
    "F_squared_meas": "J",
    "pdbx_I_plus": "K",
    "pdbx_I_minus": "K",
}
"""MTZ types of the items of mmCIF's REFLN category that may serve as amplitudes."""


def read_sf_cif(path: str | os.PathLike[str], column: str | None = None) -> Reflections:
    """Read amplitudes from a structure-factor mmCIF and expand them to P1 (specs/30-formats.md, clause 30.13).

    Parameters
    ----------
    path
        An mmCIF file, plain or gzipped, with a `_refln` loop. The first block that holds one is read.
    column
        Name of an item without `_refln.`, such as ``F_meas_au``. For a Friedel pair either name means both.

    Returns
    -------
    Reflections
        All symmetry and Friedel mates, sorted by index; reflections without a value are left out.

    Raises
    ------
    NumbraggError
        The file cannot be read, is not CIF, holds no reflections, no space group or no such item.
    """
    source = input_file(path)
    try:
        blocks = gemmi.as_refln_blocks(gemmi.cif.read(str(source)))
        block = next((block for block in blocks if block.default_loop is not None), None)
        columns = [] if block is None else _columns(block)
        hkl = None if block is None else np.array(block.make_miller_array(), dtype=np.int32).reshape(-1, 3)
    except (RuntimeError, ValueError, OSError, MemoryError, IndexError) as error:
        raise NumbraggError(f"cannot read {source} as CIF: {first_line(error)}") from error
    if block is None or hkl is None or len(hkl) == 0:
        raise NumbraggError(f"{source} holds no reflections (no _refln loop)")
    if block.spacegroup is None:
        raise NumbraggError(f"{source} has no known space group (_symmetry.space_group_name_H-M)")
    return choose_reflections(source, hkl, columns, column, block.cell, block.spacegroup)


def _columns(block: gemmi.ReflnBlock) -> list[Column]:
    labels = [label for label in block.column_labels() if label in _KINDS]
    return [Column(label, _KINDS[label], np.array(block.make_float_array(label))) for label in labels]
