"""What the symmetry of a crystal leaves free of its cell (specs/55-refinement.md, 55.11)."""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from numbragg.errors import NumbraggError

CELL = ("cell.a", "cell.b", "cell.c", "cell.alpha", "cell.beta", "cell.gamma")
ANGLES = dict(zip(CELL[3:], ("alpha", "beta", "gamma"), strict=True))

METRIC_TOLERANCE = 1e-6
"""Angstrom and degrees: edges closer than this are equal, angles this close to 90 or 120 are exact."""


class CellSymmetry(NamedTuple):
    """Which constants of a cell move together, and which do not move."""

    system: str
    followers: Mapping[str, tuple[str, ...]]
    """Constants that are equal to another one, by that one."""
    fixed: Mapping[str, float]
    """Constants with a value that symmetry gives, degrees."""

    @property
    def independent(self) -> tuple[str, ...]:
        """Constants that may be refined."""
        dependent = {name for names in self.followers.values() for name in names}
        return tuple(name for name in CELL if name not in dependent and name not in self.fixed)

    def leader(self, name: str) -> str | None:
        """The constant that another one is equal to, None for one of its own."""
        return next((leader for leader, names in self.followers.items() if name in names), None)


_RIGHT = {"cell.alpha": 90.0, "cell.beta": 90.0, "cell.gamma": 90.0}
_SQUARE = {"cell.a": ("cell.b",)}
_EQUAL_EDGES = {"cell.a": ("cell.b", "cell.c")}
_HEXAGONAL = CellSymmetry("hexagonal", _SQUARE, _RIGHT | {"cell.gamma": 120.0})

SYSTEMS: dict[str, CellSymmetry] = {
    "triclinic": CellSymmetry("triclinic", {}, {}),
    "monoclinic": CellSymmetry("monoclinic", {}, {"cell.alpha": 90.0, "cell.gamma": 90.0}),
    "orthorhombic": CellSymmetry("orthorhombic", {}, _RIGHT),
    "tetragonal": CellSymmetry("tetragonal", _SQUARE, _RIGHT),
    "trigonal": _HEXAGONAL._replace(system="trigonal"),
    "hexagonal": _HEXAGONAL,
    "rhombohedral": CellSymmetry("rhombohedral", {**_EQUAL_EDGES, "cell.alpha": ("cell.beta", "cell.gamma")}, {}),
    "cubic": CellSymmetry("cubic", _EQUAL_EDGES, _RIGHT),
}
"""By crystal system; monoclinic with b unique, trigonal on hexagonal axes."""


def cell_symmetry(cell: tuple[Any, ...], symmetry: str | None = None) -> CellSymmetry:
    """Find which constants of a cell are free.

    Parameters
    ----------
    cell
        a, b, c (angstrom), alpha, beta, gamma (degrees).
    symmetry
        A crystal system, or a space group by name or number; None takes the highest that the cell's own metric has.

    Raises
    ------
    NumbraggError
        An unknown symmetry, or a cell that does not have it.
    """
    if symmetry is None:
        return _of_metric(cell)
    found = _unique_axis(cell) if symmetry.lower() == "monoclinic" else SYSTEMS.get(symmetry.lower())
    if found is None:
        found = _of_space_group(symmetry)
    missing = _departure(cell, found)
    if missing is not None:
        raise NumbraggError(f"symmetry {symmetry}: the cell is not {found.system}: {missing}")
    return found


def monoclinic(axis: str) -> CellSymmetry:
    """Constants of a monoclinic cell with a given unique axis."""
    oblique = dict(zip("abc", CELL[3:], strict=True))[axis]
    return CellSymmetry("monoclinic", {}, {name: 90.0 for name in CELL[3:] if name != oblique})


def _of_metric(cell: tuple[Any, ...]) -> CellSymmetry:
    order = ("cubic", "hexagonal", "tetragonal", "orthorhombic", "monoclinic", "rhombohedral")
    candidates = [SYSTEMS[name] for name in order]
    candidates += [monoclinic("a"), monoclinic("c")]
    return next((found for found in candidates if _departure(cell, found) is None), SYSTEMS["triclinic"])


def _unique_axis(cell: tuple[Any, ...]) -> CellSymmetry:
    candidates = [monoclinic(axis) for axis in "bca"]
    return next((found for found in candidates if _departure(cell, found) is None), candidates[0])


def _of_space_group(name: str) -> CellSymmetry:
    import gemmi

    group = gemmi.find_spacegroup_by_name(name)
    if group is None:
        near = difflib.get_close_matches(name.lower(), SYSTEMS, n=1)
        hint = f"did you mean {near[0]}?" if near else "a crystal system, or a space group such as 'P 21 21 21'"
        raise NumbraggError(f"no symmetry is called {name} ({hint})")
    system = group.crystal_system_str()
    if system == "monoclinic":
        return monoclinic(group.monoclinic_unique_axis())
    return SYSTEMS["rhombohedral" if group.ext == "R" else system]


def _departure(cell: tuple[Any, ...], symmetry: CellSymmetry) -> str | None:
    """The first equality that a cell does not have, in words."""
    values = dict(zip(CELL, (float(np.real(constant)) for constant in cell), strict=True))
    for name, value in symmetry.fixed.items():
        if abs(values[name] - value) > METRIC_TOLERANCE:
            return f"{name} is {values[name]:.8g}, not {value:g}"
    for leader, names in symmetry.followers.items():
        for name in names:
            if abs(values[name] - values[leader]) > METRIC_TOLERANCE:
                return f"{name} is {values[name]:.8g}, {leader} is {values[leader]:.8g}"
    return None
