"""Rotations, unit cells and detector conventions (specs/10-physics.md, clauses 10.11, 10.20 and 10.21)."""

import gemmi
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from numbragg.geometry.cell import (
    cell_constants,
    direct_vectors,
    nearest_rotation,
    reciprocal,
    reference_direct_vectors,
    triple_product,
    volume,
)
from numbragg.geometry.conventions import CONVENTIONS, beam_centre_to_corner, default_beam_centre
from numbragg.geometry.rotations import DEGREE, axis_rotation, cross_matrix, unit, xyz_rotation

CELL_TOLERANCE = 1e-12  # relative; what clause 10.20 promises
ROUNDING = 1e-14  # a few units in the last place of numbers of order 1
GEMMI_TOLERANCE = 1e-11  # relative; gemmi takes sines and cosines of the angles in another order
COMPLEX_STEP = 1e-200
STEP = 1e-5  # of the central difference
DIFFERENCE_TOLERANCE = 1e-8  # relative; truncation and cancellation of a central difference with STEP
TRICLINIC = (70.0, 80.0, 90.0, 75.0, 85.0, 95.0)

lengths = st.floats(2.0, 500.0)
angles = st.floats(40.0, 140.0)
components = st.floats(-1.0, 1.0).map(lambda x: round(x, 6))
vectors = st.tuples(components, components, components).filter(any).map(np.array)
turns = st.floats(-720.0, 720.0)


@st.composite
def cells(draw):
    """Cells of any symmetry whose volume is at least a tenth of a box's, so that rounding is not magnified."""
    cell = draw(st.tuples(lengths, lengths, lengths, angles, angles, angles))
    cos_a, cos_b, cos_g = np.cos(np.radians(cell[3:]))
    assume(1.0 - cos_a**2 - cos_b**2 - cos_g**2 + 2.0 * cos_a * cos_b * cos_g > 0.01)
    return cell


@given(cells())
def test_cell_that_comes_out_is_the_cell_that_went_in(cell):
    """Clause 10.20."""
    np.testing.assert_allclose(cell_constants(direct_vectors(cell)), cell, rtol=CELL_TOLERANCE, atol=0)


@given(cells())
def test_reciprocal_axes_have_their_standard_frame(cell):
    """Clause 10.20: a* along x, b* in the xy plane, right-handed."""
    stars = reciprocal(direct_vectors(cell)) * np.array(cell[:3])[:, None]
    np.testing.assert_allclose([stars[0, 1], stars[0, 2], stars[1, 2]], 0.0, atol=ROUNDING)
    assert stars[0, 0] > 0
    assert stars[1, 1] > 0
    assert stars[2, 2] > 0


@given(cells())
def test_reciprocal_of_the_reciprocal_is_the_direct_cell(cell):
    """Clause 10.20."""
    direct = direct_vectors(cell)
    back = reciprocal(reciprocal(direct))
    np.testing.assert_allclose(back, direct, rtol=0, atol=CELL_TOLERANCE * max(cell[:3]))


@given(cells())
def test_direct_and_reciprocal_vectors_are_dual(cell):
    """Clause 10.20."""
    direct = direct_vectors(cell)
    np.testing.assert_allclose(direct @ reciprocal(direct).T, np.eye(3), atol=CELL_TOLERANCE * 100)


@given(cells())
def test_volume_and_reciprocal_lengths_agree_with_gemmi(cell):
    """Clause 10.20, against an independent program."""
    theirs = gemmi.UnitCell(*cell)
    ours = np.linalg.norm(reciprocal(direct_vectors(cell)), axis=1)
    np.testing.assert_allclose(volume(cell), theirs.volume, rtol=GEMMI_TOLERANCE)
    star = theirs.reciprocal()
    np.testing.assert_allclose(ours, [star.a, star.b, star.c], rtol=GEMMI_TOLERANCE)


def test_given_volume_replaces_that_of_the_vectors():
    """Clause 10.22 (Q26)."""
    direct = direct_vectors(TRICLINIC)
    expected = reciprocal(direct) * (volume(TRICLINIC) / 1000.0)
    np.testing.assert_allclose(reciprocal(direct, 1000.0), expected, rtol=CELL_TOLERANCE)


def test_reference_program_gets_the_angles_of_a_triclinic_cell_wrong():
    """Register entry Q21; the angles are those that nanoBragg.c works with."""
    a, b, c, *found = cell_constants(reference_direct_vectors(TRICLINIC))
    np.testing.assert_allclose((a, b, c), TRICLINIC[:3], rtol=CELL_TOLERANCE)
    printed = 5e-5  # the figures are printed with four decimals
    np.testing.assert_allclose(found, (75.0391, 85.0136, 95.0081), atol=printed)


@given(lengths, lengths, lengths, st.floats(50.0, 130.0))
def test_reference_program_is_right_when_two_angles_are_right(a, b, c, beta):
    """Register entry Q21: monoclinic cells are not affected."""
    cell = (a, b, c, 90.0, beta, 90.0)
    expected = direct_vectors(cell)
    np.testing.assert_allclose(reference_direct_vectors(cell), expected, rtol=0, atol=CELL_TOLERANCE * max(a, b, c))


@given(vectors, turns)
def test_rotation_about_an_axis_agrees_with_scipy(axis, degrees):
    """Clause 10.14: right-handed."""
    axis = unit(axis)
    expected = Rotation.from_rotvec(axis * np.radians(degrees)).as_matrix()
    np.testing.assert_allclose(axis_rotation(axis, degrees * DEGREE), expected, atol=20 * ROUNDING)


@given(turns, turns, turns)
def test_xyz_rotation_turns_about_x_first_and_z_last(x, y, z):
    """Clauses 10.14 and 10.21; lower case means laboratory axes in scipy."""
    expected = Rotation.from_euler("xyz", [x, y, z], degrees=True).as_matrix()
    np.testing.assert_allclose(xyz_rotation(x * DEGREE, y * DEGREE, z * DEGREE), expected, atol=20 * ROUNDING)


def test_long_axis_scales_what_it_turns():
    """Register entry Q25: an axis of length 2 doubles the part that it turns and quadruples the part along it."""
    turned = axis_rotation(np.array([0.0, 0.0, 2.0]), np.pi / 2) @ np.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(turned, [0.0, 2.0, 4.0], atol=ROUNDING)


@given(vectors, vectors)
def test_cross_matrix_is_the_cross_product(a, b):
    np.testing.assert_allclose(cross_matrix(a) @ b, np.cross(a, b), atol=ROUNDING)


@given(st.lists(vectors, min_size=1, max_size=5))
def test_unit_vectors_have_length_one_and_keep_their_direction(many):
    many = np.array(many)
    found = unit(many)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=ROUNDING)
    np.testing.assert_allclose(np.linalg.norm(np.cross(found, many), axis=-1), 0.0, atol=ROUNDING)
    assert (np.sum(found * many, axis=-1) > 0).all()


def test_vector_of_length_zero_stays():
    np.testing.assert_array_equal(unit(np.zeros(3)), np.zeros(3))


@given(vectors, turns)
def test_nearest_rotation_undoes_rounding(axis, degrees):
    rotation = axis_rotation(unit(axis), degrees * DEGREE)
    small = 1e-9
    found = nearest_rotation(rotation * (1.0 + small))
    np.testing.assert_allclose(found, rotation, atol=10 * small**2 + 20 * ROUNDING)


def central_difference(function, x, i):
    forward, backward = np.array(x, float), np.array(x, float)
    step = STEP * max(1.0, abs(x[i]))
    forward[i] += step
    backward[i] -= step
    return (function(forward) - function(backward)) / (2.0 * step)


def complex_step(function, x, i):
    x = np.array(x, complex)
    x[i] += 1j * COMPLEX_STEP
    return np.imag(function(x)) / COMPLEX_STEP


CHAINS = {
    "direct vectors of a cell": (direct_vectors, TRICLINIC),
    "reciprocal vectors of a cell": (lambda x: reciprocal(direct_vectors(x)), TRICLINIC),
    "volume": (volume, TRICLINIC),
    "rotation of a unit axis": (lambda x: axis_rotation(unit(x[:3]), x[3]), (0.3, -0.5, 0.9, 0.7)),
    "three rotations": (lambda x: xyz_rotation(*x), (0.1, -0.7, 2.0)),
    "unit vector": (unit, (0.3, -0.5, 0.9)),
    "triple product": (lambda x: triple_product(np.reshape(x, (3, 3))), (1.0, 2.0, 3.0, -1.0, 0.5, 2.0, 4.0, 1.0, 1.0)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_complex_step_agrees_with_the_central_difference(name):
    """Clause 10.8: geometry is analytic in its parameters."""
    function, x = CHAINS[name]
    for i in range(len(x)):
        numeric, exact = central_difference(function, x, i), complex_step(function, x, i)
        assert np.any(exact)
        scale = max(np.abs(exact).max(), np.abs(function(np.array(x))).max())
        np.testing.assert_allclose(exact, numeric, rtol=0, atol=DIFFERENCE_TOLERANCE * scale)


CONVENTION_TABLE = """
adxv   | 0 0 1 | 1 0 0 | 0 -1 0 | 0 0 1 | -1 0 0 | 1 0 0 | 1 0 0 | beam
mosflm | 1 0 0 | 0 0 1 | 0 -1 0 | 1 0 0 | 0 0 -1 | 0 0 1 | 0 0 1 | beam
denzo  | 1 0 0 | 0 0 1 | 0 -1 0 | 1 0 0 | 0 0 -1 | 0 0 1 | 0 0 1 | beam
xds    | 0 0 1 | 1 0 0 | 0 1 0  | 0 0 1 | 1 0 0  | 1 0 0 | 1 0 0 | sample
dials  | 0 0 1 | 1 0 0 | 0 1 0  | 0 0 1 | 0 1 0  | 0 1 0 | 0 1 0 | sample
custom | 1 0 0 | 0 0 1 | 0 -1 0 | 1 0 0 | 0 1 0  | 0 0 1 | 0 0 1 | beam
"""


@pytest.mark.parametrize("line", CONVENTION_TABLE.strip().splitlines())
def test_conventions_hold_the_directions_of_the_specification(line):
    """Clause 10.11: columns are beam, fast, slow, normal, two-theta axis, polarisation, spindle, pivot."""
    name, *words, pivot = (cell.strip() for cell in line.split("|"))
    found = CONVENTIONS[name]
    fields = ("beam", "fast", "slow", "normal", "twotheta_axis", "polarization", "spindle")
    for field, word in zip(fields, words, strict=True):
        np.testing.assert_array_equal(getattr(found, field), [float(number) for number in word.split()])
    assert found.pivot == pivot


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adxv", (7.0, 13.0 - 9.0)),
        ("mosflm", (9.0 + 0.1, 7.0 + 0.1)),
        ("denzo", (9.0, 7.0)),
        ("xds", (7.0, 9.0)),
        ("dials", (7.0, 9.0)),
        ("custom", (7.0, 9.0)),
    ],
)
def test_beam_centre_counts_from_the_corner_that_the_convention_means(name, expected):
    """Clause 10.11, with Xbeam 7, Ybeam 9, 13 mm along slow and pixels of 0.2 mm."""
    np.testing.assert_allclose(beam_centre_to_corner(CONVENTIONS[name], 7.0, 9.0, 13.0, 0.2), expected, rtol=ROUNDING)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adxv", (10.1, 6.4)),
        ("mosflm", (6.6, 10.1)),
        ("denzo", (6.6, 10.1)),
        ("xds", (10.0, 6.5)),
        ("dials", (10.0, 6.5)),
        ("custom", (10.0, 6.5)),
    ],
)
def test_default_beam_centre_is_that_of_the_convention(name, expected):
    """Clause 10.11, for 20 x 13 mm (fast x slow) and pixels of 0.2 mm."""
    np.testing.assert_allclose(default_beam_centre(CONVENTIONS[name], 20.0, 13.0, 0.2), expected, rtol=ROUNDING)
