"""Tables of scattering amplitudes against the scattering angle (.stol)."""

import math
import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.atomic import atomic_write
from numbragg.io.two_columns import read_two_columns

Abscissa = Literal["stol", "4stol", "Q"]

UNITS: dict[Abscissa, float] = {"stol": 1.0, "4stol": 0.25, "Q": 1.0 / (4.0 * math.pi)}
"""sin(theta)/lambda of one unit of each abscissa."""

Array = npt.NDArray[np.float64]


def read_stol(path: str | os.PathLike[str], abscissa: Abscissa = "stol") -> tuple[Array, Array]:
    """Read amplitudes against the scattering angle.

    Parameters
    ----------
    path
        Text of two columns; the first rises from row to row.
    abscissa
        What the first column holds: sin(theta)/lambda, four times that, or Q = 4 pi sin(theta)/lambda, 1/angstrom.

    Returns
    -------
    stol, amplitude
        sin(theta)/lambda in 1/angstrom and electrons, float64, shape (n,).

    Raises
    ------
    NumbraggError
        The file cannot be read, or a row is not two numbers of at least 0, or does not rise.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.52 and 30.53.
    """
    columns = f"{abscissa} and amplitude"
    rows = read_two_columns(path, columns).rows
    before = -math.inf
    for row in rows:
        if row.first < 0 or row.second < 0:
            raise NumbraggError(f"{path}, line {row.line}: {columns} must not be negative")
        if row.first <= before:
            raise NumbraggError(f"{path}, line {row.line}: {row.first:g} does not rise above the row before it")
        before = row.first
    table = np.array([(row.first, row.second) for row in rows])
    return table[:, 0] * UNITS[abscissa], table[:, 1]


def write_stol(path: str | os.PathLike[str], stol: Array, amplitude: Array, comments: Sequence[str] = ()) -> None:
    """Write amplitudes against sin(theta)/lambda, with lines of comment above.

    Parameters
    ----------
    path
        The file, replaced when it exists.
    stol, amplitude
        1/angstrom and electrons, shape (n,).
    comments
        One line each.
    """
    lines = [f"# {line}".rstrip() for line in (*comments, "sin(theta)/lambda (1/A), amplitude (e)")]
    lines += [f"{x:.4f} {y:.4f}" for x, y in zip(stol, amplitude, strict=True)]
    with atomic_write(path) as stream:
        stream.write("\n".join([*lines, ""]).encode())
