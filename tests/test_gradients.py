"""Derivatives by four methods against each other and against SciPy (specs/50-gradients.md)."""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import GOLDEN
from conftest import random_table, small_experiment
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, check_grad

from numbragg.errors import NumbraggError
from numbragg.golden import read_golden
from numbragg.gradients import linear_operator as operators
from numbragg.gradients import selection
from numbragg.gradients import structure_factors as amplitudes
from numbragg.gradients.check import CANCELLATION, DIFFERENCE_TOLERANCE, FUSED_TOLERANCE, NOISE, gradcheck
from numbragg.gradients.choices import with_choices_made
from numbragg.gradients.finite_difference import finite_difference_jacobian
from numbragg.gradients.fused import is_covered
from numbragg.gradients.jacobians import METHODS, jacobian
from numbragg.gradients.linear_operator import image_function, linear_operator, value_and_grad
from numbragg.gradients.structure_factors import structure_factor_jacobian, structure_factor_operator
from numbragg.kernels.lattice import grating_parts
from numbragg.kernels.lattice_gradient import grating_slopes, grating_terms
from numbragg.lowering.lower import lower
from numbragg.models.beam import SourceTable
from numbragg.models.experiment import Roi
from numbragg.models.parameters import ACCESS, parameter_scale, read_parameter
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.models.sampling import Sampling
from numbragg.simulation import simulate

ROUNDING = 1e-12
"""Sums of some thousand terms in another order."""

FORWARD = 1e-4
"""One-sided differences of SciPy, with its own step for all parameters."""

DRAWN_PIXELS = 150

KINDS = {("square", False), ("round", False), ("gauss", False), ("tophat", False), ("square", True)}
"""Kernels that are compiled for these tests; compiling the complex ones is what they cost."""

SPEC = Path(__file__).parents[1] / "specs" / "50-gradients.md"


def assert_same_columns(got, wanted, experiment, names, image, tolerance, floor):
    for name, ours, theirs in zip(names, got, wanted, strict=True):
        assert np.isfinite(ours).all(), name
        difference, norm = np.linalg.norm(ours - theirs), np.linalg.norm(theirs)
        noise = floor * np.linalg.norm(image) / parameter_scale(experiment, name)
        assert difference <= max(tolerance * norm, noise), f"{name}: {difference / norm:.1e} of {norm:.3g}"


@functools.cache
def golden():
    return read_golden(GOLDEN)


@functools.cache
def golden_experiment(name, compat):
    return with_choices_made(golden().experiment(name, compat))


def is_drawn(name, compat):
    experiment = golden_experiment(name, compat)
    kind = experiment.crystal.shape, experiment.crystal.interpolates
    return kind in KINDS and is_covered(experiment, lower(experiment))


@functools.cache
def drawn_cases():
    return [(case.name, mode) for case in golden().cases.values() for mode in case.modes if is_drawn(case.name, mode)]


@st.composite
def drawn(draw):
    """A golden case, some of its pixels and some parameters."""
    experiment = golden_experiment(*draw(st.sampled_from(drawn_cases())))
    names = draw(st.lists(st.sampled_from(list(ACCESS)), min_size=2, max_size=4, unique=True))
    active = experiment.active_pixels()
    chosen = np.random.default_rng(draw(st.integers(0, 9999))).choice(active, DRAWN_PIXELS)
    return experiment, names, np.divmod(chosen, experiment.detector.n_fast)


class TestMethods:
    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(drawn())
    def test_fused_is_complex_step_on_the_golden_cases(self, case):
        """Clause 50.10."""
        experiment, names, pixels = case
        fused, exact = (jacobian(experiment, names, method=method, pixels=pixels) for method in ("fused", "cs"))
        image = simulate(experiment, pixels=pixels)
        assert_same_columns(fused, exact, experiment, names, image, FUSED_TOLERANCE, NOISE)

    def test_golden_cases_of_every_kind_and_mode_are_drawn(self):
        """Otherwise the test above would show less than it says."""
        crystals = [(golden_experiment(*case).crystal, case[1]) for case in drawn_cases()]
        assert {(c.shape, c.interpolates) for c, _ in crystals} == KINDS
        assert {mode for _, mode in crystals} == {"c", "spec"}
        assert len(drawn_cases()) > 100

    @pytest.mark.parametrize("crystal", [{}, {"shape": "round"}, {"shape": "gauss"}, {"interpolate": True}])
    def test_central_difference_is_complex_step(self, crystal):
        """Clause 50.41."""
        report = gradcheck(small_experiment(crystal={**crystal, "mosaic_spread": 0.4, "mosaic_domains": 3}))
        assert all(check.cs_vs_3point <= DIFFERENCE_TOLERANCE for check in report.checks), report.table()
        assert len(report.checks) > 20

    def test_forward_difference_is_nearly_complex_step(self):
        """Clause 50.41."""
        experiment, names = small_experiment(), ["cell.a", "misset.y", "n_cells.b", "beam.fluence", "beam.wavelength"]
        exact, forward = (jacobian(experiment, names, method=method) for method in ("cs", "2-point"))
        assert_same_columns(forward, exact, experiment, names, simulate(experiment), FORWARD, 0.0)

    @pytest.mark.parametrize("method", METHODS)
    def test_pixels_give_the_entries_of_the_whole_jacobian(self, method):
        """Clause 50.5."""
        experiment = small_experiment()
        names = ["cell.b", "structure_factor[1,0,2]", "cell.b"]
        whole = jacobian(experiment, names, method=method)
        assert whole.shape == (3, 12, 17)
        slow, fast = np.array([11, 0, 5]), np.array([3, 16, 5])
        some = jacobian(experiment, names, method=method, pixels=(slow, fast))
        assert np.array_equal(some, whole[:, slow, fast])
        assert np.array_equal(whole[0], whole[2])
        mask = np.zeros((12, 17), bool)
        mask[slow, fast] = True
        assert np.array_equal(jacobian(experiment, names, method=method, pixels=mask), whole[:, mask])

    def test_threads_change_no_bit(self):
        """Clause 50.5."""
        experiment = small_experiment(detector={"n_fast": 60, "n_slow": 50, "pixel_size": 0.4})
        names = ["cell.a", "mosaic.spread", "structure_factor[1,0,2]", "beam.wavelength"]
        one, two = (jacobian(experiment, names, threads=threads) for threads in (1, 2))
        assert np.array_equal(one, two)

    def test_pixels_that_are_not_simulated_have_derivative_zero(self):
        """Clause 50.5."""
        roi = Roi(fast_min=2, fast_max=9, slow_min=3, slow_max=8)
        experiment = small_experiment(roi=roi)
        outside = ~experiment.active_mask()
        for method in METHODS:
            slopes = jacobian(experiment, ["cell.a", "structure_factor[1,0,2]"], method=method)
            assert not slopes[:, outside].any()
            assert slopes[0].any()

    @pytest.mark.parametrize("method", METHODS)
    def test_no_names_and_no_pixels_are_empty(self, method):
        experiment = small_experiment()
        assert jacobian(experiment, [], method=method).shape == (0, 12, 17)
        none = np.array([], int), np.array([], int)
        assert jacobian(experiment, ["cell.a"], method=method, pixels=none).shape == (1, 0)


class TestNames:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("crystal.fudge", {}),
            ("mosaic.spread", {"crystal": {"mosaic_spread": 0.5}}),
            ("phi.range", {"scan": {"sampling": Sampling(1.0, 1)}}),
            ("beam.polarization", {"beam": {"polarization": None}}),
            ("detector.beam_fast", {"detector": {"origin": np.array([0.06, -0.01, 0.01])}}),
            ("structure_factor[6,6,6]", {}),
        ],
    )
    def test_parameter_without_effect_gives_exact_zeros(self, name, changes, method):
        """Clause 50.5."""
        slopes = jacobian(small_experiment(**changes), [name, "cell.a"], method=method)
        assert not slopes[0].any()
        assert slopes[1].any()

    @pytest.mark.parametrize("method", METHODS)
    def test_unknown_name_is_an_error_with_the_nearest_one(self, method):
        """Clause 50.5."""
        with pytest.raises(NumbraggError, match=r"did you mean misset\.x"):
            jacobian(small_experiment(), ["misset.xx"], method=method)

    @pytest.mark.parametrize(("method", "near"), [("fuse", "fused"), ("3point", "3-point"), ("csd", "cs")])
    def test_unknown_method_is_an_error_with_the_nearest_one(self, method, near):
        """Clause 50.5."""
        with pytest.raises(NumbraggError, match=f"did you mean {near}"):
            jacobian(small_experiment(), ["cell.a"], method=method)

    def test_one_string_in_place_of_a_list_is_an_error(self):
        with pytest.raises(NumbraggError, match="a list of names"):
            jacobian(small_experiment(), "cell.a")


class TestFiniteDifferences:
    def record(self, monkeypatch, name):
        """Values of a parameter at which images are simulated."""
        seen = []

        def watch(experiment, **options):
            seen.append(read_parameter(experiment, name).value)
            return simulate(experiment, **options)

        monkeypatch.setattr("numbragg.gradients.finite_difference.simulate", watch)
        return seen

    @pytest.mark.parametrize("method", ["2-point", "3-point"])
    @pytest.mark.parametrize(
        ("name", "value", "bounds"),
        [
            ("n_cells.a", 1.0, None),
            ("beam.polarization", 1.0, None),
            ("beam.polarization", -1.0, None),
            ("cell.a", 37.0, ([37.0], [40.0])),
            ("cell.a", 37.0, ([30.0], [37.0])),
            ("cell.a", 37.0, Bounds([37.0], [37.00001])),
        ],
    )
    def test_no_point_outside_the_bounds_is_taken(self, monkeypatch, method, name, value, bounds):
        """Clause 50.44."""
        seen = self.record(monkeypatch, name)
        experiment = small_experiment().replace({name: value})
        slopes = jacobian(experiment, [name], method=method, bounds=bounds)
        low, high = (-1.0, 1.0) if name == "beam.polarization" else (1.0, 60.0)
        if bounds is not None:
            low, high = (
                np.ravel(side)[0] for side in (bounds if isinstance(bounds, tuple) else (bounds.lb, bounds.ub))
            )
        assert len(seen) >= (2 if method == "2-point" else 3)
        assert all(low <= x <= high for x in seen)
        exact = jacobian(experiment, [name], method="cs")
        assert_same_columns(slopes, exact, experiment, [name], simulate(experiment), FORWARD, 0.0)

    @pytest.mark.parametrize("bounds", [([38.0], [40.0]), ([37.0], [37.0]), ([1.0, 2.0], [3.0, 4.0]), 5, ("a", "b")])
    def test_bounds_that_do_not_fit_are_an_error(self, bounds):
        """Clause 50.44."""
        with pytest.raises(NumbraggError, match="bounds"):
            jacobian(small_experiment(), ["cell.a"], method="3-point", bounds=bounds)

    def test_number_of_sub_pixels_does_not_change_within_a_difference(self):
        """Clause 50.42: 3 W px / (lambda D) is 2 here to 15 digits, and 3 on the other side of it."""
        base = small_experiment(crystal={"n_cells": (5.0, 1.0, 1.0)}, oversample=None)
        distance = 3.0 * 5.0 * 37.0 * 1.3 / 2.0
        experiment = base.replace({"detector.distance": distance})
        exact, difference = (jacobian(experiment, ["detector.distance"], method=m) for m in ("cs", "3-point"))
        image = simulate(experiment)
        assert_same_columns(
            difference, exact, experiment, ["detector.distance"], image, DIFFERENCE_TOLERANCE, CANCELLATION
        )
        counts = {
            lower(base.replace({"detector.distance": d})).detector.oversample
            for d in (distance + 5e-6, distance - 5e-6)
        }
        assert len(counts) == 2

    def test_steps_are_those_of_the_clause(self, monkeypatch):
        """Clause 50.41."""
        seen = self.record(monkeypatch, "cell.a")
        finite_difference_jacobian(small_experiment(), ["cell.a"])
        assert sorted(seen) == pytest.approx([37.0 - 5e-6, 37.0, 37.0 + 5e-6], abs=1e-12)


class TestStructureFactors:
    EXPERIMENTS = (
        {},
        {"crystal": {"interpolate": True}},
        {"oversample": 2, "detector": {"thickness": 300.0, "attenuation_depth": 200.0, "layers": 3}, "d_min": 2.0},
        {"oversample": 2, "oversample_omega": True, "oversample_polarization": True, "oversample_thickness": True},
        {
            "detector": {"thickness": 300.0, "attenuation_depth": 200.0, "layers": 3},
            "quirks": dataclasses.replace(NO_QUIRKS, q03_last_layer_capture=True, q05_water_in_sum=True),
            "water_size": 20.0,
        },
        {
            "oversample": 2,
            "oversample_polarization": True,
            "quirks": dataclasses.replace(NO_QUIRKS, q02_running_factors=True),
            "crystal": {"structure_factors": random_table(2)},
        },
        {"quirks": Quirks.all(2), "scan": {"start": 0.0}, "crystal": {"interpolate": True}},
        {"beam": {"sources": SourceTable(np.array([[-1.0, 0, 0], [-1.0, 0.02, 0]]), np.array([1.0, 3.0]))}},
    )

    @pytest.mark.parametrize("changes", EXPERIMENTS)
    def test_matrix_and_products_are_complex_steps(self, changes):
        """Clauses 50.50 to 50.54."""
        experiment = small_experiment(**changes)
        matrix, operator = structure_factor_jacobian(experiment), structure_factor_operator(experiment)
        strongest = np.argsort(-abs(matrix).sum(axis=0))[:3]
        factors = experiment.crystal.structure_factors
        hkl = np.array(np.unravel_index(strongest, factors.values.shape)).T + factors.minimum
        names = [f"structure_factor[{h},{k},{l}]" for h, k, l in hkl]
        exact = jacobian(experiment, names, method="cs").reshape(3, -1)
        assert exact.any(axis=1).all()
        assert np.allclose(matrix[:, strongest].toarray(), exact.T, rtol=0, atol=ROUNDING * np.abs(exact).max())
        rng = np.random.default_rng(1)
        v, u = rng.normal(size=matrix.shape[1]), rng.normal(size=matrix.shape[0])
        for product, wanted in ((operator @ v, matrix @ v), (operator.T @ u, matrix.T @ u)):
            assert np.allclose(product, wanted, rtol=0, atol=ROUNDING * np.abs(wanted).max())
        some = structure_factor_jacobian(experiment, hkl)
        assert np.array_equal(some.toarray(), matrix[:, strongest].toarray())

    def test_columns_of_the_operator_are_those_asked_for(self):
        """Clause 50.50: in their order, repeated ones too."""
        experiment, hkl = small_experiment(), [(1, 0, 2), (0, 1, -1), (1, 0, 2)]
        matrix, operator = (f(experiment, hkl) for f in (structure_factor_jacobian, structure_factor_operator))
        wanted = jacobian(experiment, [f"structure_factor[{h},{k},{l}]" for h, k, l in hkl]).reshape(3, -1).T
        assert np.array_equal(matrix.toarray(), wanted)
        assert np.allclose(operator @ np.eye(3), wanted, rtol=ROUNDING, atol=ROUNDING * np.abs(wanted).max())
        assert np.allclose(operator.T @ wanted[:, 0], wanted.T @ wanted[:, 0], rtol=ROUNDING)

    def test_blocks_and_threads_do_not_change_the_result(self, monkeypatch):
        """Clause 50.52."""
        experiment = small_experiment()
        u = np.random.default_rng(0).normal(size=204)
        whole = structure_factor_jacobian(experiment)
        one = structure_factor_operator(experiment, threads=1).T @ u
        monkeypatch.setattr(amplitudes, "BLOCK_PIXELS", 7)
        assert (structure_factor_jacobian(experiment, threads=2) != whole).nnz == 0
        products = [structure_factor_operator(experiment, threads=threads).T @ u for threads in (1, 2, 3)]
        assert all(np.array_equal(product, products[0]) for product in products)
        assert np.allclose(products[0], one, rtol=ROUNDING)

    def test_amplitude_of_zero_has_a_column_of_zeros(self):
        """Clause 50.51."""
        experiment = small_experiment().replace({"structure_factor[1,0,2]": 0.0})
        for method in ("fused", "cs"):
            assert not jacobian(experiment, ["structure_factor[1,0,2]"], method=method).any()

    @pytest.mark.parametrize(
        ("reflections", "message"),
        [([(9, 9, 9)], "outside the table"), ([(1, 2)], "three whole numbers"), ([(0.5, 1, 2)], "three whole numbers")],
    )
    def test_reflections_that_are_none_are_an_error(self, reflections, message):
        with pytest.raises(NumbraggError, match=message):
            structure_factor_jacobian(small_experiment(), reflections)

    def test_no_table_is_an_error(self):
        with pytest.raises(NumbraggError, match="no table"):
            structure_factor_operator(small_experiment(crystal={"structure_factors": None}))

    def test_no_pixels_or_reflections_are_empty(self):
        none = np.array([], int), np.array([], int)
        assert structure_factor_jacobian(small_experiment(), pixels=none).shape == (0, 13**3)
        assert structure_factor_jacobian(small_experiment(), []).shape == (204, 0)


class TestOperators:
    NAMES = ("cell.a", "misset.z", "detector.distance", "structure_factor[1,0,2]")

    @pytest.mark.parametrize("pixels", [None, (np.array([5, 1, 9]), np.array([0, 16, 3]))])
    def test_products_are_those_of_the_jacobian_in_blocks_or_not(self, pixels, monkeypatch):
        """Clauses 50.60 and 50.61."""
        experiment = small_experiment()
        dense = jacobian(experiment, self.NAMES, pixels=pixels).reshape(4, -1).T
        rng = np.random.default_rng(2)
        v, u = rng.normal(size=4), rng.normal(size=len(dense))
        for block_bytes in (selection.BLOCK_BYTES, 400):
            monkeypatch.setattr(selection, "BLOCK_BYTES", block_bytes)
            operator = linear_operator(experiment, self.NAMES, pixels=pixels)
            assert operator.shape == dense.shape
            assert np.allclose(operator @ v, dense @ v, rtol=ROUNDING, atol=ROUNDING * np.abs(dense @ v).max())
            assert np.allclose(operator.T @ u, dense.T @ u, rtol=1e-10)

    def test_products_hold_one_block_at_a_time(self, monkeypatch):
        """Clause 50.61."""
        sizes = []

        def watch(experiment, names, *, pixels, threads):
            sizes.append(len(pixels[0]))
            return original(experiment, names, pixels=pixels, threads=threads)

        original = operators.image_and_jacobian
        monkeypatch.setattr(operators, "image_and_jacobian", watch)
        monkeypatch.setattr(selection, "BLOCK_BYTES", 40 * 50)
        linear_operator(small_experiment(), self.NAMES).rmatvec(np.ones(204))
        assert sizes == [50, 50, 50, 50, 4]

    @pytest.mark.parametrize("block_bytes", [selection.BLOCK_BYTES, 400])
    def test_gradient_of_a_loss_passes_scipys_check(self, block_bytes, monkeypatch):
        """Clause 50.62."""
        monkeypatch.setattr(selection, "BLOCK_BYTES", block_bytes)
        experiment = small_experiment()
        data, norm = 1.1 * simulate(experiment).ravel(), np.linalg.norm(simulate(experiment))

        def squares(image):
            return 0.5 * np.sum((image - data) ** 2) / norm**2, (image - data) / norm**2

        names = self.NAMES[:3]
        function = value_and_grad(experiment, names, squares)
        x = image_function(experiment, names).x0
        gradient = function(x)[1]
        error = check_grad(lambda x: function(x)[0], lambda x: function(x)[1], x, epsilon=1e-7)
        assert error <= FORWARD * np.linalg.norm(gradient)

    def test_image_function_takes_complex_vectors(self):
        """Clause 50.63."""
        experiment, names = small_experiment(), list(self.NAMES)
        function = image_function(experiment, names)
        assert function(function.x0).dtype == np.float64
        assert np.array_equal(function(function.x0), simulate(experiment).ravel())
        step = 1e-20
        moved = function(function.x0 + np.array([0, 1j * step, 0, 0]))
        assert moved.dtype == np.complex128
        slopes = function.jacobian(function.x0)
        assert slopes.shape == (204, 4)
        difference = np.linalg.norm(moved.imag / step - slopes[:, 1])
        assert difference <= FUSED_TOLERANCE * np.linalg.norm(slopes[:, 1])

    def test_function_of_what_has_no_value_is_an_error(self):
        experiment = small_experiment(beam={"polarization": None})
        with pytest.raises(NumbraggError, match="has no value"):
            image_function(experiment, ["beam.polarization"])

    def test_wrong_vectors_and_names_are_errors(self):
        with pytest.raises(NumbraggError, match="named twice"):
            linear_operator(small_experiment(), ["cell.a", "cell.a"])
        function = image_function(small_experiment(), ["cell.a"])
        with pytest.raises(NumbraggError, match="1 values are needed"):
            function([1.0, 2.0])
        with pytest.raises(NumbraggError, match="above zero"):
            function([-1.0])


class TestLatticeFactors:
    @pytest.mark.parametrize("way", [lambda f: f, lambda f: f.py_func], ids=["compiled", "python"])
    @pytest.mark.parametrize("cells", [1.0, 2.0, 5.0, 7.5, 53.0])
    def test_slope_of_the_grating_is_its_complex_step(self, way, cells):
        """Clause 50.21: beside the lattice point, where a formula or its series takes over, as elsewhere."""
        terms, slopes = way(grating_terms), way(grating_slopes)
        for distance in np.geomspace(1e-9, 0.49, 300):
            above, below = grating_parts.py_func(complex(distance, 1e-20), cells)
            ratio = above / below
            above, cosine, below = terms(distance, cells)
            value = above / below
            slope, _ = slopes(distance, cells, value, cosine, 1.0 / below)
            sign = 1.0 if value * ratio.real > 0 else -1.0
            # The largest slope is about N^2 * 1.4; N = 1 has none.
            error = abs(sign * slope - ratio.imag / 1e-20)
            assert error <= FUSED_TOLERANCE * max(abs(slope), ROUNDING / FUSED_TOLERANCE * cells**2), (distance, cells)


class TestFinite:
    @pytest.mark.parametrize(("shape", "interpolate"), sorted(KINDS))
    def test_derivatives_are_finite_and_agree_where_formulas_are_0_over_0(self, shape, interpolate):
        """Clause 50.45: N of 1, angles of 0 and 90, phi of 0, pixels exactly on lattice points, F of 0."""
        experiment = small_experiment(
            crystal={
                "cell": (50.0, 50.0, 50.0, 90.0, 90.0, 90.0),
                "misset": (0.0, 90.0, 0.0),
                "n_cells": (1.0, 2.0, 5.0),
                "shape": shape,
                "interpolate": interpolate,
                "default_f": 0.0,
            },
            # The direct beam, hkl = 000, is the centre of pixel (6, 8).
            detector={"beam_fast": 8.5 * 1.3, "beam_slow": 6.5 * 1.3, "thickness": 300.0, "attenuation_depth": 200.0},
            scan={"start": 0.0, "sampling": Sampling(0.0, 2)},
        ).replace({"structure_factor[0,0,1]": 0.0})
        names = [*ACCESS, "structure_factor[0,0,0]", "structure_factor[0,0,1]"]
        fused, exact, difference = (jacobian(experiment, names, method=m) for m in ("fused", "cs", "3-point"))
        assert np.isfinite(difference).all()
        assert np.isfinite(exact).all()
        assert_same_columns(fused, exact, experiment, names, simulate(experiment), FUSED_TOLERANCE, NOISE)

    def test_layers_that_no_photon_reaches_do_not_spoil_the_others(self):
        """Clause 50.45: the captured fraction of the second layer is 0 in double precision."""
        experiment = small_experiment(detector={"thickness": 450.0, "attenuation_depth": 0.1, "layers": 5})
        fused, exact = (jacobian(experiment, ["detector.rot_y", "cell.a"], method=m) for m in ("fused", "cs"))
        assert np.isfinite(exact).all()
        assert np.isfinite(fused).all()

    def test_fluence_of_zero_keeps_its_own_derivative(self):
        """Clause 50.45."""
        experiment = small_experiment(beam={"fluence": 0.0}, water_size=20.0)
        fused, exact = (jacobian(experiment, ["beam.fluence", "cell.a"], method=m) for m in ("fused", "cs"))
        assert exact[0].any()
        assert np.allclose(fused[0], exact[0], rtol=FUSED_TOLERANCE)
        assert not fused[1].any()


def _both(mask):
    return mask.any() and not mask.all()


def _differs(a, b):
    return _both(simulate(a) != simulate(b))


SPOTS = {
    "nearest index": lambda: small_experiment(crystal={"structure_factors": random_table(6)}),
    "floor": lambda: small_experiment(crystal={"interpolate": True}),
    "table range": lambda: small_experiment(crystal={"structure_factors": random_table(2)}),
    "interpolation range": lambda: small_experiment(
        crystal={"interpolate": True, "structure_factors": random_table(3)}
    ),
    "resolution limit": lambda: small_experiment(d_min=6.0),
    "tophat edge": lambda: small_experiment(crystal={"shape": "tophat", "n_cells": (4.0, 4.0, 4.0)}),
    "series": lambda: small_experiment(crystal={"shape": "round", "n_cells": (1.0, 2.0, 1.0)}),
    "cutoff": lambda: small_experiment(crystal={"shape": "gauss", "n_cells": (9.0, 9.0, 9.0)}),
    "phi of zero": lambda: small_experiment(
        scan={"start": -0.5}, quirks=dataclasses.replace(NO_QUIRKS, q01_phi_carryover=True)
    ),
    "side of the detector": lambda: small_experiment(detector={"normal": np.array([-1.0, 0.0, 0.0])}),
    "first source": lambda: small_experiment(
        beam={"sources": SourceTable(np.array([[-1.0, 0.1, 0.0], [-1.0, 0.0, 0.0]]), np.array([1.0, 3.0]))}, d_min=4.5
    ),
    "absorption": lambda: small_experiment(detector={"thickness": 300.0, "attenuation_depth": 200.0, "layers": 2}),
    "sub-pixels": lambda: small_experiment(oversample=None),
    "interpolate or not": lambda: small_experiment(crystal={"n_cells": (2.0, 3.0, 4.0), "interpolate": None}),
    "round divergence": lambda: small_experiment(
        beam={"divergence_horizontal": Sampling(8.0, 3), "divergence_vertical": Sampling(8.0, 3)}
    ),
    "mosaic spread of zero": lambda: small_experiment(crystal={"mosaic_domains": 3}),
    "single precision": lambda: small_experiment(
        crystal={"mosaic_spread": 0.4, "mosaic_domains": 3},
        quirks=dataclasses.replace(NO_QUIRKS, q28_single_precision_mosaic=True),
    ),
}
"""An experiment for each decision of clause 50.31, with pixels on both sides of it where it has two."""

MET = {
    "table range": lambda e: _differs(
        e, dataclasses.replace(e, crystal=dataclasses.replace(e.crystal, default_f=50.0))
    ),
    "interpolation range": lambda e: _differs(
        e, dataclasses.replace(e, crystal=dataclasses.replace(e.crystal, interpolate=False))
    ),
    "resolution limit": lambda e: _both(simulate(e) == 0.0),
    "tophat edge": lambda e: _both(simulate(e) == 0.0),
    "phi of zero": lambda e: not np.array_equal(simulate(e), simulate(dataclasses.replace(e, quirks=NO_QUIRKS))),
    "first source": lambda e: _differs(e, dataclasses.replace(e, d_min=0.0)),
    "sub-pixels": lambda e: lower(e).detector.oversample > 1,
    "interpolate or not": lambda e: lower(e).interpolate,
    "round divergence": lambda e: len(lower(e).beam.wavelength) < 9,
}
"""Whether the experiment meets its spot, where that can be seen from outside."""


class TestDecisions:
    def test_every_decision_of_the_clause_is_walked(self):
        listed = re.findall(r"^\| ([a-z -]+) \| ", SPEC.read_text().split("**50.31**")[1].split("**50.32**")[0], re.M)
        assert [name for name in listed if name != "decision"] == list(SPOTS)

    @pytest.mark.parametrize("spot", SPOTS)
    def test_decision_is_taken_on_the_real_part(self, spot):
        """Clause 50.31: a step of any parameter leaves the image as it is, and its slope is the image's."""
        experiment = SPOTS[spot]()
        assert spot not in MET or MET[spot](experiment)
        image = simulate(experiment)
        values = {name: entry.value for name, entry in experiment.parameters.items() if entry.value is not None}
        for name, value in values.items():
            moved = simulate(experiment.replace({name: value + 1e-20j * max(1.0, abs(value))}))
            assert np.allclose(moved.real, image, rtol=1e-9, atol=ROUNDING * image.max()), name
            assert np.isfinite(moved.imag).all(), name
        report = gradcheck(experiment)
        assert report.passed, report.table()
