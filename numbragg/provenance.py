"""How to simulate an image again, from the image itself (specs/30-formats.md, 30.60 and 30.64)."""

import os
import shlex
from pathlib import Path

from numbragg.errors import NumbraggError
from numbragg.io.input_file import input_file
from numbragg.models.provenance import Provenance

_LONGEST_MAGIC = 512


def file_kind(path: str | os.PathLike[str]) -> str:
    """Kind of a file by its first bytes: "smv", "cbf", "nxmx", "png", "expt", or "" for any other.

    Raises
    ------
    NumbraggError
        The file cannot be read.
    """
    source = input_file(path)
    with source.open("rb") as stream:
        start = stream.read(_LONGEST_MAGIC)
    for magic, kind in ((b"###CBF", "cbf"), (b"\x89HDF", "nxmx"), (b"\x89PNG", "png")):
        if start.startswith(magic):
            return kind
    if start.startswith(b"{") and b"HEADER_BYTES" in start:
        return "smv"
    return "expt" if start.lstrip().startswith(b"{") else ""


def read_provenance(path: str | os.PathLike[str]) -> Provenance | None:
    """Read where an image comes from.

    Parameters
    ----------
    path
        An SMV, CBF, NXmx, PNG or ``.expt`` file.

    Returns
    -------
    Provenance or None
        None where the file does not say.

    Raises
    ------
    NumbraggError
        The file cannot be read or is damaged.
    """
    kind = file_kind(path)
    if kind == "smv":
        from numbragg.io.smv import read_smv_header

        return Provenance.from_entries(read_smv_header(path))
    if kind == "cbf":
        from numbragg.io.cbf import read_cbf_provenance

        return read_cbf_provenance(path)
    if kind == "nxmx":
        from numbragg.io.nxmx import read_nxmx_provenance

        return read_nxmx_provenance(path)
    if kind == "png":
        from numbragg.io.png import read_png_text

        return Provenance.from_entries(read_png_text(path))
    if kind == "expt":
        from numbragg.io.expt import read_expt

        return read_expt(path).provenance
    return None


def command_line(provenance: Provenance) -> str:
    """The command that makes the image again, as a shell takes it."""
    words = list(provenance.flags)
    if "-seed" not in words and "--images" not in words:
        words += ["-seed", str(provenance.seed)]
    return shlex.join(["numbragg", "simulate", *words])


def describe_file(path: str | os.PathLike[str]) -> list[str]:
    """Describe an image file in a few lines: what it is, how it was taken, and how to simulate it again.

    Raises
    ------
    NumbraggError
        The file cannot be read, is damaged, or is none of the kinds of `read_provenance`.
    """
    kind = file_kind(path)
    if not kind:
        raise NumbraggError(f"{path}: not an SMV, CBF, NXmx, PNG or .expt file")
    lines = [f"file       {Path(path)} ({_KINDS[kind]})", *_geometry_lines(path, kind)]
    provenance = read_provenance(path)
    if provenance is None:
        return [*lines, "origin     not recorded: not made by numbragg, or made in mode c"]
    lines.append(f"origin     numbragg {provenance.version}, seed {provenance.seed}")
    if provenance.image:
        lines.append(f"series     image {provenance.image} (the command makes the whole series)")
    return [*lines, f"again      {command_line(provenance)}"]


_KINDS = {"smv": "SMV", "cbf": "CBF", "nxmx": "NXmx HDF5", "png": "PNG", "expt": "experiments of DIALS"}


def _geometry_lines(path: str | os.PathLike[str], kind: str) -> list[str]:
    if kind == "png":
        return []
    if kind == "smv":
        from numbragg.io.smv import read_smv_header

        header = read_smv_header(path)
        shown = ("SIZE1", "SIZE2", "PIXEL_SIZE", "DISTANCE", "WAVELENGTH", "PHI", "OSC_RANGE")
        return ["header     " + "  ".join(f"{key} {header[key]}" for key in shown if key in header)]
    if kind == "cbf":
        from numbragg.io.cbf import read_cbf_instrument

        instrument, images = read_cbf_instrument(path), 1
    elif kind == "nxmx":
        from numbragg.io.nxmx import count_nxmx_images, read_nxmx_instrument

        instrument, images = read_nxmx_instrument(path), count_nxmx_images(path)
    else:
        from numbragg.io.expt import read_expt

        found = read_expt(path)
        instrument, images = found.instrument, found.n_images
    fast, slow = instrument.beam_centre
    turning = "still" if instrument.is_still else f"phi {instrument.phi_start:g}, {instrument.osc:g} degrees an image"
    several = f"{len(instrument.panels)} panels of " if instrument.panels else ""
    size = f"{several}{instrument.n_fast} x {instrument.n_slow} pixels (fast x slow) of {instrument.pixel_size:g} mm"
    return [
        f"detector   {size}, distance {instrument.distance:.6g} mm, beam at {fast:.6g} {slow:.6g} mm",
        f"beam       {instrument.wavelength:.8g} A",
        f"rotation   {images} image{'s' if images > 1 else ''}, {turning}",
    ]
