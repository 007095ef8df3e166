"""How ranges, steps and counts complete each other (specs/10-physics.md, clauses 10.30 to 10.32)."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbragg.compat.build import parse_flags
from numbragg.compat.sampling_rules import sample_layers, sample_phi, sample_range
from numbragg.errors import NumbraggError
from numbragg.lowering.sources import count_sources
from numbragg.models.sampling import Sampling

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())

ROUNDING = 1e-14  # relative; a division and a product
ALONE = 1000.0  # the range that a count alone stands for; any number would do

numbers = st.none() | st.floats(0.0, 50.0, allow_subnormal=False)
counts = st.none() | st.integers(0, 40)


def assert_sampling(found, expected):
    full, count, step = expected
    assert found.count == count
    assert found.range == pytest.approx(full, rel=ROUNDING)
    assert found.spacing == pytest.approx(step, rel=ROUNDING)


@pytest.mark.parametrize(
    ("osc", "step", "count", "expected"),
    [
        # No count.
        (None, None, None, (0.0, 1, 0.0)),
        (None, 0.4, None, (0.4, 2, 0.4)),
        (1.0, None, None, (1.0, 2, 0.5)),
        (1.0, 0.3, None, (1.0, 4, 0.3)),
        (1.0, 0.25, None, (1.0, 4, 0.25)),
        (0.0, 0.3, None, (0.0, 1, 0.3)),
        # A count; 0 means 1.
        (None, None, 3, (1.0, 3, 1.0 / 3)),
        (None, None, 0, (1.0, 1, 1.0)),
        (None, 0.4, 5, (0.4, 2, 0.4)),
        (2.0, None, 5, (2.0, 5, 0.4)),
        (2.0, None, 0, (2.0, 1, 2.0)),
        (2.0, 0.5, 3, (2.0, 3, 0.5)),
        (0.0, None, 1, (0.0, 1, 0.0)),
    ],
)
def test_phi_steps(osc, step, count, expected):
    """Clause 10.31."""
    assert_sampling(sample_phi(osc, step, count), expected)


def test_phi_step_of_zero_cannot_cover_a_range():
    """Clause 10.31."""
    with pytest.raises(NumbraggError, match="-phistep 0 cannot cover -osc"):
        sample_phi(1.0, 0.0, None)


@pytest.mark.parametrize(
    ("full", "step", "count", "expected"),
    [
        # No count.
        (None, None, None, (0.0, 1, 0.0)),
        (None, 2.0, None, (2.0, 2, 2.0)),
        (3.0, None, None, (3.0, 2, 3.0)),
        (3.0, 1.0, None, (3.0, 3, 1.0)),
        (3.0, 0.8, None, (3.0, 4, 0.8)),
        # A count.
        (None, None, 4, (ALONE, 4, ALONE / 4)),
        (None, 2.0, 5, (2.0, 2, 2.0)),
        (3.0, None, 4, (3.0, 4, 1.0)),
        (3.0, None, 1, (3.0, 2, 3.0)),
        (3.0, 0.5, 4, (3.0, 4, 0.5)),
        # A zero anywhere means one step.
        (0.0, None, None, (0.0, 1, 0.0)),
        (0.0, None, 5, (0.0, 1, 0.0)),
        (0.0, 1.0, None, (0.0, 1, 0.0)),
        (3.0, 0.0, None, (0.0, 1, 0.0)),
        (3.0, 0.0, 4, (0.0, 1, 0.0)),
        (None, 0.0, None, (0.0, 1, 0.0)),
        (None, None, 0, (0.0, 1, 0.0)),
    ],
)
def test_divergence_and_dispersion_steps(full, step, count, expected):
    """Clause 10.32."""
    assert_sampling(sample_range(full, step, count, ALONE), expected)


@pytest.mark.parametrize("flag", ["-hdivsteps", "-vdivsteps", "-divsteps", "-dispsteps"])
def test_one_step_alone_leaves_the_beam_where_it_is(flag):
    """Clause 10.32, mode spec: one step needs no range."""
    experiment = parse_flags(shlex.split(f"-cell 100 100 100 90 90 90 -default_F 1 -detpixels 8 {flag} 1"))
    beam = experiment.beam
    for sampling in (beam.divergence_horizontal, beam.divergence_vertical, beam.dispersion):
        np.testing.assert_array_equal(sampling.centred(), [0.0])


@pytest.mark.parametrize(
    ("thickness", "count", "expected"),
    [
        (None, None, (0.0, 1, 0.0)),
        (0.0, 5, (0.0, 1, 0.0)),
        (None, 5, (0.0, 1, 0.0)),
        (320.0, None, (320.0, 2, 160.0)),
        (450.0, 5, (450.0, 5, 90.0)),
        (320.0, 1, (320.0, 1, 320.0)),
        (320.0, 0, (320.0, 1, 320.0)),
    ],
)
def test_sensor_layers_fill_the_thickness(thickness, count, expected):
    """Clause 10.32."""
    assert sample_layers(thickness, count, reference_spacing=False) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize(
    ("thickness", "count", "expected"),
    [
        (None, None, (0.0, 1, 0.0)),
        (320.0, None, (320.0, 2, 160.0)),
        (450.0, 5, (450.0, 5, 112.5)),
        (320.0, 1, (320.0, 2, 320.0)),
        (None, 5, (0.5, 5, 0.1)),
        (None, 1, (0.0, 1, 0.0)),
    ],
)
def test_reference_spaces_an_explicit_number_of_layers_too_widely(thickness, count, expected):
    """Clause 10.32; register entry Q04."""
    assert sample_layers(thickness, count, reference_spacing=True) == pytest.approx(expected, rel=ROUNDING)


@given(numbers, numbers, counts)
def test_divergence_is_always_a_sampling_with_finite_values(full, step, count):
    """Clause 10.32: one zero value, or a positive range, step and count."""
    found = sample_range(full, step, count, ALONE)
    assert found == Sampling() or (found.count >= 1 and found.spacing > 0 and found.range > 0)


@given(st.floats(1e-3, 50.0), st.integers(2, 40))
def test_divergence_of_n_steps_reaches_both_ends(full, count):
    """Clauses 10.30 and 10.32."""
    values = sample_range(full, None, count, ALONE).centred()
    assert len(values) == count
    np.testing.assert_allclose(values[[0, -1]], [-full / 2, full / 2], rtol=ROUNDING * count)


@given(st.floats(1e-3, 360.0), st.integers(1, 40))
def test_phi_of_n_steps_stops_one_step_short_of_the_end(osc, count):
    """Clauses 10.30 and 10.31."""
    found = sample_phi(osc, None, count)
    assert found.spacing * found.count == pytest.approx(osc, rel=ROUNDING)


@given(st.floats(1e-2, 90.0), st.floats(1e-2, 90.0))
def test_steps_from_a_range_and_a_step_cover_the_range(full, step):
    """Clauses 10.31 and 10.32."""
    for found in (sample_phi(full, step, None), sample_range(full, step, None, ALONE)):
        assert (found.count - 1) * step < full <= found.count * step * (1.0 + ROUNDING)


def printed(pattern, case):
    return re.search(pattern, "\n".join(CASES[case]["stdout"]))


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_golden_case_has_the_counts_that_the_reference_printed(case, monkeypatch, tmp_path):
    """Clauses 10.28, 10.31 and 10.32 by way of the flags, mode c."""
    (tmp_path / "inputs").symlink_to(GOLDEN / "inputs")
    monkeypatch.chdir(tmp_path)
    experiment = parse_flags(shlex.split(CASES[case]["args"]), compat="c")
    directions, sources = count_sources(experiment.beam)
    scan = experiment.scan
    assert directions == int(printed(r"(-?\d+) divergence steps", case)[1])
    assert sources == int(printed(r"\n(\d+) sources", case)[1])
    steps, start, end = printed(r"(\d+) phi steps from (\S+) to (\S+) degrees", case).groups()
    assert scan.sampling.count == int(steps)
    assert f"{scan.start:g} {scan.start + scan.sampling.range:g}" == f"{start} {end}"
    domains, spread = printed(r"(\d+) mosaic domains over mosaic spread of (\S+) degrees", case).groups()
    assert (experiment.crystal.mosaic_domains, f"{experiment.crystal.mosaic_spread:g}") == (int(domains), spread)
    assert experiment.detector.layers == int(printed(r"thick in (\d+) layers", case)[1])
