"""The trace of one pixel (specs/80-trace.md)."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import random_table, small_experiment
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from naive import SHAPES
from test_kernel import RUNNING_KINDS, experiments, some_quirks

from numbragg import cli
from numbragg.errors import NumbraggError
from numbragg.kernels.lattice_axes import grating, round_sign
from numbragg.models.beam import CLASSICAL_RADIUS_SQUARED, SourceTable
from numbragg.models.experiment import Roi
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.models.sampling import Sampling
from numbragg.simulation import simulate
from numbragg.trace_files import (
    LISTS,
    common_quantities,
    format_trace,
)
from numbragg.tracing import MAX_TERMS, trace

OF_THE_MAXIMUM = 1e-11
"""As for the kernel against its oracle: compiled code fuses multiplications and additions, Python does not."""

BY_HAND = 1e-11
"""A dozen roundings of 1e-16, enlarged by pi N h of some hundreds and by sines down to a tenth."""

ROUNDING = 1e-13
"""A few operations on doubles."""

SPEC = Path(__file__).parents[1] / "specs" / "80-trace.md"


def rich_experiment(**changes):
    """Several of everything."""
    return small_experiment(
        **{
            "crystal": {"mosaic_spread": 0.6, "mosaic_domains": 2},
            "beam": {
                "polarization": 0.8,
                "sources": SourceTable(np.array([[-1.0, 0.0, 0.0], [-1.0, 0.01, 0.0]]), np.array([1.0, 3.0])),
            },
            "detector": {"thickness": 300.0, "attenuation_depth": 200.0, "layers": 2, "rot_y": 4.0},
            "oversample": 2,
            "scan": {"start": 0.0},
            "water_size": 20.0,
            **changes,
        }
    )


# An orthorhombic crystal of 30 x 40 x 50 A with its axes along x, y, z, turned about z; beam along x, fast along z,
# slow along -y: every quantity in a line of school mathematics.
CELL, CELLS, PIXEL, DISTANCE = (30.0, 40.0, 50.0), (7, 5, 4), 1.3e-3, 0.060
BEAM_FAST, BEAM_SLOW, STEP_DEG, FLUENCE, REACH = 10.4e-3, 8.3e-3, 0.5, 1e24, 12


def plain_experiment(quirks):
    return small_experiment(
        crystal={
            "cell": (*CELL, 90.0, 90.0, 90.0),
            "misset": (0.0, 0.0, 0.0),
            "n_cells": CELLS,
            "structure_factors": random_table(REACH),
        },
        beam={"fluence": FLUENCE, "wavelength": 1.1},
        scan={"start": 0.0, "sampling": Sampling(3 * STEP_DEG, 3)},
        quirks=quirks,
    )


def by_hand(slow, fast, phi_of_steps):
    """The chain for one pixel; ``phi_of_steps`` are the degrees at which the axes really stand in each step."""
    position = [DISTANCE, BEAM_SLOW - (slow + 0.5) * PIXEL, (fast + 0.5) * PIXEL - BEAM_FAST]
    r = math.sqrt(sum(x * x for x in position))
    d = [x / r for x in position]
    wavelength = 1.1e-10
    q = [(d[0] - 1.0) / wavelength, d[1] / wavelength, d[2] / wavelength]
    omega = PIXEL**2 / r**2 * DISTANCE / r
    a, b, c = CELL
    values = random_table(REACH).values
    terms = []
    for phi in (math.radians(degrees) for degrees in phi_of_steps):
        rot_a = [a * math.cos(phi), a * math.sin(phi), 0.0]
        rot_b = [-b * math.sin(phi), b * math.cos(phi), 0.0]
        rot_c = [0.0, 0.0, c]
        hkl = [sum(x * 1e-10 * y for x, y in zip(axis, q, strict=True)) for axis in (rot_a, rot_b, rot_c)]
        rounded = [math.ceil(index - 0.5) for index in hkl]
        along = [math.sin(math.pi * n * h) / math.sin(math.pi * h) for n, h in zip(CELLS, hkl, strict=True)]
        f_cell = values[rounded[0] + REACH, rounded[1] + REACH, rounded[2] + REACH]
        terms.append(
            {
                "rot_a_angstroms": rot_a,
                "rot_b_angstroms": rot_b,
                "rot_c_angstroms": rot_c,
                "hkl_frac": hkl,
                "hkl_rounded": rounded,
                "F_latt_a": along[0],
                "F_latt_b": along[1],
                "F_latt_c": along[2],
                "F_latt": math.prod(along),
                "F_cell": f_cell,
                "term": (f_cell * math.prod(along)) ** 2,
            }
        )
    total = sum(term["term"] for term in terms)
    polar = 0.5 * (1.0 + d[0] ** 2)
    photons = CLASSICAL_RADIUS_SQUARED * FLUENCE * total / 3 * polar * omega
    return {
        "pixel_slow_fast": [slow, fast],
        "pix0_vector_meters": [DISTANCE, BEAM_SLOW, -BEAM_FAST],
        "fdet_vec": [0.0, 0.0, 1.0],
        "sdet_vec": [0.0, -1.0, 0.0],
        "odet_vec": [1.0, 0.0, 0.0],
        "pixel_pos_meters": position,
        "R_distance_meters": r,
        "omega_pixel_sr": omega,
        "close_distance_meters": DISTANCE,
        "obliquity_factor": DISTANCE / r,
        "diffracted_vec": d,
        "incident_vec": [1.0, 0.0, 0.0],
        "lambda_meters": wavelength,
        "lambda_angstroms": 1.1,
        "scattering_vec_A_inv": q,
        "rot_a_star_A_inv": [1 / a, 0.0, 0.0],
        "rot_b_star_A_inv": [0.0, 1 / b, 0.0],
        "rot_c_star_A_inv": [0.0, 0.0, 1 / c],
        **{name: value for name, value in terms[0].items() if name != "term"},
        "terms": terms,
        "I_before_scaling": total,
        "I_captured": total,
        "r_e_meters": math.sqrt(CLASSICAL_RADIUS_SQUARED),
        "r_e_sqr": CLASSICAL_RADIUS_SQUARED,
        "fluence_photons_per_m2": FLUENCE,
        "steps": 3,
        "oversample_thick": 0,
        "oversample_polar": 0,
        "oversample_omega": 0,
        "capture_fraction": 1.0,
        "polar": polar,
        "omega_pixel": omega,
        "cos_2theta": d[0],
        "I_background": 0.0,
        "I_pixel_final": photons,
        "floatimage_accumulated": float(np.float32(photons)),
    }


def assert_close(name, ours, value):
    """To BY_HAND of a number, or of the length of a vector."""
    np.testing.assert_allclose(ours, value, rtol=0, atol=BY_HAND * np.linalg.norm(value), err_msg=name)


class TestByHand:
    """80.2 to 80.8: every quantity of a small case, written out."""

    @pytest.mark.parametrize(
        ("quirks", "pixel", "phi", "inherited"),
        [
            pytest.param(NO_QUIRKS, (5, 9), (0.0, 0.5, 1.0), -1, id="spec"),
            pytest.param(Quirks.all(), (5, 9), (1.0, 0.5, 1.0), 2, id="c inherits the last step"),
            pytest.param(Quirks.all(), (0, 0), (0.0, 0.5, 1.0), -1, id="c begins unrotated"),
            pytest.param(Quirks.all(threads=3), (4, 0), (0.0, 0.5, 1.0), -1, id="c begins a block of rows"),
            pytest.param(Quirks.all(threads=3), (3, 16), (1.0, 0.5, 1.0), 2, id="c ends a block of rows"),
        ],
    )
    def test_every_quantity(self, quirks, pixel, phi, inherited):
        traced, expected = trace(plain_experiment(quirks), *pixel), by_hand(*pixel, phi)
        assert traced["inherited_phi_tic"] == inherited
        for name, value in expected.items():
            if name != "terms":
                assert_close(name, traced[name], value)
        for ours, theirs in zip(traced["terms"], expected["terms"], strict=True):
            for name, value in theirs.items():
                assert_close(name, ours[name], value)
        sums = np.cumsum([term["term"] for term in expected["terms"]])
        np.testing.assert_allclose([term["running_sum"] for term in traced["terms"]], sums, rtol=BY_HAND)
        assert [term["phi_deg"] for term in traced["terms"]] == pytest.approx([0.0, 0.5, 1.0], abs=ROUNDING)
        assert set(traced) - set(expected) == {"inherited_phi_tic", "sub_pixels", "sources"}


class TestSimulation:
    """80.9: the last quantity is the pixel that simulate gives."""

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
    @given(experiments(quirks=st.one_of(st.just(NO_QUIRKS), some_quirks)), st.data())
    def test_final_pixel_equals_the_simulated_one(self, experiment, data):
        active = experiment.active_pixels()
        assume(len(active) > 0)
        image = simulate(experiment, threads=1)
        slow, fast = divmod(int(data.draw(st.sampled_from(active.tolist()))), experiment.detector.n_fast)
        traced = trace(experiment, slow, fast)
        assert traced["I_pixel_final"] == pytest.approx(image[slow, fast], rel=0, abs=OF_THE_MAXIMUM * image.max())

    @pytest.mark.parametrize("quirks", [NO_QUIRKS, Quirks.all()], ids=["spec", "c"])
    @pytest.mark.parametrize(
        ("shape", "interpolate", "each"),
        [
            *((shape, True, False) for shape in SHAPES),
            *((shape, interpolate, True) for shape, interpolate in RUNNING_KINDS),
        ],
    )
    def test_brightest_pixel_with_everything_switched_on(self, shape, interpolate, each, quirks):
        experiment = rich_experiment(
            crystal={"shape": shape, "interpolate": interpolate, "mosaic_spread": 0.6, "mosaic_domains": 2},
            detector={"thickness": 300.0, "attenuation_depth": 200.0, "layers": 2, "curved": True},
            oversample_omega=each,
            oversample_polarization=each,
            oversample_thickness=each,
            quirks=quirks,
        )
        image = simulate(experiment, threads=1)
        slow, fast = np.unravel_index(np.argmax(image), image.shape)
        traced = trace(experiment, int(slow), int(fast))
        assert traced["I_pixel_final"] == pytest.approx(image.max(), rel=OF_THE_MAXIMUM)


class TestRecords:
    """80.5 to 80.7: one record for each sub-pixel, source and term."""

    def test_counts_and_order(self):
        traced = trace(rich_experiment(), 6, 8)
        assert [len(traced[name]) for name in LISTS] == [2 * 4, 2 * 4 * 2, 2 * 4 * 2 * 3 * 2]
        order = [
            [term[name] for name in ("layer", "sub_slow", "sub_fast", "source", "phi_tic", "domain")]
            for term in traced["terms"]
        ]
        assert order == sorted(order)
        assert len({tuple(index) for index in order}) == len(order)

    @pytest.mark.parametrize("experiment", [rich_experiment(), rich_experiment(quirks=Quirks.all())], ids=["spec", "c"])
    def test_terms_add_up(self, experiment):
        """The running sum ends at I_before_scaling, and each term is (F_cell F_latt)^2."""
        traced = trace(experiment, 6, 8)
        for term in traced["terms"]:
            assert term["term"] == pytest.approx((term["F_cell"] * term["F_latt"]) ** 2, rel=ROUNDING)
            along = term["F_latt_a"] * term["F_latt_b"] * term["F_latt_c"]
            assert term["F_latt"] == pytest.approx(along, rel=ROUNDING)
        assert traced["terms"][-1]["running_sum"] == pytest.approx(traced["I_before_scaling"], rel=ROUNDING)

    def test_spec_photons_follow_from_the_printed_factors(self):
        """80.8: layers are weighed by what they capture, sources by their weights."""
        traced = trace(rich_experiment(water_size=0.0), 6, 8)
        capture = {
            place["layer"]: place["capture_fraction"]
            for place in traced["sub_pixels"]
            if place["sub_slow"] == place["sub_fast"] == 0
        }
        weight = {source["source"]: source["weight"] for source in traced["sources"]}
        captured = sum(term["term"] * weight[term["source"]] * capture[term["layer"]] for term in traced["terms"])
        scale = traced["r_e_sqr"] * traced["fluence_photons_per_m2"] / traced["steps"]
        assert traced["I_captured"] == pytest.approx(captured, rel=ROUNDING)
        photons = captured * scale * traced["polar"] * traced["omega_pixel"]
        assert traced["I_pixel_final"] == pytest.approx(photons, rel=ROUNDING)
        assert weight == {0: 0.5, 1: 1.5}

    def test_water(self):
        dry, wet = (trace(rich_experiment(water_size=size), 6, 8) for size in (0.0, 20.0))
        assert dry["I_background"] == 0.0
        assert wet["I_background"] > 0.0
        assert wet["I_pixel_final"] == pytest.approx(dry["I_pixel_final"] + wet["I_background"], rel=ROUNDING)

    def test_carried_orientation_of_each_term(self):
        """Q01: a step at phi = 0 stands where the sweep before it ended, within a pixel and between pixels."""
        experiment = small_experiment(
            beam={"dispersion": Sampling(2.0, 2)}, scan={"start": 0.0}, quirks=Quirks.all(threads=4)
        )
        first, next_one = trace(experiment, 3, 0), trace(experiment, 3, 1)
        assert [term["axes_phi_tic"] for term in first["terms"]] == [-1, 1, 2, 2, 1, 2]
        assert [term["axes_phi_tic"] for term in next_one["terms"]] == [2, 1, 2, 2, 1, 2]
        assert next_one["terms"][0]["rot_a_angstroms"] == next_one["terms"][2]["rot_a_angstroms"]
        spec = trace(replace(experiment, quirks=NO_QUIRKS), 3, 1)
        assert [term["axes_phi_tic"] for term in spec["terms"]] == [0, 1, 2, 0, 1, 2]

    def test_culled_sources_have_no_terms(self):
        traced = trace(small_experiment(d_min=30.0), 0, 0)
        assert [source["culled"] for source in traced["sources"]] == [1]
        assert traced["terms"] == []
        assert traced["I_pixel_final"] == 0.0
        assert "hkl_frac" not in traced
        assert "F_cell" not in format_trace(traced)

    def test_last_factors_with_oversampling(self):
        """80.8: with a factor evaluated for each sub-pixel, the printed one is the last."""
        experiment = rich_experiment(oversample_omega=True, oversample_polarization=True, oversample_thickness=True)
        traced = trace(experiment, 6, 8)
        last, first = traced["sub_pixels"][-1], traced["sub_pixels"][0]
        assert traced["omega_pixel"] == last["omega_pixel_sr"] != first["omega_pixel_sr"]
        assert traced["polar"] == traced["sources"][-1]["polar"] != traced["sources"][0]["polar"]
        assert traced["capture_fraction"] == last["capture_fraction"]
        once = trace(rich_experiment(), 6, 8)
        assert once["omega_pixel"] == once["sub_pixels"][0]["omega_pixel_sr"]
        assert once["polar"] == once["sources"][0]["polar"]


@pytest.mark.parametrize("form", [lambda f: f, lambda f: f.py_func], ids=["compiled", "python"])
class TestSigns:
    """80.6: F_latt along each axis is sin(pi N h) / sin(pi h), F_latt of a round crystal may be negative."""

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(h=st.floats(-40.0, 40.0), n=st.integers(1, 60))
    def test_grating_is_the_quotient_of_sines(self, form, h, n):
        assume(abs(h - round(h)) > 1e-3)
        expected = math.sin(math.pi * n * h) / math.sin(math.pi * h)
        # The sines of pi N h lose what pi N h rounds.
        allowed = 4e-16 * math.pi * n * (abs(h) + 1.0) * n / abs(math.sin(math.pi * h))
        assert form(grating)(h, float(n)) == pytest.approx(expected, rel=0, abs=allowed)

    @pytest.mark.parametrize(
        ("h", "n", "expected"), [(0, 5, 5), (3, 5, 5), (3, 4, -4), (-7, 6, -6), (2, 4, 4), (9, 1, 1)]
    )
    def test_grating_at_a_lattice_point(self, form, h, n, expected):
        assert form(grating)(float(h), float(n)) == pytest.approx(expected, rel=ROUNDING)

    def test_round_sign_follows_sinc3(self, form):
        signs = set()
        for d in np.random.default_rng(5).uniform(-0.5, 0.5, (50, 3)):
            x = math.pi * math.sqrt(1.3 * ((5 * d[0]) ** 2 + (4 * d[1]) ** 2 + (3 * d[2]) ** 2))
            sign = math.copysign(1.0, 3.0 * (math.sin(x) / x - math.cos(x)) / x**2)
            assert form(round_sign)(*d, 5.0, 4.0, 3.0, 1.3) == sign
            signs.add(sign)
        assert signs == {-1.0, 1.0}
        assert form(round_sign)(0.0, 0.0, 0.0, 5.0, 4.0, 3.0, 1.0) == 1.0


class TestRefusals:
    """80.10: what is not simulated has no trace."""

    @pytest.mark.parametrize(("slow", "fast"), [(12, 0), (0, 17), (-1, 0), (0, -1)])
    def test_off_the_detector(self, slow, fast):
        with pytest.raises(NumbraggError, match=r"does not lie on the detector of 12 x 17"):
            trace(small_experiment(), slow, fast)

    def test_outside_the_region_of_interest(self):
        experiment = small_experiment(roi=Roi(2, 9, 3, 5))
        for slow, fast in [(2, 2), (6, 2), (3, 1), (3, 10)]:
            with pytest.raises(NumbraggError, match=r"outside the region of interest \(slow 3 to 5, fast 2 to 9\)"):
                trace(experiment, slow, fast)
        assert trace(experiment, 3, 9)["pixel_slow_fast"] == [3, 9]

    def test_masked(self):
        mask = np.ones((12, 17), dtype=bool)
        mask[4, 5] = False
        with pytest.raises(NumbraggError, match="pixel slow 4 fast 5 is masked"):
            trace(small_experiment(mask=mask), 4, 5)

    def test_complex_parameters(self):
        with pytest.raises(NumbraggError, match="real"):
            trace(small_experiment(beam={"wavelength": 1.0 + 1e-30j}), 0, 0)

    def test_too_many_terms(self):
        experiment = small_experiment(scan={"sampling": Sampling(1.0, MAX_TERMS + 1)})
        with pytest.raises(NumbraggError, match="100001 terms"):
            trace(experiment, 0, 0)


FLAGS = [
    *("-cell", "37", "42", "51", "82", "97", "104", "-misset", "10", "20", "30", "-N", "5", "-default_F", "30"),
    *("-detpixels", "16", "-pixel", "1.5", "-distance", "60", "-phi", "0", "-osc", "1", "-phisteps", "3"),
]


class TestCommand:
    """80.19 to 80.21: ``numbragg trace``."""

    @pytest.fixture
    def run(self, capsys, monkeypatch):
        monkeypatch.setitem(cli.COMMANDS, "trace", "")

        def run(*words):
            status = cli.main(["trace", *words])
            return status, *capsys.readouterr()

        return run

    def test_text(self, run):
        status, out, _ = run("-trace_pixel", "3", "5", *FLAGS)
        assert status == 0
        assert out.splitlines()[0] == "pixel_slow_fast 3 5"
        assert "terms[2].phi_tic 2" in out.splitlines()

    def test_last_pixel_holds(self, run):
        _, out, _ = run("-trace_pixel", "3", "5", *FLAGS, "-trace_pixel", "4", "6")
        assert out.splitlines()[0] == "pixel_slow_fast 4 6"

    def test_json_to_standard_output_and_to_a_file(self, run, tmp_path):
        _, out, _ = run("-trace_pixel", "3", "5", *FLAGS, "--json", "-")
        status, nothing, _ = run("-trace_pixel", "3", "5", *FLAGS, f"--json={tmp_path / 'trace.json'}")
        assert (status, nothing) == (0, "")
        assert json.loads(out) == json.loads((tmp_path / "trace.json").read_text())
        assert json.loads(out)["pixel_slow_fast"] == [3, 5]

    def test_against(self, run, tmp_path):
        path = str(tmp_path / "trace.txt")
        words = ["-trace_pixel", "3", "5", *FLAGS]
        Path(path).write_text(run(*words)[1])
        status, out, _ = run(*words, "--against", path)
        assert (status, out.split(":")[0]) == (0, "agrees")
        status, out, _ = run(*words, "--compat", "c", "--against", path)
        assert (status, out.count("\n")) == (3, 1)
        assert out.startswith("diverges at inherited_phi_tic: 2 here, -1 there")
        status, out, err = run(*words, "--compat", "c", "--json", "-", "--against", path)
        assert status == 3
        assert json.loads(out)["inherited_phi_tic"] == 2
        assert "diverges at" in err

    def test_emulated_threads(self, run):
        words = ["-trace_pixel", "8", "0", *FLAGS, "--compat", "c", "--json", "-"]
        inherited = [json.loads(run(*words, "--c-threads", n)[1])["inherited_phi_tic"] for n in ("1", "2")]
        assert inherited == [2, -1]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (FLAGS, "give -trace_pixel SLOW FAST"),
            (["-trace_pixel", "16", "0", *FLAGS], "does not lie on the detector of 16 x 16"),
            (["-trace_pixel", "3", "5", *FLAGS, "-roi", "0", "4", "0", "9"], "outside the region of interest"),
            (["-trace_pixel", "3"], "-trace_pixel takes 2 whole numbers"),
            (["-trace_pixel", "3", "5", *FLAGS, "--against", "no such file"], "cannot read no such file"),
            (["-trace_pixel", "3", "5", *FLAGS, "--against"], "--against takes a file name"),
            (["-trace_pixel", "3", "5", *FLAGS, "--json", "no/such/folder"], "cannot write"),
            (["-trace_pixel", "3", "5", *FLAGS, "--jsn", "x"], "unknown option --jsn"),
        ],
    )
    def test_bad_input_is_one_line(self, run, words, said):
        status, out, err = run(*words)
        assert (status, out) == (2, "")
        errors = [line for line in err.splitlines() if not line.startswith("note: ")]
        assert len(errors) == 1
        assert errors[0].startswith("numbragg: error: ")
        assert said in errors[0]

    def test_help(self, run):
        status, out, _ = run("--help")
        assert status == 0
        assert "--against FILE" in out


def test_specification_lists_every_quantity():
    """80.2 to 80.8 and 80.16 name all that a trace holds."""
    text, traced = SPEC.read_text(), trace(rich_experiment(), 6, 8)
    names = {name.rpartition(".")[2] for name, _, _ in common_quantities(traced, traced)} | set(LISTS)
    assert {name for name in names if f"`{name}`" not in text} == set()
