"""The crystal: cell, orientation, size, shape, mosaicity and structure factors."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.models._checks import require_count, require_finite, require_not_negative, require_positive
from numbragg.models.structure_factors import StructureFactors

Shape = Literal["square", "round", "gauss", "tophat"]
SHAPES: tuple[Shape, ...] = ("square", "round", "gauss", "tophat")

DEFAULT_MOSAIC_SEED = -12345678


@dataclass(frozen=True, kw_only=True, eq=False)
class Crystal:
    """A crystal in the beam (specs/10-physics.md, 10.20 to 10.29).

    Parameters
    ----------
    cell
        a, b, c (angstrom), alpha, beta, gamma (degrees).
    orientation
        Rotation matrix, shape (3, 3), from the frame with a* along x and b* in the xy plane to the laboratory at
        phi = 0, before ``misset``.
    misset
        Rotations about the laboratory X, then Y, then Z axis, degrees, right-handed.
    n_cells
        Unit cells along a, b, c; at least 1 each.
    shape
        Shape of the crystal, and so of its spots: "square", "round", "gauss" or "tophat".
    fudge
        Scale of the spot size of every shape but "square"; larger is narrower.
    mosaic_spread
        Radius of the cap over which the mosaic domains are spread, degrees.
    mosaic_spreads
        Spreads about a, about c* and about the axis across both that lies nearest b, degrees, in the order a, b, c;
        in place of ``mosaic_spread``.
    mosaic_domains
        Number of mosaic domains; the first is not rotated.
    mosaic_seed
        Seed of the mosaic rotations, negative as nanoBragg.c keeps it.
    structure_factors
        Table of amplitudes; None means ``default_f`` everywhere.
    default_f
        Amplitude outside the table, electrons.
    interpolate
        Tri-cubic interpolation of the table; None turns it on for crystals of at most two cells along an axis.
    reciprocal_volume
        Volume, cubic angstrom, that the reciprocal vectors are divided by in place of the cell's
        (specs/40-compat.md, Q26).
    """

    cell: tuple[Any, Any, Any, Any, Any, Any]
    orientation: npt.NDArray[Any] = field(default_factory=lambda: np.eye(3))
    misset: tuple[Any, Any, Any] = (0.0, 0.0, 0.0)
    n_cells: tuple[Any, Any, Any] = (1.0, 1.0, 1.0)
    shape: Shape = "square"
    fudge: Any = 1.0
    mosaic_spread: Any = 0.0
    mosaic_spreads: tuple[Any, Any, Any] | None = None
    mosaic_domains: int = 1
    mosaic_seed: int = DEFAULT_MOSAIC_SEED
    structure_factors: StructureFactors | None = None
    default_f: float = 0.0
    interpolate: bool | None = None
    reciprocal_volume: float | None = None

    def __post_init__(self) -> None:
        check_cell(self.cell)
        require_finite("crystal", misset=self.misset, orientation=self.orientation, default_f=self.default_f)
        require_finite("crystal", n_cells=self.n_cells)
        if min(np.real(self.n_cells)) < 1:
            raise NumbraggError(f"crystal: n_cells must be at least 1 along each axis, not {self.n_cells}")
        require_positive("crystal", fudge=self.fudge, reciprocal_volume=self.reciprocal_volume)
        require_not_negative("crystal", mosaic_spread=self.mosaic_spread)
        if self.mosaic_spreads is not None:
            require_positive("crystal", mosaic_spreads=self.mosaic_spreads)
            if len(self.mosaic_spreads) != 3:
                raise NumbraggError(f"crystal: three mosaic spreads are needed, not {len(self.mosaic_spreads)}")
        require_count("crystal", mosaic_domains=self.mosaic_domains)
        if self.shape not in SHAPES:
            raise NumbraggError(f"crystal: shape must be one of {', '.join(SHAPES)}, not {self.shape}")

    @property
    def is_mosaic(self) -> bool:
        """Whether there is a mosaic spread; without one a single domain stands for all."""
        return self.mosaic_spreads is not None or self.mosaic_spread != 0

    @property
    def interpolates(self) -> bool:
        """Whether structure factors are interpolated: as asked, else for any N of at most 2, never without a table."""
        if self.structure_factors is None:
            return False
        return bool(min(np.real(self.n_cells)) <= 2) if self.interpolate is None else self.interpolate


def check_cell(cell: tuple[Any, ...]) -> None:
    """Refuse a cell that cannot exist.

    Raises
    ------
    NumbraggError
        Lengths or angles out of range, or angles that do not close.
    """
    if len(cell) != 6:
        raise NumbraggError(f"unit cell: six numbers expected (a b c alpha beta gamma), found {len(cell)}")
    require_positive("unit cell", a=cell[0], b=cell[1], c=cell[2])
    require_positive("unit cell", alpha=cell[3], beta=cell[4], gamma=cell[5])
    alpha, beta, gamma = (float(np.real(angle)) for angle in cell[3:])
    closes = max(alpha, beta, gamma) < 180 and alpha + beta + gamma < 360
    closes = closes and alpha < beta + gamma and beta < alpha + gamma and gamma < alpha + beta
    if not closes:
        raise NumbraggError(f"unit cell: no cell has the angles {alpha:g} {beta:g} {gamma:g} degrees")
