"""Experiments of DIALS (specs/30-formats.md, 30.61 to 30.63 and 30.70 to 30.74)."""

import json
from dataclasses import replace

import numpy as np
import pytest
from any_instrument import instruments
from command_line import job_of, run
from hypothesis import given, settings
from hypothesis import strategies as st

from numbragg.compat.build import build_job
from numbragg.errors import NumbraggError
from numbragg.instruments import describe_instrument, to_imgcif
from numbragg.io.expt import image_template, read_expt, write_expt
from numbragg.models.instrument import Instrument
from numbragg.models.provenance import Provenance
from numbragg.provenance import read_provenance
from numbragg.simulation import simulate

ROUNDING = 1e-12
SAME_IMAGE = 1e-10
"""Of the largest pixel: what rounding of the geometry makes of interference fringes."""

CONVENTIONS = ("adxv", "mosflm", "denzo", "xds", "dials")
CRYSTAL = "-cell 34.77 39.17 48.31 80 85 95 -misset 10 20 30 -default_F 10 -N 8 -dmin 4 -oversample 1"
DETECTOR = (
    "-lambda 0.9768 -detpixels_x 60 -detpixels_y 40 -pixel 0.86 -distance 120 -Xbeam 21 -Ybeam 15 "
    "-detector_rotx 3 -detector_roty 5 -twotheta 7 -phi 3 -osc 1 -phisteps 3 -polar 0.9"
)


@settings(max_examples=60, deadline=None)
@given(instrument=instruments())
def test_everything_comes_back(tmp_path_factory, instrument):
    """Clauses 30.70 to 30.74."""
    path = tmp_path_factory.mktemp("expt") / "x.expt"
    provenance = Provenance("1.0", ("-hkl", "a b\n.hkl"), -3)
    images = [path.with_name("x_00004.img"), path.with_name("x_00005.img")]
    write_expt(path, instrument, images, n_images=2, provenance=provenance)
    found = read_expt(path)
    for name, value in vars(instrument).items():
        if isinstance(value, str):
            assert getattr(found.instrument, name) == value
        else:
            np.testing.assert_allclose(
                getattr(found.instrument, name), value, rtol=ROUNDING, atol=ROUNDING, err_msg=name
            )
    assert found.n_images == 2
    assert found.images == ("x_#####.img",)
    assert found.provenance == provenance == read_provenance(path)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_geometry_of_a_file_simulates_the_same_image(tmp_path, convention):
    """Clauses 30.61 and 30.90: tilted detector, swing, crystal and all, in the convention's own frame."""
    first = job_of(f"-{convention} {CRYSTAL} {DETECTOR}").experiment
    write_expt(tmp_path / "x.expt", describe_instrument(first))
    flags = f"-{convention} -default_F 10 -N 8 -dmin 4 -oversample 1 -phisteps 3"
    second = build_job(flags.split(), geometry=str(tmp_path / "x.expt")).experiment
    wanted, found = simulate(first, threads=1), simulate(second, threads=1)
    assert wanted.max() > 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=SAME_IMAGE * wanted.max())


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_frame_of_files_has_the_beam_along_minus_z_and_the_spindle_along_x(convention):
    """Clause 30.61."""
    found = describe_instrument(job_of(f"-{convention} {CRYSTAL} {DETECTOR}").experiment)
    np.testing.assert_allclose(found.beam_direction, [0, 0, -1], atol=ROUNDING)
    np.testing.assert_allclose(found.spindle_axis, [1, 0, 0], atol=ROUNDING)
    assert np.linalg.det(found.cell_axes) > 0


def test_frame_of_mosflm_is_that_of_dials_origin():
    """Clauses 30.61 and 00.38: (x, y, z) becomes (z, y, -x)."""
    turn = to_imgcif(np.array([1.0, 0, 0]), np.array([0, 0, 1.0]), np.array([0, 0, 1.0]))
    np.testing.assert_allclose(turn @ [1.0, 2.0, 3.0], [3.0, 2.0, -1.0], atol=ROUNDING)


def test_adxv_points_fast_x_slow_against_the_beam_in_files_too():
    """Clause 30.61: a mirror would hide that, and reverse the rotation."""
    found = describe_instrument(job_of(f"-adxv {CRYSTAL} -detpixels 10").experiment)
    np.testing.assert_allclose(found.fast_axis, [1, 0, 0], atol=ROUNDING)
    np.testing.assert_allclose(found.slow_axis, [0, 1, 0], atol=ROUNDING)


def test_spindle_along_the_beam_falls_back_on_fast():
    """Clause 30.61."""
    found = describe_instrument(job_of(f"-mosflm {CRYSTAL} -detpixels 10 -spindle_axis 1 0 0").experiment)
    np.testing.assert_allclose(found.fast_axis, [1, 0, 0], atol=ROUNDING)
    np.testing.assert_allclose(found.spindle_axis, [0, 0, -1], atol=ROUNDING)


def test_distance_and_beam_centre_are_those_of_the_flags():
    """Clause 30.62."""
    found = describe_instrument(job_of(f"-denzo {CRYSTAL} {DETECTOR}").experiment)
    np.testing.assert_allclose([found.distance, *found.beam_centre], [120.0, 15.0, 21.0], rtol=ROUNDING)


def test_flags_win_over_the_file(tmp_path):
    """Clause 30.90."""
    write_expt(tmp_path / "x.expt", describe_instrument(job_of(f"-mosflm {CRYSTAL} {DETECTOR}").experiment))
    flags = "-default_F 1 -distance 200 -lambda 1.5 -Xbeam 1 -Ybeam 2 -phi 9 -detpixels_x 7 -polar 0.1"
    flags += " -cell 30 31 32 90 90 90"
    experiment = build_job(flags.split(), geometry=str(tmp_path / "x.expt")).experiment
    detector, beam = experiment.detector, experiment.beam
    assert (detector.distance, detector.beam_fast, detector.beam_slow) == (200.0, 1.0, 2.0)
    assert (detector.n_fast, detector.n_slow, beam.wavelength, beam.polarization) == (7, 40, 1.5, 0.1)
    assert experiment.scan.start == 9.0
    assert experiment.crystal.cell == (30, 31, 32, 90, 90, 90)
    assert not np.allclose(experiment.crystal.orientation, np.eye(3))


def test_crystal_is_left_out_where_only_the_geometry_is_asked_for(tmp_path):
    """Clause 30.72."""
    instrument = describe_instrument(job_of(f"-mosflm {CRYSTAL} {DETECTOR}").experiment)
    write_expt(tmp_path / "x.expt", instrument, crystal=False)
    assert read_expt(tmp_path / "x.expt").instrument.cell_axes is None


def test_a_still_has_no_goniometer_and_no_scan(tmp_path):
    """Clause 30.71."""
    instrument = describe_instrument(job_of(f"-mosflm {CRYSTAL} -detpixels 10").experiment)
    write_expt(tmp_path / "x.expt", instrument, [tmp_path / "a.img", tmp_path / "b.img"], n_images=2)
    document = json.loads((tmp_path / "x.expt").read_text())
    assert document["goniometer"] == document["scan"] == []
    assert document["imageset"][0]["__id__"] == "ImageSet"
    assert read_expt(tmp_path / "x.expt").images == ("a.img", "b.img")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("x_00007.img", ("x_#####.img", 7)),
        ("a/x1.y2_0012.cbf", ("a/x1.y2_####.cbf", 12)),
        ("x.0003", ("x.####", 3)),
        ("x.img", None),
    ],
)
def test_template_of_a_name(name, wanted):
    """Clause 30.71."""
    assert image_template(name) == wanted


@pytest.mark.parametrize("names", [["x_1.img", "x_3.img"], ["x.img", "y.img"], ["x_1.img", "x_2.img", "x_3.img"]])
def test_names_that_are_no_series_are_refused(tmp_path, names):
    """Clause 30.71."""
    instrument = describe_instrument(job_of(f"-mosflm {CRYSTAL} {DETECTOR}").experiment)
    with pytest.raises(NumbraggError, match="cannot write"):
        write_expt(tmp_path / "x.expt", instrument, names, n_images=2)
    assert not (tmp_path / "x.expt").exists()


def test_a_group_of_panels_places_its_panel(tmp_path):
    """Clause 30.74: frames within frames."""
    instrument = describe_instrument(job_of(f"-mosflm {CRYSTAL} {DETECTOR}").experiment)
    write_expt(tmp_path / "x.expt", instrument)
    document = json.loads((tmp_path / "x.expt").read_text())
    panel, group = document["detector"][0]["panels"][0], document["detector"][0]["hierarchy"]
    group.update({"fast_axis": [0, 1, 0], "slow_axis": [-1, 0, 0], "origin": [1, 2, 3]})
    back = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    panel["origin"] = (back @ (np.array(panel["origin"]) - [1, 2, 3])).tolist()
    for key in ("fast_axis", "slow_axis"):
        panel[key] = (back @ panel[key]).tolist()
    (tmp_path / "x.expt").write_text(json.dumps(document))
    found = read_expt(tmp_path / "x.expt").instrument
    for key in ("origin", "fast_axis", "slow_axis"):
        np.testing.assert_allclose(getattr(found, key), getattr(instrument, key), rtol=0, atol=1e-9)


def document_of(tmp_path, change) -> str:
    path = tmp_path / "x.expt"
    write_expt(path, describe_instrument(job_of(f"-mosflm {CRYSTAL} {DETECTOR}").experiment))
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return str(path)


FAULTS = {
    "another list": (lambda d: d.update(__id__="Other"), "no list of experiments"),
    "no experiment": (lambda d: d.update(experiment=[]), "holds no experiment"),
    "no beam": (lambda d: d["experiment"][0].pop("beam"), "has no beam"),
    "no wavelength": (lambda d: d["beam"][0].pop("wavelength"), "'wavelength' is missing"),
    "a panel in no group": (lambda d: d["detector"][0]["panels"].append(d["detector"][0]["panels"][0]), "in no group"),
    "oblong pixels": (lambda d: d["detector"][0]["panels"][0].update(pixel_size=[0.1, 0.2]), "not square"),
    "no number": (lambda d: d["beam"][0].update(wavelength="long"), "not what it should be"),
    "short axis": (lambda d: d["detector"][0]["panels"][0].update(fast_axis=[1, 0]), "no vector of three"),
    "negative wavelength": (lambda d: d["beam"][0].update(wavelength=-1), "must be above zero"),
    "parallel axes": (
        lambda d: d["detector"][0]["panels"][0].update(slow_axis=d["detector"][0]["panels"][0]["fast_axis"]),
        "right angles",
    ),
    "left-handed cell": (
        lambda d: d["crystal"][0].update(real_space_a=[-x for x in d["crystal"][0]["real_space_a"]]),
        "right-handed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_with_a_fault_is_refused_by_name(tmp_path, fault):
    """Clause 30.74."""
    change, message = FAULTS[fault]
    path = document_of(tmp_path, change)
    with pytest.raises(NumbraggError, match=message) as caught:
        read_expt(path)
    assert path in str(caught.value)


def test_broken_json_is_refused_with_its_line(tmp_path):
    """Clause 30.74."""
    (tmp_path / "x.expt").write_text('{\n "__id__": \n')
    with pytest.raises(NumbraggError, match=r"x\.expt, line 3"):
        read_expt(tmp_path / "x.expt")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 5000))
def test_a_cut_file_never_ends_in_a_traceback(tmp_path_factory, cut):
    """Clause 30.74."""
    folder = tmp_path_factory.mktemp("cut")
    path = document_of(folder, lambda document: None)
    text = (folder / "x.expt").read_text()
    (folder / "x.expt").write_text(text[: min(cut, len(text) - 2)])
    with pytest.raises(NumbraggError, match=r"x\.expt"):
        read_expt(path)


def test_expt_goes_beside_the_images(tmp_path, monkeypatch):
    """Clauses 20.26 and 30.83."""
    monkeypatch.chdir(tmp_path)
    flags = f"-adxv {CRYSTAL} {DETECTOR} -fluence 1e24 -seed 3 -nopgm -noisefile n_00001.img -noprogress"
    assert run("simulate --expt crystal", flags).status == 0
    found = read_expt("n_00001.expt")
    assert found.images == ("n_#####.img",)
    assert found.instrument.cell_axes is not None
    assert found.instrument.pedestal == 40.0
    assert run("simulate --expt geometry", flags).status == 0
    assert read_expt("n_00001.expt").instrument.cell_axes is None


def test_replacing_the_origin_moves_distance_and_centre():
    """Clause 30.62: signs by hand."""
    instrument = Instrument(
        n_fast=4,
        n_slow=4,
        pixel_size=1.0,
        origin=np.array([-2.0, 3.0, -50.0]),
        fast_axis=np.array([1.0, 0.0, 0.0]),
        slow_axis=np.array([0.0, -1.0, 0.0]),
        wavelength=1.0,
    )
    assert (instrument.distance, instrument.beam_centre) == (50.0, (2.0, 3.0))
    moved = replace(instrument, origin=np.array([-1.0, 3.0, -60.0]))
    assert (moved.distance, moved.beam_centre) == (60.0, (1.0, 3.0))
