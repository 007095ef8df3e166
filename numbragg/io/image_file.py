"""An image from a file of any kind that numbragg reads."""

import os
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.input_file import first_line, input_file
from numbragg.io.smv import read_smv

_LONGEST_MAGIC = 512
_OTHER_KINDS = {
    b"\x89PNG": "a PNG",
    b"P5\n": "a PGM",
    b"PK\x03\x04": "a zip",
}


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """Read an SMV, CBF, NXmx, NumPy or raw float image (specs/70-compare.md, clauses 70.11 to 70.13).

    Parameters
    ----------
    path
        The file. CBF, HDF5, NumPy's ``.npy`` and SMV are told by their first bytes, the last two also by the suffixes
        .npy and .img; any other file is taken as raw little-endian float32. An NXmx file must hold one image, or its
        name must be followed by ``:`` and the number of one, from 0.

    Returns
    -------
    ndarray
        (slow, fast) in the number type of the file. A raw file does not say its shape: one-dimensional float32.

    Raises
    ------
    NumbraggError
        The file cannot be read, is truncated, is a kind that is not read here, or holds no pixels.
    """
    source, number = _with_number(path)
    try:
        with source.open("rb") as stream:
            start = stream.read(_LONGEST_MAGIC)
        if start.startswith(b"\x89HDF"):
            return _read_one(source, number)
        if start.startswith(b"###CBF"):
            from numbragg.io.cbf import read_cbf

            return read_cbf(source)[1]
        for magic, kind in _OTHER_KINDS.items():
            if start.startswith(magic):
                raise NumbraggError(f"{source}: {kind} file; give an SMV (.img), CBF, NXmx, .npy or raw float32 image")
        suffix = source.suffix.lower()
        if start.startswith(b"\x93NUMPY") or suffix == ".npy":
            return _read_npy(source)
        if suffix == ".img" or (start.startswith(b"{") and b"HEADER_BYTES" in start):
            return read_smv(source)[1]
        return _read_raw(source)
    except MemoryError as error:
        raise NumbraggError(f"{source}: more pixels than fit into memory") from error
    except OSError as error:
        raise NumbraggError(f"cannot read {source}: {error.strerror or error}") from error


def _with_number(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """Split ``series.h5:3`` into file and number; a file of the whole name comes first."""
    name, colon, number = os.fspath(path).rpartition(":")
    if colon and number.isdecimal() and len(number) < 10 and not os.path.exists(path):
        return input_file(name), int(number)
    return input_file(path), None


def _read_one(source: Path, number: int | None) -> npt.NDArray[np.generic]:
    from numbragg.io.nxmx import count_nxmx_images, read_nxmx

    count = count_nxmx_images(source)
    if number is None and count > 1:
        raise NumbraggError(
            f"{source} holds {count} images: say which one ({source.name}:0 to {source.name}:{count - 1})"
        )
    return read_nxmx(source, number or 0)


def _read_npy(source: Path) -> npt.NDArray[np.generic]:
    try:
        # Old headers are parsed with a warning that means nothing to the reader of a comparison.
        with source.open("rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.lib.format.read_array(stream, allow_pickle=False)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # the header is a Python literal, and a damaged one fails in any way that a parser can
        raise NumbraggError(f"{source}: not a readable .npy file: {first_line(error)}") from error
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype.kind not in "biuf":
        raise NumbraggError(f"{source}: not an image (slow, fast) of real numbers but {pixels.dtype} {pixels.shape}")
    return np.asarray(pixels)


def _read_raw(source: Path) -> npt.NDArray[np.generic]:
    size = source.stat().st_size
    if size == 0 or size % 4:
        raise NumbraggError(f"{source}: {size} bytes are no raw float32 image (4 bytes a pixel)")
    return np.fromfile(source, dtype="<f4").astype(np.float32, copy=False)
