"""Names of files that belong together and are told apart by a number."""

import os
import re

from numbragg.errors import NumbraggError


def one_run(template: str) -> bool:
    """Tell whether a name has a run of ``#`` that numbers replace.

    Raises
    ------
    NumbraggError
        Several runs, or one in the name of the folder.
    """
    folder, base = os.path.split(template)
    if "#" in folder or len(re.findall("#+", base)) > 1:
        raise NumbraggError(f"{template}: the # that stand for the number must be one run, in the name of the file")
    return "#" in base


def file_name(template: str, number: int) -> str:
    """The template with its run of ``#`` replaced by a number of as many digits."""
    first, width = template.index("#"), template.count("#")
    return f"{template[:first]}{number:0{width}d}{template[first + width :]}"
