"""Wall time of whole processes: the first image, cold and warm."""

import json
import tempfile
from pathlib import Path

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


def command_seconds(*, shrink: int = 1, **extra: str) -> float:
    """Wall time of ``numbragg simulate`` of 512 x 512 pixels that writes all its images."""
    words = ("-m", "numbragg", "simulate", *scene_flags("cubic", shrink=shrink))
    return wall(lambda: run_child(*words, folder=inputs(), **extra))


def cold_and_warm_command(rounds: int = 5) -> tuple[float, float]:
    """Seconds of the command with an empty kernel cache, and the least of the next ones."""
    with tempfile.TemporaryDirectory() as cache:
        cold = command_seconds(NUMBA_CACHE_DIR=cache)
        return cold, min(command_seconds(NUMBA_CACHE_DIR=cache) for _ in range(rounds))


def first_call(scene: str, cache: Path | str | None = None) -> float:
    """Seconds that the first call of simulate in a process takes longer than the second: compiling or loading."""
    extra = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    first, second = json.loads(run_child("-c", FIRST_CALLS, scene, **extra))
    return float(first - second)


def compile_seconds(scene: str) -> float:
    """`first_call` with an empty kernel cache."""
    with tempfile.TemporaryDirectory() as cache:
        return first_call(scene, cache)
