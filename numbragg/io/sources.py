"""Tables of X-ray sources."""

import os

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file
from numbragg.models.beam import SourceTable

COLUMNS = 5
SOURCE_DISTANCE = 10.0  # m
METRE = 1e10  # angstrom


def read_sources(
    path: str | os.PathLike[str], wavelength: float, beam_direction: npt.NDArray[np.float64]
) -> SourceTable:
    """Read a table of sources: X Y Z (m, sample to source), weight, wavelength (m).

    Parameters
    ----------
    path
        Text, one source a line; blank lines and what follows ``#`` are ignored. Missing columns take the defaults
        of a source 10 m up the beam, weight 1 and the beam's wavelength.
    wavelength
        Of the beam, angstrom.
    beam_direction
        Unit vector from the source to the sample, shape (3,).

    Raises
    ------
    NumbraggError
        The file cannot be read, a line does not hold one to five numbers, or there is no source.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.51.
    """
    source = input_file(path)
    defaults = (*(-SOURCE_DISTANCE * beam_direction), 1.0, wavelength / METRE)
    rows = []
    for number, line in enumerate(source.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if not 0 < len(values) <= COLUMNS or not np.isfinite(values).all():
            raise NumbraggError(f"{path}, line {number}: expected X Y Z weight wavelength, found {line.strip()[:60]!r}")
        rows.append((*values, *defaults[len(values) :]))
    if not rows:
        raise NumbraggError(f"{path}: no sources in the file")
    table = np.array(rows)
    return SourceTable(positions=table[:, :3], weights=table[:, 3], wavelengths=table[:, 4] * METRE)
