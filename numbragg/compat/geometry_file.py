"""Detector, beam and orientation from the files of other programs (specs/30-formats.md, 30.90 to 30.95)."""

import os
from pathlib import Path

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file
from numbragg.models.instrument import Instrument

_LONGEST_MAGIC = 512


def read_geometry(path: str | os.PathLike[str]) -> Instrument:
    """Read a geometry file; the kind is told by its first bytes, or by its name where these do not tell.

    Parameters
    ----------
    path
        An ``.expt`` of DIALS, XPARM.XDS or GXPARM.XDS, XDS.INP, a CrystFEL ``.geom``, a CBF or an NXmx file.

    Raises
    ------
    NumbraggError
        The file cannot be read, is of another kind, or lacks what a geometry needs.
    """
    source = input_file(path)
    with source.open("rb") as stream:
        start = stream.read(_LONGEST_MAGIC)
    name, suffix = source.name.upper(), source.suffix.lower()
    if start.startswith(b"###CBF"):
        from numbragg.io.cbf import read_cbf_instrument

        return read_cbf_instrument(source)
    if start.startswith(b"\x89HDF"):
        from numbragg.io.nxmx import read_nxmx_instrument

        return read_nxmx_instrument(source)
    if suffix in (".expt", ".json"):
        from numbragg.io.expt import read_expt

        return read_expt(source).instrument
    if "XPARM" in start.split(b"\n")[0].decode("latin-1").upper() or "XPARM" in name:
        from numbragg.io.xds import read_xparm

        return read_xparm(source)
    if suffix == ".inp":
        from numbragg.io.xds import read_xds_inp

        return read_xds_inp(source)
    if suffix == ".geom":
        from numbragg.io.crystfel import read_geom

        return read_geom(source)
    raise _unknown(source)


def _unknown(source: Path) -> NumbraggError:
    hint = ""
    if source.suffix.lower() in (".mat", ".txt"):
        hint = "; a MOSFLM matrix goes to -mat"
    if source.suffix.lower() == ".img":
        hint = "; an SMV image goes to -img"
    return NumbraggError(
        f"{source}: unknown kind of geometry file (known: .expt, XPARM.XDS, XDS.INP, .geom, .cbf, .h5){hint}"
    )
