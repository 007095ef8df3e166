"""What the mixed precision kernel is given, and when it can be taken (specs/60-performance.md, 60.23 to 60.26)."""

import numpy as np

from numbragg.errors import NumbraggError
from numbragg.kernels.fixed_point import REACH, RESOLUTION
from numbragg.kernels.params import GAUSS, SQUARE, TOPHAT, CrystalParams
from numbragg.lowering.lower import KernelParams

MOST_CELLS = 4096.0
"""Along one axis. The error of N times a distance, N RESOLUTION, then stays below 2e-6."""

SPOT_ERROR = 2e-6
"""Largest error of the radius of 10.43, which is 0.63 where GAUSS falls to 1/e^2: it changes a term by at most 1e-5 of
the peak."""

STRONGEST = 1e34
"""Largest term. Single precision ends at 3e38; interpolation can exceed the amplitudes of the table some times."""

WEAKEST = 1e-18
"""Smallest F^2 that the largest of a table may be."""


def lower_mixed(params: KernelParams) -> KernelParams:
    """Parameters of the mixed precision kernel; unchanged, which means double, where they are beyond its range.

    Raises
    ------
    NumbraggError
        A parameter is complex.

    Notes
    -----
    Source: ``specs/60-performance.md``, clauses 60.24 and 60.26.
    """
    crystal = params.crystal
    if crystal.axes.dtype.kind == "c":
        raise NumbraggError("precision: complex parameters (derivatives) need double, not mixed")
    with np.errstate(all="ignore"):
        if not _in_range(params):
            return params
    # What lies outside moves to the end: a place that is constant would make LLVM widen the arithmetic of all places.
    table = np.roll(crystal.table, -1).astype(np.float32)
    return params._replace(crystal=crystal._replace(table=table), mixed=True)


def _in_range(params: KernelParams) -> bool:
    crystal, shape = params.crystal, params.shape
    longest = np.linalg.norm(crystal.axes.reshape(-1, 3), axis=1).max()
    if not longest * 2.0 / params.beam.wavelength.min() <= REACH:
        return False
    if not np.all(crystal.n_cells * max(1.0, np.sqrt(crystal.fudge)) <= MOST_CELLS):
        return False
    if shape == SQUARE and np.any(crystal.n_cells != np.rint(crystal.n_cells)):
        return False
    if shape in (GAUSS, TOPHAT) and not _spot_error(crystal) <= SPOT_ERROR:
        return False
    squares = np.abs(crystal.table).max() ** (2 if params.interpolate else 1)
    return bool(squares == 0.0 or WEAKEST <= squares <= STRONGEST / np.prod(crystal.n_cells) ** 2)


def _spot_error(crystal: CrystalParams) -> float:
    lengths = np.linalg.norm(crystal.reciprocal.reshape(3, 3), axis=1).sum()
    return float(RESOLUTION * lengths * np.prod(crystal.n_cells) * np.sqrt(crystal.fudge))
