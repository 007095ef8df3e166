"""From flags to the crystal (specs/10-physics.md, 10.20 to 10.29)."""

import math
import os
import stat
import warnings
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbragg.compat.build_detector import CONVENTION_KEYS
from numbragg.compat.settings import Settings
from numbragg.compat.tables import filled_table, line_tables
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.geometry import cell as unit_cell
from numbragg.geometry.conventions import CONVENTIONS
from numbragg.geometry.mosaic import random_misset, uniform_misset
from numbragg.geometry.rotations import DEGREE
from numbragg.instruments import into_laboratory
from numbragg.io.fdump import read_fdump, write_fdump
from numbragg.io.matrix import read_matrix
from numbragg.models.beam import DEFAULT_BEAM_SIZE
from numbragg.models.crystal import DEFAULT_MOSAIC_SEED, Crystal, check_cell
from numbragg.models.instrument import Instrument
from numbragg.models.reflections import Reflections
from numbragg.models.structure_factors import StructureFactors
from numbragg.structure_factor_files import read_structure_factors

DEFAULT_DUMP = "Fdump.bin"
SHAPE_KEYS = {"square_xtal": "square", "round_xtal": "round", "gauss_xtal": "gauss", "tophat_spots": "tophat"}
USING_VOLUME = ("gauss_xtal", "tophat_spots")
"""Shapes whose spots depend on the reciprocal vectors."""
SIZE_AXES = (("samplesize_x", "n_cells_a"), ("samplesize_y", "n_cells_b"), ("samplesize_z", "n_cells_c"))
WHOLE_TURN = 90.0
"""nanoBragg.c means 90 degrees by this spread of a random misset, and passes radians (Q13)."""


class Lattice(NamedTuple):
    """Cell (angstrom, degrees), how it is turned, and the volume (cubic angstrom) the reference divides by."""

    cell: tuple[float, ...]
    orientation: npt.NDArray[np.float64]
    volume: float | None


class BuiltCrystal(NamedTuple):
    """A crystal, the random misset (degrees) when one was drawn, and tables of the lines of the spectrum."""

    crystal: Crystal
    drawn_misset: tuple[float, float, float] | None
    line_factors: tuple[StructureFactors, ...] = ()


def build_crystal(settings: Settings, wavelength: float, d_min: float, seed: int) -> BuiltCrystal:
    """Crystal from flags and files.

    Parameters
    ----------
    settings
        The flags.
    wavelength
        Of the beam, angstrom: matrices hold it, and anomalous scattering depends on it.
    d_min
        Resolution to which structure factors of a model are computed, angstrom.
    seed
        Seed of a random misset when no other is given.

    Raises
    ------
    NumbraggError
        Files that cannot be read, or values that make no crystal.
    """
    default_f = float(settings.get("default_f", default=0.0))
    reflections = _read_reflections(settings, wavelength, d_min)
    lattice = _lattice(settings, wavelength, reflections)
    misset, drawn = _misset(settings, seed)
    n_cells = _n_cells(settings, lattice.cell)
    spread, domains = _mosaic(settings)
    crystal = Crystal(
        cell=lattice.cell,  # type: ignore[arg-type]
        orientation=lattice.orientation,
        misset=misset,
        n_cells=n_cells,
        shape=SHAPE_KEYS[settings.last(*SHAPE_KEYS) or "square_xtal"],  # type: ignore[arg-type]
        fudge=settings.get("fudge", default=1.0),
        mosaic_spread=spread,
        mosaic_spreads=settings.extras.mosaic_spreads,
        mosaic_domains=domains,
        mosaic_seed=-settings.get("mosaic_seed", default=-DEFAULT_MOSAIC_SEED),
        structure_factors=_table(settings, reflections, default_f),
        default_f=default_f,
        interpolate=_interpolate(settings, n_cells),
        reciprocal_volume=lattice.volume,
    )
    return BuiltCrystal(crystal, misset if drawn else None, line_tables(settings, reflections, wavelength, d_min))


def _read_reflections(settings: Settings, wavelength: float, d_min: float) -> Reflections | None:
    path = settings.get("hkl")
    if path is None:
        return None
    return read_structure_factors(path, column=settings.get("hklcolumn"), d_min=d_min, wavelength=wavelength)


def _table(settings: Settings, reflections: Reflections | None, default_f: float) -> StructureFactors | None:
    dump = settings.get("dump", default=DEFAULT_DUMP if settings.quirks.q11_table_dumped else None)
    if reflections is not None:
        table = filled_table(reflections, default_f)
        if dump is not None:
            _dump(settings, dump, table, default_f)
        return table
    if settings.given("dump"):
        return read_fdump(settings.get("dump"))
    if default_f != 0.0:
        return None
    if dump is not None and os.path.exists(dump):
        return read_fdump(dump)
    raise NumbraggError(
        "no structure factors: give -hkl FILE (hkl text, MTZ, mmCIF or PDB) or -default_F; "
        "numbragg fmodel MODEL --d-min 2 makes an hkl file from a model"
    )


def _dump(settings: Settings, path: str, table: StructureFactors, default_f: float) -> None:
    if not settings.given("dump") and not os.stat(os.curdir).st_mode & stat.S_IWUSR:
        # The superuser could write all the same, but a folder marked read-only is not for a file nobody asked for.
        return
    try:
        write_fdump(path, table, default_f)
    except NumbraggError as error:
        if settings.given("dump"):
            raise
        warnings.warn(str(error), NumbraggWarning, stacklevel=2)


def _lattice(settings: Settings, wavelength: float, reflections: Reflections | None) -> Lattice:
    cell = settings.values("cell")
    instrument = settings.instrument
    if instrument is not None and instrument.cell_axes is not None and not settings.given("mat"):
        return _lattice_of(settings, instrument)
    if settings.quirks.q18_short_cell and cell is not None:
        cell = _completed(cell)
    if cell is None and not settings.given("mat") and reflections is not None:
        cell = reflections.cell
    if cell is not None:
        check_cell(cell)
        _check_volume(unit_cell.volume(cell))
    if settings.given("mat"):
        reciprocal = read_matrix(settings.get("mat")) / wavelength
        direct = unit_cell.reciprocal(reciprocal.T)
        _check_volume(unit_cell.triple_product(direct))
        if cell is not None:
            direct = direct * (np.array(cell[:3]) / np.linalg.norm(direct, axis=1))[:, None]
    elif cell is None:
        raise NumbraggError("no unit cell: give -cell a b c alpha beta gamma (angstrom, degrees) or -mat FILE")
    elif settings.quirks.q21_triclinic_cell:
        direct = unit_cell.reference_direct_vectors(cell)
    else:
        _note_triclinic(settings, cell)
        return Lattice(cell, np.eye(3), None)
    volume = None if cell is None else _given_volume(settings, cell, direct)
    constants = unit_cell.cell_constants(direct)
    if cell is not None:
        constants = (*cell[:3], *constants[3:])
    turn = np.linalg.solve(unit_cell.direct_vectors(constants), direct).T
    if np.linalg.det(turn) < 0:
        raise NumbraggError("-mat: the reciprocal vectors are left-handed (negative determinant)")
    return Lattice(constants, unit_cell.nearest_rotation(turn), volume)


def _lattice_of(settings: Settings, instrument: Instrument) -> Lattice:
    """Lattice of a geometry file; ``-cell`` changes the cell and keeps how it is turned."""
    placed = into_laboratory(instrument, CONVENTIONS[settings.last(*CONVENTION_KEYS) or "mosflm"])
    cell = settings.values("cell") or placed.cell or ()
    check_cell(cell)
    return Lattice(cell, np.eye(3) if placed.orientation is None else placed.orientation, None)


def _check_volume(cell_volume: float) -> None:
    if not 0.0 < abs(cell_volume) < math.inf:
        raise NumbraggError(f"unit cell: its volume is out of range ({cell_volume:g} cubic angstrom)")


def _given_volume(settings: Settings, cell: tuple[Any, ...], direct: npt.NDArray[np.float64]) -> float | None:
    """Volume of the given cell where the reference divides by it, else None for that of the direct vectors (Q26)."""
    given = float(unit_cell.volume(cell))
    if settings.quirks.q26_volume_of_given_cell:
        return given
    if (
        not np.isclose(given, unit_cell.triple_product(direct), rtol=1e-9)
        and settings.last(*SHAPE_KEYS) in USING_VOLUME
    ):
        settings.note("Q26", "the size of the spots")
    return None


def _completed(cell: tuple[float, ...]) -> tuple[float, ...] | None:
    """Fill a cell as nanoBragg.c does: b and c from a, angles of 90 degrees (specs/20-command-line.md, 20.14)."""
    if not cell:
        return None
    fill = (cell[0], cell[0], cell[0], 90.0, 90.0, 90.0)
    padded = (*cell, *fill[len(cell) :])
    return tuple(value if value > 0 else other for value, other in zip(padded, fill, strict=True))


def _note_triclinic(settings: Settings, cell: tuple[Any, ...]) -> None:
    if not np.allclose(unit_cell.cell_constants(unit_cell.reference_direct_vectors(cell)), cell, rtol=1e-9):
        settings.note("Q21", "a triclinic cell")


def _misset(settings: Settings, seed: int) -> tuple[tuple[float, float, float], bool]:
    values = settings.values("misset")
    if values is None:
        return (0.0, 0.0, 0.0), False
    if values[0] != "random":
        return (float(values[0]), float(values[1]), float(values[2])), False
    given = settings.get("misset_seed")
    seed = seed if given is None else -given
    if settings.quirks.q13_misset_in_radians:
        angles = random_misset(seed, WHOLE_TURN)
    else:
        settings.note("Q13", "a random misset")
        angles = uniform_misset(seed)
    x, y, z = (angle / DEGREE for angle in angles)
    return (x, y, z), True


def _n_cells(settings: Settings, cell: tuple[Any, ...]) -> tuple[float, float, float]:
    beam_size = settings.get("beamsize", default=DEFAULT_BEAM_SIZE)
    counts = []
    for axis, ((size_key, count_key), edge) in enumerate(zip(SIZE_AXES, cell[:3], strict=True)):
        count = max(1.0, float(settings.get("n_cells", count_key, default=1)))
        size = settings.get("samplesize", size_key)
        if size is not None and size > 0:
            if axis > 0 and 0 < beam_size < size:
                warnings.warn(
                    f"the sample is clipped to the beam size along {'xyz'[axis]}: {beam_size:g} mm",
                    NumbraggWarning,
                    stacklevel=2,
                )
                size = beam_size
            count = max(1.0, math.ceil(size / 1000 / (float(edge) * 1e-10)))
        counts.append(count)
    return counts[0], counts[1], counts[2]


def _mosaic(settings: Settings) -> tuple[float, int]:
    spread = float(settings.get("mosaic_spread", default=0.0))
    domains = settings.get("mosaic_domains", default=1)
    if spread < 0.0:
        raise NumbraggError(f"-mosaic must not be negative, but is {spread:g}")
    if spread > 0.0 and settings.extras.mosaic_spreads is not None:
        raise NumbraggError("-mosaic and --mosaic-spreads contradict each other: give one of them")
    if spread == 0.0 and settings.extras.mosaic_spreads is None:
        return 0.0, 1
    if domains <= 1:
        warnings.warn(
            "finite mosaicity with only one domain! upping to 10 mosaic domains", NumbraggWarning, stacklevel=2
        )
        return spread, 10
    return spread, int(domains)


def _interpolate(settings: Settings, n_cells: tuple[float, float, float]) -> bool | None:
    key = settings.last("interpolate", "nointerpolate")
    if key is not None:
        return key == "interpolate"
    before_size = bool(min(settings.get("n_cells", axis, default=1) for _, axis in SIZE_AXES) <= 2)
    if settings.quirks.q23_interpolation_before_size:
        return before_size
    if settings.given("hkl", "dump") and before_size != (min(n_cells) <= 2):
        settings.note("Q23", "automatic interpolation")
    return None
