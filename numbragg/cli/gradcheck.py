"""``numbragg gradcheck``: derivatives of an image by three methods, compared (specs/50-gradients.md, 50.80)."""

import sys
from typing import Any

from numbragg.cli._compiling import announce_compilation
from numbragg.cli._own_options import take_own_options
from numbragg.compat.build import build_job
from numbragg.compat.extras import extras_of
from numbragg.compat.flags import split_options
from numbragg.errors import NumbraggError

SUMMARY: str = "compare the derivatives of an image by three methods"

USAGE = """\
usage: numbragg gradcheck FLAGS [--compat spec|c] [--parameters NAME,...] [--pixels N] [--seed N] [--json FILE|-]

Compare the derivatives of the image that FLAGS describe: complex step, fused pass, central difference.

  FLAGS                   as of numbragg simulate (numbragg simulate --help lists them)
  --compat spec|c         corrected physics, or nanoBragg.c with its defects (default: spec)
  --c-threads N           OpenMP threads that mode c imitates (default: 1)
  --threads N             threads to run (default: all cores)
  --parameters NAME,...   such as cell.a,misset.x,structure_factor[1,2,3] (default: all that matter for the flags)
  --pixels N              compare N pixels drawn at random (default: all)
  --seed N                of the draw (default: 0)
  --json FILE             write the report as JSON as well; - is standard output, and then the table is left out

exit code: 0, 2 for bad input, 3 when a derivative disagrees"""

DISAGREES = 3

_OWN = ("--parameters", "--pixels", "--seed", "--json")


def main(argv: list[str]) -> int:
    """Run ``numbragg gradcheck`` and return its exit code.

    Raises
    ------
    NumbraggError
        Wrong flags or options, or a file that cannot be written.
    """
    own, rest = take_own_options(argv, _OWN, "needs a value (numbragg gradcheck --help)")
    options, words = split_options(rest)
    if options.get("help"):
        print(USAGE)
        return 0
    if not words:
        raise NumbraggError("gradcheck: nothing to simulate: give flags (numbragg gradcheck --help)")
    compat: Any = options.get("compat", "spec")
    threads = options.get("threads")
    count = _whole(own, "--pixels", 1)
    seed = _whole(own, "--seed", 0) or 0
    names = _names(own["--parameters"]) if "--parameters" in own else None

    import numpy as np

    from numbragg.gradients.check import gradcheck

    with np.errstate(all="ignore"):
        threads_of_c = int(options.get("c_threads", 1))
        geometry: Any = options.get("geometry")
        job = build_job(words, compat, c_threads=threads_of_c, geometry=geometry, extras=extras_of(options))
        experiment = job.experiment
        announce_compilation()
        report = gradcheck(
            experiment,
            names,
            pixels=_draw(experiment, count, seed),
            threads=None if threads is None else int(threads),
        )
    target = own.get("--json")
    if target == "-":
        sys.stdout.write(report.to_json())
    else:
        if target is not None:
            from numbragg.io.atomic import atomic_write

            with atomic_write(target) as stream:
                stream.write(report.to_json().encode())
        sys.stdout.write(report.table())
    return 0 if report.passed else DISAGREES


def _draw(experiment: Any, count: int | None, seed: int) -> Any:
    """So many pixels at random, as indices in raster order; all active ones when there are no more."""
    import numpy as np

    active = experiment.active_pixels()
    if count is not None and count < len(active):
        active = np.sort(np.random.default_rng(seed).choice(active, count, replace=False))
    return np.unravel_index(active, experiment.detector.shape)


def _names(text: str) -> list[str]:
    """Names between commas; the commas of ``structure_factor[h,k,l]`` do not part them."""
    import re

    names = [name.strip() for name in re.split(r",(?![^\[]*\])", text)]
    return [name for name in names if name]


def _whole(own: dict[str, str], name: str, least: int) -> int | None:
    if name not in own:
        return None
    try:
        value = int(own[name])
    except ValueError:
        value = least - 1
    if value < least:
        raise NumbraggError(f"{name} takes a whole number of at least {least}, not {own[name]}")
    return value
