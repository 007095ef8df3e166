"""From files of structure factors to the tables of an experiment."""

import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np

from numbragg.compat.extras import MODEL_OF_LINES
from numbragg.compat.options import LINE_HKL, SPECTRUM_POINTS
from numbragg.compat.settings import Settings
from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.numbered_files import file_name, one_run
from numbragg.io.symmetry import without_absences
from numbragg.models.reflections import Cell, Reflections
from numbragg.models.structure_factors import MAX_TABLE_BYTES, StructureFactors
from numbragg.structure_factor_files import is_model, read_structure_factors

CELL_ROUNDING = 0.01
"""Angstrom and degrees: what writing a cell to a file may change."""


def filled_table(reflections: Reflections, default_f: float) -> StructureFactors:
    """Table of reflections; those that are missing have the default amplitude, but for systematic absences."""
    table = StructureFactors.from_reflections(reflections.hkl, reflections.amplitudes, default_f)
    if default_f != 0.0 and reflections.space_group is not None:
        table = without_absences(table, reflections.space_group)
    return table


def line_tables(
    settings: Settings, reflections: Reflections | None, wavelength: float, d_min: float
) -> tuple[StructureFactors, ...]:
    """Tables of the lines of the spectrum, in its order; none where no option asks (specs/20-command-line.md, 20.56).

    Parameters
    ----------
    settings
        The flags.
    reflections
        Of ``-hkl``.
    wavelength
        Of the beam, angstrom.
    d_min
        Resolution to which structure factors of a model are computed, angstrom.

    Raises
    ------
    NumbraggError
        No model, a file that is not there or cannot be read, another cell than that of ``-hkl``, or tables that are too
        large.
    """
    asked, spectrum = settings.extras.line_hkl, settings.extras.spectrum
    if asked is None or spectrum is None:
        return ()
    ratios = spectrum.wavelengths / spectrum.mean
    wavelengths = (wavelength * ratios).tolist()
    if asked == MODEL_OF_LINES:
        found = _from_model(settings, wavelengths, d_min)
    else:
        found = _from_files(settings, asked, wavelengths, d_min, None if reflections is None else reflections.cell)
    default_f = float(settings.get("default_f", default=0.0))
    tables = []
    for one in found:
        tables.append(filled_table(one, default_f))
        size = len(wavelengths) * tables[0].values.nbytes
        if size > MAX_TABLE_BYTES:
            raise NumbraggError(
                f"{LINE_HKL.name}: {len(wavelengths)} tables would take {size / 2**30:.1f} GiB (limit "
                f"{MAX_TABLE_BYTES >> 30} GiB); take fewer lines ({SPECTRUM_POINTS.name} N) or a larger -dmin"
            )
    return tuple(tables)


def _from_model(settings: Settings, wavelengths: Sequence[float], d_min: float) -> Iterator[Reflections]:
    path = settings.get("hkl")
    if path is None or not is_model(path):
        raise NumbraggError(f"{LINE_HKL.name} {MODEL_OF_LINES} needs the model of -hkl FILE (PDB or mmCIF with atoms)")
    from numbragg.fmodel import compute_at_wavelengths  # gemmi is loaded only where a file needs it

    return compute_at_wavelengths(path, d_min=d_min, wavelengths=wavelengths)


def _from_files(
    settings: Settings, template: str, wavelengths: Sequence[float], d_min: float, cell: Cell | None
) -> Iterator[Reflections]:
    if not one_run(template):
        raise NumbraggError(
            f"{LINE_HKL.name} {template}: a run of # is needed for the number of the line, such as F_##.mtz, or the "
            f"word {MODEL_OF_LINES}"
        )
    beyond = file_name(template, len(wavelengths) + 1)
    if os.path.exists(beyond):
        warnings.warn(f"{beyond} is not used: the spectrum has {len(wavelengths)} lines", NumbraggWarning, stacklevel=2)
    for number, wavelength in enumerate(wavelengths, start=1):
        path = file_name(template, number)
        try:
            found = read_structure_factors(path, column=settings.get("hklcolumn"), d_min=d_min, wavelength=wavelength)
        except NumbraggError as error:
            raise NumbraggError(
                f"{LINE_HKL.name}: line {number} of the spectrum ({wavelength:.6g} A): {error}"
            ) from error
        cell = cell or found.cell
        _require_same_cell(path, found.cell, cell)
        yield found


def _require_same_cell(path: str, cell: Cell | None, wanted: Cell | None) -> None:
    if cell is not None and wanted is not None and not np.allclose(cell, wanted, rtol=0.0, atol=CELL_ROUNDING):
        one, other = (" ".join(f"{number:g}" for number in numbers) for numbers in (cell, wanted))
        raise NumbraggError(f"{LINE_HKL.name}: {path} is of the cell {one}, but the others are of {other}")
