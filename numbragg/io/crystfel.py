"""Geometry files of CrystFEL (specs/30-formats.md, 30.93)."""

import os
import re
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.input_file import input_file
from numbragg.models.instrument import Instrument

_EV_ANGSTROM = 12398.42
_LENGTHS = {"m": 1e3, "mm": 1.0, "": 1e3}
"""Millimetres in a unit of length."""
_TERM = re.compile(r"([+-]?)\s*([0-9.]*(?:[eE][+-]?[0-9]+)?)\s*\*?\s*([xyz])")
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")
_NOT_A_PANEL = ("bad", "mask", "rigid_group", "group")
_ENERGIES = {"": 1.0, "eV": 1.0, "keV": 1e3, "MeV": 1e6}
UNKNOWN_WAVELENGTH = 1.0  # angstrom

Entries = dict[str, tuple[int, str]]


def read_geom(path: str | os.PathLike[str]) -> Instrument:
    """Read the geometry of a detector of one panel.

    Raises
    ------
    NumbraggError
        The file cannot be read, has several panels, or lacks an entry.

    Warns
    -----
    NumbraggWarning
        The photon energy is in the data, not here: 1 A is taken.

    Notes
    -----
    Source: ``specs/30-formats.md``, clause 30.93.
    """
    source = input_file(path)
    panel = _one_panel(source)

    def number(key: str, units: dict[str, float], default: float | None = None) -> float:
        return _quantity(source, panel, key, units, default)

    plain = {"": 1.0}
    first_fast, last_fast, first_slow, last_slow = (
        int(number(key, plain)) for key in ("min_fs", "max_fs", "min_ss", "max_ss")
    )
    pixel = 1e3 / number("res", plain)
    distance = number("clen", _LENGTHS) + number("coffset", _LENGTHS, 0.0)
    corner = np.array([number("corner_x", plain) * pixel, number("corner_y", plain) * pixel, distance])
    try:
        return Instrument(
            n_fast=last_fast - first_fast + 1,
            n_slow=last_slow - first_slow + 1,
            pixel_size=pixel,
            origin=corner,
            fast_axis=_direction(source, panel, "fs"),
            slow_axis=_direction(source, panel, "ss"),
            wavelength=_wavelength(source, panel),
            beam_direction=np.array([0.0, 0.0, 1.0]),
            gain=number("adu_per_photon", plain, 1.0),
        )
    except NumbraggError as error:
        text = str(error)
        raise NumbraggError(text if text.startswith(str(source)) else f"{source}: {text}") from error


def _one_panel(source: Path) -> Entries:
    """Entries of the only panel; those that stand before it hold for all panels."""
    common: Entries = {}
    panels: dict[str, Entries] = {}
    for number, line in enumerate(source.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        content = line.split(";")[0].strip()
        if not content:
            continue
        key, equals, value = (part.strip() for part in content.partition("="))
        if not equals:
            raise NumbraggError(f"{source}, line {number}: expected 'entry = value', found {content[:60]!r}")
        name, slash, entry = key.rpartition("/")
        if key.startswith(_NOT_A_PANEL):
            continue
        if slash:
            panels.setdefault(name, dict(common))[entry] = (number, value)
        else:
            common[key] = (number, value)
    if len(panels) != 1:
        raise NumbraggError(f"{source}: the detector has {len(panels)} panels; one is supported")
    own = next(iter(panels.values()))
    return {**{key: common[key] for key in ("photon_energy", "wavelength") if key in common}, **own}


def _entry(source: Path, panel: Entries, key: str) -> tuple[int, str]:
    if key not in panel:
        raise NumbraggError(f"{source}: the panel has no {key}")
    return panel[key]


def _quantity(source: Path, panel: Entries, key: str, units: dict[str, float], default: float | None = None) -> float:
    if default is not None and key not in panel:
        return default
    number, text = _entry(source, panel, key)
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units:
        raise NumbraggError(f"{source}, line {number}: {key} must be a number here, found {text[:60]!r}")
    value = float(match[1]) * units[match[2]]
    if key == "res" and not value > 0:
        raise NumbraggError(f"{source}, line {number}: res must be above zero")
    return value


def _direction(source: Path, panel: Entries, key: str) -> npt.NDArray[np.float64]:
    number, text = _entry(source, panel, key)
    vector = np.zeros(3)
    rest = text.replace(" ", "")
    while rest:
        match = _TERM.match(rest)
        if match is None:
            raise NumbraggError(
                f"{source}, line {number}: {key} must be a sum such as +1.0x -0.01y, found {text[:60]!r}"
            )
        size = float(match[2]) if match[2] not in ("", ".") else 1.0
        vector["xyz".index(match[3])] += -size if match[1] == "-" else size
        rest = rest[match.end() :]
    length = float(np.linalg.norm(vector))
    if not 0.0 < length < np.inf:
        raise NumbraggError(f"{source}, line {number}: {key} has no direction")
    return np.asarray(vector / length)


def _wavelength(source: Path, panel: Entries) -> float:
    if "wavelength" in panel and _QUANTITY.fullmatch(panel["wavelength"][1]):
        return _quantity(source, panel, "wavelength", {"A": 1.0, "m": 1e10, "": 1.0})
    if "photon_energy" in panel and _QUANTITY.fullmatch(panel["photon_energy"][1]):
        energy = _quantity(source, panel, "photon_energy", _ENERGIES)
        if not energy > 0:
            raise NumbraggError(f"{source}, line {panel['photon_energy'][0]}: photon_energy must be above zero")
        return _EV_ANGSTROM / energy
    warnings.warn(
        f"{source}: the photon energy is not here but in the data: give -energy or -lambda (1 A is taken)",
        NumbraggWarning,
        stacklevel=2,
    )
    return UNKNOWN_WAVELENGTH
