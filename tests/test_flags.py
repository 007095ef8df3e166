"""Words of the command line to typed flags (specs/20-command-line.md)."""

import json
import math
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbragg.compat.flag_table import FLAG_OF_NAME, FLAGS, Kind
from numbragg.compat.flags import check_contradictions, format_help, match_flags, split_options
from numbragg.compat.options import LONG_OPTIONS
from numbragg.errors import NumbraggError, NumbraggWarning

CASES = json.loads((Path(__file__).parent / "golden" / "cases.json").read_text())
SPEC = Path(__file__).parents[1] / "specs" / "20-command-line.md"
EXAMPLES = {
    Kind.SWITCH: ([], ()),
    Kind.CURVED: (["1"], ()),
    Kind.FLOAT: (["-1.5e-1"], (-0.15,)),
    Kind.INT: (["-7"], (-7,)),
    Kind.COUNT: (["12"], (12.0,)),
    Kind.PATH: (["a.file"], ("a.file",)),
    Kind.LABEL: (["FP"], ("FP",)),
    Kind.PIVOT: (["beam"], ("beam",)),
    Kind.DEPTH: (["inf"], (math.inf,)),
    Kind.MISSET: (["10", "-.5", "+3."], (10.0, -0.5, 3.0)),
    Kind.VECTOR: (["-1", "0", "0.5"], (-1.0, 0.0, 0.5)),
    Kind.CELL: (["70", "80", "90", "75", "85", "95"], (70.0, 80.0, 90.0, 75.0, 85.0, 95.0)),
    Kind.FAST_SLOW: (["3", "4"], (3, 4)),
    Kind.SLOW_FAST: (["3", "4"], (3, 4)),
    Kind.ROI: (["1", "2", "3", "4"], (1, 2, 3, 4)),
}
ALSO_IN_C = {"twotheta_axis": ["twotheta"], "misset_seed": [], "printout_pixel": ["printout"]}


def found(line: str, compat: str) -> list[tuple]:
    return [(occurrence.flag.key, occurrence.values) for occurrence in match_flags(line.split(), compat)]


def last(line: str, compat: str) -> dict[str, tuple]:
    return dict(found(line, compat))


def refused(line: str, compat: str = "spec") -> str:
    with pytest.raises(NumbraggError) as error:
        check_contradictions(match_flags(line.split(), compat))
    return str(error.value)


def test_keys_and_names_of_the_table_are_unique():
    assert len({flag.key for flag in FLAGS}) == len(FLAGS)
    assert len(FLAG_OF_NAME) == sum(len(flag.names) for flag in FLAGS)
    assert all(re.fullmatch(r"-\w+", name) for name in FLAG_OF_NAME)


@pytest.mark.parametrize("name", FLAG_OF_NAME)
def test_each_name_alone_gives_its_flag_in_spec(name):
    """Clauses 20.4, 20.5 and 20.9."""
    words, values = EXAMPLES[FLAG_OF_NAME[name].kind]
    (only,) = match_flags([name, *words], "spec")
    assert (only.flag, only.token, only.values, only.position) == (FLAG_OF_NAME[name], name, values, 0)
    assert [type(value) for value in only.values] == [type(value) for value in values]


@pytest.mark.parametrize("name", [name for name in FLAG_OF_NAME if name != "-pix0_vector_mm"])
def test_each_name_gives_its_flag_in_c_and_no_other_but_the_documented_ones(name):
    """Clauses 20.10 and 20.11."""
    flag = FLAG_OF_NAME[name]
    words, values = EXAMPLES[flag.kind]
    triggered = match_flags([name, *words], "c")
    assert (triggered[0].flag, triggered[0].values) == (flag, values)
    assert [one.flag.key for one in triggered[1:]] == ALSO_IN_C.get(flag.key, [])


@pytest.mark.parametrize("compat", ["spec", "c"])
@pytest.mark.parametrize("case", CASES)
def test_golden_arguments_are_understood(case, compat):
    """Without a warning, also with the images asked for elsewhere, and without a contradiction."""
    args = CASES[case]["args"].split()
    more = ["-floatfile", "F", "-noprogress"]
    more += [word for word, image in (("-nopgm", "-pgmfile"), ("-nonoise", "-noisefile")) if image not in args]
    more += [] if "-intfile" in args else ["-intfile", "F"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for line in (args, args + more):
            occurrences = match_flags(line, compat)
            flags = [word for word in line if re.match("-[A-Za-z]", word)]
            assert sorted({one.position for one in occurrences}) == [i for i, word in enumerate(line) if word in flags]
            check_contradictions(occurrences)


def test_golden_arguments_mean_the_same_in_both_modes_except_for_the_register():
    differing = {
        name
        for name, case in CASES.items()
        if found(case["args"] + " -nopgm -floatfile F", "spec") != found(case["args"] + " -nopgm -floatfile F", "c")
    }
    assert differing == {"det_twotheta_axis", "misset_random", "misset_random_ordered"}


def test_positions_and_order_follow_the_command_line():
    occurrences = match_flags(["-N", "5", "-misset", "-1", "-2", "-3", "-xds"], "spec")
    assert [(one.flag.key, one.position) for one in occurrences] == [("n_cells", 0), ("misset", 2), ("xds", 6)]


def test_unknown_flags_are_refused_with_the_nearest_name_in_spec():
    """Q18; clause 20.4."""
    assert refused("-detpixel 512") == "unknown flag -detpixel (did you mean -detpixels?)"
    assert refused("-xbeam 3") == "unknown flag -xbeam (did you mean -Xbeam?)"
    assert "(did you mean --help?)" in refused("-help")
    assert refused("-zzzzzzzzz") == "unknown flag -zzzzzzzzz"


def test_unknown_flags_are_ignored_with_a_warning_in_c():
    """Q18; clause 20.17."""
    with pytest.warns(NumbraggWarning, match=r"-detpixel is ignored.*did you mean -detpixels"):
        assert found("-N 5 -detpixel 512", "c") == [("n_cells", (5,))]
    with pytest.warns(NumbraggWarning, match=r"values are missing"):
        assert found("-distance", "c") == []


def test_counts_of_cells_may_be_fractions_in_spec_only():
    """Clauses 20.6 and 20.16."""
    assert found("-Na 11.25 -N 2.5", "spec") == [("n_cells_a", (11.25,)), ("n_cells", (2.5,))]
    with pytest.warns(NumbraggWarning, match=r"2\.5 is read as 2"):
        assert found("-N 2.5", "c") == [("n_cells", (2,))]


def test_words_that_are_values_are_not_reported_as_ignored_in_c():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found("-hkl -odd.hkl -misset -1 -2 -3", "c") == [("hkl", ("-odd.hkl",)), ("misset", (-1.0, -2.0, -3.0))]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("-N", ["-N", "number", "ends"]),
        ("-cell 1 2 3", ["-cell", "6 numbers", "after 3"]),
        ("-cell 1 2 3 -pixel 0.1", ["-cell", "6 numbers", "'-pixel'"]),
        ("-cell 1 2 3 4 5 6 7", ["stray", "'7'", "-cell"]),
        ("-misset 1 2", ["-misset", "3 numbers", "random"]),
        ("-misset randomly", ["-misset", "'randomly'"]),
        ("-lambda nan", ["-lambda", "'nan'"]),
        ("-lambda 1e999", ["-lambda", "'1e999'"]),
        ("-lambda 1_0", ["-lambda", "'1_0'"]),
        ("-distance inf", ["-distance", "mm", "'inf'"]),
        ("-distance 0.1mm", ["-distance", "'0.1mm'"]),
        ("-phisteps 2.5", ["-phisteps", "whole number", "'2.5'"]),
        ("-seed 2147483648", ["-seed", "2147483647"]),
        ("-roi 1 2 3 x", ["-roi", "4 whole numbers", "'x'"]),
        ("-hkl -nonoise", ["-hkl", "file name", "'-nonoise'"]),
        ("-hkl -file", ["-hkl", "file name", "'-file'"]),
        ("-pivot left", ["-pivot", "sample or beam", "'left'"]),
        ("-mosflm 1", ["-mosflm", "no value", "'1'"]),
        ("-curved_det 0", ["-curved_det", "'0'"]),
        ("-detector_abs thick", ["-detector_abs", "inf", "'thick'"]),
        ("5 -N 5", ["stray", "'5'"]),
    ],
)
def test_bad_values_are_refused_with_flag_and_word(line, parts):
    """Clauses 20.3, 20.5 and 20.6."""
    message = refused(line)
    assert all(part in message for part in parts), message


def test_values_have_the_forms_of_the_specification():
    """Clauses 20.3, 20.6 and 20.7."""
    assert found("-N 5.0 -oversample 2e0", "spec") == [("n_cells", (5,)), ("oversample", (2,))]
    assert found("-misset rand -misset_seed 3", "spec") == [("misset", ("random",)), ("misset_seed", (3,))]
    assert found("-pivot Sample", "spec") == [("pivot", ("sample",))]
    assert found("-curved_det -nopgm", "spec") == [("curved_det", ()), ("nopgm", ())]
    for compat in ("spec", "c"):
        assert found("-detector_abs 0", compat) == [("detector_abs", (math.inf,))]
        assert found("-detector_abs 500", compat) == [("detector_abs", (500.0,))]


def test_a_flag_given_twice_with_different_values_warns_and_the_last_holds():
    """Clause 20.8."""
    with pytest.warns(NumbraggWarning, match=r"-wave 2 replaces the earlier -lambda 1"):
        assert last("-lambda 1 -wave 2", "spec") == {"lambda": (2.0,)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(found("-lambda 1 -wave 1.0", "spec")) == 2
        assert last("-lambda 1 -wave 2", "c") == {"lambda": (2.0,)}


def test_cell_stops_at_a_word_with_a_dash_in_c():
    """Q18; clause 20.14."""
    assert found("-cell 70 80 -90 75 85 95", "c") == [("cell", (70.0, 80.0))]
    assert found("-cell 70 80 90 -N 3", "c") == [("cell", (70.0, 80.0, 90.0)), ("n_cells", (3,))]
    assert found("-cell -N 3", "c") == [("cell", ()), ("n_cells", (3,))]
    assert found("-cell 70 80 -90 75 85 95", "spec") == [("cell", (70.0, 80.0, -90.0, 75.0, 85.0, 95.0))]


def test_twotheta_axis_sets_twotheta_in_c_only():
    """Q19; clauses 20.9 and 20.11."""
    line = "-twotheta 15 -twotheta_axis 0.3 0.1 -0.9"
    assert last(line, "c") == {"twotheta": (0.3,), "twotheta_axis": (0.3, 0.1, -0.9)}
    assert last(line, "spec") == {"twotheta": (15.0,), "twotheta_axis": (0.3, 0.1, -0.9)}
    assert last("-twotheta_axis 0.3 0.1 -0.9 -twotheta 15", "c")["twotheta"] == (15.0,)


def test_misset_seed_is_read_as_misset_in_c_only():
    """Q20; clauses 20.9 and 20.15."""
    line = "-misset random -misset_seed 12345"
    for compat in ("spec", "c"):
        assert last(line, compat) == {"misset": ("random",), "misset_seed": (12345,)}
    more = line + " -floatfile 1image.bin"
    assert last(more, "spec")["misset"] == ("random",)
    assert last(more, "c")["misset"] == (12345.0, 0.0, 1.0)
    assert last("-misset_seed 12345 -misset random -nopgm", "c")["misset"] == ("random",)
    assert "'x'" in refused("-misset 1 x 3", "c")


def test_misset_seed_before_the_word_random_loses_the_seed_in_c():
    """Clause 20.12: no further flag is tried after the random orientation."""
    assert found("-misset_seed random", "c") == [("misset", ("random",))]
    assert found("-misset brandnew", "c") == [("misset", ("random",))]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-wavelengths 2", {"lambda": (2.0,)}),
        ("--lambda 2", {"lambda": (2.0,)}),
        ("-matrices m", {"mat": ("m",)}),
        ("-detector_absorption 5", {"detector_abs": (5.0,)}),
        ("-Natural 3", {"n_cells_a": (3,)}),
        ("-hdivsteps 3", {"hdivsteps": (3,)}),
        ("-phisteps 3", {"phisteps": (3,)}),
        ("-detpixels_fast 3", {"detpixels_fast": (3,)}),
        ("-detsize_fast 3", {"detsize_fast": (3.0,)}),
        ("-detector_thicksteps 3", {"detector_thicksteps": (3,)}),
        ("-mosaic_spreading 1", {"mosaic_spread": (1.0,)}),
        ("-mosaic_domain_count 4", {"mosaic_domains": (4,)}),
        ("-oversample_thick 4", {"oversample_thick": ()}),
        ("-polar_vector 0 0 1", {"polar_vector": (0.0, 0.0, 1.0)}),
        ("-stolout s", {"stolout": ("s",)}),
        ("-pix0_vector_mm 1 2 3", {"pix0_vector": (1.0, 2.0, 3.0)}),
        ("-printout_pixel 3 4", {"printout_pixel": (3, 4), "printout": ()}),
        ("-hklcolumn FP", {"hklcolumn": ("FP",)}),
        ("-nopgm", {"nopgm": ()}),
        ("-pgmscale 2", {"pgmscale": (2.0,)}),
        ("-close_distance 5", {"close_distance": (5.0,)}),
        ("-pivot the_beam_or_sample", {"pivot": ("beam",)}),
        ("-detector_abs infinite_depth", {"detector_abs": (math.inf,)}),
        ("-curved_det -nopgm", {"curved_det": (), "nopgm": ()}),
    ],
)
def test_substrings_and_their_exceptions_in_c(line, expected):
    """Clauses 20.11 to 20.14."""
    assert last(line, "c") == expected


@pytest.mark.parametrize(
    "line", ["-detpixels_ 3", "-NN 3", "-mosaics 1", "-phi0 1", "-polarity 1", "-Qmax 1", "-pngfiles f"]
)
def test_whole_word_names_do_not_match_longer_words_in_c(line):
    """Clause 20.11."""
    with pytest.warns(NumbraggWarning, match="is ignored"):
        assert found(line, "c") == []


@pytest.mark.parametrize(
    "line", ["-curved_det", "-misset 1 2", "-roi 1 2 3", "-cell", "-pivot left", "-detector_abs", "-hkl"]
)
def test_flags_without_their_values_are_not_triggered_in_c(line):
    """Clauses 20.13 and 20.14."""
    with pytest.warns(NumbraggWarning, match="is ignored"):
        assert found(line, "c") == []


def test_whole_numbers_are_cut_as_atoi_does_in_c():
    """Clause 20.16."""
    for word, value in (("1e2", 1), ("2.7", 2), ("-2.7", -2), (".5", 0)):
        with pytest.warns(NumbraggWarning, match=f"is read as {value}"):
            assert found(f"-seed {word}", "c") == [("seed", (value,))]


def test_numbers_that_do_not_parse_are_refused_in_c():
    """Clause 20.3."""
    for line in ("-distance x", "-N five", "-cell 70 a", "-lambda nan", "-phi -osc 1", "-twotheta_axis 0 0 z"):
        assert "takes" in refused(line, "c")


@pytest.mark.parametrize(
    "line",
    [
        "-mosflm -xds",
        "-dials -adxv",
        "-square_xtal -round_xtal",
        "-gauss_xtal -binary_spots",
        "-round_div -square_div",
        "-interpolate -nointerpolate",
        "-polar 0.9 -nopolar",
        "-progress -noprogress",
        "-noisefile n.img -nonoise",
        "-pgmfile n.pgm -nopgm",
        "-pgmscale 2 -nopgm",
        "-pix0_vector 0 0 1 -pix0_vector_mm 0 0 1000",
        "-ORGX 5 -Xclose 5",
        "-ORGY 5 -Yclose 5",
        "-stol a -Q b",
        "-lambda 1 -energy 9000",
        "-lambda 1 -energy 0",
        "-fluence 1e24 -flux 1e12",
    ],
)
def test_contradictions_name_both_flags(line):
    """Clauses 20.18 and 20.19."""
    message = refused(line)
    assert "contradict" in message
    assert all(word in message for word in line.split() if word in FLAG_OF_NAME)


@pytest.mark.parametrize(
    "line",
    [
        "-lambda 1 -energy 12398.4",
        "-fluence 2e19 -flux 1e12 -exposure 0.2 -beamsize 0.1",
        "-fluence 2e19 -flux 0",
        "-cell 1 2 3 90 90 90 -mat A.mat -misset 1 2 3",
        "-N 5 -Na 3",
    ],
)
def test_flags_that_agree_are_no_contradiction(line):
    """Clause 20.19."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_contradictions(match_flags(line.split(), "spec"))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("-Na 3 -N 5", "-N 5 replaces the earlier -Na 3"),
        ("-distance 100 -close_distance 90", "-distance 100 has no effect beside -close_distance 90"),
        ("-samplesize 0.1 -Nb 4", "-Nb 4 has no effect beside -samplesize 0.1"),
        ("-sourcefile s.txt -divergence 1", "-divergence 1 has no effect beside -sourcefile s.txt"),
        ("-MW 18", "-MW 18 is accepted and has no effect"),
    ],
)
def test_overridden_flags_are_named_in_a_warning(line, text):
    """Clause 20.20."""
    occurrences = match_flags(line.split(), "spec")
    with pytest.warns(NumbraggWarning) as notes:
        check_contradictions(occurrences)
    assert [str(note.message) for note in notes] == [text]


def test_long_options_are_taken_out_and_the_rest_is_left_alone():
    """Clause 20.2."""
    line = "--compat c -N 5 --threads=2 --c-threads 4 -misset -1 -2 -3"
    options, rest = split_options(line.split())
    assert options == {"compat": "c", "threads": 2, "c_threads": 4}
    assert " ".join(rest) == "-N 5 -misset -1 -2 -3"
    assert split_options(["--threads", "2"]) == split_options(["--threads=2"])
    assert split_options(["--help", "--version"]) == ({"help": True, "version": True}, [])
    assert split_options(["--threads", "2", "--threads", "3"])[0] == {"threads": 3}


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--thread 2", ["--thread ", "did you mean --threads?"]),
        ("--cell 1", ["--cell", "did you mean -cell?"]),
        ("--", ["--"]),
        ("--threads", ["--threads", "positive"]),
        ("--threads 0", ["--threads", "'0'"]),
        ("--threads -2", ["--threads", "'-2'"]),
        ("--threads=2.5", ["--threads", "'2.5'"]),
        ("--threads ٣", ["--threads", "positive"]),
        ("--compat d", ["--compat", "spec, c", "'d'"]),
        ("--compat", ["--compat", "spec, c"]),
        ("--precision single", ["--precision", "double, mixed", "'single'"]),
        ("--help=yes", ["--help", "no value"]),
    ],
)
def test_bad_long_options_are_refused(line, parts):
    """Clause 20.2."""
    with pytest.raises(NumbraggError) as error:
        split_options(line.split())
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize("width", [0, 40, 80, 200])
def test_help_shows_every_name_and_fits_the_width(width):
    """Clause 20.21."""
    text = format_help(width)
    reference, examples = text.split("examples:\n")
    words = set(re.findall(r"[\w-]+", reference))
    assert words >= {*FLAG_OF_NAME, *(option.name for option in LONG_OPTIONS)}
    assert max(len(line) for line in reference.splitlines()) <= max(width, 40)
    assert "default 102.4" in " ".join(reference.split())
    for line in examples.replace("\\\n", " ").splitlines():
        _, rest = split_options(line.split()[2:])
        check_contradictions(match_flags(rest, "spec"))


def test_the_specification_lists_the_table():
    """Clause 20.24, and 20.11 for the names that need the whole word."""
    text = SPEC.read_text()
    rows = [line.split("|") for line in text.split("**20.24**")[1].splitlines() if line.startswith("| `-")]
    listed = [(tuple(re.findall("`(.+?)`", row[1])), row[-3].strip(), row[-2].strip()) for row in rows]
    assert listed == [(flag.names, flag.default, flag.help) for flag in FLAGS]
    whole = set(re.findall("`(-.+?)`", text.split("need the whole word:")[1].split("`-pix0_vector_mm`")[0]))
    assert whole == {rule.text for flag in FLAGS for rule in flag.c if rule.whole}


WORDS = st.sampled_from(
    [
        *FLAG_OF_NAME,
        "-misset_seed",
        "-cell",
        "random",
        "inf",
        "nan",
        "1e999",
        "",
        "-",
        "--",
        "beam",
        "1",
        "-2.5",
        "x.hkl",
    ]
)
ARGUMENTS = st.sampled_from([case["args"].split() for case in CASES.values()])


def understood_or_refused(argv):
    for compat in ("spec", "c"):
        try:
            with warnings.catch_warnings(record=True) as notes:
                warnings.simplefilter("always")
                occurrences = match_flags(argv, compat)
                check_contradictions(occurrences)
        except NumbraggError as error:
            message = str(error)
        else:
            message = "fine"
            assert all(argv[one.position] == one.token for one in occurrences)
            assert [one.position for one in occurrences] == sorted(one.position for one in occurrences)
            assert all(isinstance(value, str) or not math.isnan(value) for one in occurrences for value in one.values)
        assert all(issubclass(note.category, NumbraggWarning) for note in notes)
        for text in (message, *(str(note.message) for note in notes)):
            assert text.isprintable(), repr(text)


@given(st.lists(st.text(max_size=12) | st.text(max_size=12).map("-".__add__) | WORDS, max_size=12))
def test_any_words_are_understood_or_refused_in_one_line(argv):
    understood_or_refused(argv)


@given(st.lists(st.tuples(WORDS, st.lists(st.text("0123456789.eE+-xinfa", max_size=6), max_size=6)), max_size=6))
def test_real_flags_with_junk_values_are_understood_or_refused_in_one_line(pairs):
    understood_or_refused([word for name, values in pairs for word in (name, *values)])


@given(
    ARGUMENTS, st.lists(st.tuples(st.integers(0, 80), st.sampled_from("drsi"), WORDS | st.text(max_size=8)), max_size=4)
)
def test_spoilt_golden_arguments_are_understood_or_refused_in_one_line(args, spoils):
    argv = list(args)
    for place, how, word in spoils:
        i = place % (len(argv) or 1)
        if how == "d":
            del argv[i : i + 1]
        elif how == "r":
            argv[i : i + 1] = [word]
        elif how == "i":
            argv.insert(i, word)
        else:
            argv = argv[i:] + argv[:i]
    understood_or_refused(argv)


@given(st.lists(st.text(max_size=12) | st.text(max_size=12).map("--".__add__) | WORDS, max_size=8))
def test_any_words_are_split_into_options_and_rest_or_refused(argv):
    try:
        _, rest = split_options(argv)
        message = "fine"
    except NumbraggError as error:
        message, rest = str(error), []
    assert message.isprintable()
    assert not any(word.startswith("--") for word in rest)
