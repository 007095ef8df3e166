"""The register of deviations (specs/40-compat.md): each entry shown in both modes, and each defect alone.

The commands of the register are run as they stand; `test_deviations.py` and `test_deviations_of_flags.py` say what the
difference is.
"""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from command_line import image_of, job_with, run
from deviation_scenes import (
    BASE,
    CUBIC,
    ENTRIES,
    ROOT,
    SMALL,
    command,
    notes,
)

from numbragg.compat.report import geometry_lines, smv_header
from numbragg.io.smv import read_smv_header
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.statistics import image_statistics

pytestmark = pytest.mark.usefixtures("in_a_folder_with_inputs")

SAME_IN_BOTH = {"Q15", "Q17", "Q24"}
RECORDED = {
    "HEADER_BYTES",
    "IMAGE_PEDESTAL",
    "TIME",
    "NUMBRAGG_VERSION",
    "NUMBRAGG_FLAGS",
    "NUMBRAGG_SEED",
    "NUMBRAGG_IMAGE",
}
"""Entries that mode spec always adds."""
WITHOUT_NOTE = {"Q11", "Q14", "Q15", "Q16", "Q17", "Q18", "Q24", "Q27", "Q28"}
QUIRK = {f"Q{field.name[1:3]}": field.name for field in fields(Quirks) if field.name != "threads"}


def outcome(line: str, quirks: Quirks, matching: str = "spec") -> tuple:
    """Everything that a run shows: image, statistics, printed geometry, header, files."""
    for path in Path().glob("Fdump.bin"):
        path.unlink()
    job = job_with(line, quirks, matching)
    image = image_of(job)
    header = {key: value for key, value in smv_header(job).items() if key not in ("ADC_OFFSET", "BEAMLINE")}
    files = sorted(path.name for path in Path().iterdir())
    return image.tobytes(), tuple(image_statistics(job.experiment, image)), geometry_lines(job), header, files


# The register as a document


def test_entries_are_numbered_in_order_and_have_an_anchor():
    assert list(ENTRIES) == [f"Q{number:02d}" for number in range(1, len(ENTRIES) + 1)]
    assert all(f'<a id="{entry.lower()}"></a>' in text for entry, text in ENTRIES.items())


def test_every_entry_named_in_the_package_is_in_the_register():
    named = {name for path in (ROOT / "numbragg").rglob("*.py") for name in re.findall(r"Q\d\d\b", path.read_text())}
    assert named
    assert named <= set(ENTRIES)
    assert set(QUIRK) <= set(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_says_what_both_modes_do_and_has_a_command(entry):
    """Clause 40.1."""
    text = ENTRIES[entry]
    assert "nanoBragg.c: " in text
    assert "Both modes: " in text if entry in SAME_IN_BOTH else "`spec`: " in text
    assert command(entry)


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - SAME_IN_BOTH))
def test_command_of_the_register_shows_the_difference(entry):
    """Clause 40.4: what is printed, the image or the files differ, or mode spec ends with an error."""
    shown = []
    for compat in ("c", "spec"):
        for path in Path().glob("*.bin"):
            path.unlink()
        result = run(f"simulate --compat {compat}", command(entry), "-nonoise -nopgm -intfile i.img -noprogress")
        files = {path.name: path.read_bytes() for path in Path().glob("*.bin")}
        header = read_smv_header("i.img") if result.status == 0 else {}
        header = {key: value for key, value in header.items() if key not in RECORDED}
        shown.append((result.status, result.out, files, {**header, "BEAMLINE": "", "ADC_OFFSET": ""}))
    in_c, in_spec = shown
    assert in_c[0] == 0
    assert in_c != in_spec


@pytest.mark.parametrize("entry", sorted(set(QUIRK) - {"Q16", "Q18"}))
def test_defect_alone_changes_the_outcome_of_its_command(entry):
    """Clause 40.2: on its own in mode spec, and missing alone from mode c."""
    name = QUIRK[entry]
    assert outcome(command(entry), replace(NO_QUIRKS, **{name: True})) != outcome(command(entry), NO_QUIRKS)
    all_but_one = replace(Quirks.all(), **{name: False})
    assert outcome(command(entry), all_but_one) != outcome(command(entry), Quirks.all())


UNTOUCHED = {
    "rotation": f"{BASE} -phi 1 -osc 2 -phisteps 3 -mosaic 0.5 -mosaic_dom 3",
    "sensor of two layers": f"{BASE} -detector_abs 300 -detector_thick 320 -thicksteps 2 -roi 3 17 5 20",
    "sources": f"{BASE} -sourcefile inputs/sources_equal.txt",
    "divergence": f"{BASE} -hdivrange 2 -hdivstep 0.5 -dispersion 1 -dispsteps 3",
    "table": f"-cell 70 80 90 90 90 90 -hkl inputs/dense.hkl -N 5 -oversample 2 {SMALL}",
    "tilted": f"{BASE} -xds -detector_rotx 5 -detector_roty 3 -ORGX 10 -ORGY 13 -polar 0.9",
    "header": f"{CUBIC} -gauss_xtal -img inputs/header.img",
}
# What each of these lines shares with an entry of the register.
TOUCHED = {
    "Q04": {"sensor of two layers"},
    "Q03": {"sensor of two layers"},
    "Q11": {"table"},
    "Q28": {"rotation"},
    "Q27": {"rotation", "sources", "divergence", "sensor of two layers", "header"},
}


@pytest.mark.parametrize("entry", QUIRK)
def test_defect_alone_leaves_everything_else_alone(entry):
    """Clause 40.2: bit for bit the outcome of mode spec wherever the entry is not concerned."""
    quirks = replace(NO_QUIRKS, **{QUIRK[entry]: True})
    for name, line in UNTOUCHED.items():
        if name not in TOUCHED.get(entry, ()):
            assert outcome(line, quirks) == outcome(line, NO_QUIRKS), name


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - WITHOUT_NOTE))
def test_note_names_the_entry_in_mode_spec_and_not_in_mode_c(entry):
    """Clause 40.3."""
    assert entry in notes(command(entry))
    assert notes(command(entry), "c") == set()


def test_note_is_one_line_on_standard_error():
    """Clause 40.3, word for word."""
    result = run("simulate", command("Q03"), "-nonoise -nopgm")
    wanted = "note: Q03 absorption differs from nanoBragg.c here; --compat c reproduces it (specs/40-compat.md#q03)"
    assert wanted in result.err.splitlines()
    assert "Q03" not in result.out


@pytest.mark.parametrize("name", UNTOUCHED)
def test_no_note_where_nothing_is_touched(name):
    """Clause 40.3."""
    expected = {entry for entry, names in TOUCHED.items() if name in names} - WITHOUT_NOTE
    assert notes(UNTOUCHED[name]) == expected
