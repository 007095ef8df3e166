"""Reflection files of CCP4 and mmCIF, expanded to P1 (specs/30-formats.md, clauses 30.8 to 30.13)."""

from pathlib import Path

import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.mtz import read_mtz, write_mtz
from numbragg.io.sf_cif import read_sf_cif
from numbragg.io.symmetry import expand_to_p1, without_absences
from numbragg.models.structure_factors import StructureFactors
from numbragg.structure_factor_files import read_structure_factors

DATA = Path(__file__).parent / "data"
FLOAT32 = 1e-6  # relative, a few steps of the float32 that MTZ stores
CELL = (20.0, 20.0, 30.0, 90.0, 90.0, 90.0)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("mtz") / "scratch.mtz"


def as_dict(reflections):
    return {tuple(index): f for index, f in zip(reflections.hkl.tolist(), reflections.amplitudes.tolist(), strict=True)}


def make_mtz(path, columns, hkl, space_group="P 1", **attributes):
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup(space_group)
    mtz.add_dataset("test")
    mtz.set_cell_for_all(gemmi.UnitCell(*CELL))
    for label, kind, _ in columns:
        mtz.add_column(label, kind)
    for name, value in attributes.items():
        setattr(mtz, name, value)
    mtz.set_data(np.column_stack([hkl, *(values for _, _, values in columns)]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


@pytest.mark.parametrize(("name", "column"), [("5e5z.mtz", "FP"), ("5wkd_phases.mtz", "FC")])
def test_expansion_agrees_with_gemmi(name, column):
    """Clause 30.8."""
    mtz = gemmi.read_mtz_file(str(DATA / name))
    mtz.expand_to_p1()
    half = np.array(mtz.make_miller_array()).tolist()
    expected = {tuple(h): f for h, f in zip(half, np.array(mtz.column_with_label(column)).tolist(), strict=True)}
    expected |= {(-h, -k, -l): f for (h, k, l), f in expected.items()}
    expected = {index: f for index, f in expected.items() if np.isfinite(f)}
    reflections = read_mtz(DATA / name, column)
    assert as_dict(reflections) == expected
    assert reflections.space_group == mtz.spacegroup.xhm() or reflections.space_group in {"P 1 21 1", "C 1 2 1"}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["P 1", "P 21 21 21", "C 1 2 1", "P 61 2 2", "R 3:H", "F 2 3", "I a -3 d", "P -1"]),
    st.lists(st.tuples(*[st.integers(-9, 9)] * 3), min_size=1, max_size=12, unique=True),
)
def test_every_mate_is_there_once(name, indices):
    """Clause 30.8."""
    group = gemmi.SpaceGroup(name)
    hkl, _ = expand_to_p1(np.array(indices), np.ones(len(indices)), group)
    mates = {tuple(op.apply_to_hkl(list(h))) for h in indices for op in group.operations()}
    mates |= {(-h, -k, -l) for h, k, l in mates}
    assert hkl.tolist() == sorted(map(list, mates))


def test_mate_that_the_list_holds_keeps_its_amplitude():
    """Clause 30.8."""
    hkl, amplitudes = expand_to_p1(np.array([[1, 2, 3], [-1, -2, -3]]), np.array([5.0, 6.0]), gemmi.SpaceGroup("P 2"))
    values = {tuple(h): f for h, f in zip(hkl.tolist(), amplitudes, strict=True)}
    assert values == {(1, 2, 3): 5.0, (-1, 2, -3): 5.0, (-1, -2, -3): 6.0, (1, -2, 3): 6.0}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([("FWT", "F", 1), ("FC", "F", 2), ("FP", "F", 3), ("I", "J", 4)], 3),
        ([("FP", "F", 1), ("F-model", "F", 2)], 2),
        ([("IMEAN", "J", 9), ("F(+)", "G", 2), ("F(-)", "G", 2)], 2),
        ([("FC", "F", 5), ("IMEAN", "J", 9)], 5),
    ],
)
def test_default_column_is_model_then_measured_then_any(scratch, columns, expected):
    """Clause 30.9."""
    make_mtz(scratch, [(label, kind, [value]) for label, kind, value in columns], [[1, 2, 3]])
    assert set(read_mtz(scratch).amplitudes) == {expected}


def test_intensities_become_amplitudes_with_a_warning(scratch):
    """Clause 30.10."""
    make_mtz(scratch, [("IMEAN", "J", [9.0, -2.0])], [[1, 2, 3], [1, 2, 4]])
    with pytest.warns(NumbraggWarning, match="1 negative ones count as 0"):
        values = as_dict(read_mtz(scratch))
    assert values == {(1, 2, 3): 3.0, (-1, -2, -3): 3.0, (1, 2, 4): 0.0, (-1, -2, -4): 0.0}


@pytest.mark.parametrize("column", [None, "F(+)", "F(-)"])
def test_friedel_pair_sets_both_hemispheres(scratch, column):
    """Clause 30.10: a missing mate takes the amplitude of the other."""
    make_mtz(scratch, [("F(+)", "G", [3.0, np.nan]), ("F(-)", "G", [4.0, 7.0])], [[1, 2, 3], [1, 2, 4]])
    values = as_dict(read_mtz(scratch, column))
    assert values == {(1, 2, 3): 3.0, (-1, -2, -3): 4.0, (1, 2, 4): 7.0, (-1, -2, -4): 7.0}


def test_missing_amplitudes_are_left_out(scratch):
    """Clause 30.10."""
    make_mtz(scratch, [("FP", "F", [np.nan, -999.0, 2.0])], [[1, 0, 0], [2, 0, 0], [3, 0, 0]], valm=-999.0)
    assert set(as_dict(read_mtz(scratch))) == {(3, 0, 0), (-3, 0, 0)}


def test_unknown_label_names_the_nearest_and_all_others():
    """Clause 30.11."""
    with pytest.raises(
        NumbraggError, match=r"no amplitude column 'FCALL'; did you mean 'FC_ALL'\? \(available: FP, FC"
    ):
        read_mtz(DATA / "5wkd_phases.mtz", "FCALL")


def test_alien_and_truncated_files_are_refused(tmp_path):
    """Clause 30.11."""
    whole = (DATA / "5e5z.mtz").read_bytes()
    for content in (b"", b"MTZ ", b"rubbish" * 40, whole[:900], whole[: len(whole) // 2]):
        path = tmp_path / "bad.mtz"
        path.write_bytes(content)
        with pytest.raises(NumbraggError, match=r"bad\.mtz"):
            read_mtz(path)


@pytest.mark.parametrize("space_group", ["P 1", "P 21 21 21", "C 1 2 1", "P 4 2 2"])
@pytest.mark.parametrize("anomalous", [False, True])
def test_what_is_written_reads_back(scratch, space_group, anomalous):
    """Clause 30.12."""
    group = gemmi.SpaceGroup(space_group)
    cell = gemmi.UnitCell(*CELL)
    unique = gemmi.make_miller_array(cell, group, 4.0, unique=True)
    if anomalous:
        unique = np.concatenate([unique, -unique])
    random = np.random.default_rng(5).uniform(1.0, 100.0, len(unique))
    hkl, amplitudes = expand_to_p1(unique, random, group)
    write_mtz(scratch, hkl, amplitudes, CELL, space_group)
    reflections = read_mtz(scratch)
    np.testing.assert_array_equal(reflections.hkl, hkl)
    np.testing.assert_allclose(reflections.amplitudes, amplitudes, rtol=FLOAT32)
    assert reflections.cell == CELL
    assert reflections.space_group == space_group
    labels = gemmi.read_mtz_file(str(scratch)).column_labels()[3:]
    assert labels == (["FMODEL(+)", "FMODEL(-)"] if anomalous else ["FMODEL"])


def test_amplitudes_without_the_symmetry_are_not_written(tmp_path):
    """Clause 30.12."""
    hkl, amplitudes = np.array([[1, 2, 3], [-1, 2, -3]]), np.array([5.0, 6.0])
    with pytest.raises(NumbraggError, match="do not have the symmetry of P 1 2 1"):
        write_mtz(tmp_path / "out.mtz", hkl, amplitudes, CELL, "P 1 2 1")
    with pytest.raises(NumbraggError, match="unit cell"):
        write_mtz(tmp_path / "out.mtz", hkl, amplitudes, None)
    with pytest.raises(NumbraggError, match="unknown space group"):
        write_mtz(tmp_path / "out.mtz", hkl, amplitudes, CELL, "P 7")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".cif", "sf.ent"])
def test_cif_of_an_mtz_gives_the_same_reflections(tmp_path, suffix):
    """Clauses 30.13 and 30.18."""
    path = tmp_path / f"r5e5z{suffix}"
    path.write_text(gemmi.MtzToCif().write_cif_to_string(gemmi.read_mtz_file(str(DATA / "5e5z.mtz"))))
    expected = read_mtz(DATA / "5e5z.mtz", "FP")
    reflections = read_structure_factors(path)
    np.testing.assert_array_equal(reflections.hkl, expected.hkl)
    np.testing.assert_allclose(reflections.amplitudes, expected.amplitudes, rtol=FLOAT32)
    with pytest.raises(NumbraggError, match=r"did you mean 'F_meas_au'\?"):
        read_sf_cif(path, "F_meas_a")


@pytest.mark.parametrize(
    "content", ["", "data_x\n_cell.length_a 1\n", "data_x\nloop_\n_refln.index_h\n1\n", "\x00\x01"]
)
def test_cif_without_reflections_is_refused(tmp_path, content):
    """Clause 30.13."""
    path = tmp_path / "bad.cif"
    path.write_text(content)
    with pytest.raises(NumbraggError, match=r"bad\.cif"):
        read_sf_cif(path)


def test_absences_stay_zero_under_a_default_amplitude():
    """specs/30-formats.md, 30.8: screw axes of P 21 21 21 leave (h 0 0) out for odd h."""
    hkl = np.array([[h, 0, 0] for h in range(-3, 4)], dtype=np.int32)
    table = StructureFactors.from_reflections(hkl, np.full(7, 5.0), default=2.0)
    values = without_absences(table, "P 21 21 21").values[:, 0, 0]
    np.testing.assert_array_equal(values, [0.0, 5.0, 0.0, 5.0, 0.0, 5.0, 0.0])
