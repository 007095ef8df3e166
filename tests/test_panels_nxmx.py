"""NXmx files of several panels (specs/30-formats.md, 30.75 to 30.79 and 30.96 to 30.98)."""

import dataclasses

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_files import N_FAST, N_SLOW, PIXEL, PLACE, ROUNDING, assert_same_panels, detector, stack_of
from refusals import refusal

from numbragg.errors import NumbraggError
from numbragg.io.nxmx import TO_MCSTAS, count_nxmx_images, read_nxmx, read_nxmx_instrument, write_nxmx, write_nxmx_data
from numbragg.provenance import describe_file


class TestLayoutOfNxmx:
    INSTRUMENT = detector(4)

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "x.h5"

    def test_has_panels_below_each_other_one_chunk_a_panel(self, path):
        """Clauses 30.75 and 30.76, by h5py alone."""
        stack = stack_of(self.INSTRUMENT)
        active = np.ones(self.INSTRUMENT.shape, dtype=bool)
        active[2, 1, 3] = False
        write_nxmx(path, stack, self.INSTRUMENT, active=active)
        with h5py.File(path) as file:
            data = file["/entry/data/data"]
            assert (data.shape, data.chunks) == ((3, 4 * N_SLOW, N_FAST), (1, N_SLOW, N_FAST))
            group = file["/entry/instrument/detector"]
            assert "beam_center_x" not in group
            assert np.argwhere(group["pixel_mask"][()]).tolist() == [[2 * N_SLOW + 1, 3]]
            for number, panel in enumerate(self.INSTRUMENT.panels):
                module = group[f"module_{number:03d}"]
                assert module["data_origin"][()].tolist() == [number * N_SLOW, 0]
                assert module["data_size"][()].tolist() == [N_SLOW, N_FAST]
                assert module.attrs["numbragg_name"] == panel.name
                rows = slice(number * N_SLOW, (number + 1) * N_SLOW)
                assert (data[:, rows] == stack[:, number]).all()
                move, offset = group["transformations/translation"], module["module_offset"]
                place = move[()] * move.attrs["vector"] + offset[()] * offset.attrs["vector"]
                np.testing.assert_allclose(TO_MCSTAS @ place * 1e3, panel.origin, atol=PLACE)
                fast = module["fast_pixel_direction"]
                np.testing.assert_allclose(fast.attrs["vector"], TO_MCSTAS @ panel.fast_axis, atol=ROUNDING)
                assert fast[()] == pytest.approx(PIXEL * 1e-3)

    def test_is_what_another_reader_takes_it_for(self, path):
        """Clause 30.76."""
        nxmx = pytest.importorskip("nxmx")
        write_nxmx(path, stack_of(self.INSTRUMENT), self.INSTRUMENT)
        with h5py.File(path) as file:
            modules = nxmx.NXmx(file).entries[0].instruments[0].detectors[0].modules
            assert len(modules) == 4
            for module, panel in zip(modules, self.INSTRUMENT.panels, strict=True):
                chain = nxmx.get_dependency_chain(module.fast_pixel_direction.depends_on)
                origin = nxmx.get_cumulative_transformation(chain)[0, :3, 3]
                np.testing.assert_allclose(TO_MCSTAS @ origin, panel.origin, atol=PLACE)
                for axis in ("fast", "slow"):
                    found = getattr(module, f"{axis}_pixel_direction")
                    np.testing.assert_allclose(TO_MCSTAS @ found.vector, getattr(panel, f"{axis}_axis"), atol=ROUNDING)
                    assert found[()].to("mm").magnitude == pytest.approx(PIXEL)

    def test_lists_more_than_ten_panels_in_their_order(self, path):
        """Clause 30.79: HDF5 lists groups by the alphabet."""
        many = detector(12)
        stack = stack_of(many, 1)
        write_nxmx(path, stack, many)
        assert_same_panels(read_nxmx_instrument(path), many)
        assert (read_nxmx(path) == stack).all()

    def test_links_data_files(self, tmp_path, path):
        """Clause 30.78."""
        stack = stack_of(self.INSTRUMENT)
        parts = [write_nxmx_data(tmp_path / f"d{i}.h5", part) for i, part in enumerate((stack[:2], stack[2:]))]
        write_nxmx(path, parts, self.INSTRUMENT)
        assert (read_nxmx(path) == stack).all()
        assert (read_nxmx(path, 2) == stack[2]).all()
        assert (read_nxmx(tmp_path / "d0.h5") == stack[:2]).all()
        assert (read_nxmx(tmp_path / "d1.h5", 0) == stack[2]).all()

    def test_may_have_slabs_of_a_composite_image(self, path):
        """Clause 30.79: two by two modules with a gap between them, in another order than that of the image."""
        stack = stack_of(self.INSTRUMENT)
        write_nxmx(path, stack, self.INSTRUMENT)
        whole = np.full((3, 2 * N_SLOW + 1, 2 * N_FAST + 2), -1, np.int32)
        corners = [[0, N_FAST + 2], [N_SLOW + 1, 0], [0, 0], [N_SLOW + 1, N_FAST + 2]]
        with h5py.File(path, "r+") as file:
            del file["/entry/data/data"]
            for number, (slow, fast) in enumerate(corners):
                whole[:, slow : slow + N_SLOW, fast : fast + N_FAST] = stack[:, number]
                file[f"/entry/instrument/detector/module_{number:03d}/data_origin"][()] = (slow, fast)
            file["/entry/data/data"] = whole
        assert (read_nxmx(path) == stack).all()
        assert (read_nxmx(path, 1) == stack[1]).all()

    @pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 3, 1)])
    def test_may_have_a_dimension_for_panels(self, path, order):
        """Clause 30.79."""
        stack = stack_of(self.INSTRUMENT)
        write_nxmx(path, stack, self.INSTRUMENT)
        with h5py.File(path, "r+") as file:
            del file["/entry/data/data"]
            file["/entry/data/data"] = stack[:, np.argsort(order)]
            for number, place in enumerate(order):
                module = file[f"/entry/instrument/detector/module_{number:03d}"]
                del module["data_origin"], module["data_size"]
                module["data_origin"], module["data_size"] = (place, 0, 0), (1, N_SLOW, N_FAST)
        assert (read_nxmx(path) == stack).all()
        assert_same_panels(read_nxmx_instrument(path), self.INSTRUMENT)

    def test_of_one_panel_among_many_dimensions_is_that_of_one_panel(self, path):
        """Clause 30.98."""
        one = detector(1)
        stack = stack_of(one)
        write_nxmx(path, stack, one)
        with h5py.File(path, "r+") as file:
            del file["/entry/data/data"]
            file["/entry/data/data"] = stack[:, None]
            module = file["/entry/instrument/detector/module"]
            del module["data_origin"], module["data_size"]
            module["data_origin"], module["data_size"] = (0, 0, 0), (1, N_SLOW, N_FAST)
        assert (read_nxmx(path) == stack).all()
        assert read_nxmx_instrument(path).panels == ()

    def test_of_a_list_of_one_panel_is_that_of_one_panel_too(self, tmp_path, path):
        """Clause 30.98."""
        one = detector(1)
        listed = dataclasses.replace(one, panels=one.all_panels)
        stack = stack_of(listed)
        assert stack.shape == (3, 1, N_SLOW, N_FAST)
        write_nxmx(path, stack, listed)
        part = write_nxmx_data(tmp_path / "data.h5", stack)
        for file in (path, part.path):
            assert (read_nxmx(file) == stack[:, 0]).all()
        assert_same_panels(read_nxmx_instrument(path), one)

    def test_is_described_with_its_panels(self, path):
        """Clause 30.64."""
        write_nxmx(path, stack_of(self.INSTRUMENT), self.INSTRUMENT)
        assert "detector   4 panels of 6 x 4 pixels" in "\n".join(describe_file(path))

    def test_with_a_link_to_nowhere_is_read(self, path):
        """Clause 30.79."""
        stack = stack_of(self.INSTRUMENT)
        write_nxmx(path, stack, self.INSTRUMENT)
        with h5py.File(path, "r+") as file:
            file["/entry/instrument/detector/flatfield"] = h5py.ExternalLink("missing.h5", "/flatfield")
        assert (read_nxmx(path) == stack).all()
        assert_same_panels(read_nxmx_instrument(path), self.INSTRUMENT)

    def test_may_be_called_otherwise_and_turn_its_modules(self, path):
        """Clauses 30.79 and 30.98: a detector of another name, a rotation in the chain, an offset of the axis."""
        write_nxmx(path, stack_of(self.INSTRUMENT), self.INSTRUMENT)
        with h5py.File(path, "r+") as file:
            file.move("/entry/instrument/detector", "/entry/instrument/ELE_D0")
            group = file["/entry/instrument/ELE_D0"]
            arm = group["transformations"].create_dataset("arm", data=90.0)
            arm.attrs.update(
                {"transformation_type": "rotation", "vector": [0.0, 0, 1], "depends_on": ".", "units": "deg"}
            )
            for number in range(4):
                module = group[f"module_{number:03d}"]
                del module.attrs["numbragg_name"]
                module["module_offset"].attrs["depends_on"] = "/entry/instrument/ELE_D0/transformations/arm"
                for axis in ("fast", "slow"):
                    direction = module[f"{axis}_pixel_direction"]
                    direction.attrs["depends_on"] = "module_offset"
                    direction.attrs["offset"], direction.attrs["offset_units"] = [1.0, 0.0, 0.0], "mm"
        found = read_nxmx_instrument(path)
        turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z, in McStas's frame
        whole = self.INSTRUMENT.origin
        for number, (one, panel) in enumerate(zip(found.panels, self.INSTRUMENT.panels, strict=True)):
            place = TO_MCSTAS @ turn @ (TO_MCSTAS @ (panel.origin - whole) + [1.0, 0, 0])
            np.testing.assert_allclose(one.origin, place, atol=PLACE)
            np.testing.assert_allclose(one.slow_axis, TO_MCSTAS @ turn @ TO_MCSTAS @ panel.slow_axis, atol=ROUNDING)
            assert one.name == f"module_{number:03d}"

    def test_holds_a_mask_of_the_shape_of_the_image_only(self, path):
        """Clause 30.76."""
        with pytest.raises(NumbraggError, match=r"the shape \(4, 6\), not \(4, 4, 6\)"):
            write_nxmx(path, stack_of(self.INSTRUMENT), self.INSTRUMENT, active=np.ones((N_SLOW, N_FAST), bool))
        with pytest.raises(NumbraggError, match=r"\(image, 4, 4, 6\) are needed"):
            write_nxmx(path, np.zeros((N_SLOW, N_FAST), int), self.INSTRUMENT)
        assert not path.exists()


def first_module(name, values):
    def change(group):
        del group[f"module_000/{name}"]
        group[f"module_000/{name}"] = np.array(values)

    return change


def wide_pixels(group):
    for axis in ("fast", "slow"):
        group[f"module_002/{axis}_pixel_direction"][()] = 1e-4


def without_origin(group):
    del group["module_001/module_offset"]


FAULTY_MODULES = {
    "unequal": (first_module("data_size", [4, 5]), r"module_000 \(5 x 4 pixels\) and module_001 \(6 x 4\) differ"),
    "other pixels": (wide_pixels, r"pixels of module_000 \(0.075 mm\) and module_002 \(0.1 mm\) differ"),
    "no number": (first_module("data_size", [b"wide", b"high"]), "not what it should be"),
    "one number": (first_module("data_size", [4]), "no size of an image"),
    "negative": (first_module("data_origin", [-1, 0]), "no place in an image"),
    "several planes": (first_module("data_size", [2, 4, 6]), "no size of an image"),
    "mixed": (first_module("data_origin", [0, 0, 0]), "no place in an image"),
    "no offset": (without_origin, "an entry is missing"),
}


@pytest.mark.parametrize("fault", FAULTY_MODULES)
def test_a_fault_of_a_module_is_named(tmp_path, fault):
    """Clauses 30.79 and 30.96."""
    change, message = FAULTY_MODULES[fault]
    instrument = detector(3)
    path = tmp_path / "x.h5"
    write_nxmx(path, stack_of(instrument), instrument)
    with h5py.File(path, "r+") as file:
        change(file["/entry/instrument/detector"])
    with pytest.raises(NumbraggError, match=message) as caught:
        read_nxmx_instrument(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("place", [[3, 0], [0, 1], [12, 0]])
def test_a_module_off_the_image_is_refused(tmp_path, place):
    """Clause 30.79."""
    instrument = detector(3)
    path = tmp_path / "x.h5"
    write_nxmx(path, stack_of(instrument), instrument)
    with h5py.File(path, "r+") as file:
        file["/entry/instrument/detector/module_002/data_origin"][()] = [6 + place[0], place[1]]
    with pytest.raises(NumbraggError, match=r"x\.h5: the module module_002.* does not lie in an image of \(12, 6\)"):
        read_nxmx(path)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 60000))
def test_a_cut_nxmx_file_never_ends_in_a_traceback(tmp_path_factory, cut):
    """Clause 30.79."""
    path = tmp_path_factory.mktemp("cut") / "x.h5"
    instrument = detector(3)
    write_nxmx(path, stack_of(instrument), instrument, compression="none")
    data = path.read_bytes()
    path.write_bytes(data[: min(cut, len(data) - 1)])
    for read in (read_nxmx, read_nxmx_instrument, count_nxmx_images):
        assert "x.h5" in (refusal(read, path) or "x.h5")
