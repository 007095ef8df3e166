"""Files of detectors with several panels (specs/30-formats.md, 30.70 to 30.82 and 30.96 to 30.98)."""

import copy
import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_files import BEAM, PLACE, SIZE, assert_same_panels, detector, stack_of, turned
from scipy.spatial.transform import Rotation

from numbragg.cli._image_files import FileOptions, for_formats, measured_pixels, with_gaps, write_counts
from numbragg.compat.build import build_job
from numbragg.errors import NumbraggError
from numbragg.io.cbf import write_cbf
from numbragg.io.expt import read_expt, write_expt
from numbragg.io.nxmx import count_nxmx_images, read_nxmx, read_nxmx_instrument, write_nxmx
from numbragg.io.smv import write_smv
from numbragg.models.instrument import Instrument

coordinates = st.floats(-500, 500)
vectors = st.tuples(coordinates, coordinates, coordinates)
names = st.sampled_from(["", "q0a0", "ARRAY_D0", "p 1", "größe"])


@st.composite
def instruments(draw):
    """One to five panels anywhere but edge on to the beam, which Instrument refuses."""
    placed = st.builds(turned, st.tuples(*[st.floats(-3, 3)] * 3), vectors, names).filter(
        lambda panel: abs(np.cross(panel.fast_axis, panel.slow_axis) @ BEAM) > 0.01 and np.linalg.norm(panel.origin) > 1
    )
    panels = draw(st.lists(placed, min_size=1, max_size=5))
    osc = draw(st.sampled_from([0.0, 0.5]))
    return Instrument.of_panels(panels, beam_direction=BEAM, osc=osc, **SIZE)


@settings(max_examples=60, deadline=None)
@given(instrument=instruments())
def test_panels_come_back_from_expt(tmp_path_factory, instrument):
    """Clauses 30.70, 30.74 and 30.98."""
    path = tmp_path_factory.mktemp("expt") / "x.expt"
    write_expt(path, instrument)
    assert_same_panels(read_expt(path).instrument, instrument)
    children = json.loads(path.read_text())["detector"][0]["hierarchy"]["children"]
    assert children == [{"panel": number} for number in range(len(instrument.all_panels))]


@settings(max_examples=40, deadline=None)
@given(instrument=instruments(), images=st.integers(1, 3), compression=st.sampled_from(["gzip", "bitshuffle", "none"]))
def test_panels_and_pixels_come_back_from_nxmx(tmp_path_factory, instrument, images, compression):
    """Clauses 30.75, 30.76, 30.79 and 30.98."""
    path = tmp_path_factory.mktemp("nxmx") / "x.h5"
    stack = stack_of(instrument, images)
    write_nxmx(path, stack, instrument, compression=compression)
    assert_same_panels(read_nxmx_instrument(path), instrument)
    assert count_nxmx_images(path) == images
    found = read_nxmx(path)
    assert (found.dtype, found.shape) == (stack.dtype, stack.shape)
    assert (found == stack).all()
    for number, image in enumerate(stack):
        assert (read_nxmx(path, number) == image).all()


class TestGroupsOfExpt:
    INSTRUMENT = detector(5)

    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "x.expt"
        write_expt(path, self.INSTRUMENT)
        return path

    @staticmethod
    def frame(rotation, origin):
        fast, slow, _ = rotation.as_matrix().T
        return {"fast_axis": fast.tolist(), "slow_axis": slow.tolist(), "origin": list(origin)}

    def test_of_any_depth_place_their_own_panels(self, path):
        """Clause 30.74: panel 3 lies two groups deep, panels 0 and 4 in one, 1 and 2 in another."""
        document = json.loads(path.read_text())
        shown = document["detector"][0]
        quarter, half = Rotation.from_euler("z", 90, degrees=True), Rotation.from_euler("x", 180, degrees=True)
        blank = {key: value for key, value in shown["hierarchy"].items() if key != "children"}
        deep = {**blank, **self.frame(quarter, (0, 5, 0)), "children": [{"panel": 3}]}
        left = {**blank, **self.frame(quarter, (10, 0, -1)), "children": [{"panel": 4}, deep, {"panel": 0}]}
        right = {**blank, **self.frame(half, (0, 0, 7)), "children": [{"panel": 2}, {"panel": 1}]}
        shown["hierarchy"] = {**blank, **self.frame(Rotation.identity(), (0, 0, 3)), "children": [left, right]}
        path.write_text(json.dumps(document))
        found = read_expt(path).instrument.panels
        for number, panel in enumerate(self.INSTRUMENT.panels):
            x, y, z = panel.origin
            wanted = {
                3: [5 - x, -y, z + 2],  # two quarter turns; the first takes 5 along y to -5 along x
                0: [10 - y, x, z + 2],
                4: [10 - y, x, z + 2],
                1: [x, -y, 10 - z],
                2: [x, -y, 10 - z],
            }[number]
            np.testing.assert_allclose(found[number].origin, wanted, atol=PLACE)
            assert found[number].name == f"p{number}"

    def test_may_be_deep(self, path):
        """Clause 30.74: 200 groups, each 1 mm further."""
        document = json.loads(path.read_text())
        shown = document["detector"][0]
        step = {**shown["hierarchy"], "origin": [1.0, 0.0, 0.0]}
        node = copy.deepcopy(step)
        for _ in range(199):
            node = {**step, "children": [node]}
        shown["hierarchy"] = node
        path.write_text(json.dumps(document))
        found = read_expt(path).instrument.panels
        for one, panel in zip(found, self.INSTRUMENT.panels, strict=True):
            np.testing.assert_allclose(one.origin, panel.origin + np.array([200.0, 0, 0]), atol=PLACE)

    def test_may_be_missing(self, path):
        """Clause 30.74."""
        document = json.loads(path.read_text())
        del document["detector"][0]["hierarchy"]
        path.write_text(json.dumps(document))
        assert_same_panels(read_expt(path).instrument, self.INSTRUMENT)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"image_size": [6, 5]}, r"panel 0 \(p0\) and panel 2 \(p2\) differ in size"),
            ({"pixel_size": [0.1, 0.1]}, r"panel 0 \(p0\) and panel 2 \(p2\) differ in size of the pixels"),
            ({"pixel_size": [0.075, 0.1]}, r"not square \(0.075 x 0.1 mm in panel 2 \(p2\)\)"),
            ({"gain": 2.0}, "differ in gain"),
            ({"pedestal": 1.0}, "differ in pedestal"),
            ({"thickness": 0.3}, "differ in thickness"),
            ({"mu": 3.0}, "differ in attenuation"),
            ({"px_mm_strategy": {"type": "ParallaxCorrectedPxMmStrategy"}}, "differ in parallax"),
            ({"origin": [1.0, 2.0]}, "no vector of three"),
            ({"image_size": "wide"}, "differ in size|not what it should be"),
            ({"slow_axis": [1.0, 1.0, 1.0], "fast_axis": [1.0, 0, 0]}, "not at right angles"),
        ],
    )
    def test_panels_that_differ_are_refused(self, path, changes, message):
        """Clauses 30.74 and 30.96."""
        document = json.loads(path.read_text())
        document["detector"][0]["panels"][2].update(changes)
        path.write_text(json.dumps(document))
        with pytest.raises(NumbraggError, match=message) as caught:
            read_expt(path)
        assert str(path) in str(caught.value)

    def test_must_hold_each_panel_once(self, path):
        """Clause 30.74."""
        text = path.read_text()
        for change, message in (
            (lambda children: children.pop(3), r"panel 3 \(p3\) stands in no group"),
            (lambda children: children.append({"panel": 1}), "panel 1 stands twice"),
            (lambda children: children.append({"panel": -1}), "panel -1 stands twice|not what"),
            (lambda children: children.append({"panel": 9}), "not what it should be"),
        ):
            document = json.loads(text)
            change(document["detector"][0]["hierarchy"]["children"])
            path.write_text(json.dumps(document))
            with pytest.raises(NumbraggError, match=message):
                read_expt(path)

    def test_trust_the_smallest_of_the_largest_counts(self, path):
        """Clause 30.96."""
        document = json.loads(path.read_text())
        document["detector"][0]["panels"][2]["trusted_range"] = [-1.0, 1000.0]
        path.write_text(json.dumps(document))
        assert read_expt(path).instrument.saturation == 1000.0

    def test_names_the_panels_that_have_none(self, tmp_path):
        """Clause 30.70."""
        panels = [dataclasses.replace(panel, name="") for panel in self.INSTRUMENT.panels]
        write_expt(tmp_path / "y.expt", dataclasses.replace(self.INSTRUMENT, panels=tuple(panels)))
        document = json.loads((tmp_path / "y.expt").read_text())
        assert {panel["name"] for panel in document["detector"][0]["panels"]} == {"Panel"}
        assert {panel.name for panel in read_expt(tmp_path / "y.expt").instrument.panels} == {""}


def test_formats_of_one_panel_refuse_several(tmp_path):
    """Clause 30.97."""
    several = detector(2)
    pixels = np.zeros(several.shape, np.uint16)
    with pytest.raises(NumbraggError, match=r"x\.cbf: CBF holds one panel; write \.h5"):
        write_cbf(tmp_path / "x.cbf", pixels, several)
    with pytest.raises(NumbraggError, match="CBF holds one panel"):
        write_cbf(tmp_path / "x.cbf", pixels[0], several)
    with pytest.raises(NumbraggError, match=r"x\.img: SMV holds one panel; write \.h5"):
        write_smv(tmp_path / "x.img", pixels, {})
    assert not list(tmp_path.iterdir())


FLAGS = "-cell 30 40 50 90 90 90 -default_F 20 -N 4 -dmin 2 -oversample 1 -fluence 1e28 -seed 3"


class TestCommand:
    @pytest.fixture(autouse=True)
    def in_a_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_expt("d.expt", detector(3, n_fast=20, n_slow=16, pixel_size=0.8))

    def job(self, words=""):
        return build_job([*FLAGS.split(), *words.split()], geometry="d.expt")

    def test_default_names_become_nxmx(self):
        """Clauses 30.80 and 30.81."""
        outputs = for_formats(self.job(), FileOptions(), FLAGS.split()).outputs
        assert (outputs.noise_file, outputs.int_file, outputs.adc_offset) == ("noiseimage.h5", "intimage.h5", 0.0)

    @pytest.mark.parametrize(
        ("words", "files", "message"),
        [
            ("-noisefile n.img", FileOptions(), r"n\.img: SMV holds one panel; write \.h5 \(NXmx\) or -floatfile"),
            ("-noisefile n", FileOptions(), "n: SMV holds one panel"),
            ("-intfile i.cbf", FileOptions(), r"i\.cbf: CBF holds one panel"),
            ("", FileOptions(format="cbf"), r"noiseimage\.cbf: CBF holds one panel"),
            ("-noisefile n.h5", FileOptions(format="smv"), r"n\.h5: SMV holds one panel"),
        ],
    )
    def test_other_formats_are_refused_before_the_work(self, words, files, message):
        """Clause 30.80."""
        with pytest.raises(NumbraggError, match=message):
            for_formats(self.job(words), files, [*FLAGS.split(), *words.split()])

    def test_a_name_that_was_given_stays(self):
        """Clause 30.80: --format NXmx under any name."""
        words = "-noisefile n.img"
        outputs = for_formats(self.job(words), FileOptions(format="nxmx"), words.split()).outputs
        assert (outputs.noise_file, outputs.int_file) == ("n.img", "intimage.h5")

    def test_counts_are_written_with_gaps_and_an_expt(self):
        """Clauses 30.75, 30.82 and 30.83."""
        job = self.job()
        job = dataclasses.replace(
            job, experiment=dataclasses.replace(job.experiment, mask=np.arange(960).reshape(3, 16, 20) % 7 > 0)
        )
        active = measured_pixels(job)
        counts = np.arange(960, dtype=np.uint16).reshape(3, 16, 20)
        assert (with_gaps(counts, active) == np.where(np.arange(960) % 7, np.arange(960), -1).reshape(3, 16, 20)).all()
        assert write_counts("n.h5", counts, job, FileOptions(expt="geometry")) == ["n.h5", "n.expt"]
        assert (read_nxmx("n.h5", 0) == counts).all()
        with h5py.File("n.h5") as file:
            mask = file["/entry/instrument/detector/pixel_mask"][()]
        assert ((mask.reshape(3, 16, 20) == 0) == active).all()
        assert_same_panels(read_expt("n.expt").instrument, read_nxmx_instrument("n.h5"))

    def test_series_is_nxmx_and_is_taken_up_again(self):
        """Clauses 20.40 to 20.46 and 30.80."""
        words = f"simulate --geometry d.expt --images 11 --osc-per-image 0.5 {FLAGS} -noprogress"
        result = run(words)
        assert result.status == 0, result.err
        assert set(Path().glob("image*")) == {
            Path(name) for name in ("image.h5", "image.expt", "image_data_000001.h5", "image_data_000002.h5")
        }
        stack = read_nxmx("image.h5")
        assert stack.shape == (11, 3, 16, 20)
        assert stack.max() > 0
        assert (read_nxmx("image_data_000002.h5", 0) == stack[10]).all()
        assert_same_panels(read_nxmx_instrument("image.h5"), read_expt("image.expt").instrument)
        Path("image_data_000002.h5").unlink()
        result = run(words)
        assert "1 images simulated, 10 were there" in result.out
        assert (read_nxmx("image.h5") == stack).all()

    @pytest.mark.parametrize("word", ["-noisefile s_#####.cbf", "-noisefile s.img", "--format smv"])
    def test_series_of_other_formats_is_refused_before_the_work(self, word):
        """Clause 30.80."""
        result = run(f"simulate --geometry d.expt --images 2 --osc-per-image 0.5 {FLAGS} -noprogress {word}")
        assert result.status == 2
        assert "holds one panel; write .h5" in result.err
        assert [path.name for path in Path().iterdir()] == ["d.expt"]

    def test_single_image(self):
        """Clause 30.80."""
        result = run(f"simulate --geometry d.expt {FLAGS} -noprogress -nopgm")
        assert result.status == 0, result.err
        assert read_nxmx("noiseimage.h5").shape == (1, 3, 16, 20)
        assert read_nxmx("intimage.h5").shape == (1, 3, 16, 20)
