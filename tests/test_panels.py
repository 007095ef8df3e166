"""Detectors with several panels: their place, their image, its derivatives (specs/10-physics.md, 10.98 and 10.99)."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import numbragg
from numbragg.geometry.conventions import CONVENTIONS
from numbragg.gradients.selection import indices_of, selected_numbers
from numbragg.instruments import describe_instrument, into_laboratory, within_detector
from numbragg.lowering.detector_frame import place_detector, place_panels
from numbragg.refinement.shoeboxes import find_shoeboxes
from numbragg.statistics import image_statistics

OF_ROUNDING = 1e-12
"""Relative: the same numbers in another order."""
OF_THE_FUSED_PASS = 1e-9
"""Of a column's norm (50.10)."""
OF_POSITIONS = 1e-9
"""Millimetres that a change of frames may cost."""

N_SLOW, N_FAST, PIXEL = 40, 46, 0.2
NAMES = (
    "cell.a", "misset.x", "n_cells.a", "mosaic.spread", "beam.wavelength", "beam.fluence", "detector.distance",
    "detector.beam_fast", "detector.beam_slow", "detector.rot_x", "detector.rot_y", "detector.rot_z",
    "detector.twotheta",
)  # fmt: skip


def tilted_panels(count, seed=1):
    """Panels side by side, each turned by some degrees."""
    random = np.random.default_rng(seed)
    panels = []
    for number in range(count):
        axes = Rotation.from_euler("xyz", random.normal(0.0, 6.0, 3), degrees=True).as_matrix()
        corner = np.array([(number % 2) * 11.0, (number // 2) * 9.5, random.normal()])
        panels.append(numbragg.Panel(origin=corner, fast_axis=axes[:, 0], slow_axis=axes[:, 1], name=f"p{number}"))
    return tuple(panels)


def refinable():
    """Many spots of several pixels, with enough photons."""
    crystal = numbragg.Crystal(
        cell=(70, 80, 90, 85, 95, 100), n_cells=(6, 6, 6), default_f=100.0, shape="gauss",
        misset=(10.0, 20.0, 30.0),
    )  # fmt: skip
    return scene(crystal=crystal, background=(), water_size=0.0)


def detector(**changes):
    chosen = {
        "n_fast": N_FAST, "n_slow": N_SLOW, "pixel_size": PIXEL, "distance": 60.0, "beam_fast": 10.0, "beam_slow": 9.0,
        "rot_x": 3.0, "twotheta": 4.0, "thickness": 300.0, "attenuation_depth": 400.0, "layers": 2,
        "panels": tilted_panels(3),
    }  # fmt: skip
    return numbragg.Detector(**(chosen | changes))


def scene(**changes):
    crystal = numbragg.Crystal(
        cell=(70, 80, 90, 85, 95, 100), n_cells=(5, 6, 7), default_f=100.0, shape="gauss", misset=(10.0, 20.0, 30.0),
        mosaic_spread=0.2, mosaic_domains=3,
    )  # fmt: skip
    layers = (numbragg.amorphous_layer("water", thickness=1e-9),)
    chosen = {"crystal": crystal, "detector": detector(), "oversample": 2, "water_size": 0.1, "background": layers}
    return numbragg.Experiment(**(chosen | changes))


@pytest.fixture(scope="module")
def experiment():
    return scene()


@pytest.fixture(scope="module")
def image(experiment):
    return numbragg.simulate(experiment)


class TestImage:
    def test_has_a_dimension_for_panels(self, experiment, image):
        """Clause 10.99."""
        assert image.shape == experiment.detector.shape == (3, N_SLOW, N_FAST)
        assert image.dtype == np.float64
        assert (image.max(axis=(1, 2)) > 0.0).all()

    def test_of_a_panel_alone_is_its_part(self, experiment, image):
        """Clause 10.98."""
        for number, own in enumerate(image):
            np.testing.assert_array_equal(numbragg.simulate(experiment.of_panel(number)), own)

    def test_of_a_panel_that_is_the_detector(self, image):
        """Clause 10.98: the corner and the axes of the detector make no difference."""
        itself = numbragg.Panel(origin=np.zeros(3), fast_axis=np.array([1.0, 0, 0]), slow_axis=np.array([0, 1.0, 0]))
        plain = scene(detector=detector(panels=()))
        among = scene(detector=detector(panels=(itself, *tilted_panels(1))))
        np.testing.assert_array_equal(numbragg.simulate(among)[0], numbragg.simulate(plain))

    def test_of_a_moved_panel_is_that_of_a_moved_detector(self):
        """Clause 10.98: 40 pixels further along fast is 8 mm further from the beam centre."""
        flat = {"rot_x": 0.0, "twotheta": 0.0}
        step = numbragg.Panel(
            origin=np.array([40 * PIXEL, 0.0, 0.0]), fast_axis=np.array([1.0, 0, 0]), slow_axis=np.array([0, 1.0, 0])
        )
        moved = numbragg.simulate(scene(detector=detector(**flat, panels=(step,))))[0]
        plain = numbragg.simulate(scene(detector=detector(**flat, panels=(), beam_fast=10.0 - 40 * PIXEL)))
        np.testing.assert_allclose(moved, plain, rtol=1e-9)

    def test_does_not_depend_on_threads(self, experiment, image):
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(numbragg.simulate(experiment, threads=threads), image)

    def test_in_mixed_precision(self, experiment, image):
        """Clause 60.23."""
        mixed = numbragg.simulate(experiment, precision="mixed")
        assert 0.0 < np.abs(mixed - image).max() <= 2e-5 * image.max()

    def test_rotating_crystal_and_detector_together_changes_nothing(self):
        """A rotation about the beam of everything but the polarisation."""
        beam = numbragg.Beam(polarization=None)
        crystal = dataclasses.replace(scene().crystal, mosaic_spread=0.0, mosaic_domains=1)
        flat = detector(rot_x=0.0, twotheta=0.0)
        before = numbragg.simulate(scene(beam=beam, crystal=crystal, detector=flat))
        turn = Rotation.from_rotvec(np.radians(30.0) * np.array([1.0, 0.0, 0.0])).as_matrix()
        turned = dataclasses.replace(flat, fast_axis=turn @ flat.fast_axis, slow_axis=turn @ flat.slow_axis)
        axes = Rotation.from_euler("xyz", crystal.misset, degrees=True).as_matrix()
        misset = Rotation.from_matrix(turn @ axes).as_euler("xyz", degrees=True)
        after = numbragg.simulate(
            scene(beam=beam, crystal=dataclasses.replace(crystal, misset=tuple(misset)), detector=turned)
        )
        np.testing.assert_allclose(after, before, rtol=1e-7)

    def test_statistics_count_all_panels(self, experiment, image):
        found = image_statistics(experiment, image)
        each = [image_statistics(experiment.of_panel(n), own) for n, own in enumerate(image)]
        assert found.maximum == max(one.maximum for one in each)
        np.testing.assert_allclose(found.mean, image.mean(), rtol=OF_ROUNDING)
        np.testing.assert_allclose(found.solid_angle, sum(one.solid_angle for one in each), rtol=OF_ROUNDING)
        top = max(each, key=lambda one: one.maximum)
        assert (found.maximum_fast, found.maximum_slow) == (top.maximum_fast, top.maximum_slow)


class TestPixels:
    def test_of_a_mask(self, experiment, image):
        """Clause 10.99."""
        chosen = np.random.default_rng(3).random(image.shape) < 0.03
        np.testing.assert_array_equal(numbragg.simulate(experiment, pixels=chosen), image[chosen])

    def test_in_any_order(self, experiment, image):
        """Clause 10.99: panels one through the other."""
        random = np.random.default_rng(4)
        chosen = tuple(random.integers(0, count, 200) for count in image.shape)
        np.testing.assert_array_equal(numbragg.simulate(experiment, pixels=chosen), image[chosen])

    def test_without_any(self, experiment):
        nothing = np.zeros(experiment.detector.shape, bool)
        assert numbragg.simulate(experiment, pixels=nothing).shape == (0,)

    def test_that_are_masked_stay_0(self, experiment, image):
        kept = np.random.default_rng(5).random(image.shape) < 0.5
        masked = dataclasses.replace(experiment, mask=kept)
        np.testing.assert_array_equal(numbragg.simulate(masked), np.where(kept, image, 0.0))
        np.testing.assert_array_equal(numbragg.simulate(masked.of_panel(1)), np.where(kept[1], image[1], 0.0))
        chosen = np.random.default_rng(6).random(image.shape) < 0.1
        np.testing.assert_array_equal(numbragg.simulate(masked, pixels=chosen), np.where(kept, image, 0.0)[chosen])

    def test_numbers_and_indices_are_inverse(self, experiment):
        chosen = np.random.default_rng(7).random(experiment.detector.shape) < 0.1
        indices = indices_of(experiment, selected_numbers(experiment, chosen))
        np.testing.assert_array_equal(indices, np.nonzero(chosen))

    @pytest.mark.parametrize(
        ("pixels", "message"),
        [
            (np.ones((N_SLOW, N_FAST), bool), "the mask has shape"),
            (([1], [2]), r"three integer arrays \(panel, slow, fast\)"),
            (([3], [2], [2]), "not all lie on the detector of 3 x 40 x 46"),
            (([0], [-1], [2]), "not all lie"),
            (([0, 1], [1], [2]), "panel, slow and fast must be one-dimensional"),
            (([0.5], [1], [2]), "panel, slow and fast must be one-dimensional"),
            (7, "three integer arrays"),
        ],
    )
    def test_that_do_not_fit_are_errors(self, experiment, pixels, message):
        with pytest.raises(numbragg.NumbraggError, match=message):
            numbragg.simulate(experiment, pixels=pixels)


@pytest.fixture(scope="module")
def exact(experiment):
    return numbragg.jacobian(experiment, NAMES, method="cs")


class TestDerivatives:
    def test_of_the_fused_pass(self, experiment, exact):
        """Clauses 50.10 and 50.11."""
        fused = numbragg.jacobian(experiment, NAMES)
        assert fused.shape == (len(NAMES), *experiment.detector.shape)
        for name, own, right in zip(NAMES, fused, exact, strict=True):
            assert np.linalg.norm(right) > 0.0, name
            assert np.linalg.norm(own - right) <= OF_THE_FUSED_PASS * np.linalg.norm(right), name

    def test_by_differences(self, experiment, exact):
        """Clause 50.70."""
        names = ("cell.a", "detector.distance", "detector.rot_z")
        chosen = np.random.default_rng(8).random(experiment.detector.shape) < 0.05
        slopes = numbragg.jacobian(experiment, names, method="3-point", pixels=chosen)
        for name, own in zip(names, slopes, strict=True):
            right = exact[NAMES.index(name)][chosen]
            assert np.linalg.norm(own - right) <= 1e-5 * np.linalg.norm(right), name

    def test_of_a_panel_alone_are_its_part(self, experiment, exact):
        own = numbragg.jacobian(experiment.of_panel(2), NAMES)
        for found, right in zip(own, exact[:, 2], strict=True):
            assert np.linalg.norm(found - right) <= OF_THE_FUSED_PASS * np.linalg.norm(right)

    def test_as_an_operator(self, experiment, exact):
        """Clause 50.61."""
        names = ["cell.a", "detector.beam_fast"]
        operator = numbragg.linear_operator(experiment, names)
        rows = exact[[NAMES.index(name) for name in names]].reshape(2, -1)
        v, u = np.array([0.3, -1.2]), np.random.default_rng(9).normal(size=rows.shape[1])
        np.testing.assert_allclose(operator @ v, v @ rows, rtol=1e-7, atol=1e-9 * np.abs(v @ rows).max())
        np.testing.assert_allclose(operator.T @ u, rows @ u, rtol=1e-7)

    def test_in_structure_factors(self, experiment):
        """Clauses 50.50 to 50.54: rows of pixels on all panels, in any order."""
        table = numbragg.StructureFactors((-9, -9, -9), np.random.default_rng(2).uniform(10, 90, (19, 19, 19)))
        crystal = dataclasses.replace(experiment.crystal, structure_factors=table, default_f=0.0)
        own = dataclasses.replace(experiment, crystal=crystal, water_size=0.0, background=())
        random = np.random.default_rng(10)
        chosen = tuple(random.integers(0, count, 300) for count in own.detector.shape)
        matrix = numbragg.structure_factor_jacobian(own, pixels=chosen)
        # The image is homogeneous of degree 2 in the amplitudes.
        np.testing.assert_allclose(
            matrix @ table.values.ravel(), 2.0 * numbragg.simulate(own, pixels=chosen), rtol=1e-9
        )
        operator = numbragg.structure_factor_operator(own, pixels=chosen)
        v, u = random.normal(size=table.values.size), random.normal(size=300)
        np.testing.assert_allclose(operator @ v, matrix @ v, rtol=1e-9, atol=1e-9 * np.abs(matrix @ v).max())
        np.testing.assert_allclose(operator.T @ u, matrix.T @ u, rtol=1e-9, atol=1e-9 * np.abs(matrix.T @ u).max())


class TestPlaces:
    @settings(max_examples=30, deadline=None)
    @given(count=st.integers(2, 5), seed=st.integers(0, 1000), tilt=st.floats(-40, 40), swing=st.floats(-40, 40))
    def test_go_through_an_instrument_and_back(self, count, seed, tilt, swing):
        """Clauses 10.98 and 30.61: panels stay where they are, whatever they are counted from."""
        experiment = scene(detector=detector(panels=tilted_panels(count, seed), rot_y=tilt, twotheta=swing))
        instrument = describe_instrument(experiment)
        read = type(instrument).of_panels(
            instrument.panels,
            **{f.name: getattr(instrument, f.name) for f in dataclasses.fields(instrument)
               if f.name not in ("panels", "origin", "fast_axis", "slow_axis")},
        )  # fmt: skip
        laboratory = into_laboratory(read, CONVENTIONS["mosflm"])
        convention = laboratory.convention
        again = numbragg.Detector(
            n_fast=N_FAST, n_slow=N_SLOW, pixel_size=PIXEL, distance=laboratory.distance, pivot="beam",
            beam_fast=laboratory.beam_fast, beam_slow=laboratory.beam_slow, fast_axis=convention.fast,
            slow_axis=convention.slow, normal=convention.normal, panels=within_detector(read),
        )  # fmt: skip
        for before, after in zip(*(_absolute(one, beam) for one, beam in (
            (experiment.detector, experiment.beam.direction), (again, convention.beam))), strict=True):  # fmt: skip
            np.testing.assert_allclose(after, before, atol=OF_POSITIONS)

    def test_of_normals_point_away_from_the_sample(self):
        """Clause 10.98, whichever way fast and slow run."""
        one = tilted_panels(1)[0]
        flipped = dataclasses.replace(one, fast_axis=one.slow_axis, slow_axis=one.fast_axis)
        frame = place_detector(detector(), numbragg.Beam().direction)
        frames, close = place_panels(frame.matrix, [one, flipped])
        assert (close > 0.0).all()
        np.testing.assert_allclose(frames[0, 3], frames[1, 3], atol=1e-15)

    def test_across_the_beam_need_not_be_met_by_it(self):
        """Clause 10.98: a panel along the beam is lit from the sample."""
        side = numbragg.Panel(
            origin=np.array([-60.0, 0.0, -40.0]), fast_axis=np.array([0.0, 0, 1]), slow_axis=np.array([0, 1.0, 0])
        )
        panels = (*tilted_panels(1), side)
        image = numbragg.simulate(scene(detector=detector(rot_x=0.0, twotheta=0.0, panels=panels)))
        assert np.isfinite(image).all()
        assert (image[1] > 0.0).all()


def _absolute(one, beam):
    """Corners and axes of the panels, mm, in the frame of the laboratory turned to that of files."""
    frame = place_detector(one, beam)
    frames, _ = place_panels(frame.matrix, one.panels)
    frames[:, 0] *= 1e3
    return frames


class TestOtherParts:
    def test_predictions_name_their_panel(self, experiment):
        """Clause 55.70."""
        spots = numbragg.predict_reflections(experiment)
        each = [numbragg.predict_reflections(experiment.of_panel(n)) for n in range(3)]
        assert len(spots.hkl) == sum(len(one.hkl) for one in each) > 0
        assert set(spots.panel) == {n for n, one in enumerate(each) if len(one.hkl)}
        for number, one in enumerate(each):
            own = spots.only(spots.panel == number)
            order = np.lexsort((one.phi, *one.hkl.T[::-1]))
            np.testing.assert_array_equal(own.hkl, one.hkl[order])
            np.testing.assert_allclose(own.slow, one.slow[order], rtol=OF_ROUNDING)
            assert (one.panel == 0).all()

    def test_predictions_are_where_the_spots_are(self, experiment):
        """Clause 55.74: the brightest pixel near a strong prediction is next to it."""
        crystal = dataclasses.replace(experiment.crystal, n_cells=(14, 14, 14), mosaic_spread=0.0, mosaic_domains=1)
        # Spots are much smaller than a pixel.
        experiment = dataclasses.replace(experiment, crystal=crystal, background=(), water_size=0.0, oversample=12)
        image = numbragg.simulate(experiment)
        spots = numbragg.predict_reflections(experiment, rotation="steps")
        inside = (spots.slow > 5) & (spots.slow < N_SLOW - 6) & (spots.fast > 5) & (spots.fast < N_FAST - 6)
        spots = spots.only(inside)
        assert len(spots.hkl) >= 5
        for row in np.argsort(-spots.peak)[:10]:
            slow, fast = round(spots.slow[row]), round(spots.fast[row])
            box = image[spots.panel[row], slow - 3 : slow + 4, fast - 3 : fast + 4]
            peak = np.subtract(np.unravel_index(box.argmax(), box.shape), 3)
            assert np.abs(peak).max() <= 1

    def test_trace_follows_a_pixel_of_a_chosen_panel(self, experiment, image):
        """Clause 80.1."""
        slow, fast = np.unravel_index(image[2].argmax(), image[2].shape)
        traced = numbragg.trace(experiment.of_panel(2), int(slow), int(fast))
        np.testing.assert_allclose(traced["I_pixel_final"], image[2, slow, fast], rtol=OF_ROUNDING)
        with pytest.raises(numbragg.NumbraggError, match="which of 3 panels"):
            numbragg.trace(experiment, 0, 0)

    def test_noise_counts_rows_through_all_panels(self, image):
        """Clauses 10.70 and 10.99."""
        drawn = numbragg.poisson_noise(image * 1e-3, seed=3)
        flat = numbragg.poisson_noise(image.reshape(-1, N_FAST) * 1e-3, seed=3)
        np.testing.assert_array_equal(drawn.pixels.reshape(-1, N_FAST), flat.pixels)
        assert drawn.pixels.shape == image.shape
        assert drawn.photons == flat.photons

    def test_noise_names_a_bad_pixel(self):
        means = np.ones((2, 3, 4))
        means[1, 2, 3] = -1.0
        with pytest.raises(numbragg.NumbraggError, match="pixel panel 1 slow 2 fast 3 has -1"):
            numbragg.poisson_noise(means, seed=1)

    def test_light_spreads_within_a_panel(self):
        """Clauses 10.85 and 10.99."""
        photons = np.zeros((2, 20, 21))
        photons[0, 19, 10] = 1e4
        effects = numbragg.DetectorEffects(point_spread="gaussian", fwhm=0.4, photon_noise=False, adc_offset=0.0)
        read = numbragg.detector_image(photons, effects, seed=1, pixel_size=0.2)
        alone = numbragg.detector_image(photons[0], effects, seed=1, pixel_size=0.2)
        np.testing.assert_array_equal(read.counts[0], alone.counts)
        assert (read.counts[1] == 0).all()
        assert np.count_nonzero(read.counts[0]) > 9

    def test_effects_do_not_depend_on_threads(self, image):
        bad = np.zeros(image.shape, bool)
        bad[1, 3, 4] = True
        effects = numbragg.DetectorEffects(
            calibration_error=0.03, readout_noise=3.0, flicker=0.1, point_spread="fiber", fwhm=0.3, bad_pixels=bad
        )
        scaled = image / image.max() * 1e3
        counts = [numbragg.detector_image(scaled, effects, seed=2, pixel_size=PIXEL, threads=n).counts for n in (1, 2)]
        np.testing.assert_array_equal(*counts)
        assert counts[0][1, 3, 4] == 0


@pytest.fixture(scope="module")
def truth():
    return refinable()


class TestRefinement:
    """Clauses 55.10 and 55.80, with spots on three panels."""

    def test_finds_what_moved(self, truth):
        """The true values, within four standard uncertainties and nearer than the start."""
        level = np.full(truth.detector.shape, 20.0)
        counts = numbragg.poisson_noise(numbragg.simulate(truth) + level, seed=5, adc_offset=0.0).pixels
        moved = {"misset.x": 10.05, "detector.distance": 60.3, "cell.a": 70.3}
        result = numbragg.refine(truth.replace(moved), counts, free=["misset", "cell.a", "detector.distance"],
                                 symmetry="triclinic")  # fmt: skip
        assert result.success
        for name, value in result.parameters.items():
            true = truth.parameters[name].value
            assert abs(value.value - true) < 4.0 * value.sigma
            assert name not in moved or abs(value.value - true) < 0.5 * abs(moved[name] - true)
        assert set(result.pixels.panel) == {0, 1, 2}
        assert result.pixels.slow.max() < N_SLOW
        assert 0.8 < result.fit.reduced_chi2 < 1.2

    def test_boxes_stay_within_their_panel(self, truth):
        boxes = find_shoeboxes(truth, numbragg.simulate(truth) + 0.5)
        assert (boxes.limits[:, 0] // N_SLOW == boxes.limits[:, 1] // N_SLOW).all()
        assert (boxes.limits[:, 0] // N_SLOW == boxes.reflections.panel).all()

    def test_refuses_an_image_of_another_shape(self, truth):
        with pytest.raises(numbragg.NumbraggError, match=r"\(panel, slow, fast\)"):
            numbragg.refine(truth, np.ones((N_SLOW, N_FAST)), free=["misset"])
        with pytest.raises(numbragg.NumbraggError, match="the mask has shape"):
            numbragg.refine(truth, np.ones(truth.detector.shape), mask=np.ones((2, 2), bool), free=["misset"])

    def test_names_the_panel_of_a_negative_count(self, truth):
        image = np.ones(truth.detector.shape)
        image[2, 5, 6] = -3.0
        with pytest.raises(numbragg.NumbraggError, match="panel 2 slow 5 fast 6"):
            numbragg.refine(truth, image, free=["misset"], likelihood="poisson")


def panel(**changes):
    chosen = {"origin": np.zeros(3), "fast_axis": np.array([1.0, 0, 0]), "slow_axis": np.array([0, 1.0, 0])}
    return numbragg.Panel(**(chosen | changes))


class TestBadInput:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: detector(panel=3), "there is no panel 3: it has 3 panels, counted from 0"),
            (lambda: detector(panel=-1), "there is no panel -1"),
            (lambda: detector(panels=(), panel=0), "there is no panel 0: it has one panel"),
            (lambda: detector(curved=True), "flat"),
            (lambda: detector(n_fast=40000, n_slow=40000), "more than one image can hold"),
            (lambda: scene(roi=numbragg.Roi(0, 3, 0, 3)), "a region of interest is one panel's"),
            (lambda: scene(mask=np.ones((N_SLOW, N_FAST), bool)), "the mask has 46 x 40 pixels .*46 x 40 x 3"),
            (lambda: scene(quirks=numbragg.parse_flags(["-cell", "9", "9", "9", "90", "90", "90", "-N", "3",
                "-default_F", "1"], "c").quirks), "knows one panel"),
            (lambda: panel(fast_axis=np.zeros(3)), "not all zero"),
            (lambda: panel(origin=np.zeros(2)), "three numbers"),
            (lambda: panel(origin=np.full(3, np.nan)), "finite"),
            (lambda: panel(slow_axis=np.array([1.0, 1.0, 0.0])), "right angles"),
        ],
    )  # fmt: skip
    def test_is_refused(self, make, message):
        with pytest.raises(numbragg.NumbraggError, match=message):
            make()

    def test_a_region_of_interest_of_one_panel(self, experiment, image):
        """Clause 10.99."""
        own = dataclasses.replace(experiment.of_panel(1), roi=numbragg.Roi(3, 8, 5, 9))
        found = numbragg.simulate(own)
        np.testing.assert_array_equal(found[5:10, 3:9], image[1, 5:10, 3:9])
        assert np.count_nonzero(found) == 5 * 6
