"""Structure factors from any file that can give them: a list, a reflection file, or a model."""

import gzip
import os
import re
import zlib
from pathlib import Path

from numbragg.errors import NumbraggError
from numbragg.io.hkl import read_hkl
from numbragg.io.input_file import input_file
from numbragg.models.reflections import Reflections

_CIF_SUFFIXES = frozenset({".cif", ".mmcif", ".ent"})
_REFLECTION_LOOP = re.compile(rb"^\s*_refln\.", re.MULTILINE | re.IGNORECASE)


def read_structure_factors(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    d_min: float | None = None,
    wavelength: float | None = None,
) -> Reflections:
    """Read or compute amplitudes in P1, by the kind of file (specs/30-formats.md, clause 30.18).

    Parameters
    ----------
    path
        ``.mtz``; ``.cif``, ``.mmcif``, ``.ent`` (reflections where there is a `_refln` loop, else a model); ``.pdb``
        (a model); anything else is h k l F text. CIF and PDB files may be gzipped (``.gz``).
    column
        The column of a reflection file.
    d_min
        Resolution limit of a model in angstrom; reflection files are read whole.
    wavelength
        Wavelength in angstrom for the anomalous scattering of a model.

    Returns
    -------
    Reflections
        Amplitudes in P1; with cell and space group unless the file is text.

    Raises
    ------
    NumbraggError
        The file cannot be read, ``column`` is given for a file that has no columns by name, or a model comes
        without ``d_min``.
    """
    source = input_file(path)
    if kind_suffix(source) == ".mtz":
        from numbragg.io.mtz import read_mtz  # gemmi is loaded only where a file needs it

        return read_mtz(source, column)
    model = is_model(source)
    if kind_suffix(source) in _CIF_SUFFIXES and not model:
        from numbragg.io.sf_cif import read_sf_cif

        return read_sf_cif(source, column)
    if column is not None:
        raise NumbraggError(
            f"{source} has no columns by name: leave out '{column}' (it is for MTZ and CIF reflections)"
        )
    if model:
        if d_min is None:
            raise NumbraggError(f"{source} is a model: give the resolution limit d_min in angstrom")
        from numbragg.fmodel import compute_structure_factors

        return compute_structure_factors(source, d_min=d_min, wavelength=wavelength)
    return read_hkl(source)


def is_model(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file holds atoms, not reflections (specs/30-formats.md, clause 30.18).

    Raises
    ------
    NumbraggError
        The file cannot be read.
    """
    source = input_file(path)
    suffix = kind_suffix(source)
    return suffix == ".pdb" or (suffix in _CIF_SUFFIXES and not _REFLECTION_LOOP.search(_content(source)))


def kind_suffix(path: Path) -> str:
    """Give the suffix that tells the kind of a file, in lower case and without ``.gz``."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _content(source: Path) -> bytes:
    try:
        if source.suffix.lower() == ".gz":
            with gzip.open(source) as stream:
                return stream.read()
        return source.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise NumbraggError(f"cannot read {source}: {error}") from error
