"""CrystFEL geometry of several panels (specs/30-formats.md, 30.93, 30.95 and 30.96)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_files import ROUNDING
from refusals import refusal

from numbragg.errors import NumbraggError
from numbragg.io.crystfel import read_geom

GEOM = """\
; Jungfrau-like: two modules of two halves
photon_energy = 9500 eV
adu_per_eV = 0.0001
clen = 0.12
coffset = 0.0005
res = 13333.3   ; pixels per metre
data = /data/JF/images
dim0 = %
dim1 = ss
dim2 = fs
mask = /data/JF/mask
mask_good = 0x01
rigid_group_m0 = m0a0,m0a1
rigid_group_m1 = m1a0,m1a1
rigid_group_collection_modules = m0,m1
bad_stop/min_x = -20
bad_stop/max_x = 20
bad_stop/min_y = -20
bad_stop/max_y = 20

m0a0/min_fs = 0
m0a0/max_fs = 255
m0a0/min_ss = 0
m0a0/max_ss = 127
m0a0/corner_x = -300.5
m0a0/corner_y = 200.25
m0a0/fs = +1.000000x +0.000100y
m0a0/ss = -0.000100x +1.000000y

m0a1/min_fs = 256
m0a1/max_fs = 511
m0a1/min_ss = 0
m0a1/max_ss = 127
m0a1/corner_x = -42.5
m0a1/corner_y = 200.3
m0a1/fs = +1.000000x +0.000100y
m0a1/ss = -0.000100x +1.000000y
m0a1/coffset = 0.00075

coffset = 0.001
clen = 0.13
m1a0/min_fs = 0
m1a0/max_fs = 255
m1a0/min_ss = 128
m1a0/max_ss = 255
m1a0/corner_x = 10
m1a0/corner_y = -20.5
m1a0/fs = -y
m1a0/ss = x

m1a1/min_fs = 256
m1a1/max_fs = 511
m1a1/min_ss = 128
m1a1/max_ss = 255
m1a1/corner_x = 140.25
m1a1/corner_y = -20.5
m1a1/fs = -0.999962y +0.008727z
m1a1/ss = x
m1a1/clen = 121.5 mm
photon_energy = 9000 eV
"""


class TestGeom:
    @pytest.fixture
    def path(self, tmp_path):
        (tmp_path / "jf.geom").write_text(GEOM)
        return tmp_path / "jf.geom"

    def test_places_each_panel(self, path):
        """Clause 30.93: by hand; z is clen + coffset in mm, where what stands alone holds for the panels after it."""
        found = read_geom(path)
        assert found.shape == (4, 128, 256)
        assert [panel.name for panel in found.panels] == ["m0a0", "m0a1", "m1a0", "m1a1"]
        pixel = 1000 / 13333.3
        assert found.pixel_size == pytest.approx(pixel, rel=ROUNDING)
        corners = [[-300.5, 200.25], [-42.5, 200.3], [10, -20.5], [140.25, -20.5]]
        distances = [120.5, 120.75, 131.0, 122.5]
        axes = [
            ([1, 1e-4, 0], [-1e-4, 1, 0]), ([1, 1e-4, 0], [-1e-4, 1, 0]), ([0, -1, 0], [1, 0, 0]),
            ([0, -0.999962, 0.008727], [1, 0, 0]),
        ]  # fmt: skip
        for panel, corner, distance, (fast, slow) in zip(found.panels, corners, distances, axes, strict=True):
            np.testing.assert_allclose(panel.origin, [*(np.array(corner) * pixel), distance], rtol=ROUNDING)
            np.testing.assert_allclose(panel.fast_axis, fast / np.linalg.norm(fast), atol=ROUNDING)
            np.testing.assert_allclose(panel.slow_axis, slow / np.linalg.norm(slow), atol=ROUNDING)
        np.testing.assert_allclose(found.wavelength, 12398.42 / 9000)
        # Where the beam passes nearest to the centre of a panel: m1a0, from (0.75, -1.54) to (10.35, -20.74) mm.
        np.testing.assert_allclose(found.origin, found.panels[2].origin)
        np.testing.assert_allclose([found.distance, *found.beam_centre], [131.0, -20.5 * pixel, -10 * pixel])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("m1a0/max_fs = 255", "m1a0/max_fs = 254"), r"m0a0 \(256 x 128 pixels\) and m1a0 \(255 x 128\) differ"),
            (("m1a0/max_fs = 255", "m1a0/max_fs = 255\nm1a0/res = 10000"), r"m0a0 and m1a0 differ in res \(13333.3 a"),
            (
                ("m1a0/max_fs = 255", "m1a0/max_fs = 255\nm1a0/adu_per_photon = 3"),
                r"m0a0 and m1a0 differ in adu_per_photon \(1 and 3\)",
            ),
            (("m1a0/corner_y = -20.5\n", ""), "the panel m1a0 has no corner_y"),
            (("m1a0/ss = x", "m1a0/ss = -y"), "axis of 'm1a0' are not at right angles"),
            (("m1a1/clen = 121.5 mm", "m1a1/clen = 121.5 ft"), "line 59: clen must be a number"),
        ],
    )
    def test_with_panels_that_differ_is_refused(self, path, change, message):
        """Clauses 30.95 and 30.96."""
        assert GEOM.count(change[0]) == 1
        path.write_text(GEOM.replace(*change))
        with pytest.raises(NumbraggError, match=message) as caught:
            read_geom(path)
        assert str(path) in str(caught.value)

    @settings(max_examples=60, deadline=None)
    @given(cut=st.integers(0, len(GEOM)), junk=st.text(max_size=8), keep=st.booleans())
    @pytest.mark.filterwarnings("ignore")
    def test_never_ends_in_a_traceback(self, tmp_path_factory, cut, junk, keep):
        """Clause 30.95."""
        path = tmp_path_factory.mktemp("geom") / "x.geom"
        path.write_text(GEOM[:cut] + junk + (GEOM[cut:] if keep else ""), encoding="utf-8")
        assert "x.geom" in (refusal(read_geom, path) or "x.geom")
