"""The single-dash flags of the command line: names, values, units, meaning and how mode ``c`` finds them.

A table and nothing else: `numbragg.compat.flags` reads argv with it, ``specs/20-command-line.md`` documents it.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What follows a flag: the placeholder of the help, and how many words."""

    SWITCH = ("", 0)
    CURVED = ("[1]", 0)
    FLOAT = ("NUMBER", 1)
    INT = ("INTEGER", 1)
    COUNT = ("COUNT", 1)
    PATH = ("FILE", 1)
    LABEL = ("LABEL", 1)
    PIVOT = ("sample|beam", 1)
    DEPTH = ("NUMBER|inf", 1)
    MISSET = ("X Y Z|random", 3)
    VECTOR = ("X Y Z", 3)
    CELL = ("A B C ALPHA BETA GAMMA", 6)
    FAST_SLOW = ("FAST SLOW", 2)
    SLOW_FAST = ("SLOW FAST", 2)
    ROI = ("XMIN XMAX YMIN YMAX", 4)

    def __init__(self, placeholder: str, count: int) -> None:
        self.placeholder = placeholder
        self.count = count


@dataclass(frozen=True)
class CRule:
    """How mode ``c`` recognises one name inside a word of the command line.

    Attributes
    ----------
    text : str
        What the word must contain.
    whole : bool
        The word must be `text`, without anything before or behind it.
    stops : bool
        After this match no later flag of the table is tried for the word.
    """

    text: str
    whole: bool = False
    stops: bool = False

    def matches(self, token: str) -> bool:
        """Say whether the word `token` triggers this rule."""
        return token == self.text if self.whole else self.text in token


@dataclass(frozen=True)
class Flag:
    """One flag of nanoBragg or numbragg with all its names.

    Attributes
    ----------
    key : str
        Canonical name of the setting, snake_case, unique in the table.
    names : tuple of str
        All spellings with their dash; mode ``spec`` takes exactly these. The first is the usual one.
    kind : Kind
        What follows the flag.
    unit : str
        Unit of the values in the user's terms; empty for a pure number, a file or a switch.
    group : str
        Heading of the help under which the flag stands.
    default : str
        What holds without the flag, in words for the help; empty when that goes without saying.
    help : str
        Meaning in a few words, signs included.
    c : tuple of CRule
        Rules of mode ``c``, any of which triggers the flag; empty: mode ``c`` has no such flag.
    """

    key: str
    names: tuple[str, ...]
    kind: Kind
    unit: str
    group: str
    default: str
    help: str
    c: tuple[CRule, ...]


# Rows: key, names, what follows, unit, default, meaning.
# Marks behind a name say how mode c finds it (no mark: the word contains the name):
#   =  the word is the name     !  the word is not tried against later rows     ~  not in mode c
# Mode c tries the rows from top to bottom: a row with "!" stands before the rows whose names it contains.
SWITCH, CURVED, FLOAT, INT, COUNT, PATH, LABEL, PIVOT, DEPTH, MISSET, VECTOR, CELL, FAST_SLOW, SLOW_FAST, ROI = Kind
_MOSAIC = "-mosaici -mosaicity -mosaic_spr -mosaic_spread"
_HEIGHT = "-sample_heigh -sample_height -xtal_heigh -xtal_height -heigh -height"
_Row = tuple[str, str, Kind, str, str, str]
_TABLE: dict[str, list[_Row]] = {
    "crystal": [
        ("n_cells_a", "-Na!", COUNT, "cells", "1", "unit cells along a"),
        ("n_cells_b", "-Nb!", COUNT, "cells", "1", "unit cells along b"),
        ("n_cells_c", "-Nc!", COUNT, "cells", "1", "unit cells along c"),
        ("n_cells", "-N=!", COUNT, "cells", "1", "unit cells along a, b and c alike"),
        ("cell", "-cell", CELL, "A, deg", "", "unit cell; with -mat the matrix only orients it"),
        ("misset", "-misset", MISSET, "deg", "0 0 0", "turn the crystal about X, then Y, then Z; or at random"),
        ("misset_seed", "-misset_seed", INT, "", "as -seed", "seed of the random orientation"),
        ("mat", "-mat -matrix", PATH, "", "", "orientation matrix, MOSFLM style (a*, b*, c* in columns)"),
        ("square_xtal", "-square_xtal", SWITCH, "", "on", "parallelepiped crystal: the exact lattice factor"),
        ("round_xtal", "-round_xtal", SWITCH, "", "off", "round crystal"),
        ("gauss_xtal", "-gauss_xtal", SWITCH, "", "off", "Gaussian spots without fringes"),
        ("tophat_spots", "-tophat_spots -binary_spots", SWITCH, "", "off", "spots of even height, sharp edges"),
        ("fudge", "-fudge", FLOAT, "", "1", "scale of the size of round, Gaussian and tophat spots"),
        ("mosaic_spread", f"-mosaic= {_MOSAIC}", FLOAT, "deg", "0", "radius of the cap of domain orientations"),
        ("mosaic_domains", "-mosaic_dom -mosaic_domains", INT, "", "10 with a spread", "mosaic domains"),
        ("mosaic_seed", "-mosaic_seed", INT, "", "12345678", "seed of the domain orientations"),
    ],
    "structure factors": [
        ("hklcolumn", "-hklcolumn=!", LABEL, "", "found by type", "column of an MTZ or mmCIF file (numbragg only)"),
        ("hkl", "-hkl", PATH, "", "", "structure factors: text h k l F, MTZ, mmCIF or a model"),
        ("default_f", "-default_F", FLOAT, "e", "0", "F of every reflection that is not in the file"),
        ("dump", "-dump", PATH, "", "none; c: Fdump.bin", "binary copy of the table: written with -hkl, else read"),
        ("interpolate", "-interpolate", SWITCH, "", "when any N <= 2", "tri-cubic interpolation of F between hkl"),
        ("nointerpolate", "-nointerpolate", SWITCH, "", "", "F of the nearest hkl, always"),
    ],
    "sample size (sets the number of cells)": [
        ("samplesize", "-samplesize -sample_size -xtalsize -xtal_size", FLOAT, "mm", "", "size along a, b and c alike"),
        ("samplesize_x", "-sample_x -sample_thick -xtal_x -xtal_thick", FLOAT, "mm", "", "size along a"),
        ("samplesize_y", "-sample_y -sample_width -xtal_y -xtal_width -width", FLOAT, "mm", "", "size along b"),
        ("samplesize_z", f"-sample_z -xtal_z {_HEIGHT}", FLOAT, "mm", "", "size along c"),
        ("density", "-density -sample_den -sample_density", FLOAT, "g/cm^3", "1", "of what -stol describes"),
        ("molecular_weight", "-MW= -molec -molecular_weight", FLOAT, "g/mol", "18", "of what -stol describes"),
    ],
    "beam": [
        ("lambda", "-lambda -wave -wavelength", FLOAT, "A", "1", "wavelength"),
        ("energy", "-energy", FLOAT, "eV", "", "photon energy: wavelength = 12398.42/energy"),
        ("fluence", "-fluence", FLOAT, "photons/m^2", "1.25932e29", "photons through unit area in all"),
        ("flux", "-flux", FLOAT, "photons/s", "0", "not 0: fluence = flux*exposure/beamsize^2"),
        ("exposure", "-exposure", FLOAT, "s", "1", "exposure time"),
        ("beamsize", "-beamsize", FLOAT, "mm", "0.1", "side of the square beam; clips the sample along y and z"),
        ("polar", "-polar=", FLOAT, "", "0", "Kahn polarisation factor, -1 to 1; 1 is fully along the E vector"),
        ("nopolar", "-nopolar", SWITCH, "", "off", "no polarisation factor"),
        ("sourcefile", "-sourcefile", PATH, "", "", "table of sources: X Y Z weight wavelength (m)"),
        ("dispersion", "-dispersion", FLOAT, "percent", "0", "full spread of the wavelength"),
        ("dispsteps", "-dispsteps", INT, "", "1", "wavelengths over the spread"),
        ("divergence", "-divergence", FLOAT, "mrad", "0", "full divergence, horizontal and vertical alike"),
        ("hdivrange", "-hdivrange", FLOAT, "mrad", "0", "full horizontal divergence"),
        ("vdivrange", "-vdivrange", FLOAT, "mrad", "0", "full vertical divergence"),
        ("hdivstep", "-hdivstep=", FLOAT, "mrad", "", "step of the horizontal divergence"),
        ("hdivsteps", "-hdivsteps", INT, "", "1", "steps of the horizontal divergence"),
        ("vdivstep", "-vdivstep=", FLOAT, "mrad", "", "step of the vertical divergence"),
        ("vdivsteps", "-vdivsteps", INT, "", "1", "steps of the vertical divergence"),
        ("divsteps", "-divsteps", INT, "", "1", "steps of both divergences"),
        ("round_div", "-round_div", SWITCH, "", "on", "drop the corners of the divergence grid"),
        ("square_div", "-square_div", SWITCH, "", "off", "keep the corners of the divergence grid"),
    ],
    "rotation": [
        ("phi", "-phi=", FLOAT, "deg", "0", "spindle angle where the exposure begins"),
        ("osc", "-osc", FLOAT, "deg", "0", "rotation during the exposure"),
        ("phistep", "-phistep=", FLOAT, "deg", "", "step of the rotation"),
        ("phisteps", "-phisteps", INT, "", "1", "steps of the rotation; alone it means osc = 1 deg"),
    ],
    "detector": [
        ("img", "-img", PATH, "", "", "SMV image whose header sets detector, beam and rotation"),
        ("mask", "-mask", PATH, "", "", "SMV image as -img; its pixels of 0 are skipped"),
        ("pixel", "-pixel", FLOAT, "mm", "0.1", "side of a pixel"),
        ("detsize", "-detsize=", FLOAT, "mm", "102.4", "side of a square detector"),
        ("detsize_fast", "-detsize_f", FLOAT, "mm", "102.4", "detector along fast"),
        ("detsize_slow", "-detsize_s", FLOAT, "mm", "102.4", "detector along slow"),
        ("detpixels", "-detpixels=", INT, "pixels", "from the size", "side of a square detector"),
        ("detpixels_fast", "-detpixels_f -detpixels_x", INT, "pixels", "from the size", "detector along fast"),
        ("detpixels_slow", "-detpixels_s -detpixels_y", INT, "pixels", "from the size", "detector along slow"),
        ("roi", "-roi", ROI, "pixels", "all", "first and last pixel along fast and slow, both included, from 0"),
        ("distance", "-distance", FLOAT, "mm", "100", "sample to detector along the beam"),
        ("close_distance", "-close_distance", FLOAT, "mm", "", "sample to the nearest point of the detector plane"),
        ("detector_abs", "-detector_abs -detector_absorb", DEPTH, "um", "inf", "attenuation depth of the sensor"),
        ("detector_thick", "-detector_thick=", FLOAT, "um", "0", "thickness of the sensor"),
        ("detector_thicksteps", "-detector_thicksteps -thicksteps", INT, "", "", "layers of the sensor"),
        ("curved_det", "-curved_det", CURVED, "", "off", "pixels on a sphere about the sample"),
        ("point_pixel", "-point_pixel", SWITCH, "", "off", "solid angle 1/R^2, without size and tilt of a pixel"),
    ],
    "detector position": [
        ("mosflm", "-mosflm", SWITCH, "", "on", "MOSFLM: beam along +X, Xbeam along slow, half-pixel shift"),
        ("xds", "-xds", SWITCH, "", "off", "XDS: beam along +Z, near point from -ORGX -ORGY"),
        ("adxv", "-adxv", SWITCH, "", "off", "ADXV: beam along +Z, Ybeam counted from the bottom"),
        ("denzo", "-denzo", SWITCH, "", "off", "DENZO: as MOSFLM without the half-pixel shift"),
        ("dials", "-dials", SWITCH, "", "off", "DIALS: as XDS with the spindle along +Y"),
        ("pivot", "-pivot", PIVOT, "", "by convention", "what stays put when the detector is turned"),
        ("xbeam", "-Xbeam", FLOAT, "mm", "centre", "direct beam, X of the convention"),
        ("ybeam", "-Ybeam", FLOAT, "mm", "centre", "direct beam, Y of the convention"),
        ("xclose", "-Xclose", FLOAT, "mm", "centre", "near point along fast"),
        ("yclose", "-Yclose", FLOAT, "mm", "centre", "near point along slow"),
        ("orgx", "-ORGX", FLOAT, "pixels", "centre", "near point along fast, the first pixel's centre is 1"),
        ("orgy", "-ORGY", FLOAT, "pixels", "centre", "near point along slow, the first pixel's centre is 1"),
        ("detector_rotx", "-detector_rotx", FLOAT, "deg", "0", "first turn of the detector, right-handed about X"),
        ("detector_roty", "-detector_roty", FLOAT, "deg", "0", "second turn, right-handed about Y"),
        ("detector_rotz", "-detector_rotz", FLOAT, "deg", "0", "third turn, right-handed about Z"),
        ("twotheta_axis", "-twotheta_axis", VECTOR, "", "by convention", "axis of the two-theta swing"),
        ("twotheta", "-twotheta", FLOAT, "deg", "0", "last turn, right-handed about the two-theta axis"),
        ("fdet_vector", "-fdet_vector", VECTOR, "", "by convention", "direction of increasing fast"),
        ("sdet_vector", "-sdet_vector", VECTOR, "", "by convention", "direction of increasing slow"),
        ("odet_vector", "-odet_vector", VECTOR, "", "by convention", "detector normal, away from the sample"),
        ("beam_vector", "-beam_vector", VECTOR, "", "by convention", "direction in which the beam travels"),
        ("polar_vector", "-polar_vector", VECTOR, "", "by convention", "direction of the E vector"),
        ("spindle_axis", "-spindle_axis", VECTOR, "", "by convention", "axis of the phi rotation, right-handed"),
        ("pix0_vector", "-pix0_vector", VECTOR, "m", "", "outer corner of the first pixel, seen from the sample"),
        ("pix0_vector_mm", "-pix0_vector_mm~", VECTOR, "mm", "", "the same in mm; mode c reads it as metres"),
    ],
    "sampling": [
        ("oversample_thick", "-oversample_thick!", SWITCH, "", "off", "capture fraction for every sub-pixel"),
        ("oversample_polar", "-oversample_polar!", SWITCH, "", "off", "polarisation for every sub-pixel and source"),
        ("oversample_omega", "-oversample_omega!", SWITCH, "", "off", "solid angle for every sub-pixel"),
        ("oversample", "-oversample", INT, "", "from the spot size", "sub-pixels along each side of a pixel"),
        ("dmin", "-dmin", FLOAT, "A", "none", "skip everything of higher resolution"),
    ],
    "background and noise": [
        ("water", "-water", FLOAT, "um", "0", "side of a cube of water in the beam"),
        ("stol", "-stol=", PATH, "", "", "F of the -water cube against sin(theta)/lambda (1/A)"),
        ("stol_4", "-4stol=", PATH, "", "", "the same against 4 sin(theta)/lambda"),
        ("stol_q", "-Q=", PATH, "", "", "the same against 4 pi sin(theta)/lambda"),
        ("stolout", "-stolout", PATH, "", "", "accepted, without effect"),
        ("seed", "-seed", INT, "", "from the clock", "seed of the photon noise"),
    ],
    "images to write": [
        ("floatfile", "-floatfile -floatimage", PATH, "", "floatimage.bin", "photons per pixel, raw float32"),
        ("intfile", "-intfile -intimage", PATH, "", "intimage.img", "SMV, scaled and without noise"),
        ("scale", "-scale", FLOAT, "", "55000/max", "factor of -intfile"),
        ("adc", "-adc", FLOAT, "ADU", "40", "offset added to every pixel of -intfile and -noisefile"),
        ("noisefile", "-noisefile -noiseimage", PATH, "", "noiseimage.img", "SMV with photon noise"),
        ("nonoise", "-nonoise", SWITCH, "", "off", "write no noise image"),
        ("pgmfile", "-pgmfile -pgmimage", PATH, "", "image.pgm", "8-bit grey picture"),
        ("pgmscale", "-pgmscale", FLOAT, "", "50/rmsd", "factor of -pgmfile"),
        ("nopgm", "-nopgm", SWITCH, "", "off", "write no grey picture"),
        ("pngfile", "-pngfile=!", PATH, "", "none", "PNG picture (numbragg only)"),
    ],
    "reports": [
        ("printout_pixel", "-printout_pixel", FAST_SLOW, "pixels", "all", "print only this pixel"),
        ("printout", "-printout", SWITCH, "", "off", "print the intensity of pixels"),
        ("trace_pixel", "-trace_pixel=!", SLOW_FAST, "pixels", "", "print every intermediate value of this pixel"),
        ("noprogress", "-noprogress", SWITCH, "", "off", "no progress bar"),
        ("progress", "-progress", SWITCH, "", "on", "progress bar on a terminal"),
        ("coherent", "-coherent", SWITCH, "", "off", "accepted, without effect"),
    ],
}


def _flag(group: str, row: _Row) -> Flag:
    key, marked, kind, unit, default, meaning = row
    words = marked.split()
    rules = tuple(CRule(word.rstrip("=!"), "=" in word, "!" in word) for word in words if "~" not in word)
    return Flag(key, tuple(word.rstrip("=!~") for word in words), kind, unit, group, default, meaning, rules)


FLAGS: tuple[Flag, ...] = tuple(_flag(group, row) for group, rows in _TABLE.items() for row in rows)
FLAG_OF_NAME: dict[str, Flag] = {name: flag for flag in FLAGS for name in flag.names}


def nearest_name(word: str, names: Iterable[str]) -> str:
    """Return `` (did you mean X?)`` with the name most like `word`, upper and lower case alike, or an empty text."""
    folded = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word[:60].lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]}?)" if close else ""


def shown(word: str) -> str:
    """Return a word of the command line fit for one line of a message: quoted and shortened."""
    return repr(word if len(word) <= 60 else word[:57] + "...")


def plain(word: str) -> str:
    """Return a word as it is, quoted only where it would spoil a line: too long, blank or unprintable."""
    return word if word.isprintable() and " " not in word and 0 < len(word) <= 60 else shown(word)
