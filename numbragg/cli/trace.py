"""``numbragg trace``: every intermediate value of one pixel (specs/80-trace.md)."""

import sys
import warnings
from typing import Any

from numbragg.cli._own_options import take_own_options
from numbragg.compat.build import build_job
from numbragg.compat.extras import extras_of
from numbragg.compat.flags import match_flags, split_options
from numbragg.errors import NumbraggError, NumbraggWarning

SUMMARY: str = "print every intermediate value of one pixel, or compare it with another trace"

USAGE = """\
usage: numbragg trace -trace_pixel SLOW FAST FLAGS [--compat spec|c] [--c-threads N] [--json FILE|-] [--against FILE]

Print every quantity from the detector to the photons of one pixel as lines 'name value...'.

  -trace_pixel SLOW FAST  the pixel, counted from 0
  FLAGS                   as of numbragg simulate (numbragg simulate --help lists them)
  --compat spec|c         corrected physics, or nanoBragg.c with its defects (default: spec)
  --c-threads N           OpenMP threads that mode c imitates (default: 1)
  --json FILE             write the trace as JSON instead; - is standard output
  --against FILE          compare with another trace (numbragg's text or JSON, or a log with lines 'TRACE_C: name
                          value...') and name the first quantity that diverges

exit code: 0, 2 for bad input, 3 when the traces diverge"""

DIVERGED = 3


def main(argv: list[str]) -> int:
    """Run ``numbragg trace`` and return its exit code: 0, or 3 when the traces diverge.

    Raises
    ------
    NumbraggError
        Wrong flags, a pixel that is not simulated, or a file that cannot be read or written.
    """
    own, rest = take_own_options(argv, ("--json", "--against"), "takes a file name")
    options, words = split_options(rest)
    if options.get("help"):
        print(USAGE)
        return 0
    compat: Any = options.get("compat", "spec")
    slow, fast = _pixel(words, compat)
    from numbragg.trace_files import common_quantities, compare_traces, format_trace, read_trace, trace_to_json
    from numbragg.tracing import trace

    other = read_trace(own["--against"]) if "--against" in own else None
    geometry: Any = options.get("geometry")
    threads_of_c = int(options.get("c_threads", 1))
    job = build_job(words, compat, c_threads=threads_of_c, geometry=geometry, extras=extras_of(options))
    traced = trace(job.experiment, slow, fast)
    target = own.get("--json")
    if target is not None:
        _write(target, trace_to_json(traced))
    elif other is None:
        sys.stdout.write(format_trace(traced))
    if other is None:
        return 0
    divergence = compare_traces(traced, other)
    # Standard output may be JSON that somebody parses.
    verdict = sys.stderr if target == "-" else sys.stdout
    if divergence is not None:
        print(f"diverges at {divergence}", file=verdict)
        return DIVERGED
    print(f"agrees: {sum(1 for _ in common_quantities(traced, other))} quantities", file=verdict)
    return 0


def _pixel(words: list[str], compat: Any) -> tuple[int, int]:
    with warnings.catch_warnings():
        # The flags are matched once more when the job is built; once is enough to warn.
        warnings.simplefilter("ignore", NumbraggWarning)
        found = [flag.values for flag in match_flags(words, compat) if flag.flag.key == "trace_pixel"]
    if not found:
        raise NumbraggError("trace: which pixel? give -trace_pixel SLOW FAST (numbragg trace --help)")
    slow, fast = found[-1]
    return int(slow), int(fast)


def _write(target: str, text: str) -> None:
    if target == "-":
        sys.stdout.write(text)
        return
    from numbragg.io.atomic import atomic_write

    with atomic_write(target) as stream:
        stream.write(text.encode())
