"""What the gate compares between revisions: the work of the quick table, as calls to be timed."""

from collections.abc import Callable

import numpy as np

from benchmarks.common import experiment, long_table, noise_means, public
from benchmarks.measure import Run

Prepare = Callable[[int], Run]
"""Takes ``shrink`` (so many times fewer pixels along each edge) and returns what is timed, compiled and checked."""


def _forward(scene: str, compat: str = "spec", threads: int = 1) -> Prepare:
    def prepare(shrink: int) -> Run:
        simulate, prepared = public("simulate"), experiment(scene, compat=compat, shrink=shrink)
        image = simulate(prepared, threads=threads)
        if not (np.isfinite(image).all() and image.max() > 0.0):
            raise AssertionError(f"{scene}: the image is empty or not finite")
        return lambda: simulate(prepared, threads=threads)

    return prepare


def _noise(shrink: int) -> Run:
    draw, means = public("poisson_noise"), noise_means(2527 // shrink, 2463 // shrink)
    draw(means, seed=1, threads=1)
    return lambda: draw(means, seed=1, threads=1)


def _hkl(shrink: int) -> Run:
    try:
        from numbragg.io.hkl import read_hkl
    except ImportError:
        raise NotImplementedError("this revision reads no hkl text") from None
    path = long_table(1_000_000 // shrink**2)
    return lambda: read_hkl(path)


def _command(_: int) -> Run:
    from benchmarks.startup import command_seconds

    public("parse_flags")
    command_seconds()
    return command_seconds


CASES: dict[str, Prepare] = {
    "pilatus6m": _forward("pilatus6m"),
    "pilatus6m, two threads": _forward("pilatus6m", threads=2),
    "pilatus6m, mode c": _forward("pilatus6m", compat="c"),
    **{name: _forward(name) for name in ("cubic", "round", "gauss", "tophat", "sources50", "mosaic50")},
    **{name: _forward(name) for name in ("oversample3", "absorption", "tricubic", "curved")},
    "noise": _noise,
    "hkl text": _hkl,
    "warm command": _command,
}
