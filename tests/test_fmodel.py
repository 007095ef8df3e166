"""Structure factors of a model (specs/30-formats.md, clauses 30.14 to 30.19)."""

import gzip
from pathlib import Path

import gemmi
import numpy as np
import pytest

from numbragg.cli.fmodel import main
from numbragg.errors import NumbraggError
from numbragg.fmodel import compute_structure_factors
from numbragg.io.hkl import read_hkl
from numbragg.io.mtz import read_mtz
from numbragg.structure_factor_files import read_structure_factors

DATA = Path(__file__).parent / "data"
ORC = Path(__file__).parent.parent / "numbragg" / "data" / "1orc.pdb"
D_MIN = 3.0
WAVELENGTH = 1.7
GRID_ERROR = 1e-5  # of the root mean square amplitude: density on a float32 grid, cut off where it is 1e-7
ANOMALOUS_ERROR = 1e-3  # of the root mean square Bijvoet difference, which is a small part of F
COORDINATE_ROUNDING = 1e-3  # of the amplitudes: a PDB file holds coordinates to 0.001 A
CALCULATED_CORRELATION = 0.99  # with another program's F of the same atoms
MEASURED_CORRELATION = 0.93  # an unscaled model of R about 0.2 with solvent; without solvent it is below this


def direct_sum(path, hkl, wavelength=None):
    """Complex F by gemmi's summation over atoms; f'' enters as the factor i of a second sum."""
    structure = gemmi.read_structure(str(path))
    model = structure[0]
    plain = gemmi.StructureFactorCalculatorX(structure.cell)
    if wavelength is not None:
        plain.addends.add_cl_fprime(gemmi.hc / wavelength)
    factors = np.array([plain.calculate_sf_from_model(model, index) for index in hkl.tolist()])
    if wavelength is None:
        return factors
    imaginary = gemmi.StructureFactorCalculatorX(structure.cell)
    imaginary.addends.add_cl_fprime(gemmi.hc / wavelength)
    for element in {site.atom.element.name for site in model.all()} - {"H"}:
        item = gemmi.Element(element)
        f_double_prime = gemmi.cromer_liberman(item.atomic_number, gemmi.hc / wavelength)[1]
        imaginary.addends.set(item, imaginary.addends.get(item) + f_double_prime)
    both = np.array([imaginary.calculate_sf_from_model(model, index) for index in hkl.tolist()])
    return factors + 1j * (both - factors)


def on_common_indices(first, second):
    lookup = {tuple(index): f for index, f in zip(second.hkl.tolist(), second.amplitudes, strict=True)}
    pairs = [
        (f, lookup[tuple(h)]) for h, f in zip(first.hkl.tolist(), first.amplitudes, strict=True) if tuple(h) in lookup
    ]
    return np.array(pairs).T


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


@pytest.mark.parametrize("path", [ORC, DATA / "5e5z.pdb", DATA / "5wkd.pdb"], ids=lambda path: path.stem)
@pytest.mark.parametrize("wavelength", [None, WAVELENGTH])
def test_amplitudes_are_those_of_direct_summation(path, wavelength):
    """Clauses 30.14 and 30.16: in both hemispheres."""
    reflections = compute_structure_factors(path, d_min=D_MIN, wavelength=wavelength, solvent=False)
    some = np.random.default_rng(1).permutation(len(reflections.hkl))[:120]
    expected = np.abs(direct_sum(path, reflections.hkl[some], wavelength))
    assert rms(reflections.amplitudes[some] - expected) < GRID_ERROR * rms(expected)


def test_friedel_mates_differ_only_at_a_wavelength():
    """Clause 30.16."""
    plain = compute_structure_factors(ORC, d_min=D_MIN, solvent=False)
    np.testing.assert_array_equal(plain.amplitudes, plain.amplitudes[::-1])  # sorted, so the mate is the mirror image
    np.testing.assert_array_equal(plain.hkl, -plain.hkl[::-1])
    anomalous = compute_structure_factors(ORC, d_min=D_MIN, solvent=False, wavelength=WAVELENGTH)
    difference = anomalous.amplitudes - anomalous.amplitudes[::-1]
    some = np.flatnonzero(np.abs(difference) > rms(difference))[:40]
    expected = np.abs(direct_sum(ORC, anomalous.hkl[some], WAVELENGTH))
    expected -= np.abs(direct_sum(ORC, -anomalous.hkl[some], WAVELENGTH))
    assert rms(difference[some] - expected) < ANOMALOUS_ERROR * rms(expected)


def test_the_sphere_is_complete_but_for_absences():
    """Clause 30.15: P 21 21 21 has no odd h00, 0k0, 00l; F(0,0,0) is there."""
    reflections = compute_structure_factors(ORC, d_min=D_MIN)
    structure = gemmi.read_structure(str(ORC))
    every = gemmi.make_miller_array(structure.cell, gemmi.SpaceGroup("P 1"), D_MIN, unique=False)
    absent = (np.count_nonzero(every, axis=1) == 1) & (every.sum(axis=1) % 2 == 1)
    expected = [[0, 0, 0], *every[~absent].tolist()]
    assert reflections.hkl.tolist() == sorted(expected)
    assert absent.any()
    assert reflections.space_group == "P 21 21 21"
    assert reflections.cell == (34.77, 39.17, 48.31, 90.0, 90.0, 90.0)


def test_centring_absences_are_absent():
    """Clause 30.15."""
    reflections = compute_structure_factors(DATA / "5wkd.pdb", d_min=D_MIN)
    assert not (reflections.hkl[:, :2].sum(axis=1) % 2).any()


def test_expansion_agrees_with_a_computation_without_symmetry(tmp_path):
    """Clause 30.15: the whole cell as a P 1 model."""
    structure = gemmi.read_structure(str(DATA / "5e5z.pdb"))
    reflections = compute_structure_factors(DATA / "5e5z.pdb", d_min=D_MIN, solvent=False)
    structure.transform_to_assembly("unit_cell", gemmi.HowToNameCopiedChain.AddNumber)
    structure.spacegroup_hm = "P 1"
    structure.write_pdb(str(tmp_path / "p1.pdb"))
    whole_cell = compute_structure_factors(tmp_path / "p1.pdb", d_min=D_MIN, solvent=False)
    first, second = on_common_indices(reflections, whole_cell)
    assert len(first) == len(reflections.hkl)
    assert rms(first - second) < COORDINATE_ROUNDING * rms(first)


def test_electrons_in_the_cell_make_f000():
    """Clause 30.15."""
    reflections = compute_structure_factors(DATA / "5wkd.pdb", d_min=D_MIN, solvent=False)
    sites = list(gemmi.read_structure(str(DATA / "5wkd.pdb"))[0].all())
    electrons = 4 * sum(site.atom.element.atomic_number * site.atom.occ for site in sites)
    origin = (reflections.hkl == 0).all(axis=1)
    assert reflections.amplitudes[origin] == pytest.approx(electrons, rel=2e-3)  # tabulated f(0) is Z to 0.1 %


def test_model_agrees_with_the_amplitudes_of_the_deposition():
    """Clauses 30.14 and 30.17: refmac's F of the atoms, and the measured F, which needs the solvent."""
    atoms = compute_structure_factors(DATA / "5wkd.pdb", d_min=1.8, solvent=False)
    total = compute_structure_factors(DATA / "5wkd.pdb", d_min=1.8)
    calculated, measured = (read_mtz(DATA / "5wkd_phases.mtz", label) for label in ("FC", "FP"))
    assert np.corrcoef(on_common_indices(calculated, atoms))[0, 1] > CALCULATED_CORRELATION
    correlations = [np.corrcoef(on_common_indices(measured, model))[0, 1] for model in (atoms, total)]
    assert correlations[0] < MEASURED_CORRELATION < correlations[1]


def test_solvent_fades_with_its_b_factor():
    """Clause 30.17."""
    plain = compute_structure_factors(ORC, d_min=D_MIN, solvent=False).amplitudes
    none = compute_structure_factors(ORC, d_min=D_MIN, k_sol=0.0).amplitudes
    flat = compute_structure_factors(ORC, d_min=D_MIN, b_sol=0.0).amplitudes
    faded = compute_structure_factors(ORC, d_min=D_MIN, b_sol=500.0).amplitudes
    np.testing.assert_array_equal(none, plain)
    assert 0.0 < rms(faded - plain) < rms(flat - plain)


def test_b_iso_damps_by_the_debye_waller_factor():
    """Clause 30.14."""
    low, high = (
        compute_structure_factors(DATA / "5e5z.pdb", d_min=D_MIN, solvent=False, b_iso=b) for b in (10.0, 30.0)
    )
    inverse_d2 = gemmi.UnitCell(*low.cell).calculate_1_d2_array(low.hkl)
    expected = low.amplitudes * np.exp(-20.0 * inverse_d2 / 4.0)
    assert rms(high.amplitudes - expected) < GRID_ERROR * rms(expected)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"d_min": 0.0}, "d_min must be a positive"),
        ({"d_min": float("nan")}, "d_min must be a positive"),
        ({"d_min": 0.01}, "GiB"),
        ({"d_min": 3.0, "wavelength": -1.0}, "wavelength"),
        ({"d_min": 3.0, "k_sol": -1.0}, "k_sol"),
        ({"d_min": 3.0, "b_iso": float("inf")}, "b_iso"),
    ],
)
def test_numbers_out_of_range_are_refused(options, fault):
    """Clause 30.14."""
    with pytest.raises(NumbraggError, match=fault):
        compute_structure_factors(ORC, **options)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("CRYST1", "REMARK", "no unit cell"),
        ("C 1 2 1", "C 1 7 1", "no known space group"),
        ("    4.777", "    0.000", "not a unit cell"),
        ("ATOM  ", "REMARK", "holds no atoms"),
    ],
)
def test_model_that_is_no_crystal_is_refused(tmp_path, old, new, fault):
    """Clause 30.14."""
    path = tmp_path / "bad.pdb"
    path.write_text((DATA / "5wkd.pdb").read_text().replace(old, new).replace("HETATM", "REMARK"))
    with pytest.raises(NumbraggError, match=fault):
        compute_structure_factors(path, d_min=D_MIN)


def test_kind_of_file_is_told_by_its_name_and_content(tmp_path):
    """Clause 30.18."""
    expected = compute_structure_factors(DATA / "5wkd.pdb", d_min=D_MIN)
    text = (DATA / "5wkd.pdb").read_text()
    structure = gemmi.read_structure(str(DATA / "5wkd.pdb"))
    (tmp_path / "a.ent").write_text(text)
    (tmp_path / "a.pdb.gz").write_bytes(gzip.compress(text.encode()))
    structure.make_mmcif_document().write_file(str(tmp_path / "a.cif"))
    for name in ("a.ent", "a.pdb.gz", "a.cif"):
        np.testing.assert_allclose(
            read_structure_factors(tmp_path / name, d_min=D_MIN).amplitudes,
            expected.amplitudes,
            atol=GRID_ERROR * expected.amplitudes.max(),
        )
        with pytest.raises(NumbraggError, match="give the resolution limit"):
            read_structure_factors(tmp_path / name)
    assert len(read_structure_factors(DATA / "5e5z.mtz").hkl) == 1424
    (tmp_path / "a.txt").write_text("1 2 3 4\n")
    assert read_structure_factors(tmp_path / "a.txt").hkl.tolist() == [[1, 2, 3]]
    with pytest.raises(NumbraggError, match="no columns by name"):
        read_structure_factors(tmp_path / "a.txt", column="FP")


def test_command_writes_every_file_and_says_what_it_did(tmp_path, capsys):
    """Clause 30.19."""
    text, mtz = tmp_path / "out.hkl", tmp_path / "out.mtz"
    options = ["--d-min", "3", "--wavelength", str(WAVELENGTH), "-o", str(text), "-o", str(mtz)]
    assert main([str(DATA / "5e5z.pdb"), *options]) == 0
    expected = compute_structure_factors(DATA / "5e5z.pdb", d_min=3.0, wavelength=WAVELENGTH)
    np.testing.assert_array_equal(read_hkl(text).amplitudes, expected.amplitudes)
    np.testing.assert_allclose(read_mtz(mtz).amplitudes, expected.amplitudes, rtol=1e-6)  # MTZ holds float32
    printed = capsys.readouterr().out
    for words in ("9.643 9.609 19.029", "P 1 21 1", "3 A", f"{len(expected.hkl)} in P1", str(text), str(mtz)):
        assert words in printed


def test_default_output_is_named_after_the_model(tmp_path, monkeypatch, capsys):
    """Clause 30.19."""
    monkeypatch.chdir(tmp_path)
    assert main([str(DATA / "5e5z.pdb"), "--d-min", "4", "--no-solvent"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["5e5z.hkl"]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["model.pdb"],
        ["model.pdb", "--d-min", "x"],
        ["model.pdb", "--d-min", "3", "-o", "out.png"],
        ["--d-min", "3", "no.pdb"],
    ],
)
def test_wrong_command_is_one_line(argv):
    """Clause 30.19."""
    with pytest.raises(NumbraggError) as caught:
        main(argv)
    assert len(str(caught.value).splitlines()) == 1
