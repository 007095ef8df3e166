"""The kernel against the obvious program in ``naive.py`` (specs/10-physics.md, 10.40 to 10.55; specs/40-compat.md)."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import random_table, small_experiment
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import SHAPES, Defects, active_pixels, naive_image, naive_sequential, prepare
from numba import types
from numba.core.registry import cpu_target

from numbragg.kernels.forward import forward_kernel
from numbragg.lowering.batches import make_whole_batches, part_of
from numbragg.lowering.lower import lower
from numbragg.models.beam import Beam, SourceTable
from numbragg.models.crystal import Crystal
from numbragg.models.detector import Detector
from numbragg.models.experiment import Experiment, Roi, Scan
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.models.sampling import Sampling
from numbragg.simulation import simulate

OF_THE_MAXIMUM = 1e-11
"""Indices near 10 carry rounding of 1e-15, which the flank of a peak 20 cells wide amplifies some hundred times; two
orders of magnitude are left for the sums."""

UNDERFLOW = 1e-250
"""Photons that come from the smallest numbers of an exponential, which the two programs cut off differently."""

DERIVATIVE = 1e-6
"""Truncation (h^2) and cancellation (eps/h) of a central difference with h = 1e-6 of the parameter."""

RUNNING_KINDS = [("square", False), ("tophat", True), ("gauss", False)]
"""The kinds of kernel that running factors are tested with: one that never skips, two that can."""

REGULAR = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def sources(draw):
    kind = draw(st.sampled_from(["one", "divergence", "dispersion", "both", "table"]))
    if kind == "one":
        return {}
    if kind == "table":
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        count = draw(st.integers(1, 4))
        positions = np.array([-10.0, 0.0, 0.0]) + rng.uniform(-0.1, 0.1, (count, 3))
        wavelengths = rng.uniform(0.95, 1.05, count) if draw(st.booleans()) else None
        return {"sources": SourceTable(positions, rng.uniform(0.5, 2.0, count), wavelengths)}
    divergence = {
        "divergence_horizontal": draw(st.sampled_from([Sampling(), Sampling(8.0, 2), Sampling(8.0, 3)])),
        "divergence_vertical": Sampling(5.0, draw(st.integers(2, 3)), draw(st.sampled_from([None, 2.0]))),
        "round_divergence": draw(st.booleans()),
    }
    dispersion = {"dispersion": Sampling(2.0, draw(st.integers(1, 3)))}
    return {**(divergence if kind != "dispersion" else {}), **(dispersion if kind != "divergence" else {})}


@st.composite
def beams(draw):
    return Beam(
        wavelength=draw(st.sampled_from([0.9, 1.6])),
        fluence=10.0 ** draw(st.integers(24, 29)),
        polarization=draw(st.sampled_from([None, 0.0, 0.93, -1.0])),
        polarization_axis=np.array(draw(st.sampled_from([(0.0, 0.0, 1.0), (0.1, 0.6, -0.7)]))),
        **draw(sources()),
    )


@st.composite
def crystals(draw, kinds):
    shape, interpolate = draw(st.sampled_from(kinds))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return Crystal(
        cell=(*rng.uniform(30.0, 60.0, 3), *rng.uniform(75.0, 105.0, 3)),
        misset=tuple(rng.uniform(-90.0, 90.0, 3)),
        n_cells=tuple(float(draw(st.sampled_from([1, 2, 3, 8, 20]))) for _ in "abc"),
        shape=shape,
        fudge=draw(st.sampled_from([1.0, 0.4, 25.0])),
        mosaic_spread=draw(st.sampled_from([0.0, 0.7])),
        mosaic_domains=draw(st.integers(1, 4)),
        structure_factors=random_table(draw(st.integers(1, 7)), seed=3) if interpolate or draw(st.booleans()) else None,
        default_f=draw(st.sampled_from([0.0, 9.0])),
        interpolate=interpolate,
    )


@st.composite
def detectors(draw):
    n_fast, n_slow = draw(st.sampled_from([(17, 9), (1, 1), (5, 30), (301, 2)]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    angles = rng.uniform(-12.0, 12.0, 4) if draw(st.booleans()) else np.zeros(4)
    absorbs = draw(st.booleans())
    return Detector(
        n_fast=n_fast,
        n_slow=n_slow,
        pixel_size=40.0 / max(n_fast, n_slow),
        distance=draw(st.sampled_from([60.0, 43.0])),
        pivot=draw(st.sampled_from(["beam", "sample"])),
        beam_fast=rng.uniform(5.0, 30.0),
        beam_slow=rng.uniform(0.0, 20.0),
        rot_x=angles[0],
        rot_y=angles[1],
        rot_z=angles[2],
        twotheta=angles[3],
        curved=draw(st.booleans()),
        point_pixel=draw(st.booleans()),
        thickness=320.0 if absorbs else 0.0,
        attenuation_depth=250.0 if absorbs else None,
        layers=draw(st.integers(1, 3)),
        layer_step=draw(st.sampled_from([None, 150.0])),
    )


@st.composite
def scans(draw):
    count = draw(st.integers(1, 4))
    step = draw(st.sampled_from([0.0, 0.5]))
    # 0 first, in the middle, last, or nowhere: halves of a degree cancel exactly.
    start = draw(st.sampled_from([0.0, -0.5, -step * (count - 1), 0.31]))
    axis = np.array(draw(st.sampled_from([(0.0, 0.0, 1.0), (0.3, -0.8, 0.5)])))
    return Scan(start=start, sampling=Sampling(step * count, count, step), spindle_axis=axis)


@st.composite
def regions(draw, detector):
    """Region of interest and mask, either or both or none."""
    roi = mask = None
    if draw(st.integers(0, 3)) == 0:
        fast = sorted(draw(st.integers(0, detector.n_fast - 1)) for _ in "12")
        slow = sorted(draw(st.integers(0, detector.n_slow - 1)) for _ in "12")
        roi = Roi(*fast, *slow)
    if draw(st.integers(0, 3)) == 0:
        mask = np.random.default_rng(draw(st.integers(0, 99))).random(detector.shape) < 0.6
    return {"roi": roi, "mask": mask}


@st.composite
def experiments(draw, quirks=NO_QUIRKS):
    if not isinstance(quirks, Quirks):
        quirks = draw(quirks)
    detector = draw(detectors())
    each = {name: draw(st.booleans()) for name in ("omega", "polarization", "thickness")}
    running = quirks.q02_running_factors and any(each.values())
    if running:
        # 1/R^2 is far above 1 here: its powers, one a term, overflow.
        detector = replace(detector, point_pixel=False)
    kinds = RUNNING_KINDS if running else [(shape, interpolate) for shape in SHAPES for interpolate in (False, True)]
    return Experiment(
        crystal=draw(crystals(kinds)),
        beam=draw(beams()),
        detector=detector,
        scan=draw(scans()),
        oversample=draw(st.integers(1, 3)),
        d_min=draw(st.sampled_from([0.0, 0.0, 1.9, 3.5, 30.0])),
        water_size=draw(st.sampled_from([0.0, 40.0])),
        quirks=quirks,
        **{f"oversample_{name}": value for name, value in each.items()},
        **draw(regions(detector)),
    )


some_quirks = st.one_of(
    st.builds(Quirks.all, threads=st.integers(1, 7)),
    st.builds(Quirks, q01_phi_carryover=st.just(True), threads=st.integers(1, 7)),
    st.sampled_from(
        [
            Quirks(q02_running_factors=True, q06_weights_ignored=True, q03_last_layer_capture=True),
            Quirks(q03_last_layer_capture=True),
            Quirks(q03_last_layer_capture=True, q05_water_in_sum=True),
            Quirks(q06_weights_ignored=True),
            Quirks(q12_interpolation_stops=True),
        ]
    ),
)


def assert_same_image(image, expected):
    __tracebackhide__ = True
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, rtol=0.0, atol=OF_THE_MAXIMUM * np.abs(expected).max() + UNDERFLOW)


class TestOracle:
    """The kernel computes what the obvious program computes."""

    @REGULAR
    @given(experiments())
    def test_spec_image(self, experiment):
        assert_same_image(simulate(experiment, threads=1), naive_image(experiment))

    @settings(REGULAR, max_examples=120)
    @given(experiments(quirks=some_quirks))
    def test_image_with_defects(self, experiment):
        assert_same_image(simulate(experiment, threads=1), naive_image(experiment))

    @pytest.mark.parametrize(("shape", "interpolate"), [(s, i) for s in SHAPES for i in (False, True)])
    def test_each_kind_of_kernel_with_everything_switched_on(self, shape, interpolate):
        experiment = everything(shape, interpolate)
        expected = naive_image(experiment)
        assert expected.max() > 0.0
        assert_same_image(simulate(experiment, threads=1), expected)

    def test_sequential_and_parallel_oracle_agree_where_there_is_no_defect(self):
        experiment = everything("square", interpolate=True)
        image = np.zeros(experiment.detector.shape)
        none = Defects(*[False] * len(Defects._fields))
        naive_sequential(prepare(experiment), none, 3, active_pixels(experiment), image)
        assert_same_image(image, naive_image(experiment, threads=2))

    def test_oracle_would_notice_a_change(self):
        experiment = small_experiment()
        changed = replace(experiment, crystal=replace(experiment.crystal, misset=(11.3, -27.1, 63.7 + 1e-9)))
        with pytest.raises(AssertionError):
            assert_same_image(simulate(changed), naive_image(experiment))


def everything(shape, interpolate):
    return small_experiment(
        crystal={"shape": shape, "interpolate": interpolate, "mosaic_spread": 0.8, "mosaic_domains": 3, "fudge": 0.9},
        beam={
            "polarization": 0.9,
            "divergence_vertical": Sampling(6.0, 2),
            "dispersion": Sampling(1.0, 2),
        },
        detector={
            "rot_y": 5.0,
            "thickness": 320.0,
            "attenuation_depth": 220.0,
            "layers": 2,
            "n_fast": 290,
            "pixel_size": 0.1,
        },
        oversample=2,
        oversample_omega=True,
        oversample_polarization=True,
        oversample_thickness=True,
        water_size=30.0,
    )


class TestCarryover:
    """Q01: steps at phi = 0 inherit the orientation that the emulated thread computed last."""

    SCANS = (
        pytest.param(Scan(start=0.0, sampling=Sampling(1.5, 3)), id="starts at 0"),
        pytest.param(Scan(start=-0.5, sampling=Sampling(1.5, 3)), id="0 in the middle"),
        pytest.param(Scan(start=-1.0, sampling=Sampling(1.5, 3)), id="0 at the end"),
        pytest.param(Scan(start=0.0, sampling=Sampling(0.0, 3)), id="nothing but 0"),
        pytest.param(Scan(start=0.25, sampling=Sampling(1.5, 3)), id="no 0"),
    )

    @pytest.mark.parametrize("threads", [1, 2, 5, 12, 31])
    @pytest.mark.parametrize("scan", SCANS)
    def test_every_kind_of_scan(self, scan, threads):
        experiment = replace(small_experiment(), scan=scan, quirks=Quirks.all(threads=threads))
        assert_same_image(simulate(experiment, threads=1), naive_image(experiment))

    def test_only_the_first_pixel_of_each_block_is_fresh(self):
        """Blocks of 12 rows for 5 threads are 3 3 2 2 2 rows long."""
        experiment = replace(small_experiment(), scan=self.SCANS[0].values[0])
        one, five = (simulate(replace(experiment, quirks=Quirks.all(threads=n)), threads=1) for n in (1, 5))
        assert sorted(zip(*np.nonzero(one != five), strict=True)) == [(3, 0), (6, 0), (8, 0), (10, 0)]

    @pytest.mark.parametrize("threads", [1, 3, 20])
    @pytest.mark.parametrize("oversample", [1, 2])
    def test_culled_pixels_do_not_touch_the_state(self, oversample, threads):
        """The resolution limit culls whole rows: a block starts with pixels that are never reached, or has no other."""
        experiment = small_experiment(
            crystal={"mosaic_spread": 0.5, "mosaic_domains": 2},
            beam={"divergence_vertical": Sampling(20.0, 2), "dispersion": Sampling(3.0, 2)},
            detector={"beam_slow": 15.0},
            scan={"start": 0.0},
            d_min=6.0,
            oversample=oversample,
            quirks=Quirks.all(threads=threads),
        )
        expected = naive_image(experiment)
        assert np.all(expected[0] == 0.0)
        assert np.any(expected > 0.0)
        assert_same_image(simulate(experiment, threads=1), expected)

    def test_masked_pixels_do_not_touch_the_state(self):
        mask = np.ones((12, 17), bool)
        mask[0, :3] = mask[4:8] = mask[9, 2] = False
        experiment = small_experiment(
            scan={"start": 0.0}, mask=mask, roi=Roi(1, 14, 0, 10), quirks=Quirks.all(threads=3)
        )
        assert_same_image(simulate(experiment, threads=1), naive_image(experiment))


class TestRunningFactors:
    """Q02: a term whose lattice factor is exactly 0 leaves the sum, and so its factors, alone."""

    @pytest.mark.parametrize(("shape", "cells"), [("tophat", (5.0, 4.0, 3.0)), ("gauss", (18.0, 17.0, 16.0))])
    def test_terms_of_zero_are_skipped(self, shape, cells):
        experiment = small_experiment(
            crystal={"shape": shape, "n_cells": cells, "interpolate": shape == "tophat"},
            scan={"sampling": Sampling(60.0, 30)},
            oversample_omega=True,
            quirks=Quirks.all(),
        )
        expected = naive_image(experiment)
        assert expected.max() > 0.0
        assert_same_image(simulate(experiment, threads=1), expected)


class TestInterpolationStops:
    """Q12: the first evaluation out of range turns interpolation off for the pixels after it."""

    @staticmethod
    def leaving(shape, reach, corner=(0.1, 0.1), **crystal):
        return small_experiment(
            crystal={"shape": shape, "structure_factors": random_table(reach), "interpolate": True, **crystal},
            detector={"beam_fast": corner[0], "beam_slow": corner[1], "pixel_size": 0.6},
            oversample=2,
            quirks=Quirks.all(threads=2),
        )

    @pytest.mark.parametrize("reach", [1, 2, 3, 4])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_table_that_is_left_somewhere(self, shape, reach):
        experiment = self.leaving(shape, reach)
        assert_same_image(simulate(experiment, threads=1), naive_image(experiment))

    def test_terms_of_zero_do_not_stop_it(self):
        """A Gaussian that underflows is never interpolated; every pixel counts here, however weak."""
        experiment = self.leaving("gauss", 5, corner=(5.0, 3.5), n_cells=(18.0, 17.0, 16.0), fudge=4.0)
        expected = naive_image(experiment)
        np.testing.assert_allclose(simulate(experiment, threads=1), expected, rtol=1e-6, atol=UNDERFLOW)


def two_modes():
    """Experiments whose image depends on the order of the pixels in mode c, and their twins in spec."""
    experiment = small_experiment(
        crystal={"structure_factors": random_table(4), "interpolate": True},
        detector={"n_fast": 130, "n_slow": 23, "pixel_size": 0.17, "beam_fast": 1.0, "beam_slow": 0.5},
        scan={"start": 0.0},
        d_min=2.0,
    )
    return [
        pytest.param(experiment, id="spec"),
        pytest.param(replace(experiment, quirks=Quirks.all(threads=4)), id="c"),
    ]


class TestSelections:
    """Which pixels are computed, and by how many threads, changes no bit of them."""

    @pytest.mark.parametrize("experiment", two_modes())
    def test_threads(self, experiment):
        images = [simulate(experiment, threads=threads) for threads in (1, 2, 3, 5)]
        assert all(np.array_equal(images[0], image) for image in images[1:])
        assert_same_image(images[0], naive_image(experiment))

    @pytest.mark.parametrize("experiment", two_modes())
    @pytest.mark.parametrize("density", [0.01, 0.4, 1.0])
    def test_mask(self, experiment, density):
        chosen = np.random.default_rng(5).random(experiment.detector.shape) < density
        assert np.array_equal(simulate(experiment, pixels=chosen), simulate(experiment)[chosen])

    @pytest.mark.parametrize("experiment", two_modes())
    def test_index_arrays_in_any_order_with_repetitions(self, experiment):
        rng = np.random.default_rng(6)
        slow, fast = rng.integers(0, 23, 5000), rng.integers(0, 130, 5000)
        slow[:8], fast[:8] = [0, 6, 12, 18, 6, 0, 22, 0], [0, 0, 0, 0, 0, 0, 129, 0]
        assert np.array_equal(simulate(experiment, pixels=(slow, fast)), simulate(experiment)[slow, fast])

    @pytest.mark.parametrize("experiment", two_modes())
    def test_index_arrays_with_mask_and_roi(self, experiment):
        mask = np.random.default_rng(7).random(experiment.detector.shape) < 0.5
        experiment = replace(experiment, mask=mask, roi=Roi(3, 120, 2, 20))
        slow, fast = (index.ravel()[::-1] for index in np.indices(experiment.detector.shape))
        image = simulate(experiment)
        assert np.all(image[~experiment.active_mask()] == 0.0)
        assert np.array_equal(simulate(experiment, pixels=(slow, fast)), image[slow, fast])

    def test_no_pixel_at_all(self):
        empty = np.zeros(0, int)
        assert simulate(small_experiment(), pixels=(empty, empty)).shape == (0,)


class TestPurePython:
    """The kernels are ordinary Python: uncompiled they give the compiled image."""

    SCRIPT = (
        "import pickle, sys; from numbragg.simulation import simulate; "
        "experiments = pickle.load(sys.stdin.buffer); "
        "pickle.dump([simulate(e, threads=1) for e in experiments], sys.stdout.buffer)"
    )

    def test_images(self):
        tiny = {"n_fast": 4, "n_slow": 3, "pixel_size": 5.0}
        sets = [
            small_experiment(
                crystal={"shape": shape, "interpolate": interpolate},
                detector={**tiny, "thickness": 300.0, "attenuation_depth": 200.0, "curved": interpolate},
                scan={"start": 0.0},
                quirks=quirks,
                d_min=4.0,
            )
            for shape in SHAPES
            for interpolate in (False, True)
            for quirks in (NO_QUIRKS, Quirks.all(threads=2))
        ]
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", self.SCRIPT],
            input=pickle.dumps(sets),
            capture_output=True,
            check=False,
            env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.returncode == 0, process.stderr.decode()
        for experiment, image in zip(sets, pickle.loads(process.stdout), strict=True):
            assert_same_image(image, simulate(experiment, threads=1))


class TestComplex:
    """The complex instance of the kernel serves the complex step (specs/50-gradients.md)."""

    KINDS = (("square", True), ("round", False))

    @staticmethod
    def at(distance, shape, interpolate):
        return small_experiment(
            crystal={"shape": shape, "interpolate": interpolate},
            beam={"polarization": 0.5},
            detector={"distance": distance, "thickness": 300.0, "attenuation_depth": 200.0, "layers": 2, "rot_y": 4.0},
            oversample_omega=True,
        )

    @pytest.mark.parametrize(("shape", "interpolate"), KINDS)
    def test_distance(self, shape, interpolate):
        step = 1e-20
        image = simulate(self.at(60.0 + 1j * step, shape, interpolate))
        assert image.dtype == np.complex128
        assert_same_image(image.real, simulate(self.at(60.0, shape, interpolate)))
        h = 6e-5
        ahead, behind = (simulate(self.at(60.0 + sign * h, shape, interpolate)) for sign in (1.0, -1.0))
        difference = (ahead - behind) / (2.0 * h)
        np.testing.assert_allclose(image.imag / step, difference, rtol=0.0, atol=DERIVATIVE * np.abs(difference).max())


@pytest.mark.parametrize("interpolate", [False, True])
def test_compiled_kernel_can_be_found_on_disk_again(interpolate):
    """A closure over compiled functions has a new key in every process: it would be compiled anew in each."""
    keys = set()
    for _ in range(2):
        kernel = forward_kernel.__wrapped__(0, interpolate, False)
        keys.add(kernel._cache._index_key((types.int64,), cpu_target.target_context.codegen()))
    assert len(keys) == 1


class TestWholeImage:
    """Clause 60.12: pixels of a whole image are listed a part at a time."""

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("quirks", [NO_QUIRKS, Quirks(q01_phi_carryover=True)])
    def test_image_is_that_of_its_pixels(self, quirks, threads):
        experiment = small_experiment(scan={"start": 0.0}, quirks=quirks)
        n_slow, n_fast = experiment.detector.shape
        slow, fast = np.divmod(np.arange(n_slow * n_fast), n_fast)
        listed = simulate(experiment, pixels=(slow, fast), threads=threads)
        np.testing.assert_array_equal(simulate(experiment, threads=threads).ravel(), listed)

    def test_parts_are_the_whole(self):
        experiment = small_experiment()
        batches = make_whole_batches(experiment, lower(experiment), tile=7)
        total = len(batches.bounds) - 1
        assert not len(batches.pixels)
        found = []
        for first, last in ((0, 3), (3, 4), (4, total)):
            start, stop, part = part_of(batches, first, last)
            assert stop - start == last - first == len(part.inherited) == len(part.interpolated)
            found += part.pixels[part.bounds[start] : part.bounds[stop]].tolist()
            np.testing.assert_array_equal(part.targets, part.pixels)
        assert found == list(range(12 * 17))
