"""Spectra: a text table of energies or wavelengths with weights."""

import os
from typing import Literal

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.io.two_columns import Row, read_two_columns
from numbragg.models.spectrum import Spectrum

EV_ANGSTROM = 12398.42
"""Photon energy times wavelength (specs/10-physics.md, 10.2)."""

ENERGY_ABOVE = 100.0
"""A first column without a heading is in eV above this, and in angstrom below."""

HEADINGS = {
    "energy": ("energy", "energies", "ev", "(ev)"),
    "wavelength": ("wavelength", "wavelengths", "lambda", "angstrom", "angstroms", "(a)", "(angstrom)"),
}


def read_spectrum(path: str | os.PathLike[str]) -> Spectrum:
    """Read a spectrum of two columns, energy (eV) or wavelength (angstrom) and weight.

    Parameters
    ----------
    path
        Text. The first column rises from row to row, or falls. A heading or comment above the rows that names one of
        energy and wavelength says what it is; otherwise its numbers do: above 100 they are eV.

    Raises
    ------
    NumbraggError
        The file cannot be read; a row is wrong, out of order or negative; or what the first column is stays open.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.52 and 30.55.
    """
    table = read_two_columns(path, "energy or wavelength, and weight")
    rows = table.rows
    _require_order(path, rows)
    first, weights = np.array([row.first for row in rows]), np.array([row.second for row in rows])
    wavelengths = EV_ANGSTROM / first if _first_column(path, table.heading, rows) == "energy" else first
    if not np.any(weights):
        raise NumbraggError(f"{path}: every weight is zero")
    return Spectrum(wavelengths, weights)


def _require_order(path: str | os.PathLike[str], rows: list[Row]) -> None:
    for row in rows:
        if row.first <= 0 or row.second < 0:
            raise NumbraggError(f"{path}, line {row.line}: an energy or wavelength above 0 and a weight of at least 0")
    steps = np.diff([row.first for row in rows])
    wrong = np.flatnonzero(np.sign(steps) != np.sign(steps[:1]).sum() if steps.size and steps[0] else steps == 0)
    if wrong.size:
        row = rows[int(wrong[0]) + 1]
        raise NumbraggError(
            f"{path}, line {row.line}: {row.first:g} is out of order (the first column must rise all the way, or fall)"
        )


def _first_column(path: str | os.PathLike[str], heading: list[str], rows: list[Row]) -> Literal["energy", "wavelength"]:
    named = {name for name, words in HEADINGS.items() if any(word.strip(",;:") in words for word in heading)}
    if len(named) == 1:
        return "energy" if "energy" in named else "wavelength"
    above = {row.first > ENERGY_ABOVE for row in rows}
    if len(above) == 2:
        raise NumbraggError(
            f"{path}: the first column goes across {ENERGY_ABOVE:g}, so that eV and angstrom cannot be told apart; "
            "begin the file with a line '# energy weight' or '# wavelength weight'"
        )
    return "energy" if True in above else "wavelength"
