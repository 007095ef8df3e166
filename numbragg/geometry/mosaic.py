"""Random orientations: mosaic domains and random missets."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numbragg.kernels.ran1 import STATE_SIZE, random_rotation


def mosaic_draws(
    domains: int, seed: int, *, state: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw the rotation axes of mosaic domains and the weights that turn the mosaic spread into their angles.

    Parameters
    ----------
    domains
        Number of domains, at least 1.
    seed
        Seed of `ran1` as nanoBragg keeps it: minus the value of the flag, so normally 0 or below.
    state
        State of `ran1` to go on with (int64, changed in place); a positive seed keeps its shuffle table.

    Returns
    -------
    axes
        Float64, (domains, 3): unit vectors in the laboratory frame.
    weights
        Float64, (domains,), each a single precision number between 0 and 1; the angle of a domain is spread*weight,
        right-handed about its axis. Domain 0 is the crystal's own orientation: it draws too, and its weight is 0.

    Notes
    -----
    Source: ``specs/10-physics.md``, clause 10.64.
    """
    state = _seeded(seed, state)
    axes = np.empty((domains, 3))
    weights = np.empty(domains)
    for domain in range(domains):
        *axes[domain], weights[domain] = random_rotation(state)
    weights[0] = 0.0
    return axes, weights


def ellipsoid_radii(
    directions: NDArray[np.float64], frame: NDArray[Any], half_axes: tuple[Any, Any, Any]
) -> NDArray[Any]:
    """Radius of an ellipsoid in each of some directions.

    Parameters
    ----------
    directions
        Unit vectors, shape (n, 3).
    frame
        Unit vectors along the half axes, one a row, shape (3, 3), at right angles.
    half_axes
        Above 0.

    Returns
    -------
    ndarray
        Shape (n,), in the unit of the half axes; complex where they or the frame are. With equal half axes each
        radius is the third of them to the last bit.

    Notes
    -----
    Source: ``specs/10-physics.md``, clause 10.96.
    """
    first, second, third = half_axes
    along = directions @ frame[:2].T
    # 1/r^2 is the sum of (n.e_i)^2/s_i^2, and the three (n.e_i)^2 have the sum 1.
    flattening = np.array([(third / first) ** 2 - 1.0, (third / second) ** 2 - 1.0])
    return np.asarray(third / np.sqrt(1.0 + (along * along) @ flattening))


def random_misset(
    seed: int, spread_rad: float, *, state: NDArray[np.int64] | None = None
) -> tuple[float, float, float]:
    """Draw one mosaic-like rotation and return it as misset angles, the way ``-misset random`` of nanoBragg does.

    Parameters
    ----------
    seed
        As in `mosaic_draws`.
    spread_rad
        Largest rotation angle in radians (nanoBragg passes 90, register entry Q13).
    state
        As in `mosaic_draws`.

    Returns
    -------
    x, y, z
        Radians, right-handed about the laboratory axes, applied in this order.

    Notes
    -----
    Source: ``specs/10-physics.md``, clause 10.65.
    """
    x, y, z, weight = random_rotation(_seeded(seed, state))
    half_angle = 0.5 * float(np.float32(spread_rad) * weight)
    return _misset_angles(math.cos(half_angle), *(math.sin(half_angle) * component for component in (x, y, z)))


def uniform_misset(seed: int) -> tuple[float, float, float]:
    """Draw a rotation uniformly from all rotations and return it as misset angles.

    Parameters
    ----------
    seed
        Any integer; the draw comes from NumPy's Philox generator.

    Returns
    -------
    x, y, z
        Radians, as in `random_misset`.

    Notes
    -----
    A unit quaternion is uniform when its two complex halves share the squared length uniformly and have uniform
    phases (K. Shoemake, Graphics Gems III, 1992). Source: ``specs/10-physics.md``, clause 10.65.
    """
    share, phase_a, phase_b = np.random.Generator(np.random.Philox(seed % 2**64)).random(3)
    first, second = math.sqrt(1.0 - share), math.sqrt(share)
    a, b = 2.0 * math.pi * phase_a, 2.0 * math.pi * phase_b
    return _misset_angles(second * math.cos(b), first * math.sin(a), first * math.cos(a), second * math.sin(b))


def _seeded(seed: int, state: NDArray[np.int64] | None) -> NDArray[np.int64]:
    if state is None:
        state = np.zeros(STATE_SIZE, np.int64)
    state[0] = seed
    return state


def _misset_angles(w: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return the turns about X, then Y, then Z that make up the rotation of the unit quaternion (w, x, y, z)."""
    zy, zz = 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)
    yx, xx = 2.0 * (x * y + w * z), 1.0 - 2.0 * (y * y + z * z)
    zx = 2.0 * (x * z - w * y)
    return math.atan2(zy, zz), math.atan2(-zx, math.hypot(zy, zz)), math.atan2(yx, xx)
