"""Three mosaic spreads in place of one (specs/10-physics.md, clauses 10.96 and 10.97)."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg import Experiment, NumbraggError, Sampling, gradcheck, jacobian, simulate, trace
from numbragg.geometry.cell import crystal_frame, reciprocal
from numbragg.geometry.mosaic import ellipsoid_radii, mosaic_draws
from numbragg.geometry.rotations import DEGREE, axis_rotation
from numbragg.lowering.lower import count_steps
from numbragg.lowering.orientations import crystal_axes, domain_rotations, orientation_table, phi_angles

ROUNDING = 1e-12  # relative: rotations in double precision
DERIVATIVE = 1e-9  # of the norm: clause 50.10
SMOOTH = 1e-5  # of the norm: clause 50.41
SPREADS = (0.7, 0.2, 1.3)  # degrees
DOMAINS = 7


@pytest.fixture
def experiment(make_experiment) -> Experiment:
    return make_experiment(crystal={"mosaic_spreads": SPREADS, "mosaic_domains": DOMAINS})


def angle_of(rotation: np.ndarray) -> float:
    return math.degrees(math.atan2(np.linalg.norm(skew(rotation)), (np.trace(rotation) - 1.0) / 2.0))


def skew(rotation: np.ndarray) -> np.ndarray:
    """Sine of the angle times the axis."""
    r = rotation
    return 0.5 * np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])


@given(st.floats(1e-3, 5.0), st.integers(1, 9), st.integers(-(2**31) + 1, 0))
@settings(max_examples=30, deadline=None)
def test_equal_spreads_are_the_isotropic_domains_bit_for_bit(make_experiment, spread, domains, seed):
    """Clause 10.96: the same draws, the same orientations."""
    common = {"mosaic_domains": domains, "mosaic_seed": seed}
    three = make_experiment(crystal={**common, "mosaic_spreads": (spread,) * 3})
    one = make_experiment(crystal={**common, "mosaic_spread": spread})
    assert (orientation_table(three.crystal, three.scan) == orientation_table(one.crystal, one.scan)).all()


@pytest.mark.parametrize("shape", ["square", "gauss"])
def test_equal_spreads_give_the_isotropic_image_bit_for_bit(make_experiment, shape):
    """Clause 10.96."""
    common = {"mosaic_domains": DOMAINS, "shape": shape}
    three = simulate(make_experiment(crystal={**common, "mosaic_spreads": (0.6, 0.6, 0.6)}))
    assert (three == simulate(make_experiment(crystal={**common, "mosaic_spread": 0.6}))).all()


def test_domains_turn_about_the_drawn_axes_by_the_radius_of_the_ellipsoid(experiment):
    """Clause 10.96: against the equation of an ellipsoid about a, c* and across, at every phi."""
    crystal, scan = experiment.crystal, experiment.scan
    axes, weights = mosaic_draws(DOMAINS, crystal.mosaic_seed)
    direct = crystal_axes(crystal)
    star = reciprocal(direct)[2]
    for phi in (0.0, *phi_angles(scan)):
        turn = axis_rotation(scan.spindle_axis, phi)
        along_a, along_c = turn @ direct[0] / np.linalg.norm(direct[0]), turn @ star / np.linalg.norm(star)
        across = np.cross(along_c, along_a)
        for n, weight, rotation in zip(axes, weights, domain_rotations(crystal, turn=turn), strict=True):
            parts = np.array([n @ along_a, n @ across, n @ along_c]) / SPREADS
            assert angle_of(rotation) == pytest.approx(weight / np.linalg.norm(parts), rel=1e-9)
            assert skew(rotation) == pytest.approx(math.sin(weight / np.linalg.norm(parts) * DEGREE) * n, abs=ROUNDING)


def test_orientations_are_made_of_these_domains(experiment):
    """Clause 10.23, with the frame of 10.96 turning with the spindle."""
    crystal, scan = experiment.crystal, experiment.scan
    table = orientation_table(crystal, scan)
    for row, phi in enumerate((0.0, *phi_angles(scan))):
        turn = axis_rotation(scan.spindle_axis, phi)
        for domain, rotation in enumerate(domain_rotations(crystal, turn=turn)):
            np.testing.assert_allclose(
                table[row, domain], crystal_axes(crystal) @ turn.T @ rotation.T, atol=1e-10
            )  # fmt: skip


def test_first_domain_is_not_turned(experiment):
    """Clause 10.64."""
    assert (domain_rotations(experiment.crystal)[0] == np.eye(3)).all()


@given(st.tuples(*[st.floats(0.01, 10.0)] * 3), st.integers(0, 10**6))
@settings(deadline=None)
def test_radius_lies_between_the_half_axes_and_is_theirs_along_the_axes(half_axes, seed):
    """Clause 10.96."""
    rng = np.random.default_rng(seed)
    frame = crystal_frame(rng.normal(size=(3, 3)))
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=ROUNDING)
    directions = rng.normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    radii = ellipsoid_radii(directions, frame, half_axes)
    assert (radii >= min(half_axes) * (1 - 1e-9)).all()
    assert (radii <= max(half_axes) * (1 + 1e-9)).all()
    np.testing.assert_allclose(ellipsoid_radii(frame, frame, half_axes), half_axes, rtol=1e-6)


def test_spots_spread_most_where_the_axis_of_the_largest_spread_is_across_them(make_experiment):
    """Clause 10.96: a turn about a leaves h00 alone and moves 0k0 and 00l; most axes lie far from a, though."""
    cell = {"cell": (50.0, 50.0, 50.0, 90.0, 90.0, 90.0), "misset": (0.0, 0.0, 0.0), "mosaic_domains": 500}
    crystal = make_experiment(crystal={**cell, "mosaic_spreads": (2.0, 0.02, 0.02)}).crystal
    reciprocals = np.array([reciprocal(crystal_axes(crystal)) @ rotation.T for rotation in domain_rotations(crystal)])
    a_star, b_star, c_star = reciprocals.std(axis=0).max(axis=1)
    assert b_star > 1.5 * a_star
    assert c_star > 1.5 * a_star


def test_derivatives_agree_by_every_method(experiment):
    """Clause 10.97; 50.10: more changes of the orientations than one fused pass has room for."""
    names = [name for name, parameter in experiment.parameters.items() if parameter.value is not None]
    assert {"mosaic.spread_a", "mosaic.spread_b", "mosaic.spread_c"} < set(names)
    fused, stepped = (jacobian(experiment, names, method=method) for method in ("fused", "cs"))
    for name, one, other in zip(names, fused, stepped, strict=True):
        assert np.linalg.norm(one - other) <= DERIVATIVE * np.linalg.norm(other), name
    smooth = ["mosaic.spread_a", "mosaic.spread_b", "mosaic.spread_c", "misset.y", "phi.range"]
    for name, central in zip(smooth, jacobian(experiment, smooth, method="3-point"), strict=True):
        exact = stepped[names.index(name)]
        assert np.linalg.norm(exact - central) <= SMOOTH * np.linalg.norm(exact), name
        assert np.any(exact)
    assert gradcheck(experiment, ["mosaic.spread_a", "misset.x"]).passed


def test_derivatives_in_three_equal_spreads_sum_to_that_in_the_one(make_experiment):
    """Clause 10.97."""
    common = {"mosaic_domains": DOMAINS}
    three = make_experiment(crystal={**common, "mosaic_spreads": (0.6, 0.6, 0.6)})
    one = make_experiment(crystal={**common, "mosaic_spread": 0.6})
    parts = jacobian(three, ["mosaic.spread_a", "mosaic.spread_b", "mosaic.spread_c"])
    whole = jacobian(one, ["mosaic.spread"])[0]
    assert np.linalg.norm(parts.sum(axis=0) - whole) <= DERIVATIVE * np.linalg.norm(whole)


def test_one_spread_and_three_are_parameters_of_different_crystals(make_experiment, experiment):
    """Clause 50.2: those that a crystal has not have no value and no effect."""
    one = make_experiment(crystal={"mosaic_spread": 0.5, "mosaic_domains": DOMAINS})
    assert one.parameters["mosaic.spread_b"].value is None
    assert experiment.parameters["mosaic.spread"].value is None
    assert experiment.parameters["mosaic.spread_b"].value == SPREADS[1]
    assert not jacobian(one, ["mosaic.spread_a"]).any()
    assert not jacobian(experiment, ["mosaic.spread"]).any()
    moved = experiment.replace({"mosaic.spread_b": 0.4})
    assert moved.crystal.mosaic_spreads == (0.7, 0.4, 1.3)
    same = experiment.replace({name: parameter.value for name, parameter in experiment.parameters.items()})
    assert (simulate(same) == simulate(experiment)).all()
    for crystal, name in ((one, "mosaic.spread_a"), (experiment, "mosaic.spread")):
        with pytest.raises(NumbraggError, match=f"{name} has no value in this experiment"):
            crystal.replace({name: 1.0})


def test_steps_and_trace_know_the_domains(experiment):
    """Clauses 00.9 and 80.1."""
    assert count_steps(experiment) == DOMAINS * experiment.scan.sampling.count
    traced = trace(experiment, 4, 11)
    assert len(traced["terms"]) == DOMAINS * 3
    assert traced["I_pixel_final"] == pytest.approx(simulate(experiment)[4, 11], rel=1e-10)


def test_carryover_takes_the_same_domains(experiment):
    """Q01: without a phi of 0 the carryover changes nothing."""
    quirks = dataclasses.replace(experiment.quirks, q01_phi_carryover=True)
    np.testing.assert_array_equal(simulate(dataclasses.replace(experiment, quirks=quirks)), simulate(experiment))
    still = dataclasses.replace(experiment.scan, start=0.0, sampling=Sampling())
    assert simulate(dataclasses.replace(experiment, scan=still)).any()


@pytest.mark.parametrize(
    ("spreads", "message"),
    [
        ((0.0, 1.0, 1.0), "must be above zero"),
        ((-1.0, 1.0, 1.0), "must be above zero"),
        ((math.nan, 1.0, 1.0), "not a finite number"),
        ((1.0, 1.0), "three mosaic spreads are needed, not 2"),
    ],
)
def test_spreads_that_cannot_be_are_refused(make_experiment, spreads, message):
    """Clause 10.9."""
    with pytest.raises(NumbraggError, match=message):
        make_experiment(crystal={"mosaic_spreads": spreads})
