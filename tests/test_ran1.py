"""The generator of nanoBragg and the orientations drawn from it (specs/10-physics.md, clauses 10.60 to 10.65)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbragg.geometry.mosaic import mosaic_draws, random_misset, uniform_misset
from numbragg.kernels.ran1 import STATE_SIZE, minimal_standard, ran1, random_rotation, restart_ran1

GOLDEN = Path(__file__).parent / "golden"
MODULUS = 2**31 - 1

COMPILED = (minimal_standard, restart_ran1, ran1, random_rotation)
UNCOMPILED = tuple(function.py_func for function in COMPILED)


def reference_deviates(seed, number):
    """The definition of clause 10.61 in whole-number arithmetic of any size."""
    state = max(-seed, 1)
    warm_up = []
    for _ in range(40):
        state = state * 16807 % MODULUS
        warm_up.append(state)
    table = warm_up[:7:-1]
    output = table[0]
    deviates = []
    for _ in range(number):
        state = state * 16807 % MODULUS
        slot = output // 67108864
        output, table[slot] = table[slot], state
        deviates.append(min(np.float32(output / MODULUS), np.float32(1 - 1.2e-7)))
    return deviates


def seeded(seed):
    state = np.zeros(STATE_SIZE, np.int64)
    state[0] = seed
    return state


@pytest.mark.parametrize("step", [minimal_standard, minimal_standard.py_func], ids=["compiled", "python"])
def test_the_ten_thousandth_number_is_the_published_one(step):
    """Park and Miller, Communications of the ACM 31 (1988), page 1195: 1043618065 from seed 1 (clause 10.60)."""
    number = 1
    for _ in range(10_000):
        number = step(number)
    assert number == 1043618065


@given(st.integers(1, MODULUS - 1))
def test_the_split_product_is_the_product(number):
    """Clause 10.60."""
    assert minimal_standard(number) == minimal_standard.py_func(number) == number * 16807 % MODULUS


@pytest.mark.parametrize("draw", [ran1, ran1.py_func], ids=["compiled", "python"])
@pytest.mark.parametrize("seed", [0, -1, -123, -12345678, -(MODULUS - 1)])
def test_deviates_follow_the_definition(draw, seed):
    """Clause 10.61."""
    state = seeded(seed)
    assert [np.float32(draw(state)) for _ in range(500)] == reference_deviates(seed, 500)


def test_a_seed_of_zero_or_below_restarts_and_a_positive_one_keeps_the_table():
    """Clause 10.62."""
    state = seeded(-5)
    first = [ran1(state) for _ in range(3)]
    table = state[1:].copy()
    state[0] = -5
    assert [ran1(state) for _ in range(3)] == first
    assert (state[1:] == table).all()
    state[0] = 77
    ran1(state)
    assert np.count_nonzero(state[2:] != table[1:]) == 1
    assert ran1(seeded(77)) == ran1(seeded(-1))


def test_deviates_are_uniform():
    """Clause 10.61: mean 1/2 and variance 1/12, within five standard errors."""
    state = seeded(-42)
    deviates = np.array([ran1(state) for _ in range(100_000)])
    assert deviates.min() > 0.0
    assert deviates.max() < 1.0
    assert abs(deviates.mean() - 0.5) < 5 * math.sqrt(1 / 12 / deviates.size)
    assert abs(deviates.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / deviates.size)


def test_restarting_and_rotations_give_the_same_bits_compiled_and_not():
    """Clause 10.63."""
    states = seeded(-9), seeded(-9)
    for state, restart, rotation in zip(states, (restart_ran1, restart_ran1.py_func), (0, 1), strict=True):
        restart(state)
        assert state.any(), rotation
    assert (states[0] == states[1]).all()
    for _ in range(50):
        *axis, weight = random_rotation(states[0])
        *axis_python, weight_python = random_rotation.py_func(states[1])
        assert np.float32(weight) == np.float32(weight_python)
        # The sine and cosine may come from two libraries.
        assert np.allclose(axis, axis_python, rtol=0, atol=2e-16)


def test_mosaic_axes_are_unit_and_domain_zero_draws_but_does_not_turn():
    """Clause 10.64: the deviates 4 to 6 belong to domain 1."""
    axes, weights = mosaic_draws(200, -12345678)
    assert axes.shape == (200, 3)
    assert np.allclose(np.linalg.norm(axes, axis=1), 1.0, rtol=0, atol=1e-15)
    assert weights[0] == 0.0
    assert (weights[1:] > 0).all()
    assert (weights <= 1).all()
    r1, r2, r3 = (2 * float(deviate) - 1 for deviate in reference_deviates(-12345678, 6)[3:])
    across = math.sqrt(1 - r2 * r2)
    expected = [across * math.sin(math.pi * r1), across * math.cos(math.pi * r1), r2]
    assert np.allclose(axes[1], expected, rtol=0, atol=1e-15)
    assert weights[1] == pytest.approx((1 - r3 * r3) ** (1 / 3), rel=1e-7)
    assert (weights == weights.astype(np.float32)).all()


def test_fewer_domains_are_the_first_of_more():
    """Clause 10.64."""
    few, many = mosaic_draws(3, -1), mosaic_draws(7, -1)
    assert (few[0] == many[0][:3]).all()
    assert (few[1] == many[1][:3]).all()


def test_draws_go_on_from_a_given_state():
    """Clause 10.62: a positive seed keeps the table that the mosaic draws left."""
    state = seeded(0)
    mosaic_draws(4, -12345678, state=state)
    after = state.copy()
    first = random_misset(5, 0.1, state=state)
    assert first == random_misset(5, 0.1, state=after)
    assert first != random_misset(5, 0.1)


def test_random_misset_is_what_the_reference_program_printed():
    """Clause 10.65, golden case misset_random_ordered: six decimals of a degree were printed."""
    stdout = json.loads((GOLDEN / "cases.json").read_text())["misset_random_ordered"]["stdout"]
    line = next(line for line in stdout if line.startswith("random orientation"))
    printed = [float(word) for word in line.split()[4:7]]
    assert [round(math.degrees(angle), 6) for angle in random_misset(-12345, 90.0)] == printed


def rotation_matrix(x, y, z):
    (cx, cy, cz), (sx, sy, sz) = np.cos([x, y, z]), np.sin([x, y, z])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@pytest.mark.parametrize("spread", [0.3, 2.0, 90.0])
def test_misset_angles_make_up_the_drawn_rotation(spread):
    """Clause 10.65."""
    axes, _ = mosaic_draws(1, -31)
    *_, weight = random_rotation(seeded(-31))
    angle = float(np.float32(spread) * np.float32(weight))
    x, y, z = axes[0]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    expected = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    assert np.allclose(rotation_matrix(*random_misset(-31, spread)), expected, rtol=0, atol=1e-14)


def test_uniform_missets_cover_all_rotations_evenly():
    """Clause 10.65: the entries of a uniform rotation have mean 0, mean square 1/3 and mean fourth power 1/5."""
    matrices = np.array([rotation_matrix(*uniform_misset(seed)) for seed in range(4000)])
    standard_error = 1 / math.sqrt(len(matrices))
    assert np.abs(matrices.mean(axis=0)).max() < 5 * math.sqrt(1 / 3) * standard_error
    assert np.abs((matrices**2).mean(axis=0) - 1 / 3).max() < 5 * math.sqrt(1 / 5 - 1 / 9) * standard_error
    # cos of the rotation angle: the trace has mean 0 and mean square 1.
    trace = np.trace(matrices, axis1=1, axis2=2)
    assert abs(trace.mean()) < 5 * standard_error
    assert abs((trace**2).mean() - 1) < 5 * math.sqrt(2) * standard_error


@given(st.integers(-(2**70), 2**70))
def test_uniform_misset_takes_any_seed_and_repeats(seed):
    """Clause 10.65."""
    assert uniform_misset(seed) == uniform_misset(seed)
    assert all(math.isfinite(angle) for angle in uniform_misset(seed))
