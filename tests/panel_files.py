"""Detectors of several panels as the tests of their files place them, and what such a test compares."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from numbragg.models.instrument import Instrument
from numbragg.models.panel import Panel

ROUNDING = 1e-12
"""Relative, of numbers that a file holds as float64."""
PLACE = 1e-9
"""Millimetres between a panel and the same after chains of translations of metres."""
N_SLOW, N_FAST, PIXEL = 4, 6, 0.075
BEAM = np.array([0.0, 0.0, -1.0])
SIZE = {"n_fast": N_FAST, "n_slow": N_SLOW, "pixel_size": PIXEL, "wavelength": 0.98}


def turned(rotation_vector, corner, name=""):
    """A panel whose axes are x and -y of the laboratory, and its normal -z, after a rotation."""
    fast, slow, _ = (Rotation.from_rotvec(rotation_vector).as_matrix() @ np.diag([1.0, -1.0, -1.0])).T
    return Panel(origin=np.array(corner, dtype=float), fast_axis=fast, slow_axis=slow, name=name)


def detector(count, **changes):
    """Panels about the beam, each turned by some degrees, at 90 mm."""
    random = np.random.default_rng(count)
    panels = [
        turned(random.normal(0, 0.1, 3), [random.normal(0, 30), random.normal(0, 30), -90 + random.normal()], f"p{n}")
        for n in range(count)
    ]
    return Instrument.of_panels(panels, beam_direction=BEAM, **(SIZE | changes))


def stack_of(instrument, images=3, seed=1):
    return np.random.default_rng(seed).poisson(9.0, (images, *instrument.shape)).astype(np.int32)


def assert_same_panels(found, wanted):
    """Absolute places and axes, and what panels are called; of one, the name is not kept (30.98)."""
    assert found.shape == wanted.shape
    assert [panel.name for panel in found.panels] == [panel.name for panel in wanted.panels]
    for one, other in zip(found.all_panels, wanted.all_panels, strict=True):
        np.testing.assert_allclose(one.origin, other.origin, rtol=ROUNDING, atol=PLACE)
        np.testing.assert_allclose(one.fast_axis, other.fast_axis, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(one.slow_axis, other.slow_axis, rtol=0, atol=ROUNDING)
    assert found.pixel_size == pytest.approx(wanted.pixel_size, rel=ROUNDING)
