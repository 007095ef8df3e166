"""Geometry files of CrystFEL (specs/30-formats.md, 30.93)."""

import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.input_file import input_file
from numbragg.models.instrument import Instrument
from numbragg.models.panel import Panel

_EV_ANGSTROM = 12398.42
_LENGTHS = {"m": 1e3, "mm": 1.0, "": 1e3}
"""Millimetres in a unit of length."""
_TERM = re.compile(r"([+-]?)\s*([0-9.]*(?:[eE][+-]?[0-9]+)?)\s*\*?\s*([xyz])")
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*)")
_NOT_A_PANEL = ("bad", "mask", "rigid_group", "group")
_ENERGIES = {"": 1.0, "eV": 1.0, "keV": 1e3, "MeV": 1e6}
UNKNOWN_WAVELENGTH = 1.0  # angstrom
_SAME = 1e-6
"""Relative, of pixel sizes and gains."""
_PLAIN = {"": 1.0}

Entries = dict[str, tuple[int, str]]


class _Shape(NamedTuple):
    """What all panels have in common."""

    n_fast: int
    n_slow: int
    pixel_size: float  # mm
    gain: float


def read_geom(path: str | os.PathLike[str]) -> Instrument:
    """Read the geometry of a detector.

    Raises
    ------
    NumbraggError
        The file cannot be read, has panels that differ in size, resolution or gain, or lacks an entry.

    Warns
    -----
    NumbraggWarning
        The photon energy is in the data, not here: 1 A is taken.

    Notes
    -----
    Source: ``specs/30-formats.md``, clauses 30.93 and 30.96.
    """
    source = input_file(path)
    common, panels = _entries(source)
    try:
        shape = _common_shape(source, panels)
        return Instrument.of_panels(
            [_placed(source, name, panel, shape.pixel_size) for name, panel in panels.items()],
            beam_direction=np.array([0.0, 0.0, 1.0]),
            wavelength=_wavelength(source, common),
            **shape._asdict(),
        )
    except NumbraggError as error:
        text = str(error)
        raise NumbraggError(text if text.startswith(str(source)) else f"{source}: {text}") from error


def _entries(source: Path) -> tuple[Entries, dict[str, Entries]]:
    """Entries that stand alone, and those of each panel with what stood alone before its first one."""
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
    if not panels:
        raise NumbraggError(f"{source}: the detector has no panel (no entry such as p0/min_fs)")
    return common, panels


def _common_shape(source: Path, panels: Mapping[str, Entries]) -> _Shape:
    shapes = {name: _shape(source, name, panel) for name, panel in panels.items()}
    first, one = next(iter(shapes.items()))
    for name, other in shapes.items():
        if (other.n_fast, other.n_slow) != (one.n_fast, one.n_slow):
            raise NumbraggError(
                f"{source}: the panels {first} ({one.n_fast} x {one.n_slow} pixels) and {name} "
                f"({other.n_fast} x {other.n_slow}) differ in size; panels of one size are supported"
            )
        for key, a, b in (
            ("res", 1e3 / one.pixel_size, 1e3 / other.pixel_size),
            ("adu_per_photon", one.gain, other.gain),
        ):
            if abs(a - b) > _SAME * a:
                raise NumbraggError(f"{source}: the panels {first} and {name} differ in {key} ({a:g} and {b:g})")
    return one


def _shape(source: Path, name: str, panel: Entries) -> _Shape:
    first_fast, last_fast, first_slow, last_slow = (
        int(_quantity(source, name, panel, key, _PLAIN)) for key in ("min_fs", "max_fs", "min_ss", "max_ss")
    )
    pixel = 1e3 / _quantity(source, name, panel, "res", _PLAIN)
    gain = _quantity(source, name, panel, "adu_per_photon", _PLAIN, 1.0)
    return _Shape(last_fast - first_fast + 1, last_slow - first_slow + 1, pixel, gain)


def _placed(source: Path, name: str, panel: Entries, pixel: float) -> Panel:
    x, y = (_quantity(source, name, panel, key, _PLAIN) * pixel for key in ("corner_x", "corner_y"))
    distance = _quantity(source, name, panel, "clen", _LENGTHS) + _quantity(
        source, name, panel, "coffset", _LENGTHS, 0.0
    )
    return Panel(
        origin=np.array([x, y, distance]),
        fast_axis=_direction(source, name, panel, "fs"),
        slow_axis=_direction(source, name, panel, "ss"),
        name=name,
    )


def _entry(source: Path, name: str, panel: Entries, key: str) -> tuple[int, str]:
    if key not in panel:
        raise NumbraggError(f"{source}: the panel {name} has no {key}")
    return panel[key]


def _quantity(
    source: Path,
    name: str,
    panel: Entries,
    key: str,
    units: dict[str, float],
    default: float | None = None,
) -> float:
    """A number of a panel in its unit; ``default`` where the file does not give it."""
    if default is not None and key not in panel:
        return default
    number, text = _entry(source, name, panel, key)
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in units or not math.isfinite(float(match[1])):
        raise NumbraggError(f"{source}, line {number}: {key} must be a number here, found {text[:60]!r}")
    value = float(match[1]) * units[match[2]]
    if key == "res" and not value > 0:
        raise NumbraggError(f"{source}, line {number}: res must be above zero")
    return value


def _direction(source: Path, name: str, panel: Entries, key: str) -> npt.NDArray[np.float64]:
    number, text = _entry(source, name, panel, key)
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


def _wavelength(source: Path, common: Entries) -> float:
    if "wavelength" in common and _QUANTITY.fullmatch(common["wavelength"][1]):
        return _quantity(source, "", common, "wavelength", {"A": 1.0, "m": 1e10, "": 1.0})
    if "photon_energy" in common and _QUANTITY.fullmatch(common["photon_energy"][1]):
        energy = _quantity(source, "", common, "photon_energy", _ENERGIES)
        if not energy > 0:
            raise NumbraggError(f"{source}, line {common['photon_energy'][0]}: photon_energy must be above zero")
        return _EV_ANGSTROM / energy
    warnings.warn(
        f"{source}: the photon energy is not here but in the data: give -energy or -lambda (1 A is taken)",
        NumbraggWarning,
        stacklevel=2,
    )
    return UNKNOWN_WAVELENGTH
