"""Files appear whole or not at all."""

import contextlib
import glob
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numbragg.errors import NumbraggError

_UMASK = threading.Lock()


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its name only when the block ends without an error.

    Parameters
    ----------
    path
        The final name. The temporary file lives in the same folder, so that the rename is atomic. A symbolic link is
        followed; a device or a pipe is written to directly.

    Raises
    ------
    NumbraggError
        The folder does not exist or cannot be written, or the disk is full.
    """
    try:
        target = Path(os.path.realpath(path))
        special = target.exists() and not target.is_file()
        if target.is_dir():
            raise NumbraggError(f"cannot write {path}: it is a folder")
        with open(target, "wb") if special else _renamed_at_the_end(target) as stream:
            yield stream
    except OSError as error:
        raise NumbraggError(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:
        if "null" in str(error):
            raise NumbraggError(f"cannot write {path!r}: {error}") from error
        raise


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Give a name for a library to write to, which becomes ``path`` when the block ends without an error.

    Raises
    ------
    NumbraggError
        As of `atomic_write`; ``path`` is a device or a pipe.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise NumbraggError(f"cannot write {path}: it is not a file")
    try:
        with _temporary(target) as (descriptor, temporary):
            os.close(descriptor)
            yield temporary
    except OSError as error:
        raise NumbraggError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def _renamed_at_the_end(target: Path) -> Iterator[IO[bytes]]:
    with _temporary(target) as (descriptor, _), os.fdopen(descriptor, "wb") as stream:
        yield stream


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[tuple[int, str]]:
    """An open file beside the target that takes its name at the end."""
    descriptor, temporary = tempfile.mkstemp(prefix=_prefix(target), dir=target.parent)
    try:
        yield descriptor, temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what a killed process left of its attempts to write a file."""
    target = Path(os.path.realpath(path))
    name = glob.escape(_prefix(target))
    for leftover in target.parent.glob(f"{name}????????"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _prefix(target: Path) -> str:
    return f".{target.name[:100]}."


def _umask() -> int:
    # It can only be read by setting it, and belongs to the whole process.
    with _UMASK:
        current = os.umask(0)
        os.umask(current)
    return current
