"""Files appear whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from numbragg.errors import NumbraggError


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
def _renamed_at_the_end(target: Path) -> Iterator[IO[bytes]]:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
