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
    b"###CBF": "a CBF",
    b"\x89HDF": "an HDF5",
    b"\x89PNG": "a PNG",
    b"P5\n": "a PGM",
    b"PK\x03\x04": "a zip",
}


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.generic]:
    """Read an SMV, NumPy or raw float image (specs/70-compare.md, clauses 70.11 to 70.13).

    Parameters
    ----------
    path
        The file. NumPy's ``.npy`` and SMV are told by their first bytes or by the suffixes .npy and .img; any other
        file is taken as raw little-endian float32.

    Returns
    -------
    ndarray
        (slow, fast) in the number type of the file. A raw file does not say its shape: one-dimensional float32.

    Raises
    ------
    NumbraggError
        The file cannot be read, is truncated, is a kind that is not read here, or holds no pixels.
    """
    source = input_file(path)
    try:
        with source.open("rb") as stream:
            start = stream.read(_LONGEST_MAGIC)
        for magic, kind in _OTHER_KINDS.items():
            if start.startswith(magic):
                raise NumbraggError(f"{source}: {kind} file; give an SMV (.img), .npy or raw float32 image")
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
