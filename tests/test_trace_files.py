"""Traces as files, and their comparison (specs/80-trace.md)."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import small_experiment
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace import rich_experiment

from numbragg.errors import NumbraggError
from numbragg.models.experiment import Scan
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.trace_files import (
    LISTS,
    TOLERANCES,
    Tolerance,
    common_quantities,
    compare_traces,
    format_trace,
    read_trace,
    trace_to_json,
)
from numbragg.tracing import trace


@pytest.fixture(scope="module")
def traced():
    return trace(rich_experiment(quirks=Quirks.all()), 6, 8)


def numbers_of(value):
    return value if isinstance(value, list) else [value]


class TestFiles:
    """80.11 to 80.14: traces as text and JSON."""

    def test_text_round_trip_keeps_15_digits(self, traced, tmp_path):
        (tmp_path / "trace.txt").write_text(format_trace(traced))
        found = read_trace(tmp_path / "trace.txt")
        pairs = list(common_quantities(traced, found))
        assert len(pairs) == len(list(common_quantities(traced, traced)))
        for name, ours, other in pairs:
            np.testing.assert_allclose(other, ours, rtol=1e-14, err_msg=name)
        assert compare_traces(traced, found) is None

    def test_json_round_trip_is_exact(self, traced, tmp_path):
        (tmp_path / "trace.json").write_text(trace_to_json(traced))
        assert read_trace(tmp_path / "trace.json") == traced

    def test_lines_have_a_name_and_numbers(self, traced):
        lines = format_trace(traced).splitlines()
        assert "steps 48" in lines
        assert f"r_e_sqr {7.94079248018965e-30:.15g}" in lines
        assert f"terms[3].F_latt {traced['terms'][3]['F_latt']:.15g}" in lines
        numbered = ["[" in line for line in lines]
        assert numbered == sorted(numbered)

    def test_log_of_the_reference(self, tmp_path):
        """Only prefixed lines count, the first of each name, phi lines become terms."""
        (tmp_path / "log").write_text(
            "nanoBragg nanocrystal diffraction simulator\nsteps 99\nTRACE_C: steps 10\nTRACE_C: steps 11\n"
            "TRACE_C: pix0_vector_meters 1 -2.5 nan\n  TRACE_C: polar: 0.5\nTRACE_C: tric_convert yes 3\n"
            "TRACE_C_PHI phi_tic=0 phi_deg=0 k_frac=-0.5 F_latt_b=1.05 note=none\n"
            "TRACE_C_PHI phi_tic=1 phi_deg=0.01 k_frac=-0.6 F_latt_b=-0.65\n"
        )
        found = read_trace(tmp_path / "log")
        assert math.isnan(found["pix0_vector_meters"].pop())
        assert found == {
            "steps": 10,
            "pix0_vector_meters": [1, -2.5],
            "polar": 0.5,
            "terms": [
                {"phi_tic": 0, "phi_deg": 0, "k_frac": -0.5, "F_latt_b": 1.05},
                {"phi_tic": 1, "phi_deg": 0.01, "k_frac": -0.6, "F_latt_b": -0.65},
            ],
        }

    def test_json_with_phi_steps(self, tmp_path):
        content = {"phi": [{"phi_tic": 0.0, "k_frac": 1.5}], "steps": 10.0, "comment": "text", "on": True, "none": []}
        (tmp_path / "t.json").write_text(json.dumps(content))
        assert read_trace(tmp_path / "t.json") == {"steps": 10.0, "terms": [{"phi_tic": 0.0, "k_frac": 1.5}]}

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"{}", b"\x00\xff\xfe", b"no numbers here\n", b'{"a": "b"}', b"[" * 9999, b'{"a":' * 99999],
    )
    def test_no_trace(self, content, tmp_path):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(NumbraggError, match=r"^cannot read [^\n]*bad: [^\n]*$"):
            read_trace(tmp_path / "bad")

    def test_missing_file_and_folder(self, tmp_path):
        for path in (tmp_path / "missing", tmp_path):
            with pytest.raises(NumbraggError, match="cannot read"):
                read_trace(path)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=60),
            st.text(st.sampled_from('TRACE_C:PHI phi_tic=1.5e9 \n{}[]",steps.terms0'), max_size=60).map(str.encode),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=3),
                    st.dictionaries(
                        st.sampled_from(["phi", "terms", "steps", "hkl_frac", "phi_tic"]), inner, max_size=3
                    ),
                ),
            ).map(lambda value: json.dumps(value).encode()),
        )
    )
    def test_any_content_is_read_or_refused(self, tmp_path_factory, traced, content):
        path = tmp_path_factory.getbasetemp() / "fuzz"
        path.write_bytes(content)
        said = "one line"
        try:
            compare_traces(traced, read_trace(path))
        except NumbraggError as error:
            said = str(error)
        assert len(said.splitlines()) == 1


class TestComparison:
    """80.15 to 80.18: the first quantity, in the order of the chain, that differs by more than its tolerance."""

    def test_every_quantity_has_a_tolerance_with_a_reason(self, traced):
        names = [name.rpartition(".")[2] for name, _, _ in common_quantities(traced, traced)]
        assert set(names) - set(TOLERANCES) == set()
        assert all(tolerance.reason for tolerance in TOLERANCES.values())

    def test_a_trace_agrees_with_itself(self, traced):
        assert compare_traces(traced, traced) is None

    @pytest.mark.parametrize("slot", range(3))
    def test_a_change_beyond_the_tolerance_is_named(self, traced, slot):
        for name in traced:
            if name in LISTS:
                continue
            values = list(numbers_of(traced[name]))
            size = math.hypot(*values)
            tolerance = TOLERANCES[name]
            limit = tolerance.absolute + tolerance.relative * size
            place = slot % len(values)
            for factor, expected in ((0.5, None), (3.0, name)):
                # An exact quantity has no room for half of its tolerance.
                changed = values.copy()
                changed[place] += factor * limit if limit else (0 if expected is None else 1)
                other = {**traced, name: changed if isinstance(traced[name], list) else changed[0]}
                found = compare_traces(traced, other)
                assert (found and found.name) == expected, name

    def test_the_first_in_the_chain_is_named_whatever_the_order_of_the_other(self, traced):
        other = dict(reversed(traced.items()))
        other["polar"] = 0.1
        other["R_distance_meters"] = 7.0
        found = compare_traces(traced, other)
        assert (found.name, found.ours, found.other) == ("R_distance_meters", traced["R_distance_meters"], 7.0)
        assert "7 there" in str(found)

    def test_a_change_in_a_term_is_found_before_the_sum(self, traced):
        terms = [dict(term) for term in traced["terms"]]
        terms[7]["F_cell"] += 0.1
        found = compare_traces(traced, {**traced, "terms": terms, "I_before_scaling": 0.0})
        assert found.name == "terms[7].F_cell"

    def test_terms_are_matched_by_their_index_and_by_single_indices(self, traced):
        at = next(i for i, t in enumerate(traced["terms"]) if t["phi_tic"] == 2 and t["domain"] == 0)
        term = traced["terms"][at]
        same = {"phi_tic": 2, "k_frac": term["hkl_frac"][1]}
        assert compare_traces(traced, {"terms": [same]}) is None
        found = compare_traces(traced, {"terms": [{**same, "k_frac": 0.25}]})
        assert (found.name, found.other) == (f"terms[{at}].k_frac", 0.25)

    def test_an_index_that_is_no_number_counts_as_0(self, traced, tmp_path):
        (tmp_path / "odd").write_text('{"terms": [{"phi_tic": [1, 2], "F_cell": -1}]}')
        assert compare_traces(traced, read_trace(tmp_path / "odd")).name == "terms[0].F_cell"

    def test_numbers_that_are_none_or_too_few_diverge(self, traced):
        assert compare_traces(traced, {"polar": math.nan}).name == "polar"
        assert compare_traces(traced, {"polar": math.inf}).name == "polar"
        assert compare_traces(traced, {"hkl_frac": [1.0, 2.0]}).name == "hkl_frac"

    def test_tolerances_can_be_given(self, traced):
        other = {"polar": traced["polar"] + 0.01}
        assert compare_traces(traced, other).name == "polar"
        assert compare_traces(traced, other, {"polar": Tolerance(0.0, 0.02, "loose")}) is None

    def test_nothing_in_common(self, traced):
        with pytest.raises(NumbraggError, match="no quantity in common"):
            compare_traces(traced, {"unknown": 1.0})

    def test_carryover_shows_first_in_the_rotated_axes(self):
        """What the trace is for: it points at the stage where two programs part."""
        experiment = small_experiment(scan={"start": 0.0})
        spec, c = (trace(replace(experiment, quirks=quirks), 6, 8) for quirks in (NO_QUIRKS, Quirks.all()))
        known_to_both = {name: value for name, value in c.items() if name != "inherited_phi_tic"}
        assert compare_traces(spec, known_to_both).name == "rot_a_angstroms"

    def test_unrotated_scan_has_no_divergence_between_modes(self):
        experiment = replace(small_experiment(), scan=Scan(start=0.25))
        spec, c = (trace(replace(experiment, quirks=quirks), 6, 8) for quirks in (NO_QUIRKS, Quirks.all()))
        assert compare_traces(spec, c) is None
