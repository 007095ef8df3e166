"""``python -m benchmarks.plot_growth``: how the time of an image grows with what it is made of, as points and lines."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from benchmarks.common import experiment, public, source_flags
from benchmarks.machine import cores
from benchmarks.measure import Run, best_in_turn


class Axis(NamedTuple):
    """One thing that grows while all else stays."""

    name: str
    values: tuple[int, ...]
    scene: str
    extra: Callable[[int], str]  # flags that set a value


def _detector(edge: int) -> str:
    return f"-detpixels_x {edge} -detpixels_y {edge} -pixel {204.8 / edge}"


AXES = (
    Axis("megapixels", (512, 1024, 1536, 2048), "square", lambda n: f"-phisteps 1 {_detector(n)}"),
    Axis("phi steps", (1, 10, 20, 40), "square", lambda n: f"{_detector(512)} -phisteps {n}"),
    Axis("mosaic domains", (1, 10, 20, 40), "mosaic50", lambda n: f"-mosaic {0.5 * (n > 1)} -mosaic_domains {n}"),
    Axis("sources", (1, 10, 20, 40), "sources50", source_flags),
    Axis("cells along each axis", (5, 20, 50, 100), "square", lambda n: f"{_detector(512)} -N {n}"),
    Axis("threads", (1, 2, 4, 8), "square", lambda _: ""),
)


class Growth(NamedTuple):
    """Seconds at each value."""

    name: str
    values: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def line(self) -> tuple[float, float]:
        """Slope and intercept of the least-squares line, in seconds."""
        slope, intercept = np.polyfit(self.values, self.seconds, 1)
        return float(slope), float(intercept)


def measure_growth(axis: Axis, *, shrink: int = 1, rounds: int = 7) -> Growth:
    """Time all values of an axis in turn."""
    simulate = public("simulate")
    threaded = axis.name == "threads"
    values = tuple(n for n in axis.values if not threaded or n <= cores())

    def prepare(value: int) -> Run:
        scene = experiment(axis.scene, shrink=shrink, extra=axis.extra(value))
        threads = value if threaded else 1
        if not simulate(scene, threads=threads).max() > 0.0:
            raise AssertionError(f"{axis.name} {value}: the image is empty")
        return lambda: simulate(scene, threads=threads)

    seconds = best_in_turn([prepare(value) for value in values], rounds)
    shown = [value**2 / 1e6 for value in values] if axis.name == "megapixels" else [float(value) for value in values]
    return Growth(axis.name, tuple(shown), tuple(seconds))


class CostModel(NamedTuple):
    """Nanoseconds on one thread (specs/60-performance.md, 60.10)."""

    pixel: float
    source: float
    evaluation: float


def fit_cost(*, rounds: int = 7) -> CostModel:
    """Fit pixel + sources * (source + evaluations * evaluation) to images with few and many of each."""
    simulate = public("simulate")
    grid = [(sources, steps) for sources in (1, 8, 32) for steps in (1, 8, 32)]
    scenes = [experiment("sources50", extra=f"{source_flags(s)} -phi 0 -osc 0.1 -phisteps {n}") for s, n in grid]
    images = [simulate(scene, threads=1) for scene in scenes]
    runs: list[Run] = [functools.partial(simulate, scene, threads=1) for scene in scenes]
    nanoseconds = np.array(best_in_turn(runs, rounds)) * 1e9 / images[0].size
    terms = np.array([(1.0, sources, sources * steps) for sources, steps in grid])
    # Relative errors count, or the largest image would decide alone; no cost is below zero.
    found, _ = nnls(terms / nanoseconds[:, None], np.ones(len(grid)))
    return CostModel(*(float(value) for value in found))


def plot(growths: Sequence[Growth], path: str) -> None:
    """Write one panel an axis; the suffix of the path chooses the format."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(10, 5.5), layout="constrained")
    for panel, growth in zip(panels.flat, growths, strict=True):
        values, seconds = np.array(growth.values), np.array(growth.seconds)
        panel.plot(values, 1e3 * seconds, "o", color="C0")
        if growth.name == "threads":
            panel.plot(values, 1e3 * seconds[0] / values, "--", color="0.6", label="perfect sharing")
            panel.legend(frameon=False)
            panel.set_xticks(values)
        else:
            slope, intercept = growth.line
            panel.plot(values, 1e3 * (intercept + slope * values), "-", color="C0", linewidth=1)
        panel.set(xlabel=growth.name, ylabel="ms", ylim=(0, None), xlim=(0, None))
    figure.savefig(path)
    plt.close(figure)


def main(argv: Sequence[str]) -> int:
    """Measure, print a Markdown table of the lines and the cost model, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot_growth", description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", default="specs/figures/growth.svg", help="picture to write (%(default)s)")
    parser.add_argument("--shrink", type=int, default=1, help="take so many times fewer pixels along each edge (1)")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of which the least counts (7)")
    options = parser.parse_args(argv)
    growths = [measure_growth(axis, shrink=options.shrink, rounds=options.rounds) for axis in AXES]
    print("| grows | values | ms | line, ms |\n|---|---|---|---|")
    for growth in growths:
        slope, intercept = (1e3 * value for value in growth.line)
        line = "" if growth.name == "threads" else f"{intercept:.2f} + {slope:.4f} n"
        values = ", ".join(f"{value:.3g}" for value in growth.values)
        print(f"| {growth.name} | {values} | {', '.join(f'{1e3 * s:.2f}' for s in growth.seconds)} | {line} |")
    cost = fit_cost(rounds=options.rounds)
    print(f"\ncost, ns: {cost.pixel:.1f} a pixel, {cost.source:.1f} a source, {cost.evaluation:.2f} an evaluation")
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    plot(growths, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
