"""What the tests of the register share: small scenes, a folder to run in, and the notes of a run."""

import re
import warnings
from pathlib import Path

import numpy as np
from command_line import job_of

from numbragg.errors import DeviationNote
from numbragg.lowering import detector_frame

ROOT = Path(__file__).parents[1]
REGISTER = (ROOT / "specs" / "40-compat.md").read_text()
ENTRIES = {part[:3]: part for part in re.split(r"^## ", REGISTER, flags=re.MULTILINE)[1:]}

ROUNDING = 1e-12
"""Double precision over a handful of operations."""
SUMMATION = 1e-10
"""The same terms summed in another order, with the cancellation near whole indices."""

CUBIC = "-cell 100 100 100 90 90 90 -default_F 100 -N 5 -lambda 1 -oversample 1"
SMALL = "-detpixels 24 -pixel 0.8 -distance 60"
BASE = f"{CUBIC} {SMALL}"


def notes(line: str, compat: str = "spec") -> set[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        job_of(line, compat)
    return {str(each.message)[:3] for each in caught if issubclass(each.category, DeviationNote)}


def command(entry: str) -> str:
    """The flags of the command that shows an entry, without ``--compat c``."""
    (line,) = re.findall(r"`numbragg simulate --compat c (-[^`]*)`", ENTRIES[entry].split("Shows it:")[1])
    return line


def frame_of(line: str, compat: str = "spec"):
    return detector_frame.frame_of(job_of(line, compat).experiment)


def oblique_path(shape: tuple[int, int], pixel: float, distance: float) -> np.ndarray:
    """1/cosine at the centres of the pixels of a detector that is centred on the beam but for half a pixel."""
    slow, fast = np.indices(shape)
    offsets = [(index + 0.5 - n / 2 - 1.0) * pixel for index, n in ((slow, shape[0]), (fast, shape[1]))]
    return np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + distance**2) / distance
