"""A detector of four panels with gaps, each turned in its own way."""

import numpy as np

from numbragg import Beam, Crystal, Detector, Experiment
from numbragg.geometry.rotations import axis_rotation
from numbragg.models.panel import Panel

PIXEL = 0.2
SIZE = (60, 80)
"""Pixels (slow, fast) of a panel."""


def panel_at(middle, turn=(0.0, 0.0, 0.0), name: str = "") -> Panel:
    """A panel with its middle at a point, mm from that of the detector, turned by degrees about fast, slow, normal."""
    rotation = np.eye(3)
    for axis, angle in zip(np.eye(3), turn, strict=True):
        rotation = axis_rotation(axis, np.radians(angle)) @ rotation
    fast, slow = rotation[:, 0], rotation[:, 1]
    half = 0.5 * PIXEL * (SIZE[1] * fast + SIZE[0] * slow)
    whole = 0.5 * PIXEL * np.array([SIZE[1], SIZE[0], 0.0])
    return Panel(origin=np.asarray(middle, dtype=float) - half + whole, fast_axis=fast, slow_axis=slow, name=name)


TILTED = (
    panel_at((-9.5, -7.5, 0.0), (6.0, -8.0, 1.0), "nw"),
    panel_at((9.5, -7.5, 1.0), (5.0, 7.0, -2.0), "ne"),
    panel_at((-9.5, 7.5, -1.0), (-6.0, -7.0, 3.0), "sw"),
    panel_at((9.5, 7.5, 0.0), (-7.0, 6.0, 0.5), "se"),
)


def experiment_of(panels=TILTED, **detector) -> Experiment:
    """Spots on panels around the beam, which meets the detector in the middle of what its own panel would be."""
    given = {
        "pixel_size": PIXEL,
        "distance": 60.0,
        "beam_fast": 0.5 * PIXEL * SIZE[1],
        "beam_slow": 0.5 * PIXEL * SIZE[0],
    } | detector
    return Experiment(
        crystal=Crystal(cell=(40, 45, 50, 90, 90, 90), n_cells=(15, 15, 15), misset=(10, 20, 30), default_f=100.0),
        beam=Beam(wavelength=1.1, fluence=1e28),
        detector=Detector(n_fast=SIZE[1], n_slow=SIZE[0], panels=tuple(panels), **given),
    )
