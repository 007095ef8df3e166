"""From a beam to its sources (specs/10-physics.md, clauses 10.32 to 10.36)."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from numbragg.errors import NumbraggError
from numbragg.geometry.rotations import axis_rotation
from numbragg.lowering.sources import count_sources, list_sources, shortest_wavelength
from numbragg.models.beam import Beam, SourceTable
from numbragg.models.sampling import Sampling
from numbragg.models.spectrum import Spectrum

ROUNDING = 1e-14  # a few units in the last place of numbers of order 1
COMPLEX_STEP = 1e-200
STEP = 1e-6  # of the central difference
DIFFERENCE_TOLERANCE = 1e-8  # relative; truncation and cancellation of a central difference with STEP

X, Y, Z = np.eye(3)
samplings = st.builds(Sampling, st.floats(0.0, 20.0), st.integers(1, 4))


def table(*positions, weights=None, wavelengths=None):
    weights = np.ones(len(positions)) if weights is None else np.array(weights, float)
    return SourceTable(np.array(positions, float), weights, wavelengths)


def test_plain_beam_is_one_source_along_the_beam():
    """Clause 10.34."""
    sources = list_sources(Beam(wavelength=0.97))
    np.testing.assert_allclose(sources.incident, [X], atol=ROUNDING)
    np.testing.assert_allclose(sources.wavelength, [0.97e-10], rtol=ROUNDING)
    np.testing.assert_array_equal(sources.weight, [1.0])


def test_polarisation_vectors_of_the_plain_beam_are_its_axis_and_what_is_across():
    """Clause 10.36."""
    sources = list_sources(Beam())
    np.testing.assert_allclose(sources.electric, [Z], atol=ROUNDING)
    np.testing.assert_allclose(sources.magnetic, [np.cross(Z, X)], atol=ROUNDING)


def test_horizontal_is_outermost_then_vertical_then_wavelength():
    """Clause 10.34, written out as three loops."""
    beam = Beam(
        divergence_horizontal=Sampling(6.0, 3),
        divergence_vertical=Sampling(4.0, 2),
        dispersion=Sampling(2.0, 2),
        round_divergence=False,
    )
    incident, wavelengths = [], []
    up = np.cross(X, Z)
    for h in (-3e-3, -1e-3, 1e-3):
        for v in (-2e-3, 0.0):
            for change in (-0.01, 0.0):
                incident.append(axis_rotation(up, h) @ axis_rotation(Z, v) @ X)
                wavelengths.append(1e-10 * (1.0 + change))
    sources = list_sources(beam)
    np.testing.assert_allclose(sources.incident, incident, atol=ROUNDING)
    np.testing.assert_allclose(sources.wavelength, wavelengths, rtol=ROUNDING)


@given(samplings, samplings, samplings, st.booleans())
@settings(max_examples=30, deadline=None)
def test_vectors_of_all_sources_are_orthonormal(horizontal, vertical, dispersion, round_divergence):
    """Clauses 10.34 and 10.36."""
    beam = Beam(
        divergence_horizontal=horizontal,
        divergence_vertical=vertical,
        dispersion=dispersion,
        round_divergence=round_divergence,
        polarization_axis=np.array([0.1, 0.3, 1.0]),
    )
    assume(count_sources(beam)[0] > 0)
    sources = list_sources(beam)
    triads = np.stack([sources.incident, sources.magnetic, sources.electric], axis=1)
    identity = np.broadcast_to(np.eye(3), triads.shape)
    np.testing.assert_allclose(triads @ triads.transpose(0, 2, 1), identity, atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.det(triads), 1.0, atol=ROUNDING)
    assert count_sources(beam)[1] == len(sources.weight)


@pytest.mark.parametrize(
    ("horizontal", "vertical", "kept"),
    [
        # From the golden cases: the third number is what nanoBragg.c printed.
        (Sampling(4.0, 4, 4.0 / 3), Sampling(3.0, 3, 1.5), 8),
        (Sampling(3.0, 3, 1.5), Sampling(3.0, 3, 1.5), 5),
        (Sampling(2.0, 4, 0.5), Sampling(1.5, 3, 0.5), 9),
        # One direction without a range: 0/0 keeps all of the other.
        (Sampling(3.0, 5, 0.75), Sampling(), 5),
        (Sampling(), Sampling(), 1),
    ],
)
def test_round_divergence_drops_the_corners(horizontal, vertical, kept):
    """Clause 10.33."""
    beam = Beam(divergence_horizontal=horizontal, divergence_vertical=vertical)
    assert count_sources(beam)[0] == kept


def test_round_divergence_that_drops_every_point_is_refused():
    """Clause 10.33: one point in each direction, both at the corner."""
    corner = Sampling(1.0, 1, 1.0)
    with pytest.raises(NumbraggError, match="divergence"):
        list_sources(Beam(divergence_horizontal=corner, divergence_vertical=corner))


def test_square_divergence_keeps_the_corners():
    """Clause 10.33."""
    five = Sampling(5.0, 5, 1.25)
    beam = Beam(divergence_horizontal=five, divergence_vertical=five, round_divergence=False)
    assert count_sources(beam) == (25, 25)


def test_table_gives_directions_from_the_sample_and_its_own_wavelengths():
    """Clause 10.35: only the direction of a position matters, and the beam runs the other way."""
    sources = list_sources(Beam(sources=table((-10, 0, 0), (-2, 0, 2), wavelengths=np.array([1.1, 0.9]))))
    np.testing.assert_allclose(sources.incident, [X, np.array([1, 0, -1]) / np.sqrt(2)], atol=ROUNDING)
    np.testing.assert_allclose(sources.wavelength, [1.1e-10, 0.9e-10], rtol=ROUNDING)


def test_table_without_wavelengths_takes_that_of_the_beam():
    """Clause 10.35."""
    sources = list_sources(Beam(wavelength=1.3, sources=table((-1, 0, 0), (-1, 0.1, 0))))
    np.testing.assert_allclose(sources.wavelength, [1.3e-10, 1.3e-10], rtol=ROUNDING)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8))
def test_weights_have_mean_one_and_keep_their_ratios(weights):
    """Clause 10.35."""
    found = list_sources(Beam(sources=table(*[(-1, 0, 0)] * len(weights), weights=weights))).weight
    assert found.mean() == pytest.approx(1.0, rel=ROUNDING * len(weights))
    np.testing.assert_allclose(found * weights[0], np.array(weights) * found[0], rtol=ROUNDING)


def test_ignored_weights_are_all_one():
    """Register entry Q06."""
    beam = Beam(sources=table((-1, 0, 0), (-1, 0, 0), weights=(1, 9)))
    np.testing.assert_array_equal(list_sources(beam, ignore_weights=True).weight, [1.0, 1.0])


def test_table_takes_the_place_of_divergence_and_dispersion():
    """Clause 10.35."""
    beam = Beam(divergence_horizontal=Sampling(5.0, 5), dispersion=Sampling(2.0, 3), sources=table((-1, 0, 0)))
    assert len(list_sources(beam).weight) == 1
    assert count_sources(beam) == (-1, 1)


def with_wavelength(value):
    return Beam(wavelength=value, dispersion=Sampling(3.0, 2))


def with_divergence(value):
    return Beam(divergence_horizontal=Sampling(value, 3), divergence_vertical=Sampling(2.0, 2))


def with_dispersion(value):
    return Beam(dispersion=Sampling(value, 3))


@pytest.mark.parametrize(
    ("build", "at"), [(with_wavelength, 1.0), (with_divergence, 4.0), (with_dispersion, 3.0)], ids=lambda x: str(x)[:20]
)
def test_complex_step_through_the_sources_agrees_with_the_central_difference(build, at):
    """Clause 10.8."""

    def numbers(value):
        sources = list_sources(build(value))
        return np.concatenate([np.ravel(sources.incident), sources.wavelength * 1e10, np.ravel(sources.electric)])

    exact = numbers(at + 1j * COMPLEX_STEP).imag / COMPLEX_STEP
    numeric = (numbers(at + STEP) - numbers(at - STEP)) / (2.0 * STEP)
    assert np.any(exact)
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=DIFFERENCE_TOLERANCE)


LINES = Spectrum(np.array([0.95, 1.0, 1.1]), np.array([1.0, 3.0, 2.0]))


@pytest.mark.parametrize(
    "beam",
    [
        Beam(wavelength=0.97),
        Beam(dispersion=Sampling(3.0, 4)),
        Beam(wavelength=1.2, spectrum=LINES),
        Beam(dispersion=Sampling(3.0, 4), sources=table(-X, -Y)),
        Beam(sources=table(-X, -Y, wavelengths=np.array([1.1, 0.9]))),
        Beam(spectrum=LINES, sources=table(-X, -Y)),
    ],
)
def test_shortest_wavelength_is_that_of_the_list(beam):
    """Clauses 10.34 and 10.92."""
    assert shortest_wavelength(beam) == list_sources(beam).wavelength.min()
