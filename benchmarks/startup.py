"""Wall time of whole processes: the first image, cold and warm."""

import json
import tempfile

from benchmarks.common import inputs, scene_flags
from benchmarks.measure import run_child, wall

FIRST_CALLS = """
import json, sys, time
from benchmarks.common import experiment, public
simulate = public("simulate")
scene = experiment(sys.argv[1], shrink=64)
times = []
for _ in range(2):
    start = time.perf_counter()
    simulate(scene, threads=1)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""


def command_seconds(cache: str | None = None) -> float:
    """Wall time of ``numbragg simulate`` of 512 x 512 pixels that writes all its images."""
    words = ("-m", "numbragg", "simulate", *scene_flags("cubic"))
    return wall(lambda: run_child(*words, folder=inputs(), extra=_cached_in(cache)))


def cold_and_warm_command(rounds: int = 5) -> tuple[float, float]:
    """Seconds of the command with an empty kernel cache, and the least of the next ones."""
    with tempfile.TemporaryDirectory() as cache:
        cold = command_seconds(cache)
        return cold, min(command_seconds(cache) for _ in range(rounds))


def first_call(scene: str, cache: str | None = None) -> float:
    """Seconds that the first call of simulate in a process takes longer than the second: compiling or loading."""
    first, second = json.loads(run_child("-c", FIRST_CALLS, scene, extra=_cached_in(cache)))
    return float(first - second)


def compile_seconds(scene: str) -> float:
    """`first_call` with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as cache:
        return first_call(scene, cache)


def _cached_in(cache: str | None) -> dict[str, str]:
    return {} if cache is None else {"NUMBA_CACHE_DIR": cache}
