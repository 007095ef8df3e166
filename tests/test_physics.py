"""What the images must show whatever the program: Bragg's law, scaling, invariance (specs/10-physics.md)."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from conftest import random_table, small_experiment
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from numbragg.lowering.orientations import crystal_axes, reciprocal_axes
from numbragg.models.beam import Beam
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment, Scan
from numbragg.models.sampling import Sampling
from numbragg.models.structure_factors import StructureFactors
from numbragg.simulation import simulate

ROUNDING = 1e-13
"""A factor that scales every term scales the sum up to rounding."""

TURNED = 1e-9
"""Rotating everything rounds every vector anew (1e-16 of indices near 10, amplified by the flanks of the peaks)."""

PIXEL = 0.75
"""A spot covers a few pixels, and its intensity-weighted centre is no further than this from its predicted place."""

few = settings(max_examples=12, derandomize=True, deadline=None)


def assert_close(image, expected, relative):
    __tracebackhide__ = True
    assert expected.max() > 0.0
    np.testing.assert_allclose(image, expected, rtol=0.0, atol=relative * np.abs(expected).max())


class TestLinearity:
    @few
    @given(factor=st.floats(1e-6, 1e6))
    def test_in_fluence(self, factor):
        one, many = (simulate(small_experiment(beam={"fluence": 1e28 * f}), threads=1) for f in (1.0, factor))
        assert_close(many, factor * one, ROUNDING)

    @pytest.mark.parametrize("interpolate", [False, True])
    @pytest.mark.parametrize("factor", [-1.0, 0.01, 3.0, 1e4])
    def test_in_the_square_of_the_amplitudes(self, interpolate, factor):
        table = random_table(6)
        scaled = StructureFactors(table.minimum, factor * table.values)
        one, many = (
            simulate(
                small_experiment(crystal={"structure_factors": t, "default_f": 7.0 * f, "interpolate": interpolate}),
                threads=1,
            )
            for t, f in ((table, 1.0), (scaled, factor))
        )
        assert_close(many, factor**2 * one, ROUNDING)

    def test_sources_add_up(self):
        """The image of two equal sources is the mean of their images."""
        offsets = [Sampling(), Sampling(0.0, 1), Sampling(2.0, 2, 2.0)]
        both = simulate(small_experiment(beam={"dispersion": offsets[2]}), threads=1)
        single = [simulate(small_experiment(beam={"wavelength": w}), threads=1) for w in (0.99, 1.01)]
        assert_close(both, 0.5 * (single[0] + single[1]), TURNED)


def spot_experiment(seed):
    """A crystal of 30 x 30 x 30 cells turned so that one chosen reflection is exactly on the Ewald sphere."""
    rng = np.random.default_rng(seed)
    cell = (*rng.uniform(35.0, 60.0, 3), *rng.uniform(80.0, 100.0, 3))
    hkl = rng.integers(1, 5, 3)
    crystal = Crystal(
        cell=cell, misset=tuple(rng.uniform(-180.0, 180.0, 3)), n_cells=(30.0, 30.0, 30.0), default_f=10.0
    )
    q = hkl @ reciprocal_axes(crystal)
    # |s0 + q| = |s0| with s0 = (1, 0, 0)/wavelength: q_x = -wavelength q^2 / 2, by a turn of q into that direction.
    sine = -0.5 * np.linalg.norm(q)
    around = rng.uniform(0.0, 2.0 * np.pi)
    across = np.sqrt(1.0 - sine**2)
    wanted = np.linalg.norm(q) * np.array([sine, across * np.cos(around), across * np.sin(around)])
    turn, _ = Rotation.align_vectors(wanted[None], q[None])
    x, y, z = turn.as_matrix() @ Rotation.from_euler("xyz", crystal.misset, degrees=True).as_matrix() @ np.eye(3)
    angles = Rotation.from_matrix(np.array([x, y, z])).as_euler("xyz", degrees=True)
    return replace(crystal, misset=tuple(angles)), wanted


class TestBraggsLaw:
    @pytest.mark.parametrize("seed", range(8))
    def test_spot_is_where_the_ewald_sphere_says(self, seed):
        """Diffracted beam s = s0 + q, extended to the detector."""
        crystal, q = spot_experiment(seed)
        detector = Detector(n_fast=31, n_slow=31, pixel_size=0.05, distance=150.0)
        direction = np.array([1.0, 0.0, 0.0]) + q
        hit = detector.distance * direction / direction[0]
        fast, slow = hit @ detector.fast_axis, hit @ detector.slow_axis
        # The predicted place becomes the centre of pixel (15, 15).
        centred = replace(detector, beam_fast=15.5 * 0.05 - fast, beam_slow=15.5 * 0.05 - slow)
        image = simulate(Experiment(crystal=crystal, detector=centred, oversample=3), threads=1)
        weights = np.where(image > 0.5 * image.max(), image, 0.0)
        rows, columns = np.indices(image.shape)
        assert abs((weights * rows).sum() / weights.sum() - 15.0) < PIXEL
        assert abs((weights * columns).sum() / weights.sum() - 15.0) < PIXEL

    @pytest.mark.parametrize("shape", ["square", "round", "gauss", "tophat"])
    def test_peak_grows_as_the_sixth_power_of_the_edge(self, shape):
        """At the direct beam q = 0, a lattice point whatever the orientation: I = (Na Nb Nc)^2 F^2 per steradian."""

        def peak(n):
            crystal = Crystal(cell=(50, 60, 70, 80, 95, 100), n_cells=(n, n, n), shape=shape, default_f=1.0)
            detector = Detector(n_fast=1, n_slow=1, pixel_size=1e-4, distance=100.0, beam_fast=5e-5, beam_slow=5e-5)
            return simulate(Experiment(crystal=crystal, detector=detector, oversample=1), threads=1)[0, 0]

        peaks = np.array([peak(n) for n in (3.0, 6.0, 12.0, 24.0)])
        np.testing.assert_allclose(peaks[1:] / peaks[:-1], 64.0, rtol=1e-9)

    def test_direct_beam_is_absolute(self):
        """Fluence times r_e^2 times (N^3 F)^2 times the solid angle of the pixel."""
        crystal = Crystal(cell=(50, 60, 70, 80, 95, 100), n_cells=(2, 3, 4), default_f=5.0)
        detector = Detector(n_fast=1, n_slow=1, pixel_size=1e-4, distance=100.0, beam_fast=5e-5, beam_slow=5e-5)
        beam = Beam(fluence=1e24, polarization=None)
        found = simulate(Experiment(crystal=crystal, detector=detector, beam=beam, oversample=1), threads=1)[0, 0]
        assert found == pytest.approx(1e24 * 7.94079248018965e-30 * (24 * 5.0) ** 2 * (1e-4 / 100.0) ** 2, rel=1e-9)


class TestInvariance:
    @pytest.mark.parametrize("pivot", ["beam", "sample"])
    @pytest.mark.parametrize("seed", range(4))
    def test_turning_the_whole_experiment_changes_nothing(self, seed, pivot):
        experiment = small_experiment(
            beam={
                "polarization": 0.9,
                "divergence_vertical": Sampling(4.0, 2),
                "divergence_horizontal": Sampling(3.0, 3),
            },
            detector={"twotheta": 8.0, "pivot": pivot, "thickness": 300.0, "attenuation_depth": 200.0, "layers": 2},
            oversample=2,
        )
        turn = Rotation.random(rng=seed).as_matrix()
        crystal, beam, detector, scan = experiment.crystal, experiment.beam, experiment.detector, experiment.scan
        misset = Rotation.from_euler("xyz", crystal.misset, degrees=True).as_matrix()
        turned = replace(
            experiment,
            crystal=replace(crystal, misset=(0.0, 0.0, 0.0), orientation=turn @ misset @ crystal.orientation),
            beam=replace(beam, direction=turn @ beam.direction, polarization_axis=turn @ beam.polarization_axis),
            detector=replace(
                detector,
                fast_axis=turn @ detector.fast_axis,
                slow_axis=turn @ detector.slow_axis,
                normal=turn @ detector.normal,
                twotheta_axis=turn @ detector.twotheta_axis,
            ),
            scan=replace(scan, spindle_axis=turn @ scan.spindle_axis),
        )
        assert_close(simulate(turned, threads=1), simulate(experiment, threads=1), TURNED)

    def test_turning_the_crystal_alone_changes_much(self):
        experiment = small_experiment()
        turned = replace(experiment, crystal=replace(experiment.crystal, misset=(11.0, -27.1, 64.7)))
        image = simulate(experiment, threads=1)
        assert np.abs(simulate(turned, threads=1) - image).max() > 0.03 * image.max()

    @few
    @given(start=st.floats(-90.0, 90.0), step=st.floats(0.1, 20.0), count=st.integers(1, 4))
    def test_phi_about_the_reversed_spindle_is_minus_phi(self, start, step, count):
        axis = np.array([0.3, -0.8, 0.5])
        scans = (
            Scan(start=start, sampling=Sampling(step * count, count), spindle_axis=axis),
            Scan(start=-start, sampling=Sampling(-step * count, count), spindle_axis=-axis),
        )
        one, other = (simulate(replace(small_experiment(), scan=scan), threads=1) for scan in scans)
        assert_close(one, other, TURNED)

    def test_phi_and_minus_phi_are_mirror_images_of_a_symmetric_crystal(self):
        """Axes along the laboratory's, one F, spindle along fast: phi -> -phi mirrors the image in slow."""
        crystal = Crystal(cell=(40.0, 50.0, 60.0, 90.0, 90.0, 90.0), n_cells=(4.0, 4.0, 4.0), default_f=3.0)
        detector = Detector(n_fast=20, n_slow=20, pixel_size=1.0, distance=60.0, beam_fast=10.0, beam_slow=10.0)
        images = [
            simulate(Experiment(crystal=crystal, detector=detector, scan=Scan(start=phi), oversample=1), threads=1)
            for phi in (3.7, -3.7)
        ]
        assert_close(images[0], images[1][::-1], TURNED)

    def test_inverted_crystal_of_one_amplitude_gives_the_same_image(self):
        upright = small_experiment(crystal={"structure_factors": None, "default_f": 4.0})
        inverted = replace(upright, crystal=replace(upright.crystal, orientation=-upright.crystal.orientation))
        np.testing.assert_allclose(crystal_axes(inverted.crystal), -crystal_axes(upright.crystal))
        assert_close(simulate(inverted, threads=1), simulate(upright, threads=1), ROUNDING)


class TestSensor:
    @pytest.mark.parametrize("layers", [1, 2, 7])
    def test_layers_capture_what_the_whole_sensor_captures(self, layers):
        """The direct-beam pixel of a tilted sensor sees 1 - exp(-thickness / (depth cos)), however many layers."""
        thickness, depth, tilt = 300.0, 170.0, 40.0
        crystal = {"n_cells": (1.0, 1.0, 1.0), "structure_factors": None}
        geometry = {"rot_y": tilt, "n_fast": 1, "n_slow": 1, "pixel_size": 1e-3, "beam_fast": 5e-4, "beam_slow": 5e-4}
        geometry["distance"] = 6e4
        transparent, sensor = (
            simulate(small_experiment(crystal=crystal, detector={**geometry, **extra}), threads=1)[0, 0]
            for extra in ({}, {"thickness": thickness, "attenuation_depth": depth, "layers": layers})
        )
        expected = -np.expm1(-thickness / (depth * np.cos(np.deg2rad(tilt))))
        # Through the layers the direction changes by 0.3 mm in 60 m.
        assert sensor / transparent == pytest.approx(expected, rel=1e-6)

    def test_capture_of_the_water_background(self):
        experiment = small_experiment(crystal={"structure_factors": None, "default_f": 0.0}, water_size=100.0)
        bare = simulate(experiment, threads=1)
        sensor = {"thickness": 300.0, "attenuation_depth": 170.0, "layers": 4, "layer_step": 75.0}
        covered = simulate(replace(experiment, detector=replace(experiment.detector, **sensor)), threads=1)
        slow, fast = np.indices(bare.shape) + 0.5
        d = experiment.detector
        across = np.hypot(fast * d.pixel_size - d.beam_fast, slow * d.pixel_size - d.beam_slow)
        obliquity = 60.0 / np.hypot(60.0, across)
        # Each layer's obliquity is its own: 0.3 mm of 60 mm.
        np.testing.assert_allclose(covered / bare, -np.expm1(-300.0 / (170.0 * obliquity)), rtol=1e-3)


def test_oversampling_converges():
    """The mean over sub-pixels approaches the integral over the pixel, at least as the square of the sub-pixel."""
    experiment = small_experiment(crystal={"n_cells": (5.0, 5.0, 5.0)}, detector={"pixel_size": 0.6})
    images = {n: simulate(replace(experiment, oversample=n)) for n in (1, 2, 4, 8, 32)}
    errors = [np.abs(images[n] - images[32]).sum() / images[32].sum() for n in (1, 2, 4, 8)]
    assert all(later < 0.5 * earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 0.02
