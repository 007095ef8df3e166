"""From a beam to its sources."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.geometry.rotations import axis_rotation, unit
from numbragg.models.beam import Beam

MRAD = 1e-3
PERCENT = 0.01
ANGSTROM = 1e-10

ROUND_DIVERGENCE_LIMIT = 1.1
"""Squared radius, in half ranges, above which a round divergence drops a point (specs/10-physics.md, 10.33)."""


class Sources(NamedTuple):
    """One row a source; the last axis of vectors is x, y, z."""

    incident: npt.NDArray[Any]  # (S, 3) unit vectors along the beams
    wavelength: npt.NDArray[Any]  # (S,) metres
    weight: npt.NDArray[np.float64]  # (S,) mean 1
    electric: npt.NDArray[Any]  # (S, 3) unit vectors
    magnetic: npt.NDArray[Any]  # (S, 3)


def list_sources(beam: Beam, *, ignore_weights: bool = False) -> Sources:
    """List the sources of a beam, in the order of specs/10-physics.md, 10.34.

    Parameters
    ----------
    beam
        In user units.
    ignore_weights
        Let every source count the same (specs/40-compat.md, Q06).
    """
    if beam.sources is None:
        directions = unit(_directions(beam))
        weight = np.ones(len(directions))
    else:
        table = beam.sources
        directions = -unit(table.positions)
        weight = np.ones(len(directions)) if ignore_weights else table.weights / table.weights.mean()
    if beam.sources is not None and beam.spectrum is None:
        angstroms = np.full(len(directions), beam.wavelength) if table.wavelengths is None else table.wavelengths
        incident, wavelength = directions, angstroms * ANGSTROM
    else:
        lines, line_weight = _lines(beam)
        incident, wavelength = np.repeat(directions, len(lines), axis=0), np.tile(lines, len(directions))
        weight = np.outer(weight, line_weight).ravel()
    magnetic = unit(np.cross(unit(beam.polarization_axis), incident))
    return Sources(incident, wavelength, weight, unit(np.cross(incident, magnetic)), magnetic)


def shortest_wavelength(beam: Beam) -> float:
    """Shortest wavelength of the sources, m, without listing them."""
    if beam.sources is None or beam.spectrum is not None:
        return float(np.real(_lines(beam)[0]).min())
    angstroms = beam.wavelength if beam.sources.wavelengths is None else beam.sources.wavelengths
    return float(np.min(np.real(angstroms))) * ANGSTROM


def count_sources(beam: Beam) -> tuple[int, int]:
    """Directions and sources of a beam; -1 directions for sources given one by one, as the reference prints."""
    if beam.sources is not None:
        return -1, len(list_sources(beam).weight)
    directions = len(_divergence_angles(beam))
    return directions, directions * (beam.dispersion.count if beam.spectrum is None else len(beam.spectrum.weights))


def _lines(beam: Beam) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Wavelengths (m) of each direction, and their weights, of mean 1."""
    if beam.spectrum is None:
        ratios, weights = 1.0 + beam.dispersion.centred() * PERCENT, np.ones(beam.dispersion.count)
    else:
        ratios = beam.spectrum.wavelengths / beam.spectrum.mean
        weights = beam.spectrum.weights / beam.spectrum.weights.mean()
    return np.asarray(beam.wavelength * ANGSTROM * ratios), weights


def _directions(beam: Beam) -> npt.NDArray[Any]:
    direction, polarization = unit(beam.direction), unit(beam.polarization_axis)
    vertical = unit(np.cross(direction, polarization))
    angles = _divergence_angles(beam)
    if not angles:
        raise NumbraggError("beam: the round divergence drops every source; take more steps or a square divergence")
    return np.array([axis_rotation(vertical, h) @ (axis_rotation(polarization, v) @ direction) for h, v in angles])


def _divergence_angles(beam: Beam) -> list[tuple[Any, Any]]:
    horizontal, vertical = beam.divergence_horizontal, beam.divergence_vertical
    angles = [(h * MRAD, v * MRAD) for h in horizontal.centred() for v in vertical.centred()]
    if not beam.round_divergence:
        return angles
    return [
        (h, v)
        for h, v in angles
        # A direction without a range gives 0/0: the comparison is false and the point stays, as in the reference.
        if not _squared_radius(h, horizontal) + _squared_radius(v, vertical) > ROUND_DIVERGENCE_LIMIT
    ]


def _squared_radius(angle: Any, sampling: Any) -> float:
    step, full = np.real(sampling.spacing) * MRAD, np.real(sampling.range) * MRAD
    even = 1 - sampling.count % 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(4.0 * np.divide(np.real(angle) ** 2 - step**2 / 4.0 * even, full**2))
