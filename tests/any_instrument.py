"""Instruments of one panel, with anything that a file can say of them."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from numbragg.models.instrument import Instrument

EDGE_ON = 0.1
"""Cosine between beam and normal from which on a detector is drawn."""

unit_vectors = st.builds(
    lambda z, angle: np.array([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z]),
    st.floats(-1, 1),
    st.floats(0, 6.28),
)
lengths = st.floats(0.01, 1000)


@st.composite
def instruments(draw, **fixed):
    """Any instrument, but for fields that are fixed to values or to strategies."""
    fast = draw(unit_vectors)
    other = draw(unit_vectors.filter(lambda v: np.linalg.norm(np.cross(fast, v)) > 0.1))
    slow = np.cross(fast, other) / np.linalg.norm(np.cross(fast, other))
    across = np.cross(fast, slow)
    beam = fixed.get("beam_direction", draw(unit_vectors))
    assume("fast_axis" in fixed or abs(beam @ across) > EDGE_ON)
    a = draw(st.floats(3, 300))
    b, c = draw(st.floats(3, 300)), draw(st.floats(3, 300))
    cell = np.array([[a, 0, 0], [1, b, 0], [-1, 0.5, c]])
    free = dict(
        n_fast=draw(st.integers(1, 5000)),
        n_slow=draw(st.integers(1, 5000)),
        pixel_size=draw(lengths),
        origin=draw(lengths) * (across + 0.1 * fast),
        fast_axis=fast,
        slow_axis=slow,
        wavelength=draw(lengths),
        beam_direction=beam,
        polarization_fraction=draw(st.floats(0, 1)),
        polarization_normal=draw(unit_vectors),
        spindle_axis=draw(unit_vectors),
        phi_start=draw(st.floats(-360, 360)),
        osc=draw(st.floats(0.01, 10)),
        exposure=draw(lengths),
        thickness=draw(lengths),
        attenuation=draw(lengths),
        gain=draw(lengths),
        pedestal=draw(st.floats(0, 100)),
        saturation=float(draw(st.integers(1000, 2**31 - 1))),
        flux=draw(lengths),
        cell_axes=cell,
        space_group="P 21 21 21",
    )
    chosen = {key: draw(value) if isinstance(value, st.SearchStrategy) else value for key, value in fixed.items()}
    return Instrument(**(free | chosen))
