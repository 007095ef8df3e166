"""The long options of ``numbragg simulate``: two dashes, separate from the flags of nanoBragg.

Rules: ``specs/20-command-line.md``, clause 20.2.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from numbragg.compat.flag_table import FLAG_OF_NAME, nearest_name, plain, shown
from numbragg.errors import NumbraggError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class LongOption:
    """One long option.

    Attributes
    ----------
    name : str
        With its two dashes.
    placeholder : str
        What the help calls its value; empty for a switch, words between bars for a choice, N for a positive integer,
        DEG for a number, NUMBER for one of at least 0, anything else (FILE) for a word.
    default : str
        In words for the help.
    help : str
        Meaning in a few words.
    unit : str
        Of the value, empty for a pure number.
    group : str
        Heading of the help under which the option stands.
    """

    name: str
    placeholder: str
    default: str
    help: str
    unit: str = ""
    group: str = "options"

    @property
    def key(self) -> str:
        """The name in the dictionary of `split_options`: no leading dashes, underscores within."""
        return self.name.lstrip("-").replace("-", "_")


def _sample(name: str, placeholder: str, default: str, meaning: str, unit: str = "") -> LongOption:
    return LongOption(name, placeholder, default, meaning, unit, "beyond nanoBragg (mode spec)")


def _effect(name: str, placeholder: str, default: str, meaning: str, unit: str = "") -> LongOption:
    return LongOption(name, placeholder, default, meaning, unit, "detector effects (mode spec)")


BACKGROUND = _sample(
    "--background",
    "NAME:thickness=MM[+...]",
    "none",
    "amorphous layers: water, air or a table, with thickness and width (mm), density (g/cm^3), mw (g/mol)",
)
BAD_PIXELS = _effect("--bad-pixels", "FILE", "none", "pixels that read 0: lines FAST SLOW or XMIN XMAX YMIN YMAX")

SPECTRUM = _sample("--spectrum", "FILE", "none", "lines of the beam: energy (eV) or wavelength (A), and weight")
SPECTRUM_POINTS = _sample("--spectrum-points", "N", "as in the file", "most lines that the spectrum is brought down to")
LINE_HKL = _sample(
    "--line-hkl",
    "FILE",
    "that of -hkl",
    "structure factors of each line of the spectrum: files F_##.mtz numbered from 1, or model: that of -hkl",
)
MOSAIC_SPREADS = _sample(
    "--mosaic-spreads", "A,B,C", "-mosaic", "mosaic spread about a, about c* and across both (near b)", "deg"
)

PANEL = _sample("--panel", "PANEL", "all", "the only panel to simulate of several that --geometry has, from 0")

SAMPLE: tuple[LongOption, ...] = (BACKGROUND, SPECTRUM, SPECTRUM_POINTS, LINE_HKL, MOSAIC_SPREADS, PANEL)
EFFECTS: tuple[LongOption, ...] = (
    _effect("--flicker", "NUMBER", "0", "deviation of the source from image to image", "fraction"),
    _effect("--calibration-error", "NUMBER", "0", "deviation of the pixels' sensitivity", "fraction"),
    _effect("--calibration-seed", "N", "123456789", "seed of the sensitivities, which all images of a detector share"),
    _effect("--psf", "gaussian|fiber", "none", "point spread of the detector"),
    _effect("--psf-fwhm", "NUMBER", "none", "full width of the point spread at half maximum", "mm"),
    _effect("--psf-radius", "N", "from the width", "half width of the square that it is computed in", "pixels"),
    _effect("--gain", "NUMBER", "1", "counts for each photon", "ADU"),
    _effect("--readout-noise", "NUMBER", "0", "deviation of every reading", "ADU"),
    _effect("--saturation", "N", "65535", "largest count", "ADU"),
    BAD_PIXELS,
)

LONG_OPTIONS: tuple[LongOption, ...] = (
    LongOption("--compat", "spec|c", "spec; nanoBragg: c", "corrected physics, or nanoBragg.c with its defects"),
    LongOption("--threads", "N", "all cores", "threads to run; the image does not depend on it"),
    LongOption("--precision", "double|mixed", "double", "mixed: faster, within 2e-5 of the maximum of double"),
    LongOption("--c-threads", "N", "1", "OpenMP threads that mode c imitates (Q01)"),
    LongOption(
        "--geometry", "FILE", "", "detector, beam and orientation from .expt, XDS, .geom, .cbf or .h5; flags win"
    ),
    LongOption("--format", "smv|cbf|nxmx", "by suffix", "of -noisefile and -intfile: .img, .cbf, or .h5 and .nxs"),
    LongOption("--compression", "gzip|bitshuffle|none", "gzip", "of NXmx files; bitshuffle needs a plugin in readers"),
    LongOption(
        "--expt", "geometry|crystal", "none", "write an .expt for DIALS beside each image, without or with crystal"
    ),
    LongOption("--images", "N", "1", "images of a rotation series; finished ones are kept"),
    LongOption("--osc-per-image", "DEG", "", "rotation of each image of a series"),
    *SAMPLE,
    *EFFECTS,
    LongOption("--help", "", "", "print this text"),
    LongOption("--version", "", "", "print the version"),
)
_OPTION_OF_NAME = {option.name: option for option in LONG_OPTIONS}


def split_options(argv: Sequence[str]) -> tuple[dict[str, str | int | float | bool], list[str]]:
    """Take the long options out of a command line.

    Parameters
    ----------
    argv : sequence of str
        The words behind the program's name. ``--name value`` and ``--name=value`` mean the same.

    Returns
    -------
    options : dict
        Only the options that were given, by `LongOption.key` (``compat``, ``threads``, ``c_threads``,
        ``help``, ``version``, ...): a positive int, a number, a word or True. The last of several holds.
    rest : list of str
        All other words, in order and untouched.

    Raises
    ------
    NumbraggError
        An unknown option, a missing value, or a value of the wrong kind.

    Notes
    -----
    Source: ``specs/20-command-line.md``, clause 20.2.
    """
    options: dict[str, str | int | float | bool] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if not word.startswith("--"):
            rest.append(word)
            continue
        name, equals, value = word.partition("=")
        option = _OPTION_OF_NAME.get(name)
        if option is None:
            hint = nearest_name(name, [*_OPTION_OF_NAME, *FLAG_OF_NAME])
            raise NumbraggError(f"unknown option {plain(name)}{hint}")
        if option.placeholder:
            options[option.key] = _value(option, value if equals else next(words, ""))
        elif equals:
            raise NumbraggError(f"{name} takes no value, not {shown(value)}")
        else:
            options[option.key] = True
    return options, rest


def _value(option: LongOption, word: str) -> str | int | float:
    if option.placeholder == "FILE":
        if not word or word.startswith("-") or "\0" in word:
            raise NumbraggError(f"{option.name} takes a file name, not {shown(word)}")
        return word
    if option.placeholder == "DEG":
        if not _NUMBER.fullmatch(word) or not math.isfinite(float(word)):
            raise NumbraggError(f"{option.name} takes a number (deg), not {shown(word)}")
        return float(word)
    choices = option.placeholder.split("|")
    if len(choices) > 1:
        if word not in choices:
            raise NumbraggError(f"{option.name} is one of {', '.join(choices)}, not {shown(word)}")
        return word
    if option.placeholder == "NUMBER":
        if not _NUMBER.fullmatch(word) or not 0.0 <= float(word) < math.inf:
            unit = f" ({option.unit})" if option.unit else ""
            raise NumbraggError(f"{option.name} takes a number of at least 0{unit}, not {shown(word)}")
        return float(word)
    if option.placeholder != "N":
        if word in ("", "-") or word.startswith("--") or not word.isprintable():
            raise NumbraggError(f"{option.name} takes {option.placeholder}, not {shown(word)}")
        return word
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) > 0):
        raise NumbraggError(f"{option.name} is a positive whole number, not {shown(word)}")
    return int(word)
