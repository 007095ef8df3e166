"""Q01 in the open: the carryover buffer written out by hand, and derivatives through it (specs/40-compat.md, Q01).

The prototype is a region of 4 x 4 pixels. ``tests/test_kernel.py`` holds more scans and random experiments to the same
oracle.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import small_experiment
from naive import naive_image

from numbragg.gradients.complex_step import complex_step_jacobian
from numbragg.kernels._jit import TILE
from numbragg.kernels.params import NO_STEP
from numbragg.lowering.batches import Inheritance, carried_steps, find_inheritance, make_batches, thread_blocks
from numbragg.lowering.lower import lower
from numbragg.models.experiment import Experiment, Roi, Scan
from numbragg.models.quirks import Quirks
from numbragg.models.sampling import Sampling
from numbragg.simulation import simulate

OF_THE_MAXIMUM = 1e-11
"""As in test_kernel.py: rounding of the indices, amplified on the flank of a peak."""

DERIVATIVE = 1e-6
"""Of the largest: truncation (h^2) and cancellation (eps/h) of a central difference with these steps stay far below."""
STEP_DEGREES = 1e-4
STEP_RELATIVE = 1e-6

FROM_ZERO = Scan(start=0.0, sampling=Sampling(1.5, 3))
THROUGH_ZERO = Scan(start=-0.5, sampling=Sampling(1.5, 3))
ONLY_ZERO = Scan(start=0.0, sampling=Sampling(0.0, 3))

U = NO_STEP  # the unrotated crystal
L = 2  # the last of three steps: what a pixel leaves to the next

SHAPE = (6, 8)
ROI = Roi(2, 5, 1, 4)
ROI_NUMBERS = np.array([[10, 11, 12, 13], [18, 19, 20, 21], [26, 27, 28, 29], [34, 35, 36, 37]])

# Six rows in blocks of 6; 3 3; 2 2 2; 2 2 1 1; 2 1 1 1 1; six of 1; six of 1 and none. The region is rows 1 to 4.
ALL_FIRST = [[U, L, L, L], [U, L, L, L], [U, L, L, L], [U, L, L, L]]
BUFFERS = {
    1: [[U, L, L, L], [L, L, L, L], [L, L, L, L], [L, L, L, L]],
    2: [[U, L, L, L], [L, L, L, L], [U, L, L, L], [L, L, L, L]],
    3: [[U, L, L, L], [U, L, L, L], [L, L, L, L], [U, L, L, L]],
    4: [[U, L, L, L], [U, L, L, L], [L, L, L, L], [U, L, L, L]],
    5: ALL_FIRST,
    6: ALL_FIRST,
    7: ALL_FIRST,
}


def prototype(threads: int = 1, scan: Scan = FROM_ZERO, **rest) -> Experiment:
    """Six rows of eight pixels; one amplitude for all indices makes the image smooth, so that differences converge."""
    experiment = small_experiment(
        crystal={"structure_factors": None, "default_f": 100.0},
        detector={"n_fast": SHAPE[1], "n_slow": SHAPE[0], "pixel_size": 1.7, "beam_fast": 6.8, "beam_slow": 5.1},
        quirks=Quirks(q01_phi_carryover=True, threads=threads),
        **{"roi": ROI, **rest},
    )
    return replace(experiment, scan=scan)


def inheritance_of(experiment: Experiment) -> Inheritance:
    return find_inheritance(experiment, lower(experiment))


def buffer_of(experiment: Experiment) -> list[int]:
    buffer = carried_steps(experiment.active_pixels(), inheritance_of(experiment))
    assert buffer.dtype == np.int32
    return buffer.tolist()


def batches_of(experiment: Experiment, tile: int):
    pixels = experiment.active_pixels()
    return make_batches(experiment, lower(experiment), pixels, pixels, tile)


def assert_same(image, expected, tolerance=OF_THE_MAXIMUM):
    __tracebackhide__ = True
    np.testing.assert_allclose(image, expected, rtol=0.0, atol=tolerance * np.abs(expected).max())


class TestBlocks:
    """Rows are shared out in contiguous blocks, of which the first n mod t are one row longer."""

    @pytest.mark.parametrize(
        ("threads", "limits"),
        [
            (1, [0, 6]),
            (2, [0, 3, 6]),
            (3, [0, 2, 4, 6]),
            (4, [0, 2, 4, 5, 6]),
            (5, [0, 2, 3, 4, 5, 6]),
            (6, [0, 1, 2, 3, 4, 5, 6]),
            (7, [0, 1, 2, 3, 4, 5, 6, 6]),
            (9, [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]),
        ],
    )
    def test_of_six_rows(self, threads, limits):
        assert thread_blocks(6, threads).tolist() == limits


class TestBuffer:
    """What each pixel of the region inherits."""

    def test_pixels_of_the_region(self):
        assert prototype().active_pixels().tolist() == ROI_NUMBERS.ravel().tolist()

    @pytest.mark.parametrize("threads", BUFFERS)
    def test_first_pixel_of_each_block_is_unrotated(self, threads):
        assert buffer_of(prototype(threads)) == np.ravel(BUFFERS[threads]).tolist()

    def test_masked_pixels_are_no_first_pixels(self):
        """The first block begins with two masked pixels, the second with a masked row."""
        mask = np.ones(SHAPE, bool)
        mask[1, 2:4] = mask[3] = False
        experiment = prototype(2, mask=mask)
        assert experiment.active_pixels().tolist() == [12, 13, 18, 19, 20, 21, 34, 35, 36, 37]
        assert buffer_of(experiment) == [U, L, L, L, L, L, U, L, L, L]

    def test_block_without_an_active_pixel_has_no_first(self):
        mask = np.ones(SHAPE, bool)
        mask[3:] = False
        assert buffer_of(prototype(2, mask=mask)) == [U, L, L, L, L, L, L, L]

    def test_pixels_beyond_the_resolution_limit_are_no_first_pixels(self):
        """The beam is in the middle of the region's last pixel; only three pixels are more than 3.4 pixels away."""
        experiment = prototype(2)
        detector = replace(experiment.detector, beam_fast=5.5 * 1.7, beam_slow=4.5 * 1.7)
        experiment = replace(experiment, detector=detector, d_min=limit_at(3.4, experiment))
        culled = naive_image(experiment) == 0.0
        assert np.argwhere(culled[1:5, 2:6]).tolist() == [[0, 0], [0, 1], [1, 0]]
        # Culled pixels inherit like any other, and use nothing; the first to be reached is unrotated.
        assert buffer_of(experiment) == [L, L, U, L, L, L, L, L, U, L, L, L, L, L, L, L]

    @pytest.mark.parametrize("threads", [1, 3])
    def test_nothing_is_inherited_when_0_is_not_the_first_step(self, threads):
        """Step 0 rotates, so step 1 at phi = 0 takes what its own pixel left: no pixel needs another."""
        experiment = prototype(threads, THROUGH_ZERO)
        assert lower(experiment).crystal.step_row.tolist() == [0, NO_STEP, 2]
        assert buffer_of(experiment) == [U] * 16
        assert batches_of(experiment, TILE).bounds.tolist() == [0, 16]

    def test_a_scan_of_zeros_never_leaves_the_unrotated_crystal(self):
        experiment = prototype(3, ONLY_ZERO)
        assert lower(experiment).crystal.step_row.tolist() == [NO_STEP] * 3
        assert buffer_of(experiment) == [U] * 16
        assert batches_of(experiment, TILE).bounds.tolist() == [0, 16]

    def test_mode_spec_has_no_carryover(self):
        experiment = replace(prototype(), quirks=Quirks())
        assert lower(experiment).crystal.step_row.tolist() == [0, 1, 2]
        assert batches_of(experiment, TILE).bounds.tolist() == [0, 16]

    def test_buffer_belongs_to_the_pixel_not_to_its_place_in_the_list(self):
        pixels = np.array([37, 26, 11, 26, 10], np.int32)
        assert carried_steps(pixels, inheritance_of(prototype(2))).tolist() == [L, U, L, U, U]

    def test_batches_are_cut_around_pixels_that_inherit_something_else(self):
        batches = batches_of(prototype(2), tile=3)
        assert batches.bounds.tolist() == [0, 1, 3, 6, 8, 9, 12, 15, 16]
        assert batches.inherited.tolist() == [U, L, L, L, U, L, L, L]

    def test_search_for_the_first_pixel_goes_on_after_a_whole_batch(self):
        experiment = small_experiment(
            detector={
                "n_fast": 2 * TILE,
                "n_slow": 2,
                "pixel_size": 0.2,
                "beam_fast": 0.2 * 2 * TILE,
                "beam_slow": 0.2,
            },
            scan={"start": 0.0},
            d_min=1.5,
            quirks=Quirks.all(),
        )
        expected = naive_image(experiment)
        assert np.all(expected[0, : TILE + 1] == 0.0)
        (first,) = inheritance_of(experiment).fresh
        assert first == np.flatnonzero(expected)[0] > TILE
        assert_same(simulate(experiment, threads=1), expected)


class TestImage:
    """What the buffer makes of the image."""

    @staticmethod
    def one_step(phi):
        return simulate(replace(prototype(), scan=Scan(start=phi), quirks=Quirks()), threads=1)

    def test_pixels_are_means_of_the_orientations_that_the_buffer_names(self):
        unrotated, half, one = (self.one_step(phi) for phi in (0.0, 0.5, 1.0))
        carried = (half + 2.0 * one) / 3.0
        carried[1, 2] = ((unrotated + half + one) / 3.0)[1, 2]
        carried[3, 2] = ((unrotated + half + one) / 3.0)[3, 2]
        image = simulate(prototype(2), threads=1)
        assert_same(image, carried)
        assert np.all(image[1:5, 2:6] > 0.0)
        assert np.abs(unrotated - one).max() > 0.1 * image.max()

    SCANS = (
        pytest.param(FROM_ZERO, id="starts at 0"),
        pytest.param(THROUGH_ZERO, id="0 in the middle"),
        pytest.param(ONLY_ZERO, id="nothing but 0"),
    )

    @staticmethod
    def everything(threads, scan):
        """Sources, sub-pixels, layers, domains, region, mask and resolution limit at once."""
        mask = np.ones((12, 17), bool)
        mask[2, 3:6] = mask[6] = mask[9, 4] = False
        experiment = small_experiment(
            crystal={"mosaic_spread": 0.7, "mosaic_domains": 3},
            beam={"polarization": 0.9, "divergence_vertical": Sampling(20.0, 2), "dispersion": Sampling(3.0, 2)},
            detector={"thickness": 320.0, "attenuation_depth": 220.0, "layers": 2, "beam_slow": 15.0},
            oversample=2,
            d_min=6.5,
            roi=Roi(2, 15, 1, 10),
            mask=mask,
            quirks=Quirks.all(threads=threads),
        )
        return replace(experiment, scan=scan)

    @pytest.mark.parametrize("threads", [*range(1, 8), 13])
    @pytest.mark.parametrize("scan", SCANS)
    def test_of_every_number_of_threads_is_that_of_the_sequential_program(self, scan, threads):
        """12 rows, so 13 threads are more than rows; the limit culls rows 1 to 3, all that the first of 4 has."""
        experiment = self.everything(threads, scan)
        expected = naive_image(experiment)
        assert np.all(expected[:4] == 0.0)
        assert expected[4, 2] == 0.0 < expected[4, 5]
        assert_same(simulate(experiment, threads=1), expected)

    def test_depends_on_the_emulated_threads(self):
        """Otherwise the test above would say little."""
        images = [simulate(self.everything(threads, FROM_ZERO), threads=1) for threads in (1, 2, 7)]
        assert not np.array_equal(images[0], images[1])
        assert not np.array_equal(images[1], images[2])

    @pytest.mark.parametrize("make", [prototype, lambda threads: TestImage.everything(threads, FROM_ZERO)])
    @pytest.mark.parametrize("emulated", [1, 5])
    def test_does_not_depend_on_the_real_threads(self, make, emulated):
        images = [simulate(make(emulated), threads=real).tobytes() for real in (1, 2, 3, 8)]
        assert len(set(images)) == 1

    @pytest.mark.parametrize("threads", [1, 3, 7])
    def test_of_chosen_pixels_is_part_of_the_whole(self, threads):
        experiment = prototype(threads)
        whole = simulate(experiment, threads=1)
        slow, fast = np.divmod(ROI_NUMBERS.ravel()[::-1], SHAPE[1])
        assert np.array_equal(simulate(experiment, pixels=(slow, fast)), whole[slow, fast])
        assert np.array_equal(simulate(experiment, pixels=(slow[5:6], fast[5:6])), whole[slow[5:6], fast[5:6]])
        chosen = np.zeros(SHAPE, bool)
        chosen[::2, 1::3] = True
        assert np.array_equal(simulate(experiment, pixels=chosen), whole[chosen])


class TestDerivatives:
    """The complex step passes through the carried orientation (specs/decisions/0001-phi-carryover-batches.md).

    A parameter that leaves every phi of 0 at 0 moves the carried orientation in a difference of two images as well. A
    difference in ``phi.start`` does not: away from 0 the step is computed and nothing is carried. Its derivative at 0
    is that of the orientations that the buffer names.
    """

    @pytest.mark.parametrize("threads", [1, 2, 5])
    @pytest.mark.parametrize(
        "name",
        ["misset.x", "misset.y", "misset.z", "cell.a", "cell.beta", "n_cells.b", "phi.range", "detector.distance",
         "detector.rot_y", "detector.beam_fast", "beam.wavelength", "mosaic.spread"],
    )  # fmt: skip
    def test_of_parameters_that_keep_phi_at_0_are_those_of_differences(self, name, threads):
        experiment = mosaic_prototype(threads)
        value, unit = experiment.parameters[name]
        step = STEP_DEGREES if unit == "deg" else STEP_RELATIVE * abs(value)
        ahead, behind = (simulate(experiment.replace({name: value + h})) for h in (step, -step))
        difference = (ahead - behind) / (2.0 * step)
        assert np.all(difference[ROI_NUMBERS // SHAPE[1], ROI_NUMBERS % SHAPE[1]] != 0.0)
        assert_same(complex_step_jacobian(experiment, [name])[0], difference, DERIVATIVE)

    @staticmethod
    def turn_of_one_step(phi, step=STEP_DEGREES):
        ahead, behind = (TestImage.one_step(phi + h) for h in (step, -step))
        return (ahead - behind) / (2.0 * step)

    def carried_turn(self):
        """A carried step turns as the last step does; an unrotated one does not turn with ``phi.start`` at all."""
        half, one = (self.turn_of_one_step(phi) for phi in (0.5, 1.0))
        turn = (half + 2.0 * one) / 3.0
        for first in ((1, 2), (3, 2)):
            turn[first] = ((half + one) / 3.0)[first]
        return turn

    def test_of_phi_start_is_that_of_the_carried_orientation(self):
        assert_same(complex_step_jacobian(prototype(2), ["phi.start"])[0], self.carried_turn(), DERIVATIVE)

    def test_of_phi_start_cannot_be_had_from_differences(self):
        carried = self.carried_turn()
        ahead, behind = (simulate(prototype(2).replace({"phi.start": h})) for h in (STEP_DEGREES, -STEP_DEGREES))
        difference = (ahead - behind) / (2.0 * STEP_DEGREES)
        uncarried = sum(self.turn_of_one_step(phi) for phi in (0.0, 0.5, 1.0)) / 3.0
        assert_same(difference, uncarried, DERIVATIVE)
        assert np.abs(difference - carried).max() > 0.1 * np.abs(carried).max()

    def test_of_phi_start_where_0_is_in_the_middle(self):
        """The step at 0 repeats the one before it, in the same pixel."""
        turn = (2.0 * self.turn_of_one_step(-0.5) + self.turn_of_one_step(0.5)) / 3.0
        assert_same(complex_step_jacobian(prototype(2, THROUGH_ZERO), ["phi.start"])[0], turn, DERIVATIVE)

    def test_real_part_is_the_image(self):
        experiment = prototype(2)
        moved = simulate(experiment.replace({"phi.start": 1e-20j}))
        assert moved.dtype == np.complex128
        assert_same(moved.real, simulate(experiment))


def mosaic_prototype(threads):
    experiment = prototype(threads)
    return replace(experiment, crystal=replace(experiment.crystal, mosaic_spread=0.6, mosaic_domains=2))


def limit_at(pixels, experiment):
    """Resolution, angstrom, so many pixels away from the beam on a detector across it."""
    two_theta = math.atan(pixels * experiment.detector.pixel_size / experiment.detector.distance)
    return experiment.beam.wavelength / (2.0 * math.sin(two_theta / 2.0))
