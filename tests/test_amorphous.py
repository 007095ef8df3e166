"""Amorphous background (specs/10-physics.md, clauses 10.88 to 10.91; specs/30-formats.md, 30.52 and 30.53)."""

import dataclasses
import importlib.resources
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_stol_tables import MOLECULES, air, pair_distribution, structure_factor, water

from numbragg import (
    AmorphousLayer,
    Experiment,
    NumbraggError,
    Roi,
    Sampling,
    amorphous_layer,
    jacobian,
    simulate,
    simulate_background,
    trace,
)
from numbragg.gradients.jacobians import image_and_jacobian
from numbragg.io.stol import read_stol, write_stol
from numbragg.lowering.amorphous import squared_amplitudes
from numbragg.lowering.detector_frame import frame_of
from numbragg.lowering.sources import list_sources
from numbragg.models.beam import SourceTable
from numbragg.models.parameters import ACCESS

ROUNDING = 1e-12  # relative: a few operations on each of the numbers that make a pixel
DERIVATIVE = 1e-9  # of the norm: clause 50.10
R_E_SQUARED = 7.94079248018965e-30
AVOGADRO = 6.02214179e23


def table(seed: int = 0, rows: int = 9) -> dict:
    rng = np.random.default_rng(seed)
    return {"stol": np.sort(rng.uniform(0.01, 0.4, rows)), "amplitude": rng.uniform(1.0, 9.0, rows)}


LAYERS = (
    AmorphousLayer(**table(1), thickness=0.4, density=1.1, molecular_weight=18.0),
    AmorphousLayer(**table(2, 5), thickness=30.0, density=0.0012, molecular_weight=29.0, width=0.7),
)


@pytest.fixture
def experiment(make_experiment) -> Experiment:
    """Tilted, absorbing, polarised, divergent and polychromatic; a coarse grid of pixels."""
    return make_experiment(
        crystal={"default_f": 3.0},
        beam={
            "polarization": 0.7,
            "size": 0.3,
            "divergence_horizontal": Sampling(range=20.0, count=2),
            "dispersion": Sampling(range=10.0, count=3),
        },
        detector={"rot_y": 11.0, "twotheta": 7.0, "thickness": 300.0, "attenuation_depth": 250.0},
        background=LAYERS,
    )


def direct_sum(experiment: Experiment) -> np.ndarray:
    """Clause 10.88 written out, pixel by pixel and source by source."""
    detector, frame, beam = experiment.detector, frame_of(experiment), experiment.beam
    sources = list_sources(beam)
    size = detector.pixel_size * 1e-3
    image = np.zeros(detector.shape)
    for slow, fast in np.ndindex(*detector.shape):
        position = frame.origin + (fast + 0.5) * size * frame.fast + (slow + 0.5) * size * frame.slow
        distance = np.linalg.norm(position)
        d = position / distance
        seen = size**2 / distance**2 * (frame.close_distance / distance)
        if detector.attenuation_depth is not None:
            seen *= 1.0 - math.exp(-detector.thickness / detector.attenuation_depth / (d @ frame.normal))
        for i, wavelength, weight, e, b in zip(*sources, strict=True):
            stol = np.linalg.norm(d - i) / wavelength / 2.0 * 1e-10
            psi = -math.atan2(d @ b, d @ e)
            polar = 1.0
            if beam.polarization is not None:
                two_theta = math.acos(d @ i)
                polar = 0.5 * (
                    1 + math.cos(two_theta) ** 2 - beam.polarization * math.cos(2 * psi) * math.sin(two_theta) ** 2
                )
            for layer in experiment.background:
                width = beam.size if layer.width is None else layer.width
                molecules = layer.thickness * width**2 * 1e-3 * layer.density * AVOGADRO / layer.molecular_weight
                amplitude = np.interp(stol, layer.stol, layer.amplitude)
                share = weight / len(sources.weight)
                image[slow, fast] += (
                    amplitude**2 * R_E_SQUARED * beam.fluence * molecules * seen * polar * share
                )  # fmt: skip
    return image


def test_background_is_the_direct_sum(experiment):
    """Clause 10.88."""
    np.testing.assert_allclose(simulate_background(experiment), direct_sum(experiment), rtol=ROUNDING)


def test_background_is_the_direct_sum_of_weighted_sources(experiment):
    """Clause 10.88: each source by its weight."""
    table = SourceTable(
        positions=np.array([[-1.0, 0.0, 0.1], [-1.0, 0.2, 0.0]]),
        weights=np.array([1.0, 5.0]),
        wavelengths=np.array([0.9, 1.3]),
    )
    weighted = dataclasses.replace(experiment, beam=dataclasses.replace(experiment.beam, sources=table))
    np.testing.assert_allclose(simulate_background(weighted), direct_sum(weighted), rtol=ROUNDING)


def test_background_without_polarisation_or_absorption(experiment):
    """Clause 10.88."""
    bare = dataclasses.replace(
        experiment,
        beam=dataclasses.replace(experiment.beam, polarization=None),
        detector=dataclasses.replace(experiment.detector, thickness=0.0, attenuation_depth=None),
    )
    np.testing.assert_allclose(simulate_background(bare), direct_sum(bare), rtol=ROUNDING)


def test_layers_of_the_sensor_and_sub_pixels_change_nothing(experiment):
    """Clause 10.89: the centre of the pixel, and all that the sensor captures."""
    sampled = dataclasses.replace(
        experiment, oversample=3, detector=dataclasses.replace(experiment.detector, layers=4), d_min=2.0
    )
    np.testing.assert_allclose(simulate_background(sampled), direct_sum(experiment), rtol=ROUNDING)


def test_image_is_the_crystal_and_the_background(experiment):
    """Clause 10.88."""
    crystal_alone = simulate(dataclasses.replace(experiment, background=()))
    image = simulate(experiment)
    np.testing.assert_allclose(image, crystal_alone + simulate_background(experiment), rtol=ROUNDING)
    assert not simulate_background(dataclasses.replace(experiment, background=())).any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pixels_have_the_same_bits_however_they_are_asked_for(experiment, threads):
    """Clause 10.4."""
    whole = simulate(experiment, threads=1)
    assert (simulate(experiment, threads=threads) == whole).all()
    chosen = np.random.default_rng(1).random(whole.shape) < 0.3
    assert (simulate(experiment, pixels=chosen, threads=threads) == whole[chosen]).all()
    roi = Roi(fast_min=3, fast_max=9, slow_min=2, slow_max=7)
    masked = dataclasses.replace(experiment, roi=roi, mask=chosen)
    assert (simulate(masked) == np.where(masked.active_mask(), whole, 0.0)).all()


def test_derivatives_agree_by_every_method(experiment):
    """Clause 10.90; 50.10: the fused pass with the complex step, and both with central differences."""
    names = [name for name in ACCESS if name != "crystal.fudge"]
    image, fused = image_and_jacobian(experiment, names)
    stepped = jacobian(experiment, names, method="cs")
    np.testing.assert_allclose(image, simulate(experiment), rtol=ROUNDING)
    moving = 0
    for name, one, other in zip(names, fused, stepped, strict=True):
        assert np.linalg.norm(one - other) <= DERIVATIVE * np.linalg.norm(other), name
        moving += bool(np.any(other))
    assert moving > 15
    background = dataclasses.replace(
        experiment, crystal=dataclasses.replace(experiment.crystal, structure_factors=None, default_f=0.0)
    )
    for name in ("detector.distance", "beam.wavelength", "detector.rot_x", "beam.fluence"):
        exact = jacobian(background, [name])[0]
        central = jacobian(background, [name], method="3-point")[0]
        assert np.linalg.norm(exact - central) <= 1e-5 * np.linalg.norm(exact), name  # clause 50.41


def test_products_of_the_jacobian_hold_the_background(experiment):
    """Clause 10.90: pixels one by one have the derivatives of the image."""
    names = ["detector.distance", "cell.a", "beam.wavelength"]
    pixels = (np.array([1, 5, 5]), np.array([2, 0, 16]))
    whole = jacobian(experiment, names)
    np.testing.assert_allclose(jacobian(experiment, names, pixels=pixels), whole[:, *pixels], rtol=1e-9)


def test_trace_of_a_pixel_holds_the_background(experiment):
    """Clause 80.1."""
    traced = trace(experiment, 4, 11)
    assert traced["I_pixel_final"] == pytest.approx(simulate(experiment)[4, 11], rel=ROUNDING)
    assert traced["I_background"] == pytest.approx(simulate_background(experiment)[4, 11], rel=ROUNDING)


@given(st.integers(1, 4), st.integers(0, 1000), st.floats(0.0, 0.6))
@settings(max_examples=60, deadline=None)
def test_parabolas_are_the_sum_of_squared_straight_lines(count, seed, stol):
    """Clause 10.88: flat beyond the ends of each table."""
    layers = [AmorphousLayer(**table(seed + k, 1 + (seed + k) % 7), thickness=1.0) for k in range(count)]
    weights = np.random.default_rng(seed).uniform(0.0, 2.0, count)
    nodes, coefficients = squared_amplitudes(layers, weights.tolist())
    interval = int(np.searchsorted(nodes, stol, side="right"))
    x = stol - nodes[max(interval - 1, 0)]
    expected = sum(w * np.interp(stol, one.stol, one.amplitude) ** 2 for w, one in zip(weights, layers, strict=True))
    assert np.polyval(coefficients[interval][::-1], x) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "derive"), [("water", water), ("air", air)])
def test_tables_are_what_their_derivation_gives(name, derive):
    """Clause 10.91: `tests/make_stol_tables.py`."""
    with importlib.resources.as_file(importlib.resources.files("numbragg") / "data" / f"{name}.stol") as path:
        stol, amplitude = read_stol(path)
    np.testing.assert_allclose(amplitude, derive(stol), rtol=0, atol=0.51e-4)  # four decimals are written
    layer = amorphous_layer(name, thickness=1.0)
    assert (layer.amplitude == amplitude).all()


def test_water_scatters_as_a_liquid():
    """Clause 10.91: the compressibility at 0, both rings, single atoms far out."""
    layer = amorphous_layer("water", thickness=1.0)
    molecules_per_volume = 0.997 / 18.015 * AVOGADRO * 1e6
    compressibility = 4.52e-10  # 1/Pa at 25 degrees Celsius
    forward = 100.0 * molecules_per_volume * 1.380649e-23 * 298.15 * compressibility
    assert layer.amplitude[0] ** 2 == pytest.approx(forward, rel=0.03)
    ring = layer.stol[np.argmax(layer.amplitude)]
    assert 0.15 < ring < 0.18  # 3 angstrom or so
    assert (np.diff(layer.amplitude[layer.stol > 0.6]) < 0.05).all()


def test_model_of_water_has_the_measured_features():
    """Clause 10.91: positions and heights of Skinner et al. (2013), and the transform of one function is the other."""
    r = np.arange(0.005, 40.0, 0.01)
    g = pair_distribution(r)
    maximum, minimum, second = (slice(*np.searchsorted(r, ends)) for ends in ((2.5, 3.0), (3.1, 3.9), (4.0, 5.0)))
    assert r[maximum][g[maximum].argmax()] == pytest.approx(2.80, abs=0.02)
    assert g[maximum].max() == pytest.approx(2.57, abs=0.05)
    assert g[minimum].min() == pytest.approx(0.84, abs=0.02)
    assert r[second][g[second].argmax()] == pytest.approx(4.5, abs=0.1)
    assert g[second].max() == pytest.approx(1.12, abs=0.02)
    assert (g > -0.01).all()
    within = r < 3.3
    assert (4 * np.pi * MOLECULES * r**2 * g)[within].sum() * 0.01 == pytest.approx(4.3, abs=0.2)
    for q in (0.5, 2.0, 3.0, 7.0):
        transform = 1.0 + (4 * np.pi * MOLECULES * r**2 * (g - 1) * np.sinc(q * r / np.pi)).sum() * 0.01
        assert structure_factor(np.array([q]))[0] == pytest.approx(transform, abs=1e-3)


def test_air_scatters_forward_with_all_its_electrons():
    """Clause 10.91."""
    layer = amorphous_layer("air", thickness=1.0)
    assert layer.amplitude[0] ** 2 == pytest.approx(0.7808 * 14**2 + 0.2095 * 16**2 + 0.0093 * 18**2, rel=0.01)
    assert (np.diff(layer.amplitude) < 0).all()


def test_layer_of_a_file_takes_any_abscissa(tmp_path):
    """Clause 30.53."""
    (tmp_path / "t.stol").write_text("# stol F\n0 1\n0.5, 2.5\n\n1 3 # last\n")
    for abscissa, unit in (("stol", 1.0), ("4stol", 0.25), ("Q", 1 / (4 * np.pi))):
        layer = amorphous_layer(
            tmp_path / "t.stol", thickness=1.0, density=2.0, molecular_weight=60.0, abscissa=abscissa
        )
        np.testing.assert_allclose(layer.stol, np.array([0.0, 0.5, 1.0]) * unit)
        assert layer.amplitude.tolist() == [1.0, 2.5, 3.0]
        assert (layer.density, layer.molecular_weight, layer.width) == (2.0, 60.0, None)
    with pytest.raises(NumbraggError, match=r"density .* and molecular weight"):
        amorphous_layer(tmp_path / "t.stol", thickness=1.0)


@given(
    st.lists(st.floats(0, 2).map(lambda x: round(x, 4)), unique=True, min_size=1),
    st.randoms(use_true_random=False),
    st.lists(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "Zs")), max_size=20), max_size=3),
)
@settings(max_examples=50, deadline=None)
def test_table_reads_back_as_written(tmp_path_factory, stol, random, comments):
    """Clause 30.53."""
    path = tmp_path_factory.mktemp("stol") / "t.stol"
    rising = np.sort(np.array(stol))
    amplitude = np.array([round(random.uniform(0, 20), 4) for _ in stol])
    write_stol(path, rising, amplitude, comments)
    back = read_stol(path)
    assert (back[0] == rising).all()
    assert (back[1] == amplitude).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows of stol and amplitude"),
        ("# nothing\n", "no rows"),
        ("0 1\n0.1\n", "line 2: expected stol and amplitude, found '0.1'"),
        ("0 1\n0.1 2 3\n", "line 2: expected"),
        ("0 1\n0.1 x\n", "line 2: expected"),
        ("0 1\n\n0.1 nan\n", "line 3: expected"),
        ("1 a\n", "line 1: expected"),
        ("0 1\n0.2 3\n0.1 2\n", "line 3: 0.1 does not rise above the row before it"),
        ("0 1\n0 2\n", "line 2: 0 does not rise"),
        ("0 -1\n", "line 1: .* must not be negative"),
        ("-1 1\n", "line 1: .* must not be negative"),
    ],
)
def test_tables_that_are_wrong_are_refused_with_their_line(tmp_path, text, message):
    """Clauses 30.52 and 30.53."""
    (tmp_path / "bad.stol").write_text(text)
    with pytest.raises(NumbraggError, match=message):
        read_stol(tmp_path / "bad.stol")


def test_missing_table_is_refused():
    """Clause 30.52."""
    with pytest.raises(NumbraggError, match="no such file"):
        amorphous_layer("nowhere.stol", thickness=1.0, density=1.0, molecular_weight=1.0)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    """Clause 30.52."""
    path = tmp_path_factory.mktemp("fuzz") / "t.stol"
    path.write_bytes(content)
    try:
        stol, amplitude = read_stol(path)
    except NumbraggError:
        return
    assert (np.diff(stol) > 0).all()
    assert (amplitude >= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thickness": -1.0}, "thickness must not be negative"),
        ({"density": math.nan}, "density is not a finite number"),
        ({"molecular_weight": 0.0}, "molecular_weight must be above zero"),
        ({"width": -1.0}, "width must not be negative"),
        ({"stol": np.array([0.0, 0.0])}, "must rise"),
        ({"stol": np.array([0.0])}, "one amplitude is needed"),
        ({"amplitude": np.array([1.0, -1.0])}, "amplitude must not be negative"),
    ],
)
def test_layers_that_cannot_be_are_refused(change, message):
    """Clause 10.9."""
    fields = {"stol": np.array([0.0, 0.1]), "amplitude": np.array([1.0, 2.0]), "thickness": 1.0}
    with pytest.raises(NumbraggError, match=message):
        AmorphousLayer(**{**fields, **change})
