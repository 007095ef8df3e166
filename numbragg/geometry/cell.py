"""The unit cell: direct and reciprocal vectors, analytic in the six constants (specs/10-physics.md, 10.20)."""

from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.geometry.rotations import DEGREE, unit

Matrix = npt.NDArray[Any]


def direct_vectors(cell: npt.ArrayLike) -> Matrix:
    """Direct cell vectors a, b, c as the rows of a matrix, in the frame with a* along x and b* in the xy plane.

    Parameters
    ----------
    cell
        a, b, c in angstrom, alpha, beta, gamma in degrees; real or complex.

    Returns
    -------
    ndarray
        Shape (3, 3), angstrom; rows a, b, c.
    """
    a, b, c, alpha, beta, gamma = np.asarray(cell)
    cos_a, cos_b, cos_g = np.cos(alpha * DEGREE), np.cos(beta * DEGREE), np.cos(gamma * DEGREE)
    sin_a = np.sin(alpha * DEGREE)
    # c along z makes a* and b* perpendicular to z: a* along x puts b and c into the yz plane.
    cos_g_star = (cos_a * cos_b - cos_g) / (sin_a * np.sin(beta * DEGREE))
    sin_b = np.sin(beta * DEGREE)
    sin_g_star = np.sqrt(1.0 - cos_g_star * cos_g_star)
    zero = 0.0 * a
    return np.array(
        [
            [a * sin_b * sin_g_star, -a * sin_b * cos_g_star, a * cos_b],
            [zero, b * sin_a, b * cos_a],
            [zero, zero, c],
        ]
    )


def crystal_frame(vectors: Matrix) -> Matrix:
    """Unit vectors at right angles that go with direct vectors (rows): along a, across a and c*, along c*."""
    a, c_star = unit(vectors[0]), unit(np.cross(vectors[0], vectors[1]))
    return np.array([a, np.cross(c_star, a), c_star])


def volume(cell: npt.ArrayLike) -> Any:
    """Volume of the cell in cubic angstrom."""
    return triple_product(direct_vectors(cell))


def triple_product(vectors: Matrix) -> Any:
    """First row dot (second row x third row) of a (3, 3) matrix."""
    return vectors[0] @ np.cross(vectors[1], vectors[2])


def reciprocal(vectors: Matrix, cell_volume: Any = None) -> Matrix:
    """Reciprocal vectors (rows) of three direct vectors (rows), or the other way round.

    ``cell_volume`` replaces the volume that the vectors enclose (specs/40-compat.md, Q26).
    """
    a, b, c = vectors
    divisor = triple_product(vectors) if cell_volume is None else cell_volume
    return np.asarray(np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)]) / divisor)


def cell_constants(vectors: Matrix) -> tuple[float, float, float, float, float, float]:
    """Lengths (the unit of the vectors) and angles (degrees) of three direct vectors (rows)."""
    a, b, c = np.linalg.norm(vectors, axis=1)
    unit_vectors = vectors / np.array([[a], [b], [c]])

    def angle(i: int, j: int) -> float:
        # The half-angle form keeps its digits near 0 and 180 degrees, where arccos loses half of them.
        p, q = unit_vectors[i], unit_vectors[j]
        return float(2.0 * np.arctan2(np.linalg.norm(p - q), np.linalg.norm(p + q)) / DEGREE)

    return float(a), float(b), float(c), angle(1, 2), angle(0, 2), angle(0, 1)


def nearest_rotation(matrix: Matrix) -> Matrix:
    """Rotation closest to a (3, 3) matrix that is one up to rounding."""
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)


def reference_direct_vectors(cell: npt.ArrayLike) -> Matrix:
    """Direct vectors (rows) as nanoBragg.c derives them from a cell: c*_z is wrong when no angle is 90 (Q21)."""
    a, b, c = np.asarray(cell, dtype=float)[:3]
    a_star, b_star, c_star = reciprocal(direct_vectors(cell))
    lengths = np.linalg.norm([a_star, b_star, c_star], axis=1)
    cos_a_star = b_star @ c_star / (lengths[1] * lengths[2])
    cos_b_star = a_star @ c_star / (lengths[0] * lengths[2])
    cos_g_star = a_star @ b_star / (lengths[0] * lengths[1])
    sin_g_star = np.sqrt(1.0 - cos_g_star**2)
    wrong = np.array(
        [
            [lengths[0], 0.0, 0.0],
            [lengths[1] * cos_g_star, lengths[1] * sin_g_star, 0.0],
            [
                lengths[2] * cos_b_star,
                lengths[2] * (cos_a_star - cos_b_star * cos_g_star) / sin_g_star,
                lengths[2] * volume(cell) / (a * b * c) / sin_g_star,
            ],
        ]
    )
    direct = reciprocal(wrong)
    return np.asarray(direct * (np.array([a, b, c]) / np.linalg.norm(direct, axis=1))[:, None])
