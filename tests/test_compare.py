"""`numbragg compare` and `numbragg.compare` (specs/70-compare.md)."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy.optimize import linear_sum_assignment

from numbragg.cli.compare import main
from numbragg.comparison import Comparison, compare
from numbragg.errors import NumbraggError
from numbragg.io.float_image import write_float
from numbragg.io.smv import write_smv
from numbragg.peaks import find_peaks, match_peaks

SUMS = 1e-12
"""A few hundred terms of rounding, in another order than the formula's."""

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def spotted(shape, places, height=100.0):
    """Peaks of different heights on an empty image."""
    image = np.zeros(shape)
    for number, place in enumerate(places):
        image[tuple(place)] = height + number
    return image


def noisy(seed=0, shape=(12, 17)):
    return np.random.default_rng(seed).gamma(2.0, 5.0, shape)


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


# Command line


@pytest.fixture
def images(tmp_path, monkeypatch):
    """The same image in every kind of file, and another."""
    monkeypatch.chdir(tmp_path)
    counts = np.random.default_rng(10).integers(0, 5000, (12, 17)).astype(np.uint16)
    write_float("a.bin", counts)
    write_smv("a.img", counts, {})
    np.save("a.npy", counts)
    write_float("b.bin", noisy(11))
    return tmp_path


def run(capsys, *words):
    """Exit code, standard output and standard error; never a traceback (70.24)."""
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return status, out, err


@pytest.mark.parametrize("first", ["a.bin", "a.img", "a.npy"])
@pytest.mark.parametrize("second", ["a.img", "a.npy"])
def test_all_kinds_of_files_hold_the_same_image(images, capsys, first, second):
    """70.11 and 70.14: a raw image takes the shape of the other; 70.24: 0."""
    status, out, err = run(capsys, first, second, "--threshold", 1)
    assert (status, err) == (0, "")
    assert "of 12 x 17 (slow x fast)" in out
    assert "ADU" in out


def test_raw_images_take_their_shape_from_the_option(images, capsys):
    """70.14 and 70.20."""
    status, out, _ = run(capsys, "a.bin", "b.bin", "--shape", 12, 17, "--json", "-", "--roi", 1, 5, 2, 3)
    values = json.loads(out)
    assert status == 0
    assert (values["shape"], values["pixels"], values["unit"]) == ([12, 17], 10, "photons")
    assert values["names"] == ["a.bin", "b.bin"]
    assert "runs" not in values


def test_a_square_is_guessed_and_said_to_be_a_guess(images, capsys):
    """70.14."""
    write_float("square.bin", noisy(0, (8, 8)))
    status, out, err = run(capsys, "square.bin", "square.bin")
    assert status == 0
    assert "8 x 8 pixels is a guess" in err
    assert len(err.splitlines()) == 1
    assert "of 8 x 8" in out


def test_a_json_file_is_written_beside_the_table(images, capsys):
    """70.20."""
    status, out, _ = run(capsys, "a.img", "b.bin", "--json", "c.json")
    assert status == 0
    assert json.loads(Path("c.json").read_text())["pixels"] == 204
    assert out.startswith("correlation ")


USAGE_ERRORS = [
    [],
    ["a.bin"],
    ["a.bin", "a.bin", "a.bin"],
    ["a.bin", "a.bin"],
    ["a.img", "a.img", "--nonsense"],
    ["a.img", "a.img", "--gate", "x"],
    ["a.img", "a.img", "--gate", "-1"],
    ["a.img", "a.img", "--percentile", "nan"],
    ["a.img", "a.img", "--floor", "inf"],
    ["a.img", "a.img", "--threshold", "1.5"],
    ["a.img", "a.img", "--threshold", "nan"],
    ["a.img", "a.img", "--roi", "0", "17", "0", "11"],
    ["a.img", "a.img", "--shape", "0", "17"],
    ["a.img", "a.img", "--", "-N", "5"],
    ["a.img", "a.img", "--run-a", "x"],
    ["--run-a", "x"],
    ["--run-a", "x 'y", "--run-b", "x", "--", "-N", "5"],
    ["--run-a", " ", "--run-b", "x"],
    ["a.img", "a.img", "--json", "no/where.json"],
    ["a.img", "a.img", "--png", "no/where.png"],
    ["a.img", "a.img", "--json", "."],
]


@pytest.mark.parametrize("words", USAGE_ERRORS, ids=" ".join)
def test_wrong_usage_ends_with_1(images, capsys, words):
    """70.24."""
    status, out, err = run(capsys, *words)
    assert (status, out) == (1, "")
    assert err.startswith("numbragg: error: ")
    assert len(err.splitlines()) == 1


def test_a_correlation_below_the_threshold_ends_with_3_after_the_output(images, capsys):
    """70.23."""
    status, out, err = run(capsys, "a.img", "b.bin", "--threshold", 0.9)
    assert status == 3
    assert out.startswith("correlation ")
    assert "below the threshold 0.9" in err
    np.save("constant.npy", np.ones((4, 4)))
    status, _, err = run(capsys, "constant.npy", "constant.npy", "--threshold", -1)
    assert status == 3
    assert "undefined (a constant image)" in err


@pytest.mark.parametrize(
    "words", [["a.img", "t.npy"], ["a.bin", "t.npy"], ["a.bin", "s.bin"], ["a.img", "a.bin", "--shape", "17", "12"],
              ["a.bin", "a.bin", "--shape", "12", "16"], ["t.npy", "a.npy"]],
    ids=" ".join,
)  # fmt: skip
def test_shapes_that_differ_end_with_4(images, capsys, words):
    """70.14 and 70.24."""
    np.save("t.npy", np.zeros((17, 13)))
    write_float("s.bin", np.zeros((3, 5)))
    status, out, err = run(capsys, *words)
    assert (status, out) == (4, "")
    assert len(err.splitlines()) == 1


def test_transposed_images_are_of_different_shape(images, capsys):
    """70.24: the number of pixels is the same."""
    np.save("t.npy", np.zeros((17, 12)))
    assert run(capsys, "a.npy", "t.npy")[0] == 4


def unreadable(kind):
    """Content of a file that must be refused."""
    pickled = np.lib.format.MAGIC_PREFIX + b"\x01\x00\x76\x00"
    return {
        "empty.bin": b"",
        "odd.bin": b"12345",
        "short.img": b"{\nHEADER_BYTES=512;\nSIZE1=12;\nSIZE2=17;\n}\f",
        "text.img": b"no image",
        "text.npy": b"no image",
        "cut.npy": pickled,
        "image.cbf": b"###CBF: VERSION 1.5\n",
        "image.h5": b"\x89HDF\r\n\x1a\n" * 2,
        "image.bin": b"\x89PNG\r\n\x1a\n",
        "nan.bin": np.array([1, np.nan, 3, 4], "<f4").tobytes(),
        "huge.img": b"{\nHEADER_BYTES=512;\nSIZE1=999999999;\nSIZE2=999999999;\n}\f",
    }[kind]


@pytest.mark.parametrize(
    "name",
    ["empty.bin", "odd.bin", "short.img", "text.img", "text.npy", "cut.npy", "image.cbf", "image.h5", "image.bin",
     "nan.bin", "huge.img"],
)  # fmt: skip
@pytest.mark.parametrize("second", [False, True])
def test_an_unreadable_image_ends_with_5_and_is_named(images, capsys, name, second):
    """70.12, 70.13 and 70.24."""
    Path(name).write_bytes(unreadable(name))
    status, out, err = run(capsys, *(["a.img", name] if second else [name, "a.img"]))
    assert (status, out) == (5, "")
    assert name in err
    assert len(err.splitlines()) == 1


def test_a_missing_file_a_folder_and_an_array_of_objects_end_with_5(images, capsys):
    """70.11 and 70.24."""
    np.save("objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save("line.npy", np.zeros(9))
    np.save("complex.npy", np.zeros((3, 3), complex))
    Path("folder.img").mkdir()
    for name in ("missing.bin", "new\nline", "folder.img", "objects.npy", "line.npy", "complex.npy"):
        status, _, err = run(capsys, name, "a.img")
        assert status == 5
        assert len(err.splitlines()) == 1


@QUICK
@given(
    st.sampled_from(["x.img", "x.npy", "x.bin"]),
    st.sampled_from([b"", b"{\nHEADER_BYTES=  512;", b"\x93NUMPY\x01\x00", "whole"]),
    st.binary(max_size=200),
    st.integers(0, 2000),
)
def test_damaged_files_end_with_a_code_and_one_line(images, capsys, name, start, junk, place):
    """70.24: junk behind a plausible start, and whole files that are overwritten or cut somewhere."""
    if start == "whole":
        content = Path("a" + name[1:]).read_bytes()
        place %= len(content)
        content = content[:place] + junk + (content[place + len(junk) :] if len(junk) % 2 else b"")
    else:
        content = start + junk
    Path(name).write_bytes(content)
    status, _, err = run(capsys, name, "a.img")
    assert status in (0, 4, 5)
    assert status == 0 or len([line for line in err.splitlines() if line.startswith("numbragg: error: ")]) == 1


def test_the_picture_shows_both_images_and_their_difference(images, capsys):
    """70.22."""
    pytest.importorskip("matplotlib")
    status, _, _ = run(capsys, "a.bin", "b.bin", "--shape", 12, 17, "--png", "c.png")
    assert status == 0
    with Image.open("c.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[1] > 2 * pixels.shape[0]
    for panel in np.array_split(pixels, 3, axis=1):
        assert len(np.unique(panel.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize("case", ["equal", "constant", "negative", "large", "one pixel", "tiny"])
def test_pictures_of_odd_images_can_be_drawn(tmp_path, case):
    """70.22: scales without extent, and reduction by blocks."""
    pytest.importorskip("matplotlib")
    from numbragg.plotting import plot_comparison

    a, b = {
        "equal": (noisy(), noisy()),
        "constant": (np.zeros((5, 5)), np.zeros((5, 5))),
        "negative": (-noisy(), noisy(1) - 100.0),
        "large": (spotted((1500, 1300), [(700, 600)]), np.zeros((1500, 1300))),
        "one pixel": (np.ones((1, 1)), np.zeros((1, 1))),
        "tiny": (noisy() * 1e-30, noisy(1) * 1e-30),
    }[case]
    plot_comparison(tmp_path / "c.png", a, b, names=("$a$ \u6f22", "x" * 200))
    with Image.open(tmp_path / "c.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_reduction_by_blocks_keeps_single_bright_and_dark_pixels(monkeypatch):
    """70.22."""
    from numbragg import plotting

    monkeypatch.setattr(plotting, "LONGEST_SIDE", 10)
    image = np.zeros((25, 31))
    image[24, 30], image[3, 3], image[2, 2] = 5.0, -7.0, 6.0
    reduced = plotting._reduced(image)
    assert reduced.shape == (7, 8)
    assert (reduced[6, 7], reduced[0, 0]) == (5.0, -7.0)
    assert np.count_nonzero(reduced) == 2


def test_without_matplotlib_the_extra_is_named_before_a_file_is_read(images, capsys, monkeypatch):
    """70.21."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run(capsys, "missing.bin", "a.img", "--png", "c.png")
    assert status == 1
    assert "pip install numbragg[plot]" in err


# Two commands

FAKE = """
import os, sys
import numpy as np
words = sys.argv[1:]
value = lambda flag: words[len(words) - 1 - words[::-1].index(flag) + 1]
mode = words[0]
print("hello from standard output", flush=True)
if mode == "fail":
    print("first\\n\\x1b[31mthe reason", file=sys.stderr)
    sys.exit(7)
if mode == "silent-fail":
    sys.exit(1)
if mode == "killed":
    os.kill(os.getpid(), 9)
if mode == "nothing":
    sys.exit(0)
n = int(value("-detpixels"))
image = np.fromfile(value("-mat"), "u1")[: n * n].astype("<f4")
image[0] = float("nan") if mode == "nan" else image[0]
image[: 3 if mode == "cut" else None].tofile(value("-floatfile"))
assert "-nonoise" in words and "-nopgm" in words
if mode != "raw":
    n = n + 1 if mode == "liar" else n
    with open(value("-intfile"), "wb") as stream:
        stream.write((b"{\\nHEADER_BYTES=512;\\nSIZE1=%d;\\nSIZE2=%d;\\n}\\f" % (n, n)).ljust(512) + bytes(2 * n * n))
print(os.path.dirname(value("-floatfile")), file=open("folders", "a"))
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Command line of a simulator that reads its relative input and does what its first word says."""
    monkeypatch.chdir(tmp_path)
    Path("fake.py").write_text(FAKE)
    Path("input").write_bytes(np.random.default_rng(12).integers(0, 255, 400).astype("u1").tobytes())
    return lambda mode: shlex.join([sys.executable, "fake.py", mode])


FLAGS = ["--", "-mat", "input", "-detpixels", 8]


def test_two_commands_get_the_flags_and_folders_of_their_own(fake, capsys):
    """70.15 to 70.19; 70.10: runs."""
    a, b = fake("good"), fake("raw")
    status, out, err = run(capsys, "--run-a", a, "--run-b", b, "--json", "-", *FLAGS)
    values = json.loads(out)
    assert (status, err) == (0, "")
    assert (values["correlation"], values["shape"]) == (1.0, [8, 8])
    assert [values["runs"][side]["command"] for side in "ab"] == [a, b]
    assert all(values["runs"][side]["seconds"] > 0 for side in "ab")
    folders = Path("folders").read_text().split()
    assert len(set(folders)) == 2
    assert not any(Path(folder).exists() for folder in folders)
    assert {path.name for path in Path().iterdir()} == {"fake.py", "input", "folders"}


def test_the_table_shows_both_wall_times(fake, capsys):
    """70.19."""
    status, out, _ = run(capsys, "--run-a", fake("good"), "--run-b", fake("good"), *FLAGS)
    assert status == 0
    assert out.splitlines()[-1].startswith("wall time A, B")


@pytest.mark.parametrize(
    ("mode", "message", "lines"),
    [
        ("fail", "ended with status 7", 3),
        ("silent-fail", "ended with status 1", 2),
        ("killed", "was ended by signal 9", 2),
        ("nothing", "wrote no float image", 2),
        ("nan", "NaN", 1),
        ("cut", "3 pixels", 2),
        ("liar", "9 x 9", 2),
    ],
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_a_run_that_fails_ends_with_2_and_shows_what_it_said(fake, capsys, mode, message, lines, side):
    """70.18: standard error, or standard output when that is empty."""
    modes = {"a": "good", "b": "good", side: mode}
    status, out, err = run(capsys, "--run-a", fake(modes["a"]), "--run-b", fake(modes["b"]), *FLAGS)
    assert (status, out) == (2, "")
    assert err.startswith(f"numbragg: error: --run-{side}: ")
    assert message in err.splitlines()[0]
    assert len(err.splitlines()) == lines
    assert "\x1b" not in err
    assert ("the reason" in err) == (mode == "fail")


def test_a_command_that_does_not_exist_ends_with_2(fake, capsys):
    """70.18."""
    status, _, err = run(capsys, "--run-a", "no-such-program", "--run-b", fake("good"), *FLAGS)
    assert status == 2
    assert err == "numbragg: error: --run-a: cannot run no-such-program: not found; give the path of the program\n"


def test_both_modes_of_numbragg_are_compared(tmp_path, monkeypatch, capsys):
    """70.15: without phi steps the modes agree."""
    monkeypatch.chdir(tmp_path)
    simulate = shlex.join([sys.executable, "-m", "numbragg", "simulate"])
    flags = "-cell 50 50 50 90 90 90 -default_F 100 -N 3 -lambda 1 -distance 50 -pixel 1 -oversample 1"
    flags += " -detpixels_x 9 -detpixels_y 7"
    words = ["--run-a", f"{simulate} --compat c", "--run-b", simulate, "--threshold", "0.999999", "--", *flags.split()]
    status, out, _ = run(capsys, *words)
    assert status == 0
    assert "of 7 x 9 (slow x fast)" in out


def test_the_module_runs_as_a_program(images):
    """70.24: the exit code reaches the shell."""
    code = "import sys; from numbragg.cli.compare import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "a.img", "gone"], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr == "numbragg: error: cannot read gone: no such file\n"
