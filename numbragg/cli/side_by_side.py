"""Two simulators with the same flags, one after the other."""

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numbragg.errors import NumbraggError
from numbragg.io.image_file import read_image
from numbragg.io.smv import read_smv_header

_TAIL_LINES = 12
_TAIL_BYTES = 8192
_NOT_FOUND = "not found; give the path of the program"


class RunFailedError(NumbraggError):
    """A command could not be started, failed, or left no image that can be used."""

    def __init__(self, message: str, tail: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.tail = tuple(tail)
        """Last lines that the command printed."""


@dataclass(frozen=True)
class Run:
    """A command that ended well.

    Attributes
    ----------
    command : str
        As the user gave it, without the flags.
    seconds : float
        Wall time from start to end.
    image : ndarray of float32
        Photons per pixel, (slow, fast); one-dimensional when the command does not tell the shape.
    """

    command: str
    seconds: float
    image: npt.NDArray[Any]


def run_simulator(command: str, words: Sequence[str], flags: Sequence[str], folder: Path) -> Run:
    """Run a simulator and read its float image (specs/70-compare.md, clauses 70.16 to 70.19).

    Parameters
    ----------
    command
        As the user gave it, for messages.
    words
        The command, split.
    flags
        Flags for it. Those that send its images to `folder`, and only there, are added.
    folder
        A folder of its own, which exists. The command is started in the caller's folder.

    Raises
    ------
    RunFailedError
        The command cannot be started, ends with another status than 0, or leaves no readable float image.
    """
    floats, integers = folder / "float.bin", folder / "integer.img"
    added = ["-floatfile", str(floats), "-nonoise", "-nopgm", "-intfile", str(integers)]
    printed = {name: folder / name for name in ("stderr", "stdout")}
    with printed["stdout"].open("wb") as out, printed["stderr"].open("wb") as err:
        began = time.perf_counter()
        try:
            status = subprocess.run(
                [*words, *flags, *added], stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=False
            ).returncode
        except (OSError, ValueError) as error:
            reason = _NOT_FOUND if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
            raise RunFailedError(f"cannot run {command}: {reason}") from error
        seconds = time.perf_counter() - began
    tail = _tail(printed["stderr"]) or _tail(printed["stdout"])
    if status:
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise RunFailedError(f"{command} {how}", tail)
    if not floats.exists():
        raise RunFailedError(f"{command} ended well but wrote no float image to -floatfile", tail)
    try:
        return Run(command, seconds, _shaped(read_image(floats), integers))
    except NumbraggError as error:
        raise RunFailedError(f"{command}: {error}", tail) from error


def split_command(command: str) -> list[str]:
    """Split a command into words as a shell does, without running one.

    Raises
    ------
    NumbraggError
        It is empty or a quotation is not closed.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise NumbraggError(f"cannot split the command {command!r}: {error}") from error
    if not words:
        raise NumbraggError("a command to run is empty")
    return words


def _shaped(pixels: npt.NDArray[np.generic], integers: Path) -> npt.NDArray[np.generic]:
    """Give a raw image the shape that the header of its integer image tells, if there is one."""
    if not os.path.exists(integers):
        return pixels
    header = read_smv_header(integers)
    try:
        fast, slow = int(header["SIZE1"]), int(header["SIZE2"])
    except (KeyError, ValueError):
        return pixels
    if slow < 1 or fast < 1 or slow * fast != pixels.size:
        raise NumbraggError(f"its float image has {pixels.size} pixels, its integer image {fast} x {slow}")
    return pixels.reshape(slow, fast)


def _tail(path: Path) -> list[str]:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = stream.read().decode("utf-8", "backslashreplace").splitlines()
    return ["".join(c if c.isprintable() else " " for c in line) for line in lines if line.strip()][-_TAIL_LINES:]
