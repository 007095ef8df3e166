"""Rotations of vectors, analytic in the angle and in the vectors (real or complex)."""

from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[Any]
Matrix = npt.NDArray[Any]

DEGREE = np.pi / 180.0


def cross_matrix(axis: Vector) -> Matrix:
    """Return the matrix K of shape (3, 3) with ``K @ v == cross(axis, v)``."""
    x, y, z = axis
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def axis_rotation(axis: Vector, angle: Any) -> Matrix:
    """Matrix of the right-handed rotation about an axis (Rodrigues' formula).

    The axis is used as it is: one that is not of unit length scales what it turns, as nanoBragg.c's two-theta axis
    does (specs/40-compat.md, Q25). ``scipy.spatial.transform.Rotation`` takes neither that nor complex angles.

    Parameters
    ----------
    axis
        Shape (3,), unit length.
    angle
        Radians, real or complex; positive turns counter-clockwise as seen with the axis pointing at the viewer.

    Returns
    -------
    ndarray
        Shape (3, 3).
    """
    axis = np.asarray(axis)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(cosine * np.eye(3) + sine * cross_matrix(axis) + (1.0 - cosine) * np.outer(axis, axis))


def xyz_rotation(x: Any, y: Any, z: Any) -> Matrix:
    """Matrix that turns about the laboratory X, then Y, then Z axis; angles in radians, right-handed."""
    e = np.eye(3)
    return axis_rotation(e[2], z) @ axis_rotation(e[1], y) @ axis_rotation(e[0], x)


def unit(vector: Vector) -> Vector:
    """Scale a vector to unit length, analytically (no conjugate, so a complex step passes through).

    Shape (..., 3); a vector of length zero comes back as it is.
    """
    vector = np.asarray(vector)
    square = np.sum(vector * vector, axis=-1, keepdims=True)
    return vector / np.sqrt(np.where(square == 0.0, 1.0, square))
