"""Spectra of the beam (specs/10-physics.md, clauses 10.92 and 10.93; specs/30-formats.md, 30.55)."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg import (
    AmorphousLayer,
    Beam,
    NumbraggError,
    Sampling,
    Spectrum,
    jacobian,
    read_spectrum,
    simulate,
)
from numbragg.lowering.sources import count_sources, list_sources
from numbragg.models.beam import SourceTable

ROUNDING = 1e-12  # relative: sums of a few terms
SUMMATION = 1e-10  # of the largest pixel: the same terms in another order
DERIVATIVE = 1e-9  # of the norm: clause 50.10
HC = 12398.42

WAVELENGTHS = np.array([0.97, 0.98, 1.0, 1.03])
WEIGHTS = np.array([1.0, 7.0, 2.5, 0.5])
BACKGROUND = AmorphousLayer(stol=np.array([0.0, 0.2, 0.5]), amplitude=np.array([3.0, 8.0, 2.0]), thickness=1e-9)
LINES = st.lists(
    st.tuples(st.floats(0.5, 2.0), st.floats(0.0, 1e3)), min_size=1, max_size=20, unique_by=lambda line: line[0]
)


def spectrum() -> Spectrum:
    return Spectrum(WAVELENGTHS, WEIGHTS)


@pytest.mark.parametrize("wavelength", [1.0, 0.97931234567, 1 / 3])
@pytest.mark.parametrize("weight", [1.0, 2.7, 1e-3])
def test_spectrum_of_one_line_is_the_monochromatic_image_bit_for_bit(make_experiment, wavelength, weight):
    """Clause 10.92."""
    line = Spectrum(np.array([wavelength]), np.array([weight]))
    divergence = Sampling(range=5.0, count=2)
    beams = [{"wavelength": wavelength}, {"wavelength": line.mean, "spectrum": line}]
    one, other = (
        simulate(make_experiment(beam={**beam, "divergence_horizontal": divergence}, background=(BACKGROUND,)))
        for beam in beams
    )
    assert line.mean == wavelength
    assert (one == other).all()


def test_image_is_the_weighted_mean_of_monochromatic_images(make_experiment):
    """Clause 10.92: the background too."""
    beam = {"divergence_vertical": Sampling(range=4.0, count=2), "polarization": None}
    image = simulate(
        make_experiment(beam={**beam, "wavelength": spectrum().mean, "spectrum": spectrum()}, background=(BACKGROUND,))
    )
    expected = sum(
        weight * simulate(make_experiment(beam={**beam, "wavelength": float(wavelength)}, background=(BACKGROUND,)))
        for wavelength, weight in zip(WAVELENGTHS, WEIGHTS / WEIGHTS.sum(), strict=True)
    )
    np.testing.assert_allclose(image, expected, rtol=0, atol=SUMMATION * expected.max())


def test_every_direction_has_every_line():
    """Clause 10.92: lines innermost, weights of mean 1; a dispersion has no effect."""
    beam = Beam(
        wavelength=spectrum().mean,
        spectrum=spectrum(),
        divergence_horizontal=Sampling(range=3.0, count=2),
        divergence_vertical=Sampling(range=3.0, count=2),
        round_divergence=False,
        dispersion=Sampling(range=10.0, count=5),
    )
    sources = list_sources(beam)
    assert count_sources(beam) == (4, 16)
    np.testing.assert_allclose(sources.wavelength.reshape(4, 4), np.tile(WAVELENGTHS * 1e-10, (4, 1)), rtol=ROUNDING)
    np.testing.assert_allclose(sources.weight.reshape(4, 4), np.tile(WEIGHTS / WEIGHTS.mean(), (4, 1)), rtol=ROUNDING)
    assert (sources.incident.reshape(4, 4, 3) == sources.incident.reshape(4, 4, 3)[:, :1]).all()


def test_spectrum_moves_with_the_wavelength_of_the_beam(make_experiment):
    """Clause 10.92; 50.10: and the image has derivatives in it."""
    doubled = list_sources(Beam(wavelength=2.0 * spectrum().mean, spectrum=spectrum()))
    np.testing.assert_allclose(doubled.wavelength, 2e-10 * WAVELENGTHS, rtol=ROUNDING)
    experiment = make_experiment(beam={"wavelength": spectrum().mean, "spectrum": spectrum()})
    names = ["beam.wavelength", "cell.a", "detector.distance"]
    fused, stepped = (jacobian(experiment, names, method=method) for method in ("fused", "cs"))
    for one, other in zip(fused, stepped, strict=True):
        assert np.linalg.norm(one - other) <= DERIVATIVE * np.linalg.norm(other)
        assert np.any(other)


def test_sources_without_wavelengths_take_the_spectrum():
    """Clause 10.92."""
    table = SourceTable(positions=np.array([[-1.0, 0.0, 0.0], [-1.0, 0.1, 0.0]]), weights=np.array([1.0, 3.0]))
    beam = Beam(wavelength=spectrum().mean, spectrum=spectrum(), sources=table)
    sources = list_sources(beam)
    np.testing.assert_allclose(
        sources.weight.reshape(2, 4), np.outer([0.5, 1.5], WEIGHTS / WEIGHTS.mean()), rtol=ROUNDING
    )
    assert count_sources(beam) == (-1, 8)
    with pytest.raises(NumbraggError, match="sources have wavelengths of their own"):
        dataclasses.replace(beam, sources=dataclasses.replace(table, wavelengths=np.array([1.0, 1.1])))


@given(LINES, st.integers(1, 40))
@settings(deadline=None)
def test_resampling_keeps_total_weight_and_mean(lines, points):
    """Clause 10.93."""
    wavelengths, weights = (np.array(column) for column in zip(*lines, strict=True))
    if not weights.any():
        return
    before = Spectrum(wavelengths, weights)
    after = before.resampled(points)
    assert len(after.weights) <= min(points, len(weights))
    assert after.weights.sum() == pytest.approx(weights.sum(), rel=ROUNDING)
    assert after.mean == pytest.approx(before.mean, rel=ROUNDING)
    assert wavelengths.min() <= after.wavelengths.min()
    assert after.wavelengths.max() <= wavelengths.max() * (1 + ROUNDING)


def test_resampling_to_more_points_than_fit_keeps_the_lines():
    """Clause 10.93."""
    again = spectrum().resampled(1000)
    np.testing.assert_allclose(again.wavelengths, WAVELENGTHS, rtol=ROUNDING)
    np.testing.assert_allclose(again.weights, WEIGHTS, rtol=ROUNDING)
    assert len(Spectrum(np.linspace(1, 2, 100), np.ones(100)).resampled(10).weights) == 10


@given(LINES, st.sampled_from(["energy", "wavelength"]), st.booleans(), st.sampled_from([" ", ",", "\t"]))
@settings(deadline=None)
def test_files_read_back_as_written(tmp_path_factory, lines, column, heading, separator):
    """Clause 30.55: told by the heading, or else by the numbers."""
    path = tmp_path_factory.mktemp("spectrum") / "s.txt"
    if not any(weight for _, weight in lines):
        return
    rows = sorted(lines)
    shown = [(HC / wavelength if column == "energy" else wavelength, weight) for wavelength, weight in rows]
    text = [f"# {column} weight"] if heading else []
    path.write_text("\n".join([*text, *(f"{x!r}{separator}{y!r}" for x, y in shown)]))
    if len({x for x, _ in shown}) < len(shown):
        return
    found = read_spectrum(path)
    np.testing.assert_allclose(found.wavelengths, [wavelength for wavelength, _ in rows], rtol=1e-15)
    assert found.weights.tolist() == [weight for _, weight in rows]


@pytest.mark.parametrize(
    ("text", "wavelengths"),
    [
        ("12398.42 1\n6199.21 2\n", [1.0, 2.0]),
        ("Energy (eV), weight\n50 1\n200 2\n", [HC / 50, HC / 200]),
        ("# wavelength\n50 1\n200 2\n", [50.0, 200.0]),
        ("# from the run of Tuesday\n1.0 1\n1.1 2 # high\n", [1.0, 1.1]),
        ("1.0\t1\n", [1.0]),
    ],
)
def test_first_column_is_told_by_heading_or_values(tmp_path, text, wavelengths):
    """Clause 30.55."""
    (tmp_path / "s.txt").write_text(text)
    assert read_spectrum(tmp_path / "s.txt").wavelengths.tolist() == wavelengths


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.0 1\n1.2 2\n1.1 3\n", r"line 3: 1\.1 is out of order"),
        ("9000 1\n8000 2\n\n8500 3\n", r"line 4: 8500 is out of order"),
        ("1.0 1\n1.0 2\n", r"line 2: 1 is out of order"),
        ("1.0 1\n1.1 2\n1.1 2\n", r"line 3: 1\.1 is out of order"),
        ("50 1\n200 1\n", "cannot be told apart"),
        ("# energy or wavelength\n50 1\n200 1\n", "cannot be told apart"),
        ("1.0 -1\n", r"line 1: .* weight of at least 0"),
        ("0 1\n", r"line 1: an energy or wavelength above 0"),
        ("1.0 0\n1.1 0\n", "every weight is zero"),
        ("1.0 1 3\n", "line 1: expected energy or wavelength, and weight"),
        ("# energy\n", "no rows"),
    ],
)
def test_files_that_are_wrong_are_refused_with_their_line(tmp_path, text, message):
    """Clause 30.55."""
    (tmp_path / "bad.txt").write_text(text)
    with pytest.raises(NumbraggError, match=message):
        read_spectrum(tmp_path / "bad.txt")


@given(st.text(st.sampled_from("0123456789.eE+- #,\nxn"), max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    """Clause 30.55."""
    path = tmp_path_factory.mktemp("fuzz") / "s.txt"
    path.write_text(text)
    try:
        found = read_spectrum(path)
    except NumbraggError:
        return
    assert (found.wavelengths > 0).all()
    assert (np.diff(np.sign(np.diff(found.wavelengths))) == 0).all()


@pytest.mark.parametrize(
    ("wavelengths", "weights", "message"),
    [
        ([1.0, 2.0], [1.0], "one weight"),
        ([], [], "one weight"),
        ([0.0], [1.0], "above zero"),
        ([1.0], [-1.0], "not be negative"),
        ([1.0], [math.inf], "not a finite number"),
        ([1.0], [0.0], "every weight is zero"),
    ],
)
def test_spectra_that_cannot_be_are_refused(wavelengths, weights, message):
    """Clause 10.9."""
    with pytest.raises(NumbraggError, match=message):
        Spectrum(np.array(wavelengths), np.array(weights))


def test_resampling_to_nothing_is_refused():
    """Clause 10.93."""
    with pytest.raises(NumbraggError, match="points must be a whole number"):
        spectrum().resampled(0)
