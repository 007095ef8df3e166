"""Structure factors of an atomic model, with bulk solvent and anomalous scattering.

The physics is gemmi's: density on a grid and a Fourier transform. Here are the choices, stated in
specs/30-formats.md, clauses 30.14 to 30.17.
"""

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError, NumbraggWarning
from numbragg.io.input_file import first_line, input_file
from numbragg.io.symmetry import cell_of, expand_to_p1
from numbragg.models.reflections import Reflections

_RATE = 2.0
"""Grid points per half of d_min: with the cut-off below, F is good to 1e-6 of its root mean square."""
_DENSITY_CUTOFF = 1e-7
"""Density in e/A^3 where an atom ends."""
_MASK_SPACING = 0.6
"""Coarsest grid of the solvent mask, in angstrom."""
_CONSTANT_SCALE = 1000.0
"""f'' is small: it is scaled up while it is a density, so that the cut-off keeps the atom's tail."""
SOLVENT_K = 0.35
"""Density of the bulk solvent, electrons/A^3."""
SOLVENT_B = 46.0
"""Its B factor, A^2."""
_LARGEST_GRID_BYTES = 4 << 30
_BYTES_PER_POINT = 8
"""A float32 map and its half-sphere complex64 transform."""
_AXES = (1.0, 5000.0)
"""Shortest and longest cell axis in angstrom that are not taken for a mistake."""
_FLATTEST_CELL = 1e-3
_WAVELENGTHS = (0.1, 10.0)


def compute_structure_factors(
    path: str | os.PathLike[str],
    *,
    d_min: float,
    wavelength: float | None = None,
    b_iso: float | None = None,
    solvent: bool = True,
    k_sol: float = SOLVENT_K,
    b_sol: float = SOLVENT_B,
) -> Reflections:
    """Compute the amplitudes of a PDB or mmCIF model to a resolution (specs/30-formats.md, 30.14 to 30.17).

    F(s) = F_atoms(s) + k_sol exp(-b_sol s^2/4) F_mask(s), with s = 1/d.

    Parameters
    ----------
    path
        A PDB or mmCIF coordinate file, plain or gzipped, with unit cell and space group.
    d_min
        Resolution limit in angstrom: every index with d >= d_min is there but for systematic absences.
    wavelength
        Wavelength in angstrom for f' and f''; by default there is no anomalous scattering. With it,
        Friedel mates differ.
    b_iso
        Isotropic B in A^2 that replaces those of the model.
    solvent
        Whether to add the flat bulk solvent.
    k_sol
        Density of the solvent in electrons/A^3.
    b_sol
        B factor of the solvent in A^2.

    Returns
    -------
    Reflections
        Amplitudes in electrons in P1, F(0,0,0) among them, sorted by index, with the cell and space group.

    Raises
    ------
    NumbraggError
        A file that cannot be read or is not a crystal, a number out of range, an element without scattering
        factors, or a resolution that asks for too much memory.
    """
    _require_positive(d_min=d_min)
    _require_not_negative(k_sol=k_sol, b_sol=b_sol, b_iso=0.0 if b_iso is None else b_iso)
    if wavelength is not None:
        _require_wavelength(wavelength)
    structure, space_group = _read_crystal(input_file(path))
    _require_memory(structure, d_min)
    if b_iso is not None:
        _set_b_factors(structure, b_iso)
    hkl = _indices(structure, space_group, d_min, friedel=wavelength is not None)
    with _naming(path):
        factors = _atomic_part(structure, hkl, d_min, wavelength)
        if solvent:
            factors += _solvent_part(structure, hkl, d_min, k_sol, b_sol)
    _require_finite(path, factors)
    all_hkl, amplitudes = expand_to_p1(hkl, np.abs(factors), space_group)
    return Reflections(all_hkl, amplitudes, cell_of(structure.cell), space_group.xhm())


def compute_at_wavelengths(
    path: str | os.PathLike[str], *, d_min: float, wavelengths: Sequence[float]
) -> Iterator[Reflections]:
    """Compute the amplitudes of a PDB or mmCIF model at several wavelengths (specs/30-formats.md, 30.16).

    F is linear in f' + i f'' of each element, so that the atoms of an element are transformed once for all wavelengths.

    Parameters
    ----------
    path, d_min
        As of `compute_structure_factors`.
    wavelengths
        Angstrom.

    Yields
    ------
    Reflections
        For each wavelength what `compute_structure_factors` gives, to 1e-5 of the root mean square of F.

    Raises
    ------
    NumbraggError
        As of `compute_structure_factors`.
    """
    _require_positive(d_min=d_min)
    for wavelength in wavelengths:
        _require_wavelength(wavelength)
    structure, space_group = _read_crystal(input_file(path))
    _require_memory(structure, d_min)
    hkl = _indices(structure, space_group, d_min, friedel=True)
    with _naming(path):
        fixed = _atomic_part(structure, hkl, d_min, None) + _solvent_part(structure, hkl, d_min, SOLVENT_K, SOLVENT_B)
        elements = _elements(structure[0])
        units = [_constant_part(structure, hkl, d_min, {element: 1.0}) for element in elements]
    _require_finite(path, np.array([fixed, *units]))
    all_hkl, origin = expand_to_p1(hkl, np.arange(len(hkl), dtype=np.float64), space_group)
    places = origin.astype(int)
    for wavelength in wavelengths:
        factors = fixed.copy()
        for element, unit in zip(elements, units, strict=True):
            factors += complex(*gemmi.cromer_liberman(element, gemmi.hc / wavelength)) * unit
        yield Reflections(all_hkl, np.abs(factors)[places], cell_of(structure.cell), space_group.xhm())


def _indices(
    structure: gemmi.Structure, space_group: gemmi.SpaceGroup, d_min: float, *, friedel: bool
) -> npt.NDArray[np.int32]:
    """Unique indices, (0, 0, 0) among them, and their Friedel mates."""
    unique = gemmi.make_miller_array(structure.cell, space_group, d_min, unique=True)
    hkl = np.concatenate([np.zeros((1, 3), dtype=np.int32), unique])
    return np.concatenate([hkl, -hkl]) if friedel else hkl


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the model in what goes wrong with its densities."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        raise NumbraggError(f"cannot compute structure factors of {path}: {first_line(error)}") from error


def _require_finite(path: str | os.PathLike[str], factors: npt.NDArray[np.complex128]) -> None:
    if not np.isfinite(factors).all():
        raise NumbraggError(
            f"cannot compute structure factors of {path}: an atom's position or B factor is out of range"
        )


def _read_crystal(source: Path) -> tuple[gemmi.Structure, gemmi.SpaceGroup]:
    try:
        structure = gemmi.read_structure(str(source))
    except (RuntimeError, ValueError, OSError, MemoryError, IndexError) as error:
        raise NumbraggError(f"cannot read {source} as PDB or mmCIF: {first_line(error)}") from error
    if len(structure) == 0 or structure[0].count_atom_sites() == 0:
        raise NumbraggError(f"{source} holds no atoms (expected a PDB or mmCIF model)")
    _require_cell(source, structure.cell)
    space_group = structure.find_spacegroup()
    if space_group is None:
        raise NumbraggError(f"{source} has no known space group ('{structure.spacegroup_hm}')")
    if len(structure) > 1:
        warnings.warn(f"{source} holds {len(structure)} models: the first one is used", NumbraggWarning, stacklevel=3)
        while len(structure) > 1:
            del structure[len(structure) - 1]
    _require_scattering_factors(source, structure[0])
    if not all(operation.given for operation in structure.ncs):
        structure.expand_ncs(gemmi.HowToNameCopiedChain.Dup)
    return structure, space_group


def _require_cell(source: Path, cell: gemmi.UnitCell) -> None:
    if not cell.is_crystal():
        raise NumbraggError(f"{source} has no unit cell: add a CRYST1 record (PDB) or _cell items (mmCIF)")
    flat = cell.volume < _FLATTEST_CELL * cell.a * cell.b * cell.c
    axes = (cell.a, cell.b, cell.c)
    if flat or not all(_AXES[0] <= axis <= _AXES[1] for axis in axes) or not math.isfinite(cell.volume):
        numbers = " ".join(f"{number:g}" for number in cell.parameters)
        raise NumbraggError(f"{source}: {numbers} is not a unit cell")


def _require_scattering_factors(source: Path, model: gemmi.Model) -> None:
    missing = {site.atom.element.name for site in model.all() if site.atom.element.it92 is None}
    if missing:
        raise NumbraggError(f"{source}: no X-ray scattering factors for {', '.join(sorted(missing))}")
    if not all(math.isfinite(sum(site.atom.pos.tolist()) + site.atom.b_iso + site.atom.occ) for site in model.all()):
        raise NumbraggError(f"{source}: an atom has a position, B factor or occupancy that is not finite")


def _require_memory(structure: gemmi.Structure, d_min: float) -> None:
    cell = structure.cell
    size = _BYTES_PER_POINT * cell.a * cell.b * cell.c / _mask_spacing(d_min) ** 3
    if size > _LARGEST_GRID_BYTES:
        raise NumbraggError(
            f"a resolution of {d_min:g} A for this cell would take {size / 2**30:.1f} GiB "
            f"(limit {_LARGEST_GRID_BYTES >> 30} GiB): raise d_min"
        )


def _set_b_factors(structure: gemmi.Structure, b_iso: float) -> None:
    for site in structure[0].all():
        site.atom.b_iso = b_iso
        site.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)


def _atomic_part(
    structure: gemmi.Structure, hkl: npt.NDArray[np.int32], d_min: float, wavelength: float | None
) -> npt.NDArray[np.complex128]:
    density = _density_calculator(structure, d_min)
    density.set_refmac_compatible_blur(structure[0])
    if wavelength is not None:
        density.addends.add_cl_fprime(gemmi.hc / wavelength)
    density.put_model_density_on_grid(structure[0])
    factors = _transform(density.grid, hkl, density.blur)
    if wavelength is None:
        return factors
    f_double_prime = {z: gemmi.cromer_liberman(z, gemmi.hc / wavelength)[1] for z in _elements(structure[0])}
    return factors + 1j * _constant_part(structure, hkl, d_min, f_double_prime)


def _constant_part(
    structure: gemmi.Structure, hkl: npt.NDArray[np.int32], d_min: float, of_element: dict[int, float]
) -> npt.NDArray[np.complex128]:
    """Transform of atoms whose form factor is a constant, in electrons by atomic number; others count as 0."""
    density = _density_calculator(structure, d_min)
    density.set_refmac_compatible_blur(structure[0])
    density.initialize_grid()
    for site in structure[0].all():
        constant = of_element.get(site.atom.element.atomic_number)
        if constant is not None:
            density.add_c_contribution_to_grid(site.atom, _CONSTANT_SCALE * constant)
    density.grid.symmetrize_sum()
    return _transform(density.grid, hkl, density.blur) / _CONSTANT_SCALE


def _density_calculator(structure: gemmi.Structure, d_min: float) -> gemmi.DensityCalculatorX:
    calculator = gemmi.DensityCalculatorX()
    calculator.d_min = d_min
    calculator.rate = _RATE
    calculator.cutoff = _DENSITY_CUTOFF
    calculator.grid.setup_from(structure)
    return calculator


def _elements(model: gemmi.Model) -> list[int]:
    """Atomic numbers with anomalous scattering: hydrogen, helium and unknown atoms are not in the tables."""
    return sorted({site.atom.element.atomic_number for site in model.all() if site.atom.element.atomic_number >= 3})


def _solvent_part(
    structure: gemmi.Structure, hkl: npt.NDArray[np.int32], d_min: float, k_sol: float, b_sol: float
) -> npt.NDArray[np.complex128]:
    s_squared = structure.cell.calculate_1_d2_array(hkl)
    part: npt.NDArray[np.complex128] = k_sol * np.exp(-b_sol * s_squared / 4.0) * _solvent_mask(structure, hkl, d_min)
    return part


def _solvent_mask(structure: gemmi.Structure, hkl: npt.NDArray[np.int32], d_min: float) -> npt.NDArray[np.complex128]:
    grid = gemmi.FloatGrid()
    grid.setup_from(structure, spacing=_mask_spacing(d_min))
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(grid, structure[0])
    return _transform(grid, hkl, 0.0)


def _mask_spacing(d_min: float) -> float:
    return min(_MASK_SPACING, d_min / (2.0 * _RATE))


def _transform(grid: gemmi.FloatGrid, hkl: npt.NDArray[np.int32], blur: float) -> npt.NDArray[np.complex128]:
    transformed = gemmi.transform_map_to_f_phi(grid, half_l=True)
    return transformed.get_value_by_hkl(hkl, unblur=blur).astype(np.complex128)


def _require_wavelength(wavelength: float) -> None:
    if not _WAVELENGTHS[0] <= wavelength <= _WAVELENGTHS[1]:
        raise NumbraggError(f"wavelength {wavelength:g} A is outside {_WAVELENGTHS[0]:g} to {_WAVELENGTHS[1]:g} A")


def _require_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0.0):
            raise NumbraggError(f"{name} must be a positive number, not {value:g}")


def _require_not_negative(**numbers: float) -> None:
    for name, value in numbers.items():
        if not (math.isfinite(value) and value >= 0.0):
            raise NumbraggError(f"{name} must be zero or a positive number, not {value:g}")
