"""The naive loop of ``tests/naive.py``, the yardstick of the forward kernel."""

import functools
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numba
import numpy as np

from benchmarks.common import SCENES, experiment, public
from benchmarks.measure import ROOT, Run, best_in_turn

OF_MAXIMUM = 1e-9
"""Both sum in double; pi*h, and the polynomials in its place, keep twelve digits near a peak."""
TOPHAT_SHARE = 5e-4
"""Pixels at the edge of a tophat spot are in or out by the last bit of an index."""


class Race(NamedTuple):
    """Least seconds of each on the same scene and threads."""

    numbragg: float
    naive: float

    @property
    def ratio(self) -> float:
        """How many times faster numbragg is."""
        return self.naive / self.numbragg


@functools.cache
def naive_module() -> Any:
    """``tests/naive.py``; NotImplementedError where it does not fit the revision."""
    sys.path.append(str(ROOT / "tests"))
    try:
        return importlib.import_module("naive")
    except ImportError as error:
        raise NotImplementedError(f"tests/naive.py does not fit this revision: {error}") from None


@contextmanager
def numba_threads(threads: int) -> Iterator[None]:
    """Threads of the naive loop."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def race(name: str, *, threads: int = 1, shrink: int = 1, rounds: int = 3) -> Race:
    """Time numbragg and the naive loop in turn, then compare the images.

    The loop alone is timed of the naive program; of numbragg, all of ``simulate``.
    """
    simulate, naive = public("simulate"), naive_module()
    scene = experiment(name, shrink=shrink)
    params, active = naive.prepare(scene), naive.active_pixels(scene)
    expected = np.zeros(active.shape)
    images: dict[str, Any] = {}

    def run_numbragg() -> None:
        images["numbragg"] = simulate(scene, threads=threads)

    runs: list[Run] = [run_numbragg, lambda: naive.naive_forward(params, active, expected)]
    warm_up(scene, params, active)
    with numba_threads(threads):
        times = best_in_turn(runs, rounds)
    check_image(name, images["numbragg"], expected)
    return Race(*times)


def warm_up(scene: Any, params: Any, active: Any) -> None:
    """Compile both programs, on one pixel."""
    public("simulate")(scene, pixels=(np.array([0]), np.array([0])), threads=1)
    naive_module().naive_forward(params, np.zeros_like(active), np.zeros(active.shape))


def check_image(name: str, image: Any, expected: Any) -> None:
    """Raise AssertionError where an image is not the naive one."""
    share = TOPHAT_SHARE if SCENES[name].flags.endswith("-tophat_spots") else 0.0
    off = np.abs(image - expected) > OF_MAXIMUM * expected.max()
    if not expected.max() > 0.0 or np.count_nonzero(off) > share * off.size:
        worst = np.abs(image - expected).max() / max(expected.max(), 1e-300)
        raise AssertionError(f"{name}: {off.sum()} pixels differ from the naive image, {worst:.1e} of its maximum")
