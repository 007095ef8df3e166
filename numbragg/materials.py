"""Amorphous materials by name: water and air."""

import os
from typing import NamedTuple

from numbragg.errors import NumbraggError
from numbragg.io.stol import Abscissa, read_stol
from numbragg.models.amorphous import AmorphousLayer


class Material(NamedTuple):
    """A table that comes with the package, and what a mole of it is like at 25 degrees Celsius and 1 atmosphere."""

    table: str
    density: float  # g/cm^3
    molecular_weight: float  # g/mol


MATERIALS = {
    "water": Material("water.stol", 0.997, 18.015),
    "air": Material("air.stol", 1.184e-3, 28.96),
}
"""Source: ``specs/10-physics.md``, clause 10.91."""


def amorphous_layer(
    material: str | os.PathLike[str],
    *,
    thickness: float,
    density: float | None = None,
    molecular_weight: float | None = None,
    width: float | None = None,
    abscissa: Abscissa = "stol",
) -> AmorphousLayer:
    """Make a layer of a known material, or of one whose amplitudes are in a file.

    Parameters
    ----------
    material
        "water", "air", or a file of two columns: sin(theta)/lambda (1/angstrom) and the amplitude of a molecule
        (electrons).
    thickness
        Along the beam, mm.
    density
        g/cm^3; None is that of the material. A file needs one.
    molecular_weight
        g/mol; None is that of the material. A file needs one.
    width
        Edge of the square that is lit, mm; None is the size of the beam.
    abscissa
        First column of a file: "stol", "4stol" or "Q".

    Raises
    ------
    NumbraggError
        A file that cannot be read or comes without density or molecular weight, or a number out of range.

    Examples
    --------
    >>> import numbragg
    >>> solvent = numbragg.amorphous_layer("water", thickness=0.01)
    >>> solvent.molecular_weight
    18.015
    """
    known = MATERIALS.get(os.fspath(material))
    if known is None:
        if density is None or molecular_weight is None:
            raise NumbraggError(
                f"{material} is none of {', '.join(MATERIALS)}: for a table in a file give density (g/cm^3) and "
                "molecular weight (g/mol) too"
            )
        stol, amplitude = read_stol(material, abscissa)
    else:
        import importlib.resources  # only here: it takes a while to load

        with importlib.resources.as_file(importlib.resources.files("numbragg") / "data" / known.table) as path:
            stol, amplitude = read_stol(path)
        density = known.density if density is None else density
        molecular_weight = known.molecular_weight if molecular_weight is None else molecular_weight
    return AmorphousLayer(
        stol=stol,
        amplitude=amplitude,
        thickness=thickness,
        density=density,
        molecular_weight=molecular_weight,
        width=width,
    )
