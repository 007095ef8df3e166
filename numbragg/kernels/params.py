"""What a kernel is given: floats and flat arrays, one NamedTuple a physical object.

Lengths are metres, angles radians, the frame is the laboratory's. ``T`` stands for float64, or complex128 in a complex
step; within one call every field marked so has the same type.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SQUARE, ROUND, GAUSS, TOPHAT = range(4)
"""Crystal shapes (specs/10-physics.md, 10.41 to 10.44)."""

NO_LIMIT = np.iinfo(np.int64).max
"""Every evaluation of a batch may interpolate."""

NO_STEP = -1
"""A phi step or a pixel that has no row of axes of its own: it inherits one (specs/40-compat.md, Q01)."""


class DetectorParams(NamedTuple):
    """Where the pixels are."""

    frame: npt.NDArray[Any]  # T (4, 3): origin of the first pixel's corner (m), then unit fast, slow, normal axes
    beam: npt.NDArray[Any]  # T (3,): unit vector along the beam
    distance: Any  # T: source-to-detector distance along the beam, m (curved detector)
    close_distance: Any  # T: distance from the sample to the detector plane, m
    attenuation: Any  # T: 1 / attenuation depth, 1/m
    pixel: float  # pixel edge, m
    layer_step: float  # thickness of one sensor layer, m
    layers: int  # sensor layers
    n_fast: int  # pixels along fast
    oversample: int  # sub-pixels along each edge
    curved: bool
    point_pixel: bool


class BeamParams(NamedTuple):
    """The sources, with everything that depends on the source alone."""

    incident: npt.NDArray[Any]  # T (S, 3): unit vectors along each beam
    wavelength: npt.NDArray[Any]  # T (S,): m
    weight: npt.NDArray[np.float64]  # (S,): mean 1
    polar_e: npt.NDArray[Any]  # T (S, 3): unit vector along the electric field of each source
    polar_b: npt.NDArray[Any]  # T (S, 3): unit vector along the magnetic field
    kahn: Any  # T: Kahn polarisation factor
    polarized: bool  # False: polarisation factor 1 everywhere


class CrystalParams(NamedTuple):
    """The crystal in all the orientations that it takes."""

    axes: npt.NDArray[Any]  # T ((P+1)*M*9,): a, b, c in m; row 0 is phi = 0, row k+1 the phi step k; M domains a row
    step_row: npt.NDArray[np.int64]  # (P,): phi index of each step, or NO_STEP
    domains: int  # M
    n_cells: npt.NDArray[Any]  # T (3,): unit cells along a, b, c
    fudge: Any  # T
    reciprocal: npt.NDArray[Any]  # T (9,): a*, b*, c* of the unrotated cell, 1/angstrom (GAUSS, TOPHAT)
    table: npt.NDArray[Any]  # [0] is what lies outside, then F^2 (or F, for interpolation) in C order; in mixed
    # precision float32, and what lies outside comes last
    low: npt.NDArray[np.float64]  # (3,): lowest index in the table
    high: npt.NDArray[np.float64]  # (3,): highest index in the table


class ScalingParams(NamedTuple):
    """From the sum of terms to photons."""

    scale: Any  # T: r_e^2 * fluence / steps
    background: Any  # T: photons/steradian of the amorphous background, added after the sum
    initial: Any  # T: what the sum starts from (specs/40-compat.md, Q05)
    d_min_squared: float  # (d_min)^2 in m^2, 0 for no limit
    oversample_omega: bool
    oversample_polar: bool
    oversample_thick: bool
    last_layer_capture: bool  # specs/40-compat.md, Q03


class BatchParams(NamedTuple):
    """Which pixels, in batches: batch i holds the list positions bounds[i] to bounds[i+1] - 1.

    An empty list stands for 0, 1, 2 and so on, until a kernel needs it.
    """

    pixels: npt.NDArray[np.int32]  # (n,): slow * n_fast + fast
    targets: npt.NDArray[np.int32]  # (n,): where in the image each result goes
    bounds: npt.NDArray[np.int64]  # (B+1,)
    inherited: npt.NDArray[np.int64]  # (B,): phi index that the batch inherits, or NO_STEP
    interpolated: npt.NDArray[np.int64]  # (B,): evaluations of each pixel that interpolate; NO_LIMIT for all
