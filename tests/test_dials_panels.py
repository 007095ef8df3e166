"""What DIALS reads in our files of detectors with several panels.

These tests run where the programs of DIALS are installed (Debian's package ``dials``).
"""

import shutil

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from test_dials import GEOMETRY, by_dials, dials

import numbragg
from numbragg.instruments import describe_instrument
from numbragg.io.expt import read_expt, write_expt
from numbragg.io.nxmx import write_nxmx, write_nxmx_data
from numbragg.models.sampling import Sampling

pytestmark = [
    pytest.mark.dials,
    pytest.mark.skipif(shutil.which("dials.import") is None, reason="DIALS is not installed"),
]

SIZE, PIXEL, GAP = 128, 0.172, 2.5
IMAGES = 3


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def instrument(tilt: float, osc: float = 0.5):
    """Two by two panels, each turned by about ``tilt`` degrees, on a detector that is turned as well."""
    random = np.random.default_rng(4)
    panels = []
    for number in range(4):
        axes = Rotation.from_euler("xyz", tilt * random.normal(size=3), degrees=True).as_matrix()
        corner = (SIZE * PIXEL + GAP) * np.array([number % 2, number // 2, 0]) + tilt * random.normal(size=3)
        panels.append(numbragg.Panel(origin=corner, fast_axis=axes[:, 0], slow_axis=axes[:, 1], name=f"q{number}"))
    detector = numbragg.Detector(
        n_fast=SIZE, n_slow=SIZE, pixel_size=PIXEL, distance=90.0, beam_fast=23.0, beam_slow=22.0, rot_x=tilt,
        rot_y=2 * tilt, twotheta=3 * tilt, panels=tuple(panels),
    )  # fmt: skip
    crystal = numbragg.Crystal(cell=(34.77, 39.17, 48.31, 90, 90, 90), n_cells=(5, 5, 5), default_f=1.0)
    scan = numbragg.Scan(start=7.0, sampling=Sampling(osc, 1, osc))
    return describe_instrument(numbragg.Experiment(crystal=crystal, detector=detector, scan=scan))


def stack_of(described, images=IMAGES):
    return np.random.default_rng(5).poisson(50.0, (images, *described.shape)).astype(np.int32)


def assert_same_panels(shown, described, stack) -> None:
    assert len(shown["panels"]) == len(described.panels)
    for found, panel in zip(shown["panels"], described.panels, strict=True):
        for name in ("origin", "fast_axis", "slow_axis"):
            np.testing.assert_allclose(found[name], getattr(panel, name), rtol=0, atol=GEOMETRY, err_msg=name)
        np.testing.assert_allclose(found["pixel_size"], PIXEL, rtol=0, atol=GEOMETRY)
        assert found["image_size"] == [SIZE, SIZE]
    assert shown["wavelength"] == pytest.approx(described.wavelength)
    assert (np.array(shown["pixels"]) == stack).all()


@pytest.mark.parametrize("tilt", [0.0, 3.0], ids=["flat", "tilted"])
def test_dials_reads_the_panels_and_pixels_of_nxmx(tilt):
    """Clauses 30.74, 30.75, 30.76 and 30.82: places, axes, counts and what was not measured, panel by panel."""
    described = instrument(tilt)
    stack = stack_of(described)
    active = np.random.default_rng(6).random(described.shape) > 0.1
    write_nxmx("x.h5", stack, described, active=active)
    dials("dials.import", "x.h5")
    shown = by_dials("panels", "imported.expt")
    assert_same_panels(shown, described, stack)
    np.testing.assert_allclose(shown["oscillation"], [7.0, 0.5], rtol=0, atol=GEOMETRY)
    assert (np.array(shown["mask"]) == active).all()
    text = dials("dials.show", "imported.expt")
    assert text.count("pixel_size:{0.172,0.172}") == 4
    # DIALS writes a group for each axis of the chain.
    for found, panel in zip(read_expt("imported.expt").instrument.panels, described.panels, strict=True):
        for name in ("origin", "fast_axis", "slow_axis"):
            np.testing.assert_allclose(getattr(found, name), getattr(panel, name), rtol=0, atol=GEOMETRY, err_msg=name)


def test_dials_reads_the_panels_of_our_expt():
    """Clauses 30.70 and 30.71: beside the NXmx file, whose images it names."""
    described = instrument(3.0)
    stack = stack_of(described)
    write_nxmx("x.h5", stack, described)
    write_expt("x.expt", described, ["x.h5"], n_images=IMAGES)
    shown = by_dials("panels", "x.expt")
    assert_same_panels(shown, described, stack)
    assert [panel["name"] for panel in shown["panels"]] == ["q0", "q1", "q2", "q3"]
    assert dials("dials.show", "x.expt").count("pixel_size:{0.172,0.172}") == 4


def test_dials_reads_images_in_files_of_their_own():
    """Clause 30.78."""
    described = instrument(3.0)
    stack = stack_of(described)
    parts = [write_nxmx_data(f"x_data_{i}.h5", part) for i, part in enumerate((stack[:2], stack[2:]))]
    write_nxmx("x.h5", parts, described)
    dials("dials.import", "x.h5")
    assert_same_panels(by_dials("panels", "imported.expt"), described, stack)


def test_dials_takes_stills_of_several_panels():
    """Clause 30.77."""
    described = instrument(3.0, osc=0.0)
    stack = stack_of(described, 1)
    write_nxmx("x.h5", stack, described)
    dials("dials.import", "x.h5")
    shown = by_dials("panels", "imported.expt")
    assert_same_panels(shown, described, stack)
    assert shown["oscillation"] is None
