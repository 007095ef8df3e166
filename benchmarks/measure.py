"""Times, child processes and memory."""

import importlib.util
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[[], Any]


def wall(run: Run) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def best(run: Run, rounds: int = 5) -> float:
    """Least seconds of several calls: what disturbs a measurement only ever adds to it."""
    return min(wall(run) for _ in range(rounds))


def best_in_turn(runs: Sequence[Run], rounds: int = 3) -> list[float]:
    """Least seconds of each, called in turn, so that a busy machine slows all of them."""
    times = [[wall(run) for run in runs] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def numbragg_parent() -> str:
    """Folder that the numbragg of this process comes from."""
    spec = importlib.util.find_spec("numbragg")
    if spec is None or spec.origin is None:
        raise NotImplementedError("numbragg is not installed")
    return str(Path(spec.origin).parents[1])


def child_environment(tree: str | None = None, **extra: str) -> dict[str, str]:
    """Environment of a child that takes numbragg from a folder, by default this process's, and benchmarks from here."""
    path = os.pathsep.join([tree or numbragg_parent(), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, **extra}


def run_child(*words: str, folder: Path | None = None, extra: dict[str, str] | None = None) -> str:
    """Run ``python WORDS``, with extra environment variables, and return what it prints."""
    command = [sys.executable, "-P", *words]
    done = subprocess.run(
        command, env=child_environment(**(extra or {})), cwd=folder, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    Linux hands ``ru_maxrss`` on from the process that started this one, so the high-water mark is asked first.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def traced_peak(call: Callable[..., Any], *arguments: Any) -> int:
    """Most bytes that Python and NumPy hold at once during a call; the kernels' own scratch is on the stack."""
    call(*arguments)
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
