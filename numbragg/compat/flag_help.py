"""The help of ``numbragg simulate``, written from the table of flags."""

import textwrap
from itertools import groupby

from numbragg.compat.flag_table import FLAGS, Flag
from numbragg.compat.options import LONG_OPTIONS

_INDENT = " " * 6
_NARROWEST = 40
_USAGE = "usage: numbragg simulate [--options] -flag value ..."
_INTRODUCTION = (
    "Lengths are in mm, the cell in A, angles in degrees, divergence in mrad, dispersion in percent, sensor and water "
    "in um. Flags take exactly their values and may stand in any order; of a flag given twice the last one holds."
)
_EXAMPLES = """\
examples:
  numbragg simulate -cell 100 100 100 90 90 90 -default_F 100 -N 5 -lambda 1 -distance 100 -detpixels 512
  numbragg simulate -mat A.mat -hkl P1.hkl -lambda 0.9768 -distance 231.3 -pixel 0.172 \\
      -detpixels_x 2463 -detpixels_y 2527 -Na 36 -Nb 47 -Nc 29 -osc 0.1 -phisteps 10 -floatfile image.bin
  numbragg simulate -hkl model.pdb -cell 34.8 39.2 48.3 90 90 90 -misset random -N 20 -noisefile image.img
  numbragg simulate --compat c --c-threads 4 -mat A.mat -hkl P1.hkl -N 10 -phi 0 -osc 1 -phisteps 10
"""


def format_help(width: int) -> str:
    """Return the help of all flags and long options.

    Parameters
    ----------
    width : int
        Columns of the terminal; taken as 40 where it is less.

    Returns
    -------
    str
        Grouped entries, each with its synonyms, values, unit and default; ends with examples, which are not wrapped.

    Notes
    -----
    Source: ``specs/20-command-line.md``, clause 20.21.
    """
    width = max(width, _NARROWEST)
    lines = [*textwrap.wrap(_USAGE, width), "", *textwrap.wrap(_INTRODUCTION, width)]
    for group, flags in groupby(FLAGS, key=lambda flag: flag.group):
        lines += ["", f"{group}:"]
        for flag in flags:
            lines += _entry(flag, width)
    for group in dict.fromkeys(option.group for option in LONG_OPTIONS):
        lines += ["", f"{group}:"]
        for option in LONG_OPTIONS:
            if option.group == group:
                heading = f"{option.name} {option.placeholder}".rstrip()
                lines += _paragraphs(heading, _explanation(option.help, option.unit, option.default), width)
    return "\n".join([*lines, "", _EXAMPLES])


def _entry(flag: Flag, width: int) -> list[str]:
    usual = f"{flag.names[0]} {flag.kind.placeholder}".rstrip()
    return _paragraphs(", ".join([usual, *flag.names[1:]]), _explanation(flag.help, flag.unit, flag.default), width)


def _explanation(meaning: str, unit: str, default: str) -> str:
    facts = [*([unit] if unit else []), *([f"default {default}"] if default else [])]
    return f"{meaning} [{'; '.join(facts)}]" if facts else meaning


def _paragraphs(heading: str, text: str, width: int) -> list[str]:
    return [
        *textwrap.wrap(heading, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False),
        *textwrap.wrap(text, width, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False),
    ]
