"""What the long options say of sample and beam, beyond the flags of nanoBragg."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from numbragg.compat.options import BACKGROUND, LINE_HKL, MOSAIC_SPREADS, PANEL, SAMPLE, SPECTRUM, SPECTRUM_POINTS
from numbragg.errors import NumbraggError
from numbragg.io.spectrum import read_spectrum
from numbragg.materials import amorphous_layer
from numbragg.models.amorphous import AmorphousLayer
from numbragg.models.spectrum import Spectrum

DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Numbers as the flags take them (specs/20-command-line.md, 20.3)."""

LONGEST_NUMBER = 10
"""Digits that no number of a panel has."""

MODEL_OF_LINES = "model"
"""What ``--line-hkl`` calls the model of ``-hkl``."""

LAYER_FIELDS = {"thickness": "thickness", "density": "density", "mw": "molecular_weight", "width": "width"}
"""Keys of a layer on the command line."""


class Extras(NamedTuple):
    """Background, spectrum and mosaicity of a job; nothing by default."""

    background: tuple[AmorphousLayer, ...] = ()
    spectrum: Spectrum | None = None
    mosaic_spreads: tuple[float, float, float] | None = None
    """Degrees, as of `numbragg.Crystal`."""
    line_hkl: str | None = None
    """Structure factors of the lines of the spectrum: names of files with ``#``, or `MODEL_OF_LINES`."""
    panel: int | None = None
    """The only one to simulate, from 0."""


NO_EXTRAS = Extras()


def extras_of(options: Mapping[str, Any]) -> Extras:
    """Read what long options say of sample and beam (specs/20-command-line.md, 20.50 to 20.53, 20.56).

    Parameters
    ----------
    options
        By key, as of `split_options`; others are ignored.

    Raises
    ------
    NumbraggError
        Options that need another one or mode ``spec``, have a value of the wrong form, or name a file that cannot be
        read.
    """
    refuse_mode_c(options, [option.name for option in SAMPLE if option.key in options])
    return Extras(
        background=parse_layers(options[BACKGROUND.key]) if BACKGROUND.key in options else (),
        spectrum=_spectrum(options),
        line_hkl=_line_hkl(options),
        mosaic_spreads=_three_spreads(options[MOSAIC_SPREADS.key]) if MOSAIC_SPREADS.key in options else None,
        panel=_panel(options[PANEL.key]) if PANEL.key in options else None,
    )


def refuse_mode_c(options: Mapping[str, Any], given: list[str]) -> None:
    """Refuse options that nanoBragg.c has nothing like."""
    if given and options.get("compat") == "c":
        raise NumbraggError(f"{given[0]} needs --compat spec: nanoBragg.c has nothing like it")


def parse_layers(text: str) -> tuple[AmorphousLayer, ...]:
    """Read amorphous layers as the command line gives them: ``water:thickness=0.01+air:thickness=20``.

    Raises
    ------
    NumbraggError
        A layer without thickness, an unknown key, a word that is no number, or a table that cannot be read.
    """
    return tuple(_layer(words) for words in text.split("+"))


def _layer(text: str) -> AmorphousLayer:
    material, *pairs = text.split(":")
    fields: dict[str, float] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key not in LAYER_FIELDS:
            raise NumbraggError(f"{BACKGROUND.name}: {pair[:60]!r} is none of {'=, '.join(LAYER_FIELDS)}=")
        fields[LAYER_FIELDS[key]] = _number(f"{BACKGROUND.name}: {key}", value)
    if not material or "thickness" not in fields:
        raise NumbraggError(
            f"{BACKGROUND.name}: a layer is NAME:thickness=MM, such as water:thickness=0.01; not {text[:60]!r}"
        )
    return amorphous_layer(material, **fields)  # type: ignore[arg-type]


def _spectrum(options: Mapping[str, Any]) -> Spectrum | None:
    points = options.get(SPECTRUM_POINTS.key)
    if SPECTRUM.key not in options:
        if points is not None:
            raise NumbraggError(f"{SPECTRUM_POINTS.name} needs {SPECTRUM.name} FILE")
        return None
    spectrum = read_spectrum(options[SPECTRUM.key])
    return spectrum if points is None else spectrum.resampled(points)


def _line_hkl(options: Mapping[str, Any]) -> str | None:
    if LINE_HKL.key in options and SPECTRUM.key not in options:
        raise NumbraggError(f"{LINE_HKL.name} needs {SPECTRUM.name} FILE")
    return options.get(LINE_HKL.key)


def _three_spreads(text: str) -> tuple[float, float, float]:
    words = text.split(",")
    if len(words) != 3:
        raise NumbraggError(f"{MOSAIC_SPREADS.name} takes three numbers A,B,C (deg), not {text[:60]!r}")
    first, second, third = (_number(MOSAIC_SPREADS.name, word) for word in words)
    if min(first, second, third) <= 0:
        raise NumbraggError(f"{MOSAIC_SPREADS.name}: each spread must be above 0, not {text[:60]}")
    return first, second, third


def _panel(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < LONGEST_NUMBER):
        raise NumbraggError(f"{PANEL.name} takes the number of a panel, counted from 0, not {text[:60]!r}")
    return int(text)


def _number(what: str, word: str) -> float:
    if not DECIMAL.fullmatch(word) or not math.isfinite(float(word)):
        raise NumbraggError(f"{what} takes a number, not {word[:60]!r}")
    return float(word)
