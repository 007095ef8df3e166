"""The command line as the tests run it: in this process, in a folder of its own."""

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from numbragg.cli import main
from numbragg.compat.build import Job, build_from, build_job
from numbragg.compat.flags import match_flags
from numbragg.compat.settings import Settings
from numbragg.models.quirks import NO_QUIRKS, Quirks
from numbragg.simulation import simulate

GOLDEN = Path(__file__).parent / "golden"
INPUTS = GOLDEN / "inputs"
CASES = json.loads((GOLDEN / "cases.json").read_text())


class Outcome(NamedTuple):
    """What a command left on the terminal."""

    status: int
    out: str
    err: str


def run(*words: str) -> Outcome:
    """Run ``numbragg`` with the words of each argument, in the current folder."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([word for line in words for word in line.split()])
    return Outcome(status, out.getvalue(), err.getvalue())


def job_of(line: str, compat: str = "spec", c_threads: int = 1) -> Job:
    return build_job(line.split(), compat, c_threads=c_threads)


def job_with(line: str, quirks: Quirks = NO_QUIRKS, matching: str = "spec") -> Job:
    """The job of a command line in which only some defects are reproduced."""
    return build_from(Settings(match_flags(line.split(), matching), quirks))


def image_of(job: Job) -> np.ndarray:
    return simulate(job.experiment, threads=1)


def link_inputs(folder: Path) -> Path:
    """Make the golden inputs available as ``inputs`` in a folder."""
    (folder / "inputs").symlink_to(INPUTS, target_is_directory=True)
    return folder
