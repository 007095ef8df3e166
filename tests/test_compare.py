"""`numbragg compare` and `numbragg.compare` (specs/70-compare.md)."""

import json

import numpy as np
import pytest
from compare_scenes import QUICK, noisy, spotted
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from numbragg.comparison import Comparison, compare
from numbragg.errors import NumbraggError
from numbragg.peaks import find_peaks, match_peaks

SUMS = 1e-12
"""A few hundred terms of rounding, in another order than the formula's."""


def peaks_by_flooding(image, percentile):
    """Every connected plateau, with all its neighbours looked at one by one (clauses 70.6 and 70.7)."""
    level, found, seen = np.percentile(image, percentile), [], set()
    for start in np.ndindex(image.shape):
        if start in seen:
            continue
        plateau, front, is_peak = [], [start], True
        seen.add(start)
        while front:
            slow, fast = front.pop()
            plateau.append((slow, fast))
            for other in [(slow + i, fast + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                if not (0 <= other[0] < image.shape[0] and 0 <= other[1] < image.shape[1]):
                    continue
                is_peak = is_peak and image[other] <= image[start]
                if image[other] == image[start] and other not in seen:
                    seen.add(other)
                    front.append(other)
        bright = image[start] > level or image[start] == image.max()
        if is_peak and bright and image.min() < image.max():
            found.append(np.mean(plateau, axis=0))
    return sorted(map(tuple, found))


# Pixels


def test_figures_follow_their_formulas():
    """70.3 to 70.5."""
    a, b = noisy(1), noisy(2)
    result = compare(a, b, floor=6.0)
    assert result.pixels == a.size
    assert result.correlation == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], rel=SUMS)
    assert result.sum_ratio == pytest.approx(a.sum() / b.sum(), rel=SUMS)
    assert result.rmse == pytest.approx(np.sqrt(((a - b) ** 2).mean()), rel=SUMS)
    assert result.max_difference == np.abs(a - b).max()
    assert np.abs(a - b)[result.max_difference_at] == result.max_difference
    larger = np.maximum(a, b)
    relative = np.where(larger >= 6.0, np.abs(a - b) / larger, -1.0)
    assert result.max_relative_difference == relative.max()
    assert relative[result.max_relative_difference_at] == relative.max()


def test_the_floor_leaves_weak_pixels_out_and_includes_its_own_value():
    """70.5."""
    a, b = np.array([[1e-3, 10.0, 5.0]]), np.array([[0.0, 9.0, 4.0]])
    assert compare(a, b, floor=5.0).max_relative_difference == pytest.approx(0.2)
    assert compare(a, b, floor=0.0).max_relative_difference_at == (0, 0)
    nowhere = compare(a, b, floor=11.0)
    assert nowhere.max_relative_difference is None
    assert nowhere.max_relative_difference_at is None
    assert "no pixel reaches 11" in nowhere.table()


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.uint16])
def test_equal_images_correlate_to_exactly_one(kind):
    """70.3."""
    image = (noisy(3, (60, 61)) * 10).astype(kind)
    result = compare(image, image.copy())
    assert result.correlation == 1.0
    assert (result.sum_ratio, result.rmse, result.max_difference, result.max_relative_difference) == (1.0, 0, 0, 0)
    assert result.peaks.matched == result.peaks.count_a > 0
    assert result.peaks.max_distance == 0


def test_correlation_survives_a_large_offset_and_tiny_values():
    """70.3: neither cancellation nor underflow may spoil it."""
    a, b = noisy(4), noisy(5)
    # An offset of 1e6 costs the images themselves six of their sixteen digits.
    assert compare(a + 1e6, b).correlation == pytest.approx(compare(a, b).correlation, rel=1e-8)
    assert compare(a * 1e-200, b * 1e-200).correlation == pytest.approx(compare(a, b).correlation, rel=SUMS)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_the_correlation_of_a_constant_image_is_undefined_and_said_so(value):
    """70.3 and 70.7; 0.1 has a mean that is rounded."""
    constant = np.full((13, 7), value)
    result = compare(constant, noisy(0, (13, 7)))
    assert result.correlation is None
    assert result.peaks.count_a == 0
    assert "undefined: a constant image" in result.table()
    assert "correlation undefined" in result.summary()
    assert json.loads(result.to_json())["correlation"] is None


def test_a_sum_of_zero_leaves_the_ratio_undefined():
    """70.3."""
    result = compare(noisy(), np.zeros((12, 17)))
    assert result.sum_ratio is None
    assert "the sum of B is 0" in result.table()


def test_a_region_limits_all_figures_and_keeps_the_positions_of_the_image():
    """70.2."""
    a, b = noisy(6), noisy(7)
    a[0, 0] = 1e6
    result = compare(a, b, roi=(3, 9, 2, 7))
    inside = compare(a[2:8, 3:10], b[2:8, 3:10])
    assert result.pixels == 42
    assert (result.correlation, result.sum_a, result.rmse) == (inside.correlation, inside.sum_a, inside.rmse)
    assert result.max_difference_at == tuple(np.add(inside.max_difference_at, (2, 3)))
    assert result.max_relative_difference_at == tuple(np.add(inside.max_relative_difference_at, (2, 3)))
    assert "-roi 3 9 2 7" in result.table()


@QUICK
@given(st.integers(0, 10**6), st.floats(0, 100), st.floats(0, 8))
def test_exchanging_the_images_inverts_the_ratio_and_changes_nothing_else(seed, percentile, gate):
    """70.9; few different values make many ties."""
    a, b = np.random.default_rng(seed).integers(0, 5, (2, 14, 15)).astype(float)
    one, other = (compare(*pair, percentile=percentile, gate=gate).as_dict() for pair in ((a, b), (b, a)))
    assert one["sum_ratio"] == pytest.approx(1 / other["sum_ratio"], rel=SUMS)
    first, second = one.pop("peaks"), other.pop("peaks")
    for name in ("matched", "mean_distance", "rms_distance", "max_distance"):
        assert first[name] == second[name]
    assert (first["count_a"], first["unmatched_b"]) == (second["count_b"], second["unmatched_a"])
    for name in set(one) - {"sum_a", "sum_b", "sum_ratio"}:
        assert one[name] == other[name]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_a_pixel_that_is_not_finite_is_refused_by_name_and_place(bad):
    """70.1."""
    image = noisy()
    image[3, 4] = bad
    with pytest.raises(NumbraggError, match=r"^right\.bin: 1 pixels are NaN.*slow 3 fast 4"):
        compare(noisy(), image, names=("left.bin", "right.bin"))


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), {}, "shapes differ"),
        (np.zeros(6), np.zeros(6), {}, "not an image"),
        (np.zeros((0, 3)), np.zeros((0, 3)), {}, "not an image"),
        (np.zeros((2, 3), complex), np.zeros((2, 3)), {}, "real numbers"),
        (np.array([["a"]]), np.zeros((1, 1)), {}, "real numbers"),
        (np.eye(3), np.eye(3), {"roi": (0, 3, 0, 2)}, "region of interest"),
        (np.eye(3), np.eye(3), {"floor": -1.0}, "floor"),
        (np.eye(3), np.eye(3), {"floor": np.nan}, "floor"),
        (np.eye(3), np.eye(3), {"percentile": 101.0}, "percentile"),
        (np.eye(3), np.eye(3), {"gate": np.inf}, "gate"),
    ],
)
def test_what_cannot_be_compared_is_refused(a, b, options, message):
    """70.1, 70.2, 70.5 to 70.8."""
    with pytest.raises(NumbraggError, match=message):
        compare(a, b, **options)


# Peaks


@QUICK
@given(arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)), st.floats(0, 100))
def test_peaks_are_those_found_by_flooding_every_plateau(image, percentile):
    """70.6 and 70.7: five values on a small image make every kind of plateau and border."""
    found = find_peaks(image.astype(float), percentile)
    np.testing.assert_allclose(found, np.reshape(peaks_by_flooding(image, percentile), (-1, 2)), rtol=SUMS)


def test_a_plateau_is_one_peak_at_its_centre_unless_it_touches_something_higher():
    """70.6."""
    image = np.zeros((9, 12))
    image[2:4, 2:5] = 5.0
    assert find_peaks(image, 50).tolist() == [[2.5, 3.0]]
    image[3, 5] = 6.0
    assert find_peaks(image, 50).tolist() == [[3.0, 5.0]]


def test_peaks_on_the_border_count():
    """70.6."""
    places = [(0, 0), (0, 6), (5, 11), (8, 3)]
    assert find_peaks(spotted((9, 12), places), 50).tolist() == [list(place) for place in places]


def test_the_flank_of_a_peak_outside_the_region_is_no_peak():
    """70.6."""
    slow, fast = np.indices((21, 21))
    image = np.exp(-((slow - 10) ** 2 + (fast - 6) ** 2) / 8.0)
    assert find_peaks(image, 50, roi=(8, 20, 0, 20)).tolist() == []
    assert find_peaks(image, 50, roi=(6, 20, 0, 20)).tolist() == [[10.0, 6.0]]


def test_saturated_peaks_are_found_however_many_they_are():
    """70.7: the percentile is the highest value here."""
    image = spotted((10, 10), [])
    image[::3, ::3] = 65535.0
    assert len(find_peaks(image, 99.5)) == 16


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-2, 3), (3, -4)])
def test_a_common_shift_of_all_peaks_is_found_as_that_shift(shift):
    """70.8: also where a neighbour lies nearer than the true partner; 3, -4 lies exactly at the gate."""
    places = np.argwhere(np.random.default_rng(8).random((18, 18)) < 0.5) * 3 + 6
    image = spotted((66, 66), places)
    result = compare(image, np.roll(image, shift, axis=(0, 1)), percentile=90, gate=5.0)
    assert result.peaks.count_a == len(places) == result.peaks.matched
    distance = np.hypot(*shift)
    for value in (result.peaks.mean_distance, result.peaks.rms_distance, result.peaks.max_distance):
        assert value == pytest.approx(distance, abs=1e-9)


def test_peaks_beyond_the_gate_stay_unmatched():
    """70.8 and 70.9."""
    a, b = spotted((20, 20), [(3, 3), (15, 15), (3, 15)]), spotted((20, 20), [(3, 9), (15, 17)])
    peaks = compare(a, b, gate=5.0, percentile=90).peaks
    assert (peaks.matched, peaks.unmatched_a, peaks.unmatched_b) == (1, 2, 1)
    assert peaks.max_distance == 2.0
    nothing = compare(a, b, gate=1.0, percentile=90).peaks
    assert (nothing.matched, nothing.mean_distance, nothing.rms_distance, nothing.max_distance) == (0, None, None, None)
    assert "none matched" in compare(a, b, gate=1.0, percentile=90).table()


POSITIONS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=14, unique=True)


@QUICK
@given(POSITIONS, POSITIONS, st.sampled_from([0.0, 1.0, 2.5, 5.0, 40.0]))
def test_matching_is_the_dense_hungarian_solution(first, second, gate):
    """70.8: the pairs of linear_sum_assignment on the full matrix, with forbidden pairs at a prohibitive cost."""
    a, b = (np.reshape(np.array(places, dtype=float), (-1, 2)) for places in (first, second))
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    allowed = squares <= gate * gate
    rows, columns = linear_sum_assignment(np.where(allowed, squares, 1e6))
    kept = allowed[rows, columns]
    i, j = match_peaks(a, b, gate)
    assert len(i) == kept.sum()
    assert len(set(i)) == len(set(j)) == len(i)
    assert allowed[i, j].all()
    assert squares[i, j].sum() == squares[rows, columns][kept].sum()


def test_thousands_of_peaks_are_matched_one_to_one():
    """70.8, over more pairs than are solved at a time."""
    rng = np.random.default_rng(9)
    grid = np.argwhere(np.ones((160, 160))) * 4.0
    a = grid[rng.permutation(len(grid))]
    order = rng.permutation(len(a))
    b = (a + rng.uniform(-1, 1, a.shape))[order]
    i, j = match_peaks(a, b, gate=1.5)
    assert len(i) == len(a)
    assert (order[j] == i).all()


def test_too_many_peaks_or_pairs_are_refused(monkeypatch):
    """70.8."""
    places = np.argwhere(np.ones((20, 20))).astype(float)
    monkeypatch.setattr("numbragg.peaks.MOST_PAIRS", 1000)
    with pytest.raises(NumbraggError, match="gate"):
        match_peaks(places, places, 10.0)
    monkeypatch.setattr("numbragg.peaks.MOST_PEAKS", 100)
    with pytest.raises(NumbraggError, match="raise the percentile"):
        match_peaks(places, places, 1.0)


# JSON and text

KINDS = {
    "names": list, "unit": str, "shape": list, "roi": list, "pixels": int, "correlation": float, "sum_a": float,
    "sum_b": float, "sum_ratio": float, "rmse": float, "max_difference": float, "max_difference_at": list,
    "floor": float, "max_relative_difference": float, "max_relative_difference_at": list, "peaks": dict,
}  # fmt: skip
PEAK_KINDS = {
    "percentile": float, "gate": float, "count_a": int, "count_b": int, "matched": int, "unmatched_a": int,
    "unmatched_b": int, "mean_distance": float, "rms_distance": float, "max_distance": float,
}  # fmt: skip


def test_json_has_every_figure_with_its_type():
    """70.10."""
    result = compare(noisy(), noisy(1), roi=(0, 9, 0, 9), percentile=80, gate=8)
    values = json.loads(result.to_json())
    assert values == result.as_dict()
    assert {name: type(value) for name, value in values.items()} == KINDS
    assert {name: type(value) for name, value in values["peaks"].items()} == PEAK_KINDS


def test_the_summary_is_one_line():
    """70.20."""
    result = compare(noisy(), noisy(1))
    assert isinstance(result, Comparison)
    assert len(result.summary().splitlines()) == 1
    assert f"{result.correlation:.10g}" in result.summary()
