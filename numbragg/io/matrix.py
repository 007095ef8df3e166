"""Orientation matrices, MOSFLM style."""

import os

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file

ENTRIES = 9
SINGULAR = 1e-12
"""Determinant, of a matrix whose largest entry is 1, below which its columns have no volume."""


def read_matrix(path: str | os.PathLike[str]) -> npt.NDArray[np.float64]:
    """Read the first nine numbers of a file as a matrix whose columns are a*, b*, c* times the wavelength.

    Parameters
    ----------
    path
        Text; rows are x, y, z. What follows the ninth number is ignored.

    Returns
    -------
    ndarray
        Float64, shape (3, 3), dimensionless.

    Raises
    ------
    NumbraggError
        The file cannot be read, holds fewer numbers or anything else before the ninth, or the matrix is singular.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.50.
    """
    source = input_file(path)
    numbers: list[float] = []
    for number, line in enumerate(source.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        for word in line.split()[: ENTRIES - len(numbers)]:
            try:
                numbers.append(float(word))
            except ValueError:
                raise NumbraggError(f"{path}, line {number}: expected a number, found {word[:40]!r}") from None
    if len(numbers) < ENTRIES:
        raise NumbraggError(f"{path}: a matrix has nine numbers, found {len(numbers)}")
    matrix = np.array(numbers).reshape(3, 3)
    largest = np.abs(matrix).max()
    if not 0.0 < largest < np.inf or abs(_determinant(matrix / largest)) < SINGULAR:
        raise NumbraggError(f"{path}: the matrix is singular or not finite")
    return matrix


def _determinant(matrix: npt.NDArray[np.float64]) -> float:
    return float(matrix[0] @ np.cross(matrix[1], matrix[2]))
