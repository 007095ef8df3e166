"""The crystal in all the orientations that it takes during an exposure."""

from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.geometry.cell import crystal_frame, direct_vectors, reciprocal
from numbragg.geometry.mosaic import ellipsoid_radii, mosaic_draws
from numbragg.geometry.rotations import DEGREE, axis_rotation, unit, xyz_rotation
from numbragg.kernels.params import NO_STEP
from numbragg.models.crystal import Crystal
from numbragg.models.experiment import Scan

RADIAN = 180.0 * (1.0 / np.pi)
"""Degrees in a radian, rounded as the reference rounds it: whether phi is exactly 0 can hang on it."""


def crystal_axes(crystal: Crystal) -> npt.NDArray[Any]:
    """Direct vectors a, b, c (rows, angstrom) in the laboratory at phi = 0."""
    x, y, z = (angle * DEGREE for angle in crystal.misset)
    turn = xyz_rotation(x, y, z) @ crystal.orientation
    return np.asarray(direct_vectors(crystal.cell) @ turn.T)


def reciprocal_axes(crystal: Crystal) -> npt.NDArray[Any]:
    """Reciprocal vectors a*, b*, c* (rows, 1/angstrom) in the laboratory at phi = 0."""
    return reciprocal(crystal_axes(crystal), crystal.reciprocal_volume)


def phi_angles(scan: Scan) -> npt.NDArray[Any]:
    """Phi of each step, radians, shape (P,)."""
    return np.asarray(scan.start / RADIAN + np.arange(scan.sampling.count) * (scan.sampling.spacing / RADIAN))


def step_rows(phi: npt.NDArray[Any], *, carryover: bool) -> npt.NDArray[np.int64]:
    """Row of the table that each phi step uses; with the carryover, NO_STEP where phi is exactly 0 (Q01)."""
    rows = np.arange(len(phi))
    return np.where(np.real(phi) == 0, NO_STEP, rows) if carryover else rows


def domain_rotations(
    crystal: Crystal, *, turn: npt.NDArray[Any] | None = None, single_precision: bool = False
) -> npt.NDArray[Any]:
    """Rotation matrix of each mosaic domain, shape (M, 3, 3); one identity without a spread.

    Parameters
    ----------
    crystal
        Its spreads, domains and seed.
    turn
        Rotation of the spindle, shape (3, 3), that three spreads turn with; None is phi = 0.
    single_precision
        Round the angles as the reference does (specs/40-compat.md, Q28).
    """
    if not crystal.is_mosaic:
        return np.eye(3)[None]
    axes, weights = mosaic_draws(crystal.mosaic_domains, crystal.mosaic_seed)
    spread = crystal.mosaic_spread
    if crystal.mosaic_spreads is not None:
        direct = crystal_axes(crystal)
        frame = crystal_frame(direct if turn is None else direct @ turn.T)
        spread = ellipsoid_radii(axes, frame, crystal.mosaic_spreads)
    angles = spread * DEGREE * weights
    if single_precision:
        rounded = np.asarray(np.real(spread) * DEGREE, np.float32) * weights.astype(np.float32)
        angles = angles - np.real(angles) + rounded
    return np.array([axis_rotation(axis, angle) for axis, angle in zip(axes, angles, strict=True)])


def orientation_table(crystal: Crystal, scan: Scan, *, single_precision: bool = False) -> npt.NDArray[Any]:
    """Direct vectors in every orientation, angstrom, shape (P + 1, M, 3, 3).

    Row 0 is phi = 0, row k + 1 is phi step k; the last two axes are (a, b, c) and (x, y, z).
    """
    axes, spindle = crystal_axes(crystal), unit(scan.spindle_axis)
    turns = [axis_rotation(spindle, phi) for phi in phi_angles(scan)]
    turned = np.array([axes, *(axes @ turn.T for turn in turns)])
    if crystal.mosaic_spreads is None:
        return np.asarray(
            np.einsum("pvi,mji->pmvj", turned, domain_rotations(crystal, single_precision=single_precision))
        )
    domains = [domain_rotations(crystal, turn=turn) for turn in (None, *turns)]
    return np.asarray(np.einsum("pvi,pmji->pmvj", turned, np.array(domains)))
