"""The checks that every reader makes before it looks inside a file."""

import os
from pathlib import Path

from numbragg.errors import NumbraggError


def input_file(path: str | os.PathLike[str]) -> Path:
    """Give the path of a file that can be opened for reading.

    Raises
    ------
    NumbraggError
        The file is missing, is a folder, or may not be read.
    """
    source = Path(path)
    try:
        with source.open("rb"):
            return source
    except IsADirectoryError as error:
        raise NumbraggError(f"cannot read {source}: it is a folder") from error
    except FileNotFoundError as error:
        raise NumbraggError(f"cannot read {source}: no such file") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NumbraggError(f"cannot read {source}: {reason}") from error


def first_line(error: BaseException) -> str:
    """Give the first line of another library's error, for a message of one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
