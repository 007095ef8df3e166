"""``tox -e bench``: a few minutes of measurements on the working tree, printed as one table with the goals."""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.common import experiment, long_table, noise_means, precision, public
from benchmarks.jacobians import PARAMETERS, fused_over_forward, still_over_forward
from benchmarks.limits import OPERATIONS, fma_rate, fraction_of_fma_peak
from benchmarks.machine import cores, describe
from benchmarks.measure import Run, best, best_in_turn
from benchmarks.memory import added_by_many, bytes_over_image
from benchmarks.reference import race
from benchmarks.startup import cold_and_warm_command

WRONG = 1


class Goal(NamedTuple):
    """A bound of specs/60-performance.md, 60.3."""

    sign: str
    bound: float

    def met(self, value: float) -> bool:
        """Whether a figure is on the right side."""
        return value >= self.bound if self.sign == ">=" else value <= self.bound


class Row(NamedTuple):
    """One line of the table."""

    what: str
    value: float | None
    unit: str = ""
    goal: Goal | None = None
    note: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """What, measured, goal, verdict."""
        goal = f"{self.goal.sign} {self.goal.bound:g} {self.unit}".rstrip() if self.goal else ""
        if self.value is None:
            return self.what, "-", goal, self.note
        verdict = "" if self.goal is None else "met" if self.goal.met(self.value) else "missed"
        return self.what, f"{self.value:.3g} {self.unit}".rstrip(), goal, verdict


class Options(NamedTuple):
    """How much is measured."""

    shrink: int
    rounds: int


RATIOS = {
    "pilatus6m": 20.0, "round": 12.0, "gauss": 12.0, "tophat": 12.0, "sources50": 12.0, "mosaic50": 12.0,
    "oversample3": 12.0, "absorption": 12.0, "tricubic": 5.0,
}  # fmt: skip
"""Times faster than the naive loop, one thread."""


def against_naive(options: Options) -> Iterator[Row]:
    """Ratio to the naive loop of every kind of work."""
    for scene, bound in RATIOS.items():
        found = race(scene, shrink=options.shrink, rounds=options.rounds)
        yield Row(f"{scene}: faster than the naive loop", found.ratio, "x", Goal(">=", bound))
        if scene == "pilatus6m":
            yield Row("pilatus6m: naive loop, one thread", found.naive, "s")
            yield Row("pilatus6m: one thread", found.numbragg, "s")


def variants(options: Options) -> Iterator[Row]:
    """The Pilatus-like image in other ways, as ratios to the plain one."""
    simulate, scene = public("simulate"), experiment("pilatus6m", shrink=options.shrink)
    mode_c = experiment("pilatus6m", compat="c", shrink=options.shrink)
    runs: list[Run] = [
        lambda: simulate(scene, threads=1),
        lambda: simulate(scene, threads=2),
        lambda: simulate(mode_c, threads=1),
    ]
    images = [run() for run in runs]
    if not (images[0] == images[1]).all():
        raise AssertionError("the image depends on the number of threads")
    one, two, carried = best_in_turn(runs, 2 * options.rounds)
    if cores() > 1:
        yield Row("two threads over one", one / two, "x", Goal(">=", 1.9))
    yield Row("mode c over spec", carried / one, "x")


def mixed_precision(options: Options) -> Iterator[Row]:
    """Mixed over double precision."""
    simulate, scene = public("simulate"), experiment("pilatus6m", shrink=options.shrink)
    keywords = [precision(name) for name in ("double", "mixed")]
    images = [simulate(scene, threads=1, **words) for words in keywords]
    if not abs(images[0] - images[1]).max() <= 2e-5 * images[0].max():
        raise AssertionError("mixed precision departs by more than 2e-5 of the maximum")
    double, mixed = best_in_turn(
        [lambda: simulate(scene, threads=1, **keywords[0]), lambda: simulate(scene, threads=1, **keywords[1])],
        2 * options.rounds,
    )
    yield Row("mixed precision: faster than double", double / mixed, "x", Goal(">=", 1.6))


def gradients(options: Options) -> Iterator[Row]:
    """All derivatives over one forward pass."""
    public("jacobian")
    for shape, bound in (("square", 3.5), ("round", 5.0), ("gauss", 5.0), ("tophat", 5.0)):
        ratio = fused_over_forward(shape, PARAMETERS, shrink=options.shrink, rounds=2 * options.rounds)
        yield Row(f"{shape}: fused Jacobian of 15 parameters over one image", ratio, "", Goal("<=", bound))
    still = still_over_forward(shrink=options.shrink, rounds=5 * options.rounds)
    yield Row("11 derivatives of a GAUSS still", 1e3 * still.seconds, "ms", Goal("<=", 30.0))
    yield Row("11 derivatives of a GAUSS still over one image", still.ratio)


def memory(_: Options) -> Iterator[Row]:
    """Peak memory over the import, with kernels from the cache."""
    for what, scene in (("16 Mpixel", "sixteen"), ("pilatus6m", "pilatus6m")):
        yield Row(f"memory over the import, {what}", bytes_over_image(scene), "images", Goal("<=", 2.5))
    yield Row("memory that 100 phi x 50 domains x 20 sources add", added_by_many() / 1e6, "MB")


def start_up(options: Options) -> Iterator[Row]:
    """Wall time of the command."""
    cold, warm = cold_and_warm_command(options.rounds)
    yield Row("numbragg simulate, 512 x 512, warm", warm, "s", Goal("<=", 1.0))
    yield Row("numbragg simulate, 512 x 512, cold cache", cold, "s", Goal("<=", 15.0))


def tables_and_noise(options: Options) -> Iterator[Row]:
    """Reading text and drawing noise."""
    read: Any = importlib.import_module("numbragg.io.hkl").read_hkl
    rows = 1_000_000 // options.shrink**2
    path = long_table(rows)
    if len(read(path).amplitudes) != rows:
        raise AssertionError("rows of the table are missing")
    yield Row(f"hkl text, {rows} rows", best(lambda: read(path), options.rounds), "s", Goal("<=", 1.0))
    draw, means = public("poisson_noise"), noise_means(2527 // options.shrink, 2463 // options.shrink)
    photons = draw(means, seed=1).photons
    if abs(photons - means.sum()) > 5.0 * means.sum() ** 0.5:
        raise AssertionError("the noise does not have the mean of the image")
    seconds = best(lambda: draw(means, seed=1), options.rounds)
    yield Row(f"noise of {means.size / 1e6:.1f} Mpixel, {cores()} threads", seconds, "s", Goal("<=", 0.3))


def limits(options: Options) -> Iterator[Row]:
    """How near the arithmetic comes to the machine's limit."""
    rate = fma_rate()
    yield Row("multiply-adds a second, one thread", rate / 1e9, "G/s")
    for shape in OPERATIONS:
        share = fraction_of_fma_peak(shape, shrink=options.shrink, rate=rate)
        yield Row(f"{shape}: share of that rate, {OPERATIONS[shape].arithmetic} operations", share)


Group = Callable[[Options], Iterator[Row]]
GROUPS: dict[str, Group] = {
    "naive": against_naive,
    "variants": variants,
    "precision": mixed_precision,
    "gradients": gradients,
    "memory": memory,
    "start-up": start_up,
    "io": tables_and_noise,
    "limits": limits,
}


def main(argv: Sequence[str]) -> int:
    """Print the table; return 1 when a result is wrong, whatever the speed."""
    options = _parser().parse_args(argv)
    rows, wrong = collect(options.only or list(GROUPS), Options(options.shrink, options.rounds))
    print(describe())
    print(table(rows, markdown=options.markdown))
    for message in wrong:
        print(f"WRONG: {message}", file=sys.stderr)
    return WRONG if wrong else 0


def collect(groups: Sequence[str], options: Options) -> tuple[list[Row], list[str]]:
    """Rows of some groups, and what was wrong in them."""
    rows: list[Row] = []
    wrong: list[str] = []
    for name in groups:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        try:
            rows.extend(GROUPS[name](options))
        except NotImplementedError as reason:
            rows.append(Row(name, None, note=str(reason)))
        except Exception as error:
            rows.append(Row(name, None, note="WRONG"))
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    return rows, wrong


def table(rows: Sequence[Row], *, markdown: bool = False) -> str:
    """The rows in columns."""
    lines = [("what", "measured", "goal", "verdict"), *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if markdown:
        lines.insert(1, ("-" * widths[0], "-" * widths[1], "-" * widths[2], "-" * widths[3]))
        return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tox -e bench --", description=__doc__, allow_abbrev=False)
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), help="only these groups")
    parser.add_argument("--shrink", type=int, default=1, help="take so many times fewer pixels along each edge (1)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of which the least counts (3)")
    return parser
